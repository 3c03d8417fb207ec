"""Where the seconds of a study that was run went, evaluation apart: `python benchmarks/time_sweep.py [STUDY]`.

Of each job that prepares a base or trains on it, from Snakemake's metadata and the records: what it took in all, and of
a training's what its phases took. The rest of a job is its supervisor's: Snakemake's script, the process's start, its
end. Fetching model and data is left out, as is what Snakemake takes between jobs. STUDY is the folder that was run in.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "scripts"))

from frontier import records

# As training.Phases names them.
STEPS = ("warm_up", "steady")
OUTSIDE = ("import", "load", "between_steps", "checkpoints", "save")


def job_seconds(study: Path) -> dict[str, list[tuple[float, float]]]:
    """The start and end of each job, by its rule, in the order of their starts."""
    jobs = {}
    for path in sorted((study / ".snakemake/metadata").rglob("*")):
        if path.is_file():
            one = json.loads(path.read_text("utf-8"))
            # Each of a job's outputs has an entry, with times that differ by milliseconds.
            jobs[one["rule"], one["job_hash"]] = one["starttime"], one["endtime"]
    found: dict[str, list[tuple[float, float]]] = {}
    for (rule, _), times in sorted(jobs.items(), key=lambda item: item[1]):
        found.setdefault(rule, []).append(times)
    return found


def main(study: Path) -> None:
    jobs = job_seconds(study)
    trainings = [records.read_json(path) for path in sorted(study.glob("results/runs/*/training.json"))]
    trainings.sort(key=lambda record: record["environment"]["started_at"])
    whole = {
        record["request"]["run"]: end - start
        for record, (start, end) in zip(trainings, jobs["train_adapter"], strict=True)
    }
    names = ("steps", *OUTSIDE, "supervisor", "job")
    print("| run | status | " + " | ".join(f"{name}, s" for name in names) + " |")
    print("|---|---|" + "--:|" * len(names))
    totals = dict.fromkeys(names, 0.0)
    for record in trainings:
        outcome, run = record["outcome"], record["request"]["run"]
        phases = {name: phase["seconds"] for name, phase in outcome["phases"].items()}
        row = {"steps": sum(phases.get(name, 0.0) for name in STEPS)} | {
            name: phases.get(name, 0.0) for name in OUTSIDE
        }
        row |= {"supervisor": whole[run] - outcome["wall_seconds"], "job": whole[run]}
        totals = {name: totals[name] + row[name] for name in names}
        print(f"| {run} | {outcome['status']} | " + " | ".join(f"{row[name]:.1f}" for name in names) + " |")
    print("| all | | " + " | ".join(f"{totals[name]:.1f}" for name in names) + " |")
    preparing = sum(end - start for start, end in jobs["prepare_base"])
    seconds = totals["job"] + preparing
    print(f"\npreparing the bases (quantising): {preparing:.1f} s")
    print(
        f"outside steps: {seconds - totals['steps']:.1f} of {seconds:.1f} s, {1 - totals['steps'] / seconds:.1%};",
        end=" ",
    )
    print(f"of the trainings' jobs alone {1 - totals['steps'] / totals['job']:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path())
