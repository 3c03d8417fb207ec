"""Predicted against measured on the card that is there: peak memory and step time of the real training step.

    python benchmarks/check_plan.py --output check_plan.jsonl --minutes 5

Models of random weights are made on the card, a process for each architecture and precision; the combinations of one
share its base. Calibrates first, then adds a JSON line for each combination as it is measured; one that fails leaves a
line with its error. Prints a table at the end.

    python benchmarks/check_plan.py --again check_plan.jsonl

predicts again what the lines of an earlier check have measured, from its calibration, on a machine without a card.
"""

import argparse
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import _path  # noqa: F401
from combinations import GROUPS, SHAPES, Combination, examples, training_request
from frontier.machine import launch

os.environ.update(launch.allocation(os.environ) | os.environ | {"HF_HUB_OFFLINE": "1"})

_WARM_UP = 3
_LEAST_SECONDS = 12


def predict(one: Combination, rates, capability: tuple[int, int]) -> dict:
    """The plan's row, with the allocator's reserve, what recorded graphs take beside it, and what planning took."""
    from frontier.plan import batches
    from frontier.plan.planner import Planner
    from frontier.plan.step import emulated_card
    from frontier.units import GIB
    from transformers import AutoConfig

    start = time.perf_counter()
    device = emulated_card.EmulatedCard(True, capability)
    rows, request = examples(one), training_request(one)
    planner = Planner(AutoConfig.for_model(**SHAPES[one.model]), rows, device, rates, None, 0.0)
    row, peak = planner.row(request), planner.peak(request, batches.largest(batches.draw(rows, request)))
    beside = {"reserved_gib": peak.held / GIB, "graphs_gib": peak.graphs / GIB}
    return row | beside | {"planning_seconds": time.perf_counter() - start}


def measure(model, one: Combination, meter) -> dict:
    """Peaks in GiB and median seconds of a step, by `build_model` and `fit` with a fresh adapter."""
    import torch
    from frontier.machine import capture_budget
    from frontier.model import dtypes
    from frontier.model.card import Card
    from frontier.run import build, fit
    from frontier.run.clock import Clock
    from frontier.units import GIB

    device, request = torch.device("cuda", 0), training_request(one)
    dtype = dtypes.compute_dtype("auto", one.precision, device)
    _clear(torch)
    ready, levers = build.build_model(model, request, dtype, Card(device))
    _clear(torch)
    static = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    clock = Clock(request["run"], device)
    with tempfile.TemporaryDirectory() as folder:
        budget = capture_budget.CaptureBudget(None, meter, levers)
        run = fit.Run(request, clock, Path(folder))
        fit.fit(run, ready, examples(one), levers["cuda_graphs"], budget=budget)
    free, total = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    ends = [0.0] + [step["seconds"] for step in clock.history]
    steps = [later - earlier for earlier, later in itertools.pairwise(ends)]
    return {
        "peak_allocated_gib": torch.cuda.max_memory_allocated() / GIB,
        "peak_reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        "static_gib": static / GIB,
        "after_gib": torch.cuda.memory_allocated() / GIB,
        "beside_allocator_gib": (total - free - reserved) / GIB,
        "seconds_per_step": statistics.median(steps[_WARM_UP:]),
        "step_seconds": steps,
        "final_loss": clock.history[-1]["loss"],
        "levers": levers,
    }


def _clear(torch) -> None:
    """Give back what an earlier combination left, cuBLAS' work space included."""
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()


def calibrate(output: Path) -> None:
    """In a process of its own: the card's rates."""
    import torch
    from frontier.machine import environment
    from frontier.machine.device import open_device
    from frontier.plan.rates import measure_device

    start = time.perf_counter()
    device = open_device("cuda", None)
    rates = measure_device(device)
    line = {"calibration": rates, "seconds": time.perf_counter() - start}
    line["capability"] = torch.cuda.get_device_capability(device)
    add_line(output, line | {"environment": environment.describe_environment(device, environment.utc_now())})


def measure_group(number: int, skip: int, output: Path, deadline: float, signal: Path) -> None:
    """In a process of its own: measure a group's combinations."""
    import random_base
    import torch
    import transformers
    from frontier.machine.meter import open_meter
    from transformers import AutoConfig

    transformers.logging.set_verbosity_error()
    while not signal.exists():
        time.sleep(0.05)
    if time.time() + _LEAST_SECONDS > deadline:
        return
    device = torch.device("cuda", 0)
    group, meter = GROUPS[number], open_meter(device)
    config = AutoConfig.for_model(**SHAPES[group[0].model])
    base = random_base.build(config, group[0].precision, device)
    code = random_base.snapshot(base)
    for one in group[skip:]:
        if time.time() + _LEAST_SECONDS > deadline:
            return
        start = time.perf_counter()
        found = measure(random_base.without_adapter(base, code), one, meter)
        add_line(output, {"combination": asdict(one), "measured": found, "seconds": time.perf_counter() - start})


def predict_all(output: Path, deadline: float) -> None:
    """In a process of its own, while others measure: predict every combination, once there is a calibration."""
    while not (known := read_lines(output, "calibration")) and time.time() < deadline:
        time.sleep(0.2)
    for one in itertools.chain(*GROUPS):
        if time.time() < deadline:
            add_line(output, {"combination": asdict(one), "predicted": predict_from(known[0], one)})


def measure_all(output: Path, minutes: float) -> None:
    """Every group in a process of its own, the next one importing meanwhile; what fails or is left over says so."""
    deadline = time.time() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        predictor = Worker(["--predict-all"], "predict", output, deadline, Path(folder))
        calibrating = Worker(["--calibrate"], "calibrate", output, deadline, Path(folder))
        waiting = _measurer(0, 0, output, deadline, Path(folder))
        if error := calibrating.wait(deadline):
            add_line(output, {"not_calibrated": error})
        for number, group in enumerate(GROUPS):
            worker, waiting = waiting, None
            while worker:
                worker.signal.touch()
                if waiting is None and number + 1 < len(GROUPS):
                    waiting = _measurer(number + 1, 0, output, deadline, Path(folder))
                error = worker.wait(deadline)
                done = [line["combination"] for line in read_lines(output, "combination") if "predicted" not in line]
                left = [one for one in group if asdict(one) not in done]
                late = time.time() + _LEAST_SECONDS > deadline
                for one in left[:1] if error and not late else left:
                    add_line(output, {"combination": asdict(one), "error": error or "no time was left"})
                skip = len(group) - len(left) + 1
                again = error and not late and skip < len(group)
                worker = _measurer(number, skip, output, deadline, Path(folder)) if again else None
        predictor.wait(deadline)


def _measurer(number: int, skip: int, output: Path, deadline: float, folder: Path):
    return Worker([f"--group={number}", f"--skip={skip}"], f"{number}-{skip}", output, deadline, folder)


class Worker:
    """This program in a process of its own; one that measures imports its libraries and waits for `signal`."""

    def __init__(self, options: list[str], name: str, output: Path, deadline: float, folder: Path):
        self.signal, self.log = folder / f"{name}.go", folder / f"{name}.log"
        words = [sys.executable, __file__, *options, f"--output={output}"]
        words += [f"--deadline={deadline}", f"--signal={self.signal}"]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)

    def wait(self, deadline: float) -> str | None:
        """What the process died of, in one line; None where it came to its end."""
        try:
            self.process.wait(timeout=max(1.0, deadline + 20 - time.time()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "ended: past the limit of time"
        if not self.process.returncode:
            return None
        lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        print("\n".join(lines[-12:]), file=sys.stderr, flush=True)
        return lines[-1].strip()[:300] if lines else f"exit status {self.process.returncode}"


def predict_from(calibrated: dict, one: Combination) -> dict:
    from frontier.plan import roofline

    return predict(one, roofline.from_calibration(calibrated["calibration"]), tuple(calibrated["capability"]))


def predict_again(output: Path) -> list[dict]:
    """The lines of an earlier check with the predictions that the code now makes."""
    (calibrated,) = read_lines(output, "calibration")
    return [
        line | {"predicted": predict_from(calibrated, Combination(**line["combination"]))}
        for line in read_lines(output, "measured")
    ]


def predict_only(card_name: str) -> list[dict]:
    from frontier.plan import roofline
    from frontier.study import cards

    card = cards.find(card_name)
    rates, capability = roofline.from_datasheet(card), tuple(card["capability"])
    return [
        {"combination": asdict(one), "predicted": predict(one, rates, capability)} for one in itertools.chain(*GROUPS)
    ]


def table(lines: list[dict]) -> str:
    """The combinations as Markdown, and the mean and the worst of the errors."""
    rows = [
        "| model | base | rank | batch | length | checkpointing | fast path | held out | allocated GiB: predicted "
        "| measured | error | reserved GiB: predicted | measured | error | step s: predicted | measured | error |",
        "|---|---|--:|--:|--:|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    pairs = [
        ("allocated_gib", "peak_allocated_gib", "{:.2f}"),
        ("reserved_gib", "peak_reserved_gib", "{:.2f}"),
        ("predicted_seconds_per_step", "seconds_per_step", "{:.3f}"),
    ]
    errors: dict[str, list[float]] = {name: [] for name, _, _ in pairs}
    for line in lines:
        one, guess, found = Combination(**line["combination"]), line.get("predicted"), line.get("measured")
        length = f"{one.length // 2}-{one.length}" if one.mixed else one.length
        marks = ["yes" if mark else "no" for mark in (one.checkpointing, one.fast, one.held_out)]
        cells = [one.model, one.precision, one.rank, one.batch, length, *marks]
        for ours, theirs, form in pairs:
            cells += [form.format(guess[ours]) if guess else ""]
            cells += [form.format(found[theirs]) if found else ""]
            if guess and found:
                errors[ours].append(guess[ours] / found[theirs] - 1)
            cells += [f"{errors[ours][-1]:+.1%}" if guess and found else ""]
        rows.append("| " + " | ".join(map(str, cells)) + " |" + line.get("error", ""))
    for name, values in errors.items():
        if values:
            mean, worst = statistics.fmean(map(abs, values)), max(values, key=abs)
            rows.append(f"\n{name}: off by {mean:.1%} on average, {worst:+.1%} at worst")
    return "\n".join(rows)


def merged(lines: list[dict]) -> list[dict]:
    """One line for each combination, of those that measuring and predicting have left."""
    found: dict[str, dict] = {}
    for line in lines:
        found.setdefault(json.dumps(line["combination"]), {}).update(line)
    return list(found.values())


def read_lines(output: Path, key: str) -> list[dict]:
    if not output.exists():
        return []
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    return [line for line in lines if key in line]


def add_line(output: Path, line: dict) -> None:
    with open(output, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps({key: value for key, value in line.items() if key != "environment"}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("check_plan.jsonl"), help="file that lines are added to")
    parser.add_argument("--minutes", type=float, default=5.0, help="combinations that do not fit in are left over")
    parser.add_argument("--again", type=Path, help="lines of an earlier check to predict again, without a card")
    parser.add_argument("--predict-only", metavar="CARD", help="print predictions by a card's datasheet")
    for name, kind in (("group", int), ("skip", int), ("deadline", float), ("signal", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    for name in ("calibrate", "predict-all"):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.calibrate:
        calibrate(options.output)
    elif options.predict_all:
        predict_all(options.output, options.deadline)
    elif options.group is not None:
        measure_group(options.group, options.skip, options.output, options.deadline, options.signal)
    elif options.again:
        print(table(predict_again(options.again)))
    elif options.predict_only:
        print(table(predict_only(options.predict_only)))
    elif options.output.exists():
        parser.error(f"{options.output} is there already; name another file")
    else:
        measure_all(options.output, options.minutes)
        print(table(merged(read_lines(options.output, "combination"))))


if __name__ == "__main__":
    main()
