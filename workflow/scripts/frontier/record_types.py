"""Types of the records in results/: training.json, evaluation.json and accuracy.json."""

from typing import Annotated, NotRequired, TypedDict

from frontier.material_types import Material
from frontier.outcome_types import AccuracyOutcome, BareOutcome, EvaluationOutcome, TrainingOutcome
from frontier.request_types import AccuracyRequest, EvaluationRequest, Limits, TrackedBudget, TrainingRequest


class Environment(TypedDict):
    """The machine, the versions and the code that a record was made with."""

    host: Annotated[str, "The machine's name."]
    os: Annotated[str, "The operating system, with its kernel's version."]
    cpu: Annotated[str, "The CPU's name."]
    cpu_threads: Annotated[int, "Threads that torch used on the CPU."]
    device: Annotated[str, "Name of the GPU, or of the CPU without one; of several processes with their number."]
    device_ids: NotRequired[
        Annotated[str | None, "Its GPUs, as CUDA_VISIBLE_DEVICES has them; null without. Absent from old records."]
    ]
    start: NotRequired[
        Annotated[
            str | None,
            "`spawned` or `forked`; null where not begun by Snakemake. Absent from old records.",
        ]
    ]
    python: Annotated[str, "Python's version."]
    packages: Annotated[dict[str, str | None], "Version of each library that can matter; null where not installed."]
    cuda: NotRequired[Annotated[str, "CUDA's version that torch was built for; absent without CUDA."]]
    driver: NotRequired[
        Annotated[str | None, "The NVIDIA driver's version; null where the system does not tell. Absent without CUDA."]
    ]
    device_gib: NotRequired[Annotated[float, "The GPU's memory in GiB; absent without CUDA."]]
    allocator: NotRequired[
        Annotated[str | None, "Settings of torch's CUDA allocator; null for its own. Absent without CUDA."]
    ]
    workflow_version: NotRequired[
        Annotated[str | None, "Version of this workflow; null where pyproject.toml is missing. Absent before 0.2.0."]
    ]
    git_commit: Annotated[str | None, "The commit of the project's code; null outside a git repository."]
    git_clean: Annotated[bool | None, "Whether its tracked files were as committed; null outside a git repository."]
    started_at: Annotated[str, "When the process began, UTC, ISO 8601."]
    ended_at: Annotated[str, "When the job ended, UTC, ISO 8601; of a process that was killed, when its work began."]


class JobRecord(TypedDict):
    """What every record of a job has."""

    digest: Annotated[str, "SHA-256 over all that the result depends on: settings, model, data and code."]
    code: NotRequired[Annotated[str, "SHA-256 of the code that made it, without comments. Absent from old records."]]
    tracked: Annotated[TrackedBudget | None, "The budget in force as the job was asked for; it is no part of `digest`."]
    limits: Annotated[Limits, "What bounded the job without changing its result."]
    taken_over_from: NotRequired[
        Annotated[str, "The run under whose name the same result was there already; absent where the job made it."]
    ]
    environment: Annotated[
        Environment | None, "Machine, versions and code; null where no process began, or it left no word."
    ]


class TrainingRecord(JobRecord):
    """results/runs/RUN/training.json: what a training was asked for, what it was made from, and what it cost."""

    request: Annotated[TrainingRequest, "What was asked for."]
    material: Annotated[Material | None, "Where model and data come from; null where a killed process left no word."]
    outcome: Annotated[TrainingOutcome | BareOutcome, "How it ended, and what it cost."]


class EvaluationRecord(JobRecord):
    """results/runs/RUN/evaluation.json and results/baselines/PRECISION/evaluation.json: the perplexity."""

    request: Annotated[EvaluationRequest, "What was asked for."]
    material: Annotated[None, "null: the training's record has it."]
    outcome: Annotated[EvaluationOutcome | BareOutcome, "How it ended, and the quality that it measured."]


class AccuracyRecord(JobRecord):
    """results/runs/RUN/accuracy.json and results/baselines/PRECISION/accuracy.json: the problems that were solved."""

    request: Annotated[AccuracyRequest, "What was asked for."]
    material: Annotated[None, "null: the training's record has it."]
    outcome: Annotated[AccuracyOutcome | BareOutcome, "How it ended, and how many problems were solved."]


AnyRecord = TrainingRecord | EvaluationRecord | AccuracyRecord
