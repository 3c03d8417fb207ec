"""Predict how long a step takes: each kernel's arithmetic and traffic against what the device can do of each.

A kernel takes as long as the slower of the two, and no less than the shortest kernel. The host needs time to launch
each kernel, and a card computes meanwhile. So a step is limited by arithmetic, by memory bandwidth or by launches.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from frontier.model.dtypes import name_of
from frontier.plan.step.tracer import Operation

# The shares of a datasheet's rates that large kernels reach. A calibration measures the rates instead.
_MATMUL_SHARE = 0.7
_ATTENTION_SHARE = 0.35
_BANDWIDTH_SHARE = 0.8
_DEQUANTIZE_SHARE = 0.5
# The host's time for a launch: on the hosts of three H200s it was 30, 35 and 56 us.
_LAUNCH_SECONDS = 30e-6
# The same with gradient checkpointing: on those hosts it was a sixth more.
_CHECKPOINTED_LAUNCH_SECONDS = 35e-6
# The shortest time of a kernel on a device.
_KERNEL_SECONDS = 2e-6
# The host's time beside a step's passes, for each trainable tensor: on those hosts it was 39 to 100 us.
_PARAMETER_SECONDS = 65e-6
_PRODUCTS = ("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm")


@dataclass(frozen=True)
class Rates:
    """How fast a device is. Lists are of (size, rate) points: sizes in FLOP or bytes, rates in those per second.

    `launch_seconds` is the host's time to launch a kernel; `checkpointed_launch_seconds` is that where activations are
    computed twice, None if it is not known apart. `kernel_seconds` is the shortest time of a kernel on the device.
    `asynchronous` says that the device computes while the host launches. `parameter_seconds` is the host's time for
    what comes beside a step's passes (batches, clipping, the optimiser's bookkeeping, the Trainer), for each trainable
    tensor.
    """

    matmul: dict[str, list]
    attention: list
    traffic: list
    dequantize: list
    launch_seconds: float
    kernel_seconds: float
    asynchronous: bool
    parameter_seconds: float = _PARAMETER_SECONDS
    checkpointed_launch_seconds: float | None = None

    def launch(self, checkpointing: bool) -> float:
        """Return the host's seconds for the launch of a kernel."""
        return (self.checkpointed_launch_seconds if checkpointing else None) or self.launch_seconds


def from_datasheet(card: dict) -> Rates:
    """Return the rates of a card: its datasheet's figures, times the share of them that large kernels usually reach."""
    half, bandwidth = card["half_tflops"] * 1e12, card["bandwidth_gbs"] * 1e9
    single = card["single_tflops"] * 1e12 if card.get("single_tflops") else half / 8
    rates = {"float16": half, "bfloat16": half, "float32": single}
    return Rates(
        matmul={name: [(1.0, _MATMUL_SHARE * rate)] for name, rate in rates.items()},
        attention=[(1.0, _ATTENTION_SHARE * half)],
        traffic=[(1.0, _BANDWIDTH_SHARE * bandwidth)],
        dequantize=[(1.0, _DEQUANTIZE_SHARE * bandwidth)],
        launch_seconds=_LAUNCH_SECONDS,
        kernel_seconds=_KERNEL_SECONDS,
        asynchronous=True,
        checkpointed_launch_seconds=_CHECKPOINTED_LAUNCH_SECONDS,
    )


def from_calibration(measured: dict) -> Rates:
    """Return the rates that `rates.measure_device` found; other keys of `measured` are left aside."""
    return Rates(**{name: measured[name] for name in Rates.__dataclass_fields__ if name in measured})


def of_figures(figures: dict) -> tuple[Rates | None, str]:
    """Return a device's rates and, in words, what they are from; None if its figures do not tell them."""
    if figures.get("rates"):
        return from_calibration(figures["rates"]), "as calibrated"
    if figures.get("half_tflops") and figures.get("bandwidth_gbs"):
        return from_datasheet(figures), "by its datasheet"
    return None, "of unknown speed"


@dataclass(frozen=True)
class Time:
    """Seconds of a step: kernels limited by arithmetic, kernels limited by traffic, launches, the host's other work."""

    compute: float
    bandwidth: float
    launch: float
    asynchronous: bool
    host: float = 0.0

    @property
    def seconds(self) -> float:
        device = self.compute + self.bandwidth
        return self.host + (max(device, self.launch) if self.asynchronous else device + self.launch)

    @property
    def limited_by(self) -> str:
        device = self.compute + self.bandwidth
        if self.launch + self.host > (device if self.asynchronous else max(self.compute, self.bandwidth)):
            return "launches"
        return "compute" if self.compute >= self.bandwidth else "bandwidth"

    def times(self, factor: float) -> "Time":
        """Return this time multiplied by `factor`."""
        scaled = (self.compute * factor, self.bandwidth * factor, self.launch * factor)
        return Time(*scaled, self.asynchronous, self.host * factor)

    def plus(self, other: "Time") -> "Time":
        """Return the time of this and `other`, one after the other."""
        return Time(
            self.compute + other.compute,
            self.bandwidth + other.bandwidth,
            self.launch + other.launch,
            self.asynchronous,
            self.host + other.host,
        )


def time(operations: list[Operation], lengths: Sequence[float], rates: Rates, checkpointing: bool = False) -> Time:
    """Return the time of a step's operations over examples of these `lengths`; those in a CUDA graph need no launch."""
    compute = bandwidth = 0.0
    for operation in operations:
        arithmetic, traffic = _seconds(operation, lengths, rates)
        if arithmetic > traffic:
            compute += max(arithmetic, rates.kernel_seconds)
        else:
            bandwidth += max(traffic, rates.kernel_seconds)
    launch = sum(not operation.captured for operation in operations) * rates.launch(checkpointing)
    return Time(compute, bandwidth, launch, rates.asynchronous)


def beside(parameters: int, rates: Rates) -> Time:
    """Return the host's time beside a step's passes; 0 on a CPU, where the update's operations have it in theirs."""
    return Time(0.0, 0.0, 0.0, rates.asynchronous, parameters * rates.parameter_seconds * rates.asynchronous)


def _seconds(operation: Operation, lengths: Sequence[float], rates: Rates) -> tuple[float, float]:
    """Return the seconds that an operation's arithmetic would take, and its traffic."""
    moved = operation.read + operation.written
    if "dequantize" in operation.name:
        return 0.0, moved / at(rates.dequantize, moved)
    traffic = moved / at(rates.traffic, moved)
    work = flops(operation, lengths)
    if not work:
        return 0.0, traffic
    if is_attention(operation.name):
        return work / at(rates.attention, work), traffic
    points = rates.matmul.get(name_of(operation.dtype)) or rates.matmul["float32"]
    return work / at(points, work), traffic


def flops(operation: Operation, lengths: Sequence[float]) -> float:
    """Return the floating-point operations of a matrix product or of causal attention over packed examples; else 0.

    Attention counts as if no position were masked, which measurements of it do as well: two products of length x length
    forward, five backward.
    """
    if operation.name.startswith(_PRODUCTS):
        one, other = operation.shapes[-2:]
        return 2.0 * math.prod(one) * other[-1]
    if is_attention(operation.name):
        backward = "backward" in operation.name
        query = operation.shapes[1 if backward else 0]
        packed = len(query) == 3
        tokens, width = (query[0], query[1] * query[2]) if packed else (query[-2], query[1] * query[-1])
        squares = sum(length**2 for length in lengths) if packed else tokens**2
        return (10.0 if backward else 4.0) * squares * width
    return 0.0


def is_attention(name: str) -> bool:
    """Return whether an operation of that name is attention, forward or backward."""
    return "attn" in name or "attention" in name


def at(points: list, size: float) -> float:
    """Return the rate at a size: between two points linear in the size's logarithm, beyond them the nearest point's."""
    sizes = [point[0] for point in points]
    place = bisect.bisect_left(sizes, size)
    if place == 0:
        return points[0][1]
    if place == len(points):
        return points[-1][1]
    (below, low), (above, high) = points[place - 1], points[place]
    return low + (high - low) * math.log(size / below) / math.log(above / below)
