"""Type how jobs end: the status, what was measured, and where the time went."""

from enum import StrEnum
from typing import Annotated, Literal, NotRequired, TypedDict


class Status(StrEnum):
    """How a run ended; in a record each stands as its plain word."""

    OK = "ok"
    # Memory was refused, or the budget of memory was spent.
    OOM = "oom"
    # The budget of hours was spent, or was projected to be.
    OVER_TIME = "over_time"
    # The loss, or the loss scale, was no number to go on with.
    DIVERGED = "diverged"
    # The training came to its end, but the driver moved device memory to the host: its clock is not the card's.
    SPILLED = "spilled"


Phase = Literal["load", "train", "evaluate"]


class PhaseCost(TypedDict):
    """What one phase of a process took. Peaks in GiB are null without CUDA, and absent where a phase has none."""

    seconds: Annotated[float, "Wall clock in seconds."]
    allocated_gib: NotRequired[Annotated[float | None, "Peak of tensors on the GPU, in GiB."]]
    reserved_gib: NotRequired[Annotated[float | None, "Peak of what torch's allocator held of the GPU, in GiB."]]
    device_gib: NotRequired[
        Annotated[float | None, "GPU memory in use by any process, in GiB, as the phase ended (the most such reading)."]
    ]
    host_gib: NotRequired[Annotated[float | None, "Peak of the process's resident set, in GiB."]]


# In the other form, because `import` cannot be the name of a class's field.
Phases = TypedDict(
    "Phases",
    {
        "import": Annotated[PhaseCost, "From the process's start on: imports, and opening the device."],
        "load": Annotated[PhaseCost, "Loading the base model and putting the adapter on it."],
        "between_steps": Annotated[
            PhaseCost, "Between optimiser steps: data loading, logging. Its peaks count with the steps around it."
        ],
        "warm_up": Annotated[PhaseCost, "The first three optimiser steps of the process."],
        "steady": Annotated[PhaseCost, "The optimiser steps after those three."],
        "checkpoints": Annotated[PhaseCost, "Saving checkpoints."],
        "evaluate": Annotated[PhaseCost, "Computing losses, or answering problems."],
        "quantise": Annotated[PhaseCost, "Converting a base model."],
        "save": Annotated[PhaseCost, "Writing the adapter, the losses or the answers."],
        "rest": Annotated[PhaseCost, "After the conversion of a base model."],
    },
    total=False,
)
Phases.__doc__ = "Where a process's wall clock went: each second is in one phase. Phases it never entered are absent."


class Ending(TypedDict):
    """How any job ended."""

    status: Annotated[Status, "`ok`, or what stopped it: out of memory, over time, diverged, spilled to RAM."]
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


class Levers(TypedDict):
    """What made the training fast or kept it within its budget, as it came about, not as it was asked for."""

    fused_kernels: Annotated[bool, "Whether liger-kernel's fused kernels ran."]
    cuda_graphs: Annotated[bool, "Whether steps were captured as CUDA graphs, to the end."]
    offload_embeddings: Annotated[bool, "Whether the input embeddings stayed in RAM."]
    graphs_gib: NotRequired[
        Annotated[float, "GPU memory in GiB that captured steps took beside torch's allocator; absent without any."]
    ]
    cuda_graphs_given_up: NotRequired[
        Annotated[str, "Why captured steps were given up, in words; absent unless they were."]
    ]
    memory_limit: NotRequired[
        Annotated[str, "What held the process to its memory budget; absent without such a budget."]
    ]
    limit_gib: NotRequired[
        Annotated[float, "What that limit allowed, in GiB: the budget less what it does not count; absent without one."]
    ]
    context_gib: NotRequired[
        Annotated[float, "What CUDA's context took of the budget, in GiB; absent without CUDA or without a budget."]
    ]
    context_source: NotRequired[
        Annotated[str, "Who told `context_gib`. Absent without it, and from the oldest records."]
    ]
    sharding: NotRequired[Annotated[str, "How the model was spread over processes, in words; absent for one process."]]


class AdapterCounts(TypedDict):
    """How many of the adapter's tensors have trained, and why others have not; any other ends the run with its name."""

    tensors: Annotated[int, "Trainable tensors: two a layer that LoRA adapts."]
    moved: Annotated[int, "Of these, how many are not what they were before the first step."]
    without_gradient: Annotated[
        int, "Of these, how many had no gradient in any step (of the last process, if resumed)."
    ]
    partner_at_zero: Annotated[int, "No gradient, as the pair's other half was still at zero; so it is in one step."]
    idle_experts: Annotated[int, "No gradient: of an expert that no token of the training was sent to."]
    at_rate_zero: Annotated[int, "Not moved: the learning rate was zero in each step in which it had a gradient."]


class ProcessPeaks(TypedDict):
    """Peaks in GiB of one process of a training that several share; null for what was not measured."""

    weights_gib: Annotated[float | None, "What the process held of the model's weights between steps."]
    peak_memory_gib: Annotated[float | None, "Peak during training, by the memory metric."]
    peak_allocated_gib: Annotated[float | None, "Peak of tensors on its GPU during training."]
    peak_reserved_gib: Annotated[float | None, "Peak of what torch's allocator held of its GPU during training."]
    peak_held_gib: Annotated[float | None, "All that it had on its GPU at its peak, context included."]
    peak_device_gib: Annotated[float | None, "Peak of its GPU's memory in use, by any process."]
    peak_host_gib: Annotated[float | None, "Peak of its resident set during training."]


class Cost(TypedDict):
    """What a training that was started has cost; null for what was not measured.

    Of a training that went on after an interruption, peaks, loading and phases are those of its last process.
    """

    steps: Annotated[int, "Optimiser steps that were taken, those before an interruption included."]
    train_seconds: Annotated[
        float | None, "Wall clock of the optimiser steps alone, in seconds; null where it was cut short."
    ]
    load_seconds: Annotated[float | None, "Loading the base and adding the adapter, in seconds; null if never begun."]
    train_tokens: Annotated[int, "Tokens that training went through, prompts included."]
    tokens_per_second: Annotated[float | None, "`train_tokens` over `train_seconds`; null where that is null."]
    final_train_loss: Annotated[
        float | None,
        "Mean loss of the last logged steps, nats a token; null where cut short or not finite.",
    ]
    memory_metric: Annotated[
        Literal["cuda_allocated", "host_rss"], "What `peak_memory_gib` is: tensors on the GPU, or the resident set."
    ]
    peak_memory_gib: Annotated[
        float | None, "Peak during training, in GiB, by `memory_metric`; null where it was cut short."
    ]
    peak_allocated_gib: Annotated[
        float | None, "Peak of tensors on the GPU, in GiB: during training, or of all phases where cut short; or null."
    ]
    peak_reserved_gib: Annotated[
        float | None, "Peak of what torch's allocator held of the GPU during training, in GiB; null without CUDA."
    ]
    peak_device_gib: Annotated[
        float | None, "Peak of the GPU's memory in use by any process, in GiB; null without CUDA."
    ]
    peak_host_gib: Annotated[
        float | None, "Peak of the process's resident set, in GiB: during training, or of all phases where cut short."
    ]
    resumes: Annotated[int, "How often the training went on from a checkpoint."]
    phases: Annotated[Phases, "Where the process's time went."]
    wall_seconds: Annotated[float, "Sum over `phases`, in seconds: the process's whole life."]


class TrainingOutcome(Ending, Cost):
    """How a training ended that was started, and what it cost."""

    trainable_parameters: NotRequired[Annotated[int, "Weights of the adapter; absent where it was cut short."]]
    adapter: NotRequired[Annotated[AdapterCounts, "What has trained; absent if cut short, and from old records."]]
    levers: NotRequired[Annotated[Levers, "What made it fast; absent where it was cut short."]]
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
    phases: NotRequired[Annotated[Phases, "Where the process's time went; absent where there was nothing to answer."]]
