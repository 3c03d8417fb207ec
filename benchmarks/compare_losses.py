"""Whether speed changes what is learned: runs of a finished study, trained once more by transformers' own loop.

    python benchmarks/compare_losses.py STUDY RUN [RUN ...]

The same tokens, weights, first adapter and order of examples; but padded batches, and attention, loss, LoRA layers,
autocast and the unfused AdamW as transformers, PEFT and bitsandbytes have them. One JSON line a run, of losses over the
validation split in nats for each answer token: `recorded`, by the run's evaluation; `same_adapter`, the run's adapter
through transformers' own forward pass in float32; `retrained`, the other adapter through the same. STUDY is the folder
that was run in.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import _path  # noqa: F401
import bitsandbytes as bnb
import torch
from frontier import records
from frontier.machine import environment
from frontier.machine.device import open_device
from frontier.model import bases, cache, dtypes
from frontier.model.data.tokens import IGNORED, load_tokens
from frontier.run import build, fit
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, Trainer, logging
from transformers.trainer_callback import PrinterCallback

_EVALUATED_TOGETHER = 16


def pad(examples: list[dict]) -> dict[str, torch.Tensor]:
    """Input ids, labels and attention mask, each (examples, longest)."""
    rows = [example | {"attention_mask": [1] * len(example["input_ids"])} for example in examples]
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        key: torch.tensor([row[key] + [fill] * (longest - len(row[key])) for row in rows])
        for key, fill in {"input_ids": 0, "labels": IGNORED, "attention_mask": 0}.items()
    }


def load(folder: Path, precision: str, dtype: torch.dtype, device: torch.device):
    """The base quantised while it is loaded, as for QLoRA; what is not quantised, or a 16-bit base, then in float32."""
    options = {}
    if precision in dtypes.QUANTIZED:
        options["quantization_config"] = how = bases.quantization(precision)
        how.bnb_4bit_compute_dtype = dtype
    stored = dtypes.stored_dtype(precision)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=stored, device_map={"": device}, **options)
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def train(model, request: dict, examples: list[dict], dtype: torch.dtype) -> None:
    """Train the PEFT model by the Trainer, as a run's settings have it but for the optimiser's kernel."""
    plain = request | {"training": request["training"] | {"optimizer": "adamw_torch"}}
    with tempfile.TemporaryDirectory() as folder:
        arguments = fit.trainer_arguments(plain, model.device, dtype, Path(folder))
        # A run's own layers choose their dtypes, so it asks for no autocast.
        arguments = replace(arguments, bf16=dtype == torch.bfloat16)
        trainer = Trainer(model=model, args=arguments, train_dataset=examples, data_collator=pad)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        # Else autocast stays around the model's forward pass.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)


@torch.no_grad()
def validation_loss(model, examples: list[dict]) -> float:
    """Mean loss in nats of the answer tokens; products in float32, but for int8's, which are bitsandbytes' own."""
    model.eval()
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.compute_dtype = torch.float32
            # Else, on some CPUs, bitsandbytes packs the weight anew for products in bfloat16.
            module.training = True
    total, count = 0.0, 0
    for start in range(0, len(examples), _EVALUATED_TOGETHER):
        batch = pad(examples[start : start + _EVALUATED_TOGETHER])
        labelled = int((batch["labels"][:, 1:] != IGNORED).sum())
        total += float(model(**{key: value.to(model.device) for key, value in batch.items()}).loss) * labelled
        count += labelled
    return total / count


def compare(study: Path, run: str) -> dict:
    """The line of one run."""
    folder, started_at = study / "results/runs" / run, environment.utc_now()
    recorded = records.read_json(folder / "evaluation.json")["outcome"]["eval_loss"]
    record = records.read_json(folder / "training.json")
    request = record["request"]
    examples = {
        split: load_tokens(str(study / f"resources/tokens/{split}.parquet")) for split in ("train", "validation")
    }
    device = open_device(request["device"], request["cpu_threads"])
    dtype = dtypes.compute_dtype(request["compute_dtype"], request["precision"], device)
    base = cache.CACHE / records.read_json(study / "resources/model.json")["folder"]
    model = load(base, request["precision"], dtype, device)
    model = build.build_adapter(model, request["lora"], request["rank"], request["seed"])
    train(model, request, examples["train"], dtype)
    retrained = validation_loss(model, examples["validation"])
    model.load_adapter(folder / "adapter", "same")
    model.set_adapter("same")
    return {
        "run": run,
        "recorded": recorded,
        "same_adapter": validation_loss(model, examples["validation"]),
        "retrained": retrained,
        "levers": record["outcome"]["levers"],
        "environment": environment.describe_environment(device, started_at) | {"ended_at": environment.utc_now()},
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, metavar="STUDY")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    arguments = parser.parse_args()
    for run in arguments.runs:
        needed = arguments.study / "results/runs" / run / "evaluation.json"
        if not needed.exists() or records.read_json(needed)["outcome"]["status"] != "ok":
            parser.error(f"{needed}: takes runs that were trained and evaluated, and ended ok")
    return arguments


if __name__ == "__main__":
    arguments = parse_arguments()
    logging.set_verbosity_error()
    for run in arguments.runs:
        print(json.dumps(compare(arguments.study, run)), flush=True)
