"""Whose memory on a device is whose: the driver's answers, and what is made of them where it has none."""

from contextlib import contextmanager
from types import SimpleNamespace

import pynvml
import pytest
from frontier.machine import meter as meter_module
from frontier.machine.capture_budget import CaptureBudget
from frontier.machine.limits import set_memory_limit
from frontier.machine.meter import DEVICE, PROCESS, RISE, Use
from frontier.machine.spill import Sampler
from frontier.outcomes import Stop
from frontier.units import GIB

MIB = 2**20


class Driver:
    """Quacks like pynvml on a machine with these devices: their total bytes by UUID; None for no driver."""

    def __init__(self, devices: dict | None):
        self.devices = devices

    def nvmlInit(self):
        if self.devices is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.devices:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=self.devices[handle])


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ({"GPU-0a": 6 * GIB, "GPU-1b": 6 * GIB}, "GPU-1b"),
        ({"GPU-0a": 80 * GIB, "MIG-1b": int(6.1 * GIB)}, "MIG-1b"),
        ({"GPU-1b": 80 * GIB}, None),
        ({"GPU-1b": 80 * GIB, "MIG-1b": 6 * GIB}, "MIG-1b"),
        ({"GPU-0a": 6 * GIB}, None),
        (None, None),
    ],
    ids=["a card", "a slice", "the card of a slice", "a slice of the same name", "another card", "no driver"],
)
def test_a_device_is_found_by_its_uuid(devices, found):
    """CUDA sees device 1b, of 5.8 GiB, as number 0, whatever CUDA_VISIBLE_DEVICES called it."""
    assert meter_module.find_handle(Driver(devices), "1b", int(5.8 * GIB)) == found


def test_without_a_driver_the_real_library_finds_nothing():
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert meter_module.find_handle(pynvml, "1b", GIB) is None
    else:
        assert meter_module.find_handle(pynvml, "00000000-0000-0000-0000-000000000000", GIB) is None


@pytest.mark.parametrize(
    ("processes", "own"),
    [
        ([(7, 3 * GIB), (41, 900 * MIB)], 900 * MIB),
        ([(7, 3 * GIB)], None),
        ([], None),
        ([(7, None), (41, None)], None),
        ([(41, 400 * MIB)], None),
    ],
    ids=["listed", "the host's numbers", "a container", "WDDM and WSL", "another process of our number"],
)
def test_memory_of_this_process(processes, own):
    """Process 41, whose allocator holds 500 MiB."""
    assert meter_module.own_bytes(processes, pid=41, reserved=500 * MIB) == own


@pytest.mark.parametrize(
    ("own", "before", "expected"),
    [
        (502 * MIB, None, (500 * MIB, PROCESS)),
        (502 * MIB, 3 * GIB, (500 * MIB, PROCESS)),
        (None, 3 * GIB, (500 * MIB, RISE)),
        (None, 3 * GIB + 499 * MIB, (3 * GIB + 500 * MIB, DEVICE)),
        (None, None, (3 * GIB + 500 * MIB, DEVICE)),
    ],
    ids=["told", "told, neighbours or not", "risen", "a context that was there before", "nothing told"],
)
def test_a_neighbour_is_no_part_of_the_context(own, before, expected):
    """A neighbour has 3 GiB; the context takes 500 MiB and the allocator 2."""
    now = Use(total=6 * GIB, free=3 * GIB - 502 * MIB, own=own)
    assert meter_module.outside_allocator(now, before, reserved=2 * MIB) == expected


@pytest.mark.parametrize("told", [True, False])
def test_what_a_recording_takes_beside_the_allocator(told):
    """340 MiB of graphs, while the allocator takes 100 more; 500 MiB were outside of it before."""
    before = Use(6 * GIB, 5 * GIB, 700 * MIB if told else None)
    after = Use(6 * GIB, 5 * GIB - 440 * MIB, 1140 * MIB if told else None)
    assert (
        meter_module.moved_outside(500 * MIB, before, after, reserved=200 * MIB, reserved_after=300 * MIB) == 840 * MIB
    )


class Meter:
    """Quacks like `meter.Meter` on a card of 6 GiB, with figures in GiB."""

    def __init__(self, outside=0.5, reserved=0.0, cached=0.0, source=PROCESS):
        self.outside, self.reserved, self.cached, self.source = outside * GIB, reserved * GIB, cached * GIB, source
        self.limits, self.taken = [], 0.0

    def limit(self, size):
        self.limits.append(size / GIB)

    def release(self):
        self.reserved -= self.cached
        self.cached = 0

    @contextmanager
    def watch(self):
        yield
        self.outside += self.taken * GIB


def test_the_allocator_gets_what_the_context_leaves_of_the_budget():
    meter = Meter(outside=0.5, source=RISE)
    levers = set_memory_limit(6, meter)
    assert levers == {"memory_limit": "cuda allocator", "limit_gib": 5.5, "context_gib": 0.5, "context_source": RISE}
    assert meter.limits == [5.5]
    with pytest.raises(Stop, match=r"the budget of 0\.4 GiB is below the 0\.50 GiB that CUDA's context takes"):
        set_memory_limit(0.4, meter)


@pytest.mark.parametrize(
    ("reserved", "cached", "fits"),
    [(5.0, 0.0, True), (5.4, 0.3, True), (5.4, 0.1, False)],
    ids=["room for all", "room once the cache is given back", "none"],
)
def test_recorded_steps_take_from_the_allocators_part_or_are_given_up(reserved, cached, fits):
    """A budget of 6 GiB, 0.5 of it the context's, and recordings that take 0.3 beside the allocator."""
    meter, levers = Meter(reserved=reserved, cached=cached), {"cuda_graphs": True, "limit_gib": 5.5}
    budget = CaptureBudget(6, meter, levers)
    meter.taken = 0.3
    with budget.capturing():
        pass
    assert levers["graphs_gib"] == pytest.approx(0.3)
    assert budget.is_enough is fits
    assert levers["cuda_graphs"] is fits
    if fits:
        assert meter.limits == pytest.approx([5.2])
        assert levers["limit_gib"] == pytest.approx(5.2)
        return
    # The allocator's part stays as it is until the step is over.
    assert meter.limits == []
    assert levers["cuda_graphs_given_up"].endswith("6.10 GiB of the device, of a budget of 6")
    meter.taken = -0.3
    with budget.giving_up():
        meter.reserved -= 0.2 * GIB
    assert levers["limit_gib"] == pytest.approx(5.5)
    assert meter.limits == pytest.approx([5.5])


def test_without_a_budget_recorded_steps_are_only_counted():
    meter, levers = Meter(reserved=9.0), {"cuda_graphs": True}
    budget = CaptureBudget(None, meter, levers)
    meter.taken = 0.2
    for _ in range(2):
        with budget.capturing():
            pass
    assert budget.is_enough
    assert levers == {"cuda_graphs": True, "graphs_gib": pytest.approx(0.4)}
    assert meter.limits == []


@pytest.mark.parametrize(
    ("own", "source", "held", "said"),
    [
        (2.0, PROCESS, 2.0, PROCESS),
        (None, RISE, 1.7, "torch's reserved memory and the context"),
        (None, DEVICE, 1.2, "torch's reserved memory"),
    ],
)
def test_samples_hold_what_is_surely_this_process(own, source, held, said):
    meter = Meter(outside=0.5 if source == RISE else 3.5, reserved=1.2, source=source)
    meter.trusted, meter.allocated = source != DEVICE, 1.0 * GIB
    use = Use(6 * GIB, GIB, own and int(own * GIB))
    meter.read, meter.held = lambda: use, lambda use: meter_module.Meter.held(meter, use)
    sampler = Sampler(meter)
    sampler.sample()
    assert sampler.peaks() == {"peak_device_gib": 5.0, "peak_held_gib": pytest.approx(held), "held_source": said}
    assert not sampler.spilled
