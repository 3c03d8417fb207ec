"""Where the seconds of a study that was run went, evaluation apart: `python benchmarks/time_sweep.py [STUDY]`.

Of each job that prepares a base or trains on it, from Snakemake's metadata and the records: what it took in all, and of
a training's what its phases took. The rest of a job is its supervisor's: Snakemake's script, the process's start, its
end. Left out is what comes before all of these: fetching model and data. The libraries that jobs are forked with are
imported within the first job of a call, so within a base's preparation where model and data are there. STUDY is the
folder that was run in.
"""

import json
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

import _path  # noqa: F401
from frontier import records

# As machine.phases names them.
STEPS = ("warm_up", "steady")
OUTSIDE = ("import", "load", "between_steps", "checkpoints", "save")
COLUMNS = ("steps", *OUTSIDE, "supervisor", "job")


def job_seconds(study: Path, output: str) -> float:
    """Of the job that made an output, by the entry that Snakemake keeps of it."""
    name = urlsafe_b64encode(output.encode()).decode()
    entry = json.loads((study / ".snakemake/metadata" / name).read_text("utf-8"))
    return entry["endtime"] - entry["starttime"]


def row(outcome: dict, job: float) -> dict[str, float]:
    # One that was not started, or that the kernel killed, has no phases.
    seconds = {name: phase["seconds"] for name, phase in outcome.get("phases", {}).items()}
    outside = {name: seconds.get(name, 0.0) for name in OUTSIDE}
    steps = sum(seconds.get(name, 0.0) for name in STEPS)
    return {"steps": steps} | outside | {"supervisor": job - outcome.get("wall_seconds", 0.0), "job": job}


def main(study: Path) -> None:
    trainings = [records.read_json(path) for path in sorted(study.glob("results/runs/*/training.json"))]
    rows = {}
    for record in trainings:
        run = record["request"]["run"]
        job = job_seconds(study, f"results/runs/{run}/training.json")
        rows[f"{run} | {record['outcome']['status']}"] = row(record["outcome"], job)
    total = {name: sum(one[name] for one in rows.values()) for name in COLUMNS}
    print("| run | status | " + " | ".join(f"{name}, s" for name in COLUMNS) + " |")
    print("|---|---|" + "--:|" * len(COLUMNS))
    for head, one in (rows | {"all | ": total}).items():
        print(f"| {head} | " + " | ".join(f"{one[name]:.1f}" for name in COLUMNS) + " |")
    bases = sorted({record["request"]["precision"] for record in trainings})
    preparing = {precision: job_seconds(study, f"resources/bases/{precision}.json") for precision in bases}
    seconds = total["job"] + sum(preparing.values())
    print("\npreparing: " + ", ".join(f"{precision} {taken:.1f} s" for precision, taken in preparing.items()))
    print(
        f"outside steps: {seconds - total['steps']:.1f} of {seconds:.1f} s, {1 - total['steps'] / seconds:.1%}; "
        f"of the trainings alone {1 - total['steps'] / total['job']:.1%}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path())
