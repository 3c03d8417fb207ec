"""A base on the host beside one on the card: `python benchmarks/stream_base.py [--layers 32] [--tokens 1600 ...]`.

A Mistral-7B's shape with random weights, LoRA on all linear layers, checkpointing, examples of 200 tokens, on one GPU.
For each number of tokens a step the seconds (the median of the steps after two), the bytes sent and what the link alone
would take for them, the peak allocated, and the loss after the last step: over the card, captured and not, and over the
host, whose losses should be those of the card uncaptured to the last bit. `--times 4` sends each layer four times, as
over a link of a quarter of the speed. Prints a line of JSON each.
"""

import argparse
import gc
import json
import os
import statistics
import time

import _path  # noqa: F401
from frontier.machine import launch

os.environ.update(launch.allocation(os.environ) | os.environ | {"HF_HUB_OFFLINE": "1"})

import random_base
import torch
import transformers
from frontier.machine.capture_budget import CaptureBudget
from frontier.machine.meter import open_meter
from frontier.model import captured_step, dtypes, packing, streaming
from frontier.model.card import Card
from frontier.model.levers import make_state
from frontier.model.loss import token_losses
from frontier.run import build
from frontier.study import requests, schema
from frontier.units import GIB
from transformers import AutoConfig

DEVICE = torch.device("cuda", 0)
LENGTH = 200
STEPS = 6
SHAPES = {
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8},
    "32b": {"hidden_size": 5120, "intermediate_size": 27648, "num_attention_heads": 40, "num_key_value_heads": 8},
}
SHAPES["7b"] |= {"model_type": "mistral", "vocab_size": 32000, "num_hidden_layers": 32, "sliding_window": None}
SHAPES["32b"] |= {"model_type": "qwen2", "vocab_size": 152064, "num_hidden_layers": 64}


def request_of(precision: str, rank: int, tokens: int, graphs: bool):
    """The request of a run whose step is one micro-batch of so many tokens."""
    study = {
        "model": {"source": "architecture", "config": {"model_type": "llama"}},
        "data": {"source": "file", "train_file": "none"},
        "steps": STEPS,
        "batch_size": tokens // LENGTH,
        "gradient_checkpointing": True,
        "cuda_graphs": graphs,
        # Offloaded, they would be drawn anew for the next measurement.
        "offload_embeddings": False,
        "precisions": [precision],
        "ranks": [rank],
    }
    return requests.training_request(schema.resolve(study), f"{precision}-r{rank}-s0")


def rows(tokens: int, vocabulary: int) -> dict:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(10, vocabulary, (tokens // LENGTH, LENGTH), generator=draw).tolist()
    batch = packing.collate([{"input_ids": one, "labels": one} for one in ids])
    return {key: value.to(DEVICE) if torch.is_tensor(value) else value for key, value in batch.items()}


def measured(base, args, rank: int, tokens: int, graphs: bool) -> dict:
    """Seconds of each step, the peak in GiB and the last loss; what a base on the host sent in the last step."""
    request = request_of(args.precision, rank, tokens, graphs)
    dtype = dtypes.compute_dtype("auto", args.precision, DEVICE)
    model, levers = build.build_model(base, request, dtype, Card(DEVICE))
    batch, streamed = rows(tokens, base.config.vocab_size), getattr(base, "streamed", None)
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    model.train()
    captured = None
    if levers["cuda_graphs"]:
        budget = CaptureBudget(None, open_meter(DEVICE), levers)
        captured = captured_step.CapturedStep(model, [LENGTH] * 64, tokens // LENGTH, budget.capturing)
        captured.keep_gradients()
        make_state(optimizer)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    factor = torch.ones((), device=DEVICE) / tokens
    seconds, sent, waited = [], 0, streamed.waited_seconds if streamed else 0.0
    for _ in range(STEPS):
        before = streamed.moved_bytes if streamed else 0
        torch.cuda.synchronize()
        start = time.perf_counter()
        if captured:
            loss = captured(batch, factor) / tokens
        else:
            loss = token_losses(model, batch).sum() / tokens
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        sent = streamed.moved_bytes - before if streamed else 0
    found = {"rank": rank, "tokens": tokens, "step_s": round(statistics.median(seconds[2:]), 4)}
    found |= {"all_s": [round(one, 3) for one in seconds], "loss": float(loss)}
    found |= {"peak_allocated_gib": round(torch.cuda.max_memory_allocated() / GIB, 2)}
    found |= {"levers": [name for name, used in levers.items() if used is True]}
    if streamed:
        rate = streamed.link_rate()
        found |= {"sent_gb": round(sent * streamed.times / 1e9, 2), "link_gb_s": round(rate / 1e9, 2)}
        found |= {
            "link_s": round(sent * streamed.times / rate, 4),
            "waited_s": round((streamed.waited_seconds - waited) / STEPS, 4),
        }
        found |= {"pinned": streamed.is_pinned}
    return found


def plain(base, code):
    base = random_base.without_adapter(base, code)
    gc.collect()
    torch.cuda.empty_cache()
    return base


def to_host(base) -> None:
    """Bring a base's weights to the host's memory, as if it had been loaded there."""
    for parameter in base.parameters():
        parameter.data = parameter.data.cpu()
        if state := getattr(parameter, "quant_state", None):
            state.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--precision", choices=("fp16", "bf16", "nf4"), default="fp16")
    parser.add_argument("--ranks", type=int, nargs="+", default=[16])
    parser.add_argument("--tokens", type=int, nargs="+", default=[1600, 6400, 12800])
    parser.add_argument("--times", type=int, nargs="+", default=[1])
    parser.add_argument("--host-only", action="store_true", help="do not train over a base on the card")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    shape = SHAPES[args.shape] | ({"num_hidden_layers": args.layers} if args.layers else {})
    config = AutoConfig.for_model(**shape)
    base = random_base.build(config, args.precision, DEVICE)
    code = random_base.snapshot(base)
    whole = {"shape": args.shape, "layers": config.num_hidden_layers, "precision": args.precision}
    for rank in args.ranks if not args.host_only else []:
        for tokens in args.tokens:
            for graphs in (False, True):
                found = measured(plain(base, code), args, rank, tokens, graphs)
                print(json.dumps(whole | {"base_on": "device", "captured": graphs} | found), flush=True)
    base = plain(base, code)
    to_host(base)
    start = time.perf_counter()
    streamed = streaming.stream(base, DEVICE)
    told = {
        "slabs_gib": round(sum(map(len, streamed.slabs)) / GIB, 2),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(whole | told), flush=True)
    for times in args.times:
        streamed.times = times
        for rank in args.ranks:
            for tokens in args.tokens:
                found = measured(plain(base, code), args, rank, tokens, graphs=False)
                print(json.dumps(whole | {"base_on": "host", "times": times} | found), flush=True)


if __name__ == "__main__":
    main()
