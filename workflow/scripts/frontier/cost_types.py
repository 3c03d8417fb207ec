"""Types of what a job costs: phases, peaks, levers, and what became of the adapter."""

from typing import Annotated, Literal, NotRequired, TypedDict


class PhaseCost(TypedDict):
    """What one phase of a process took. Peaks in GiB are null without CUDA, and absent where a phase has none."""

    seconds: Annotated[float, "Wall clock in seconds."]
    allocated_gib: NotRequired[Annotated[float | None, "Peak of tensors on the GPU, in GiB."]]
    reserved_gib: NotRequired[Annotated[float | None, "Peak of what torch's allocator held of the GPU, in GiB."]]
    device_gib: NotRequired[
        Annotated[float | None, "GPU memory in use by any process, in GiB, as the phase ended (the most such reading)."]
    ]
    host_gib: NotRequired[Annotated[float | None, "Peak of the process's resident set, in GiB."]]


# A call instead of a class, because `import` is a keyword and cannot be the name of a class's field.
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


class Levers(TypedDict):
    """What made the training fast or kept it within its budget: what was in use, whatever had been asked for."""

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
    """How many of the adapter's tensors have trained, and why others have not.

    A run with a tensor that has not trained for any other reason ends with an error that names the tensor.
    """

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
    base_on: NotRequired[Annotated[Literal["host"], "Where the base's layers lay; absent for the device."]]
    moved_gib_a_step: NotRequired[Annotated[float, "GiB of weights sent a step; absent for a base on the device."]]
    link_wait_share: NotRequired[
        Annotated[float | None, "Share of the steps' time waited for weights; absent for a base on the device."]
    ]
    link_gib_a_second: NotRequired[
        Annotated[float, "GiB a second that the link sends alone; absent for a base on the device."]
    ]
    host_memory_is_pinned: NotRequired[
        Annotated[bool, "Whether the weights lay in page-locked memory; absent for a base on the device."]
    ]
    product_dtype: NotRequired[
        Annotated[str | None, "Dtype that the matrix products were computed in. Absent from old records."]
    ]
    phases: Annotated[Phases, "Where the process's time went."]
    wall_seconds: Annotated[float, "Sum over `phases`, in seconds: the process's whole life."]
