"""A base whose layers are sent over from the host learns and is judged as one on the device, bit for bit."""

import copy

import bitsandbytes as bnb
import pandas as pd
import pytest
import test_training
import torch
from frontier import records
from frontier.errors import UserError
from frontier.model import layers, packing, streaming
from frontier.model.data.tokens import IGNORED
from frontier.model.loss import token_losses
from frontier.run import build
from frontier.run.adapter_check import AdapterCheck
from frontier.run.train import train_adapter
from frontier.study import requests, schema
from frontier.study.identities import study_identities
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from test_training import cache, material  # noqa: F401
from transformers import AutoModelForCausalLM, LlamaConfig

CPU = torch.device("cpu")
# Layers that two buffers cannot all hold, with which the top one is in either buffer.
COUNTS = (1, 2, 5, 6)
WHERE = {"learning_rate": 1e-2, "gradient_checkpointing": True}


def base_of(precision: str, count: int):
    """A small frozen base at a precision, the same for the same arguments."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = LlamaConfig(num_hidden_layers=count, num_key_value_heads=2, **sizes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=packing.ATTENTION)
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    if precision == "nf4":
        for name, module in list(model.model.layers.named_modules()):
            if isinstance(module, torch.nn.Linear):
                four = bnb.nn.Linear4bit(module.in_features, module.out_features, bias=False, quant_type="nf4")
                four.weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
                parent, _, child = name.rpartition(".")
                setattr(model.model.layers.get_submodule(parent), child, four.to("cpu"))
    return model.requires_grad_(False)


def ready(base, checkpointing: bool = True):
    """The base with an adapter, in training."""
    torch.manual_seed(1)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.1)
    layers.compute_in(model, torch.float32)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def rows(seed: int) -> dict:
    draw = torch.Generator().manual_seed(seed)
    examples = [torch.randint(1, 128, (length,), generator=draw).tolist() for length in (9, 14)]
    return packing.collate([{"input_ids": ids, "labels": [IGNORED, *ids[1:]]} for ids in examples])


def learned(model) -> list[torch.Tensor]:
    """What three steps lose and learn, and what two evaluations between them say."""
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer, found = torch.optim.AdamW(parameters, lr=1e-2), []
    for step in range(3):
        # Two micro-batches a step.
        for part in range(2):
            loss = token_losses(model, rows(10 * step + part)).mean()
            loss.backward()
            found.append(loss.detach())
        found += [weight.grad.clone() for weight in parameters]
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            found += [token_losses(model, rows(seed)) for seed in (100, 101)]
    return found


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_streamed_base_learns_what_one_on_the_device_does(precision, count, checkpointing):
    expected = learned(ready(base_of(precision, count), checkpointing))
    base = base_of(precision, count)
    streamed = streaming.stream(base, CPU)
    found = learned(ready(base, checkpointing))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    weights = [
        one.weight for one in base.model.layers.modules() if isinstance(one, torch.nn.Linear) and "arrive" in vars(one)
    ]
    assert len(weights) == 7 * count
    held = {weight.untyped_storage().data_ptr() for weight in weights}
    assert held <= {buffer.untyped_storage().data_ptr() for buffer in streamed.buffers}
    assert not streamed.is_pinned


def test_each_layer_is_sent_once_a_pass_but_for_those_that_are_there():
    """Of five layers: forward all, backward the lower three; the next forward pass finds two of them."""
    base = base_of("fp32", 5)
    streamed, model = streaming.stream(base, CPU), ready(base)
    sent = []
    for _ in range(3):
        before = streamed.moved_bytes
        token_losses(model, rows(0)).mean().backward()
        sent.append((streamed.moved_bytes - before) / len(streamed.slabs[0]))
    assert sent == [8, 6, 6]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4"])
def test_a_run_over_a_base_on_the_host_is_that_on_the_device(material, tmp_path, precision):  # noqa: F811
    found = {}
    for where in ("device", "host"):
        record, history, adapter = test_training.train(
            material, tmp_path / where, f"{precision}-r4-s0", base_on=where, **WHERE
        )
        outcome = record["outcome"]
        assert outcome.get("base_on") == {"host": "host"}.get(where)
        assert ("moved_gib_a_step" in outcome) == (where == "host")
        training = tmp_path / where / "training.json"
        _, losses = test_training.evaluate(material, tmp_path / f"{where}-judged", adapter, precision, training)
        found[where] = history.drop(columns="seconds"), load_file(adapter / "adapter_model.safetensors"), losses
    pd.testing.assert_frame_equal(found["host"][0], found["device"][0])
    pd.testing.assert_frame_equal(found["host"][2], found["device"][2])
    for name, weight in found["device"][1].items():
        assert torch.equal(found["host"][1][name], weight)


def test_a_resumed_run_over_a_base_on_the_host_ends_as_the_undisturbed_one(material, tmp_path, monkeypatch):  # noqa: F811
    _, _, whole = test_training.train(material, tmp_path / "whole", base_on="host", **WHERE)

    class Cut(BaseException):
        pass

    def cut(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise Cut

    job = test_training.job_of(material, tmp_path / "cut", limits={"checkpoint_steps": 2}, base_on="host", **WHERE)
    with monkeypatch.context() as patch:
        patch.setattr(AdapterCheck, "on_step_end", cut)
        with pytest.raises(Cut):
            train_adapter(job)
    train_adapter(job)
    assert records.read_json(job["output"]["training"])["outcome"]["resumes"] == 1
    resumed = load_file(tmp_path / "cut/adapter/adapter_model.safetensors")
    for name, weight in load_file(whole / "adapter_model.safetensors").items():
        assert torch.equal(resumed[name], weight)


def test_what_cannot_be_streamed_is_refused_in_one_line():
    record = {"precision": "int8"}
    with pytest.raises(UserError, match="base_on: got host with int8"):
        build.load_base(record, CPU, base_on="host")
    with pytest.raises(UserError, match="base_on: got host with processes above 1"):
        build.load_base(record | {"precision": "fp16"}, CPU, build.Share(0, 2), base_on="host")
    with pytest.raises(UserError, match="base_on: got host, takes device for this model"):
        streaming.stream(torch.nn.Sequential(), CPU)
    shared = base_of("fp32", 2)
    shared.model.layers[1].mlp = shared.model.layers[0].mlp
    with pytest.raises(UserError, match="base_on: got host, takes device for this model"):
        streaming.stream(shared, CPU)


def test_a_base_on_the_host_is_another_run_and_the_default_is_none_other():
    study = schema.resolve(
        {"model": {"source": "path", "path": "m"}, "data": {"source": "file", "train_file": "f"}, "steps": 1}
    )
    elsewhere = copy.deepcopy(study) | {"base_on": "host"}
    assert "base_on" not in requests.training_request(study, "fp16-r8-s0")
    code = dict.fromkeys(
        "fetch_model prove_model fetch_data tokenize_data prepare_base evaluate train_adapter measure_accuracy".split(),
        "",
    )
    ours, theirs = (study_identities(one, code) for one in (study, elsewhere))
    assert ours["base"]("fp16") == theirs["base"]("fp16")
    assert ours["baseline"]("fp16") == theirs["baseline"]("fp16")
    assert ours["training"]("fp16-r8-s0") != theirs["training"]("fp16-r8-s0")
