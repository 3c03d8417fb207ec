"""Take over a finished result that another run's name has: a run is what is trained, whatever it is called."""

import shutil
from pathlib import Path

from frontier import outcomes, records
from frontier.outcome_types import Status
from frontier.record_types import AnyRecord
from frontier.request_types import Job


def take_over(job: Job) -> str | None:
    """Copy a job's outputs from another run's folder that has them under the job's digest.

    Returns that run's name, or None where there is none. What is copied is newer than the job's inputs, as Snakemake
    asks of what a job has made; the record has this run's name, and says from where it is.
    """
    place = outcomes.record_of(job["output"])
    if place is None:
        return None
    for found in sorted(Path(place).parent.parent.glob(f"*/{Path(place).name}")):
        if found == Path(place):
            continue
        record = records.read_json(found)
        sources = {name: found.parent / Path(path).name for name, path in job["output"].items()}
        if _stands(record, job) and all(source.exists() for source in sources.values()):
            for name, source in sources.items():
                if source != found:
                    _copy(source, Path(job["output"][name]))
            own = {key: job[key] for key in ("request", "tracked")} | {"taken_over_from": found.parent.name}
            records.write_json(place, record | own)
            return found.parent.name
    return None


def _stands(record: AnyRecord, job: Job) -> bool:
    """Return whether a record is of the job's identity and has an end that making it again would not change."""
    if record.get("digest") != job["digest"]:
        return False
    outcome = record["outcome"]
    is_same_budget = record.get("tracked") == job["tracked"] and outcome.get("basis") != "predicted"
    return outcome["status"] == Status.OK or is_same_budget


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
