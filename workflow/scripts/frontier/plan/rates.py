"""Measure the rates of the device that is there: matrix products, attention, memory traffic, dequantising, launches."""

import bitsandbytes as bnb
import torch
import torch.nn.functional as F

from frontier.model import dtypes
from frontier.plan.device_clock import clock
from frontier.plan.small_step import small_step


def measure_device(device: torch.device) -> dict:
    """Return a device's `roofline.Rates` as a dict; takes under a minute, most of it the compilation of kernels."""
    cuda = device.type == "cuda"
    tokens, width = (2048, 4096) if cuda else (512, 1024)
    half = [torch.float16]
    if cuda and dtypes.multiplies_bfloat16(torch.cuda.get_device_capability(device)):
        half.append(torch.bfloat16)
    multiplied = [*half, torch.float32] if cuda else sorted({torch.float32, _fast(device)}, key=str)
    return {
        "matmul": {dtypes.name_of(dtype): _products(width, dtype, device) for dtype in multiplied},
        "attention": _attention(tokens, half[-1] if cuda else torch.float32, device),
        "traffic": _traffic([2**20, 2**24, 2**28] if cuda else [2**18, 2**22, 2**26], device),
        "dequantize": _dequantize(width, device),
        "asynchronous": cuda,
        **small_step(device),
    }


def _fast(cpu: torch.device) -> torch.dtype:
    """Return the dtype that a CPU multiplies fast."""
    return dtypes.compute_dtype("auto", "", cpu)


def _products(width: int, dtype: torch.dtype, device: torch.device) -> list:
    """Return the rates of matrix products of rising size: a square weight, from few tokens to twice its width."""
    points = []
    weight = torch.randn(width, width, device=device).to(dtype)
    for tokens in (width // 32, width // 8, width // 2, 2 * width):
        rows = torch.randn(tokens, width, device=device).to(dtype)
        work = 2.0 * tokens * width * width
        points.append((work, work / clock(lambda a=rows: a @ weight, device)))
    return points


def _attention(tokens: int, dtype: torch.dtype, device: torch.device) -> list:
    """Return the rates of causal attention over rising lengths, from a forward and a backward pass together."""
    heads, size, points = 16, 128, []
    for length in (tokens // 8, tokens // 2, tokens):
        query = torch.randn(1, heads, length, size, device=device).to(dtype).requires_grad_()

        def both(query=query):
            result = F.scaled_dot_product_attention(query, query, query, is_causal=True)
            torch.autograd.grad(result.sum(), query)

        work = 14.0 * length**2 * heads * size
        points.append((work / 3.5, work / clock(both, device)))
    return points


def _traffic(sizes: list[int], device: torch.device) -> list:
    """Return the rates of reading one tensor and writing another, for tensors of these `sizes` in bytes."""
    points = []
    for size in sizes:
        source = torch.ones(size // 4, device=device)
        target = torch.empty_like(source)
        points.append((2.0 * size, 2.0 * size / clock(lambda a=source, b=target: torch.mul(a, 2.0, out=b), device)))
    return points


def _dequantize(width: int, device: torch.device) -> list:
    """Return the rate of dequantising a square NF4 weight."""
    weight = torch.randn(width, width, device=device, dtype=torch.float16)
    packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    state.dtype = torch.float16 if device.type == "cuda" else _fast(device)
    moved = width * width * (0.5 + state.dtype.itemsize)
    return [(moved, moved / clock(lambda: bnb.functional.dequantize_4bit(packed, state), device))]
