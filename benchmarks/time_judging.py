"""Time evaluation and greedy answers, this build beside others: `python benchmarks/time_judging.py [BUILD ...]`.

A BUILD is a folder with a checkout; this one is always among them. Each build runs in a process of its own, in turns,
on the device that is there: the summed losses of 500 examples over SmolLM2-135M's shape in float32, then answers of 256
tokens over a shape of 7B in NF4 at each of `--batches`. Weights are random, from one seed, and no answer ends by
itself. Examples are tokens of `--rows`, a JSON list of objects with `input_ids` and `labels`. Prints a line of JSON
each: seconds, and the sum of the losses or a digest of the answers' tokens, which should be the same in all builds.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SMALL = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
SMALL |= {"num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True}
LARGE = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
LARGE |= {"num_key_value_heads": 8, "vocab_size": 49152, "tie_word_embeddings": False}
NEW_TOKENS = 256


class NoWords:
    """A tokenizer of answers that are looked at as tokens."""

    eos_token_id = 49151

    def decode(self, tokens, **_):
        return " ".join(map(str, tokens))


def base(shape: dict, quantised: bool, attention: str, device):
    """A model of random weights with LoRA of rank 16 on it, in half precision or NF4."""
    import bitsandbytes as bnb
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(max_position_embeddings=4096, bos_token_id=1, eos_token_id=49151, pad_token_id=2, **shape)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float16, attn_implementation=attention)
    if quantised:
        for name, module in list(model.named_modules()):
            if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
                parent, _, child = name.rpartition(".")
                how = {"bias": False, "quant_type": "nf4", "compress_statistics": True}
                four = bnb.nn.Linear4bit(module.in_features, module.out_features, device="meta", **how)
                four.weight = bnb.nn.Params4bit(module.weight.data.cpu(), requires_grad=False, quant_type="nf4")
                setattr(model.get_submodule(parent), child, four.to(device))
    model.requires_grad_(False)
    adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.01)
    return model


def computing(model, device):
    """The model in float32 as the build's own judging has it."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        from frontier.model.execution import Method
        from frontier.run.evaluation import ready
    except ImportError:
        from frontier import layers

        return layers.compute_in(model, torch.float32).eval()
    ready(model, {"request": {"compute_dtype": "float32"}, "input": {}, "output": {}}, device, Method())
    return model


def evaluate(rows: list[dict], batch: int, device) -> dict:
    import torch

    try:
        from frontier.run.perplexity import example_losses
    except ImportError:
        from frontier.evaluation import example_losses
    model = computing(base(SMALL, False, "packed", device), device)
    example_losses(model, rows[:16], batch, device)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        losses = example_losses(model, (rows * 2)[:500], batch, device)
        seconds.append(round(time.perf_counter() - start, 3))
    loss = losses["nll"].sum() / losses["tokens"].sum()
    held = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0
    return {"seconds": seconds, "loss": loss, "peak_gib": round(held, 2)}


def answer(rows: list[dict], batch: int, device) -> dict:
    import torch

    model = computing(base(LARGE, True, "sdpa", device), device)
    prompts = [row["input_ids"][: sum(label < 0 for label in row["labels"])] for row in rows[:batch]]
    prompts.sort(key=len, reverse=True)
    try:
        from frontier.run.asked import Ends
        from frontier.run.generation import answers_of, decoding_of

        ends = Ends((49151,), "")
        decoding = decoding_of(model, NoWords(), prompts, NEW_TOKENS, ends, device)

        def made(tokens: int) -> list[str]:
            return [text for _, text, _ in sorted(answers_of(decoding, NoWords(), prompts, tokens, ends, device))]

    except ImportError:
        from frontier.accuracy import generate

        def made(tokens: int) -> list[str]:
            return [text for text, _ in generate(model, NoWords(), prompts, tokens, "", device)]

    made(20)
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    texts = made(NEW_TOKENS)
    seconds = time.perf_counter() - start
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    held = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    speed = round(sum(len(text.split()) for text in texts) / seconds, 1)
    return {"seconds": round(seconds, 2), "tokens_per_second": speed, "answers": digest, "peak_gib": held}


def one(task: str, batch: int, rows: str) -> None:
    import torch

    try:
        from frontier.model import packing
    except ImportError:
        from frontier import packing

    assert packing.ATTENTION == "packed"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    examples = json.loads(Path(rows).read_text("utf-8"))
    found = (evaluate if task == "evaluate" else answer)(examples, batch, device)
    print(json.dumps({"task": task, "batch": batch} | found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("builds", nargs="*", type=Path)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--evaluations", type=int, nargs="*", default=[8], help="batches of the evaluations")
    parser.add_argument("--batches", type=int, nargs="*", default=[16], help="batches of the answers")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(args.one[0], int(args.one[1]), args.rows)
    tasks = [("evaluate", batch) for batch in args.evaluations] + [("answer", batch) for batch in args.batches]
    for _ in range(args.rounds):
        for task, batch in tasks:
            for build in (ROOT, *args.builds):
                path = os.pathsep.join(filter(None, [str(build / "workflow/scripts"), os.environ.get("PYTHONPATH")]))
                command = [sys.executable, __file__, "--rows", args.rows, "--one", task, str(batch)]
                done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
                line = done.stdout.strip().splitlines()[-1:] or [json.dumps({"failed": done.stderr[-600:]})]
                print(build.name, *line, flush=True)
    return None


if __name__ == "__main__":
    main()
