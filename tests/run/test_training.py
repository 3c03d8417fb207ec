"""Real trainings of the tiny model in this process: what must not move a result, and what must."""

import copy
import math
import shutil

import pandas as pd
import pytest
import tiny
import torch
from frontier import records
from frontier.errors import UserError
from frontier.machine import processor
from frontier.model import cache as cache_module
from frontier.model import dtypes, prepare
from frontier.model.data.encoding import Encoder
from frontier.model.data.json_lines import read_lines
from frontier.model.data.tokens import IGNORED, load_tokens, tokenize, write_tokens
from frontier.run import perplexity, prove
from frontier.run.adapter_check import AdapterCheck
from frontier.run.train import train_adapter
from frontier.study import embedded, requests, schema
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

SETTINGS = {
    "precisions": ["fp32"],
    "steps": 6,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "cpu_threads": 1,
    "device": "cpu",
    # What is held against references here is so to the last digits, on any processor.
    "compute_dtype": "float32",
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def material(tmp_path_factory, tiny_model, cache):
    """The tiny model's bases and tokens, made by the workflow's own jobs."""
    folder = tmp_path_factory.mktemp("material")
    files = {
        name: str(tiny.write_sums(folder / f"{name}.jsonl", 40, seed))
        for name, seed in [("train", 0), ("validation", 9)]
    }
    study = schema.resolve(
        {
            "model": {"source": "path", "path": str(tiny_model)},
            "data": {"source": "jsonl", "train_file": files["train"], "validation_file": files["validation"]},
            **SETTINGS,
        }
    )
    paths = {"model": str(folder / "model.json"), "tokens": str(folder / "tokens.json")}
    prepare.fetch_model(
        {"request": {"model": study["model"], "tokenizer_model": embedded.EMBEDDED_MODEL}, "output": paths}
    )
    paths["proof"] = str(folder / "proof.json")
    prove.prove_model({"request": requests.device_request(study), "input": paths, "output": paths})
    for precision in ("fp32", "fp16", "bf16", "nf4", "fp4"):
        paths[precision] = str(folder / f"{precision}.json")
        request = {"precision": precision, **requests.device_request(study)}
        prepare.prepare_base({"request": request, "input": paths, "output": {"base": paths[precision]}})
    for name in ("train", "validation"):
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        rows = read_lines(files[name])
        encoder = Encoder(tokenizer, "Question: {question}\nAnswer: ", 300, (tokenizer.eos_token_id,))
        examples, _ = tokenize(rows, encoder, 128)
        write_tokens(examples, str(folder / f"{name}.parquet"))
        paths[name] = str(folder / f"{name}.parquet")
    return study, paths


def job_of(material, folder, run="fp32-r4-s0", limits=None, **changes):
    """The job that trains one run of the material, with changes to its study."""
    study, paths = material
    study = copy.deepcopy(study)
    for key, value in changes.items():
        study[key] = study[key] | value if isinstance(value, dict) else value
    request = requests.training_request(study, run)
    outputs = {name: str(folder / file) for name, file in FILES.items()}
    inputs = {"base": paths[request["precision"]], "tokens": paths["train"]}
    inputs |= {"model": paths["model"], "material": paths["model"], "proof": paths["proof"]}
    return {"digest": "", "request": request, "input": inputs, "output": outputs, "limits": limits or {}}


def train(material, folder, run="fp32-r4-s0", limits=None, **changes):
    """Train one run; its record, its history and its adapter's folder."""
    job = job_of(material, folder, run, limits, **changes)
    train_adapter(job)
    return records.read_json(job["output"]["training"]), pd.read_csv(job["output"]["history"]), folder / "adapter"


FILES = {"training": "training.json", "history": "history.csv", "adapter": "adapter"}


def evaluate(material, folder, adapter=None, precision="fp32", training=None, **changes):
    study, paths = material
    study = copy.deepcopy(study)
    study["evaluation"] |= changes
    folder.mkdir(exist_ok=True)
    inputs = {"base": paths[precision], "tokens": paths["validation"]}
    inputs |= {"model": paths["model"], "proof": paths["proof"]}
    outputs = {"evaluation": str(folder / "evaluation.json"), "losses": str(folder / "nll.parquet")}
    request = requests.evaluation_request(study, precision)
    inputs |= {"adapter": str(adapter)} if adapter else {}
    inputs |= {"training": str(training)} if training else {}
    perplexity.evaluate({"digest": "", "request": request, "input": inputs, "output": outputs})
    return records.read_json(outputs["evaluation"])["outcome"], pd.read_parquet(outputs["losses"])


def weights(adapter) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


def test_micro_batches_do_not_change_the_loss_curve(material, tmp_path):
    _, whole, _ = train(material, tmp_path / "a", micro_batch_size=8)
    _, parts, _ = train(material, tmp_path / "b", micro_batch_size=2)
    assert len(whole) == 6
    assert whole["loss"].nunique() == 6
    assert (whole["loss"] - parts["loss"]).abs().max() < 1e-4
    assert list(whole["tokens"]) == list(parts["tokens"])


def test_gradient_checkpointing_changes_nothing(material, tmp_path):
    _, plain, _ = train(material, tmp_path / "a", lora={"dropout": 0.1})
    _, recomputed, _ = train(material, tmp_path / "b", lora={"dropout": 0.1}, gradient_checkpointing=True)
    assert (plain["loss"] - recomputed["loss"]).abs().max() < 1e-5


def test_same_seed_gives_the_same_bits_and_another_does_not(material, tmp_path):
    adapters = []
    for name, run in (("a", "fp32-r4-s0"), ("b", "fp32-r4-s0"), ("c", "fp32-r4-s1")):
        adapters.append(weights(train(material, tmp_path / name, run, lora={"dropout": 0.1})[2]))
    first, again, other = adapters
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "nf4", "fp4"])
def test_training_loss_falls_and_adapters_are_float32(material, tmp_path, precision):
    """In NF4 above all: a packed layer would train on and learn nothing."""
    _, history, adapter = train(material, tmp_path / "run", f"{precision}-r4-s0", steps=20)
    assert history["loss"].tail(4).mean() < history["loss"].head(2).mean() - 0.3
    assert {tensor.dtype for tensor in weights(adapter).values()} == {torch.float32}
    base, _ = evaluate(material, tmp_path / "base", precision=precision)
    tuned, _ = evaluate(material, tmp_path / "tuned", adapter, precision)
    assert tuned["perplexity"] < 0.9 * base["perplexity"]


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_an_adapter_in_bfloat16_is_kept_and_updated_in_it_and_judged_by_its_own_values(material, tmp_path, precision):
    """As trl keeps an adapter over NF4: small updates are lost, and it ends elsewhere than in float32."""
    run = f"{precision}-r4-s0"
    record, history, adapter = train(material, tmp_path / "half", run, steps=20, lora={"dtype": "bfloat16"})
    _, _, whole = train(material, tmp_path / "whole", run, steps=20)
    assert record["request"]["lora"]["dtype"] == "bfloat16"
    assert history["loss"].tail(4).mean() < history["loss"].head(2).mean() - 0.3
    assert {tensor.dtype for tensor in weights(adapter).values()} == {torch.bfloat16}
    assert any(not torch.equal(weights(adapter)[name].float(), one) for name, one in weights(whole).items())
    # An update of under half a unit in the last of bfloat16's eight bits leaves a number as it was.
    train(material, tmp_path / "free", run, learning_rate=1e-6, steps=2)
    with pytest.raises(UserError, match=r"had gradients and is as it was at the start; raise learning_rate"):
        train(material, tmp_path / "held", run, lora={"dtype": "bfloat16"}, learning_rate=1e-6, steps=2)
    judged, _ = evaluate(material, tmp_path / "judged", adapter, precision)
    in_float32 = tmp_path / "float32"
    shutil.copytree(adapter, in_float32)
    values = {name: one.float() for name, one in weights(adapter).items()}
    save_file(values, in_float32 / "adapter_model.safetensors")
    again, _ = evaluate(material, tmp_path / "again", in_float32, precision)
    assert judged["perplexity"] == again["perplexity"]


def test_an_adapter_in_bfloat16_under_products_in_float16_is_one_line(material, tmp_path):
    with pytest.raises(UserError, match=r"lora.dtype: got bfloat16 with products in float16, .* set compute_dtype to"):
        train(material, tmp_path / "run", "fp16-r4-s0", lora={"dtype": "bfloat16"}, compute_dtype="float16")


def test_first_loss_is_transformers_own(material, tmp_path, tiny_model):
    """The first step's loss, before any update, against transformers' padded forward and its own loss."""
    _, history, _ = train(material, tmp_path / "run", batch_size=40, steps=1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    summed = tokens = 0
    for example in load_tokens(material[1]["train"]):
        count = sum(label != IGNORED for label in example["labels"])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([example["input_ids"]]), labels=torch.tensor([example["labels"]])).loss
        summed, tokens = summed + float(loss) * count, tokens + count
    assert history["loss"][0] == pytest.approx(summed / tokens, rel=1e-5)


def test_adapter_loads_with_peft_and_gives_the_recorded_perplexity(material, tmp_path, tiny_model):
    _, _, adapter = train(material, tmp_path / "run")
    outcome, losses = evaluate(material, tmp_path / "evaluation", adapter)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter)
    summed = []
    for example in load_tokens(material[1]["validation"]):
        count = sum(label != IGNORED for label in example["labels"])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([example["input_ids"]]), labels=torch.tensor([example["labels"]])).loss
        summed.append((float(loss) * count, count))
    reference = math.exp(sum(nll for nll, _ in summed) / sum(count for _, count in summed))
    assert outcome["perplexity"] == pytest.approx(reference, rel=1e-5)
    assert list(losses["tokens"]) == [count for _, count in summed]
    assert list(losses["nll"]) == pytest.approx([nll for nll, _ in summed], rel=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "nf4"])
def test_evaluation_batch_does_not_change_the_perplexity(material, tmp_path, precision):
    found = [
        evaluate(material, tmp_path / str(size), precision=precision, batch_size=size)[0]["perplexity"]
        for size in (1, 4, 7, 40)
    ]
    assert max(found) / min(found) - 1 < 1e-5


def test_clock_and_counts_are_the_steps_alone(material, tmp_path):
    record, history, _ = train(material, tmp_path / "run", epochs=2, steps=None)
    outcome = record["outcome"]
    tokens = sum(len(example["input_ids"]) for example in load_tokens(material[1]["train"]))
    assert outcome["train_tokens"] == 2 * tokens
    assert outcome["steps"] == 10 == history["step"].iloc[-1]
    assert 0 < outcome["train_seconds"] <= sum(outcome["phases"][name]["seconds"] for name in ("warm_up", "steady"))
    assert outcome["train_seconds"] == pytest.approx(history["seconds"].iloc[-1])
    assert outcome["memory_metric"] == "host_rss"
    assert outcome["peak_allocated_gib"] is None
    rank, layers = 4, 2
    shapes = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 64), (32, 64), (64, 32)]
    assert outcome["trainable_parameters"] == layers * rank * sum(i + o for i, o in shapes)


def test_alpha_rules(material):
    study, _ = material
    assert requests.training_request(study, "fp32-r16-s0")["lora"]["alpha"] == 32
    study = study | {"lora": study["lora"] | {"alpha": 16}}
    assert requests.training_request(study, "fp32-r64-s0")["lora"]["alpha"] == 16


def claim(monkeypatch, vendor: str = "AuthenticAMD", **instructions: bool) -> None:
    """Have torch and the system say that the CPU is of this vendor and has these instructions, and no others."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    monkeypatch.setattr(processor, "_told", {"vendor_id": vendor, "model name": "a CPU"}.get)


@pytest.mark.parametrize(
    ("vendor", "instructions", "expected"),
    [
        ("AuthenticAMD", {}, "float32"),
        ("AuthenticAMD", {"avx512_f": True, "avx512_bf16": False}, "float32"),
        ("AuthenticAMD", {"avx512_bf16": True}, "bfloat16"),
        ("GenuineIntel", {"avx512_bf16": True, "amx_bf16": True}, "bfloat16"),
        # Where AMX is hidden from a virtual machine, what is left multiplies bfloat16 slower than float32.
        ("GenuineIntel", {"avx512_bf16": True, "amx_bf16": False}, "float32"),
    ],
)
def test_a_cpu_multiplies_bfloat16_where_it_says_that_it_is_fast(monkeypatch, vendor, instructions, expected):
    claim(monkeypatch, vendor, **instructions)
    cpu = torch.device("cpu")
    for precision in ("fp32", "fp16", "nf4"):
        assert dtypes.name_of(dtypes.compute_dtype("auto", precision, cpu)) == expected
        assert dtypes.compute_dtype("float32", precision, cpu) == torch.float32
    assert dtypes.state_dtype(torch.bfloat16, cpu) == torch.float32
    assert dtypes.state_dtype(torch.bfloat16, torch.device("cuda")) == torch.bfloat16


def test_products_in_bfloat16_learn_what_those_in_float32_learn(material, tmp_path, monkeypatch):
    losses = {}
    for name, instructions in {"float32": {}, "bfloat16": {"avx512_bf16": True}}.items():
        claim(monkeypatch, **instructions)
        record, history, _ = train(material, tmp_path / name, "nf4-r4-s0", steps=10, compute_dtype="auto")
        assert record["outcome"]["product_dtype"] == name
        losses[name] = history["loss"]
    assert not losses["float32"].equals(losses["bfloat16"])
    assert losses["bfloat16"].to_numpy() == pytest.approx(losses["float32"].to_numpy(), abs=0.01)


def test_a_resumed_training_keeps_its_products_on_another_cpu(material, tmp_path, monkeypatch):
    """A cluster's nodes may be unlike: the second has no products of bfloat16, and emulates them."""
    claim(monkeypatch, avx512_bf16=True)
    whole, _, adapter = train(material, tmp_path / "whole", limits={"checkpoint_steps": 2}, compute_dtype="auto")

    class Cut(BaseException):
        pass

    def cut(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise Cut

    job = job_of(material, tmp_path / "cut", limits={"checkpoint_steps": 2}, compute_dtype="auto")
    with monkeypatch.context() as patch:
        patch.setattr(AdapterCheck, "on_step_end", cut)
        with pytest.raises(Cut):
            train_adapter(job)
    claim(monkeypatch)
    train_adapter(job)
    outcome = records.read_json(job["output"]["training"])["outcome"]
    assert (outcome["resumes"], outcome["product_dtype"]) == (1, whole["outcome"]["product_dtype"]) == (1, "bfloat16")
    resumed = load_file(tmp_path / "cut/adapter/adapter_model.safetensors")
    for name, weight in load_file(adapter / "adapter_model.safetensors").items():
        assert torch.equal(resumed[name], weight)


def test_compute_dtype_follows_the_device():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert dtypes.compute_dtype("auto", "fp16", cuda) == torch.float16
    assert dtypes.compute_dtype("bfloat16", "nf4", cpu) == torch.bfloat16
