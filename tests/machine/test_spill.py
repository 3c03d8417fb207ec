"""Whether memory spilled to the host, told from samples of the device."""

import json

import pytest
from conftest import ROOT
from frontier.machine import gpus
from frontier.machine.spill import Sample, Sampler, is_spilled


def trace(*rows) -> list[Sample]:
    return [Sample(*row) for row in rows]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], False),
        (trace(*[(5.0 + 0.1 * i, 4.8 + 0.1 * i, 6.0, 0.9 - 0.1 * i) for i in range(8)]), False),
        (trace((5.9, 5.8, 6.0, 0.0), (6.4, 6.3, 6.0, 0.0)), True),
        (trace(*[(5.1 + 0.05 * i, 5.0 + 0.05 * i, 6.0, 0.01) for i in range(6)]), True),
        (trace(*[(5.6, 5.0 + (i % 2) * 0.3, 6.0, 0.01) for i in range(9)]), False),
        (trace(*[(5.6, 3.0 + 2.0 * ((i * 7) % 5) / 5, 6.0, 0.02) for i in range(20)]), False),
        (trace(*[(5.1 + 0.05 * i, 5.0 + 0.05 * i, 6.0, 0.01 if i % 3 else 0.4) for i in range(12)]), False),
        (trace(*[(15.0, 14.0, 6.0, 0.0)] * 2), True),
        (trace(*[(3.1 + 0.2 * i, 3.0 + 0.2 * i, 6.0, max(0.0, 0.6 - 0.2 * i)) for i in range(10)]), True),
        (
            trace(*[(3.1 + 0.2 * min(i, 3), 3.0 + 0.2 * min(i, 3), 6.0, max(0.0, 0.6 - 0.2 * i)) for i in range(10)]),
            False,
        ),
        (trace((2.0, 1.9, 6.0, 3.2), (5.9, 5.6, 6.0, 0.0), *[(5.9, 4.8, 6.0, 0.0)] * 6), True),
        (trace((2.0, 1.9, 6.0, 3.2), (5.2, 5.0, 6.0, 0.0), *[(5.2, 4.8, 6.0, 0.0)] * 6), False),
        (trace((2.0, 1.9, 6.0, 3.2), (4.0, 3.9, 6.0, 0.4), *[(4.0, 3.2, 6.0, 0.4)] * 6), False),
        (trace((4.0, 3.9, 6.0, 0.0), (3.0, 2.9, 6.0, 0.0), (4.05, 3.9, 6.0, 0.0)), False),
        (trace(*[(4.6 if i == 4 else 5.6, 4.5, 6.0, 0.02) for i in range(9)]), False),
        (trace((3.0, 2.9, 6.0, 0.0), (3.0, 2.9, 6.0, 2.0), (4.9, 4.8, 6.0, 0.04)), False),
    ],
    ids=[
        "none",
        "fits",
        "holds more",
        "grows while full",
        "steady while full",
        "moves within what it holds while full",
        "room in between",
        "paging",
        "WSL, this process unknown and a desktop beside it: grows on",
        "WSL, this process unknown and a desktop beside it: full and steady",
        "a desktop beside it: filled and passed within a second, then steady",
        "a desktop beside it: filled within a second, and no more",
        "room is left, a neighbour gone meanwhile",
        "a neighbour takes what it gives back, and gives it back",
        "read while memory moved",
        "a neighbour goes, and it takes its place",
    ],
)
def test_spill_detector_on_traces(samples, expected):
    assert is_spilled(samples) is expected


@pytest.mark.parametrize(("name", "expected"), [("room", False), ("refused", False), ("spilled", True)])
def test_spill_detector_on_recorded_traces(name, expected):
    """Trainings on a card that a neighbour has nearly filled: `spilling/record.py` says how they were recorded."""
    recorded = json.loads((ROOT / "tests/machine/spilling/traces.json").read_text("utf-8"))[name]
    samples = trace(*recorded["samples"])
    assert is_spilled(samples) is expected
    seen = [end for end in range(len(samples)) if is_spilled(samples[: end + 1])]
    # With the first GiB that the card did not have, four seconds after it was full.
    assert seen[:1] == ([7] if expected else [])


def test_where_the_driver_refuses_a_neighbour_has_made_room(monkeypatch, tmp_path):
    """On Linux that is all that it can be, where a full card gives more in one moment; WSL has a device of its own."""
    sampler = Sampler(None)
    sampler.samples = trace((5.0, 4.8, 80.0, 1.0), (9.0, 8.8, 80.0, 0.0))
    for spills in (True, False):
        monkeypatch.setattr(gpus, "may_spill", lambda spills=spills: spills)
        assert sampler.spilled is spills
    monkeypatch.undo()
    monkeypatch.setattr(gpus.platform, "system", lambda: "Linux")
    assert not gpus.may_spill(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert gpus.may_spill(tmp_path)
