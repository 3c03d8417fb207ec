"""Types of how jobs end: the status, what was measured, and where the time went."""

from enum import StrEnum
from typing import Annotated, Literal, NotRequired, TypedDict

from frontier.cost_types import AdapterCounts, Cost, Levers, Phases, ProcessPeaks
from frontier.proof_types import ProofInShort


class Status(StrEnum):
    """How a run ended; in a record each stands as its plain word."""

    OK = "ok"
    # Memory was refused, or the budget of memory was spent.
    OOM = "oom"
    # The budget of hours was spent, or was projected to be.
    OVER_TIME = "over_time"
    # The loss, or the loss scale, was no number to go on with.
    DIVERGED = "diverged"
    # The training came to its end, but the driver moved device memory to the host meanwhile, which slows every step:
    # its seconds say nothing of the card's speed.
    SPILLED = "spilled"
    # Of an accuracy: no answer could be marked, or the measuring itself failed. Of a way of shipping: there is no such
    # way for this model or on this machine. The run is none the worse for either.
    UNMEASURED = "unmeasured"


Phase = Literal["load", "train", "evaluate"]


class Ending(TypedDict):
    """How any job ended."""

    status: Annotated[
        Status,
        "`ok`, or what stopped it: out of memory, over time, diverged, spilled to RAM; or `unmeasured`, of accuracies.",
    ]
    phase: NotRequired[Annotated[Phase | None, "The part of the run in which it stopped; absent where it is ok."]]
    reason: NotRequired[Annotated[str | None, "What stopped it, in words; absent where it is ok."]]
    basis: NotRequired[
        Annotated[Literal["predicted"], "Of a run that the plan gave up and that was not started; absent elsewhere."]
    ]
    projected_hours: NotRequired[
        Annotated[float, "Hours that the whole training would have taken; of status over_time alone."]
    ]
    refused_gib: NotRequired[
        Annotated[float | None, "GiB that an allocator refused; null where the error does not say. Of oom alone."]
    ]
    peak_held_gib: NotRequired[
        Annotated[float | None, "All that the process had on the GPU at its peak, in GiB; absent without CUDA."]
    ]


class BareOutcome(Ending):
    """How a job ended that measured nothing: it was not started, or its process was killed or hung."""

    peak_host_gib: NotRequired[
        Annotated[float | None, "Most that was seen of the process's resident set, in GiB; null if nothing was seen."]
    ]


class TrainingOutcome(Ending, Cost):
    """How a training ended that was started, and what it cost."""

    trainable_parameters: NotRequired[Annotated[int, "Weights of the adapter; absent where it was cut short."]]
    adapter: NotRequired[Annotated[AdapterCounts, "What has trained; absent if cut short, and from old records."]]
    levers: NotRequired[Annotated[Levers, "What made it fast; absent where it was cut short."]]
    proof: NotRequired[Annotated[ProofInShort, "How its model was proved; absent if cut short, and from old records."]]
    weights_gib: NotRequired[
        Annotated[float | None, "The most of the model's weights that a process held, in GiB; absent for one process."]
    ]
    needs_gib: NotRequired[Annotated[float, "The base's weights at its precision, in GiB; of oom while loading alone."]]
    held_source: NotRequired[Annotated[str, "Who told `peak_held_gib`; absent with it."]]
    processes: NotRequired[Annotated[list[ProcessPeaks], "Each process's peaks, in order; absent for one process."]]


class EvaluationOutcome(BareOutcome):
    """How an evaluation ended, and the quality that it measured."""

    perplexity: Annotated[float | None, "exp(`eval_loss`); null where nothing was evaluated or it is not finite."]
    eval_loss: Annotated[
        float | None, "Summed negative log-likelihood over answer tokens, in nats a token; null as `perplexity`."
    ]
    examples: NotRequired[Annotated[int, "Validation examples; absent where nothing was evaluated."]]
    answer_tokens: NotRequired[Annotated[int, "Answer tokens of those; absent where nothing was evaluated."]]
    phases: NotRequired[Annotated[Phases, "Where the process's time went; absent where there was nothing to evaluate."]]


class AccuracyOutcome(BareOutcome):
    """How an accuracy ended, and how many problems were solved; all null where none was answered."""

    strict: Annotated[float | None, "Share of answers with the right number after ####."]
    strict_se: Annotated[float | None, "Standard error of `strict`."]
    flexible: Annotated[float | None, "Share of answers whose last number is right."]
    flexible_se: Annotated[float | None, "Standard error of `flexible`."]
    examples: Annotated[int | None, "Problems that were answered."]
    unfinished: Annotated[int | None, "Answers that were cut off at `max_new_tokens`."]
    answers_without_final: NotRequired[
        Annotated[int, "Rows left out, as their answer does not end in `####` and a number. Absent from old records."]
    ]
    finals_read_otherwise: NotRequired[
        Annotated[int, "Rows with another number, or none, for the filter of `strict`. Absent from old records."]
    ]
    prompts_too_long: NotRequired[
        Annotated[int, "Rows left out, as their prompt has `max_length` tokens or more. Absent from old records."]
    ]
    prompts_unrendered: NotRequired[
        Annotated[int, "Rows left out, as the chat template raises for their prompt. Absent from old records."]
    ]
    phases: NotRequired[Annotated[Phases, "Where the process's time went; absent where there was nothing to answer."]]
