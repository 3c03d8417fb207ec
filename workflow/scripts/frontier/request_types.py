"""Types of a job's input: its `request` (tracked: a change reruns the job) and its `limits` (not tracked).

A key's description stands beside its type; docs/records.md is made from both. The code digest leaves out all modules
of types (`*_types`), so that a better description makes nothing again.
"""

from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

from frontier.data_types import DataSource
from frontier.material_types import Material, ModelSource
from frontier.token_types import TokensRequest

Precision = Literal["fp32", "bf16", "fp16", "nf4", "fp4", "int8"]
Dtype = Literal["float32", "bfloat16", "float16"]
Request = TypeVar("Request")


class Budget(TypedDict):
    """What a run may take, as the configuration's section `budget` says."""

    memory_gib: Annotated[float | None, "Most memory in GiB, on the GPU or, on a CPU, in RAM; null for no limit."]
    hours: Annotated[float | None, "Most hours of training; null for no limit."]
    continue_over_time: Annotated[bool, "Whether a run that passes `hours` trains on, to be measured all the same."]


class TrackedBudget(Budget):
    """The budget that a job is tracked by: what did not end well is made again under another."""

    skip_hopeless: NotRequired[
        Annotated[bool, "true where runs that the plan puts far beyond the budget are not started; else absent."]
    ]


class Limits(Budget):
    """What bounds a job without changing its result: the budget, and how often a training is saved."""

    checkpoint_minutes: Annotated[float | None, "Minutes between two checkpoints; null for none by time."]
    checkpoint_steps: Annotated[int | None, "Optimiser steps between two checkpoints; null for none by steps."]
    base_on: NotRequired[Annotated[Literal["host"], "Where the base lies while it is judged; absent for the device."]]


class DeviceRequest(TypedDict):
    """The device that a job runs on."""

    device: Annotated[str, "`auto`, `cpu`, `cuda` or `cuda:N`, as configured; `environment.device` has what it was."]
    cpu_threads: Annotated[int | None, "Threads that torch uses on the CPU; null for one each core it may use."]


class LoraSettings(TypedDict):
    """LoRA's settings beside the rank."""

    alpha: Annotated[float, "LoRA's alpha: the update is scaled by alpha / rank, or alpha / sqrt(rank) with `rslora`."]
    dropout: Annotated[float, "Probability with which an input of the adapter is zeroed in training."]
    rslora: Annotated[bool, "Whether the update is scaled by alpha / sqrt(rank) (rank-stabilised LoRA)."]
    targets: Annotated[str | list[str], "`all-linear`, every linear layer but the head, or the names of modules."]
    dtype: NotRequired[
        Annotated[Literal["float32", "bfloat16"], "In which the adapter is kept and updated; absent from old records."]
    ]


class TrainingSettings(TypedDict):
    """The settings of a training that all runs of a study share."""

    learning_rate: Annotated[float, "Peak learning rate."]
    schedule: Annotated[
        Literal["cosine", "linear", "constant", "constant_with_warmup"],
        "How the learning rate changes over the optimiser steps, by transformers' names.",
    ]
    warmup_steps: Annotated[int, "Optimiser steps over which the learning rate rises from 0."]
    steps: Annotated[int | None, "Optimiser steps to take; null where `epochs` says how many."]
    epochs: Annotated[float | None, "Passes over the training examples; null where `steps` is given."]
    batch_size: Annotated[int, "Examples an optimiser step, over all micro-batches and processes."]
    micro_batch_size: Annotated[int | None, "Examples a forward and backward pass; null for all of `batch_size`."]
    weight_decay: Annotated[float, "AdamW's weight decay."]
    max_grad_norm: Annotated[float, "Norm to which gradients are clipped; 0 for no clipping."]
    optimizer: Annotated[
        Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"],
        "The optimiser, by transformers' names.",
    ]
    gradient_checkpointing: Annotated[bool, "Whether activations are computed again in the backward pass, not kept."]
    fused_kernels: Annotated[bool, "Whether liger-kernel's fused kernels are asked for."]
    cuda_graphs: Annotated[bool, "Whether steps are to be captured as CUDA graphs."]
    offload_embeddings: Annotated[bool, "Whether the input embeddings are to stay in RAM."]
    logging_steps: Annotated[int, "Optimiser steps between two rows of history.csv."]


class TrainingRequest(DeviceRequest):
    """All that a training depends on beside the model, the tokens and the code."""

    run: Annotated[str, "The run's name, PRECISION-rRANK-sSEED."]
    precision: Annotated[Precision, "How the frozen base model's weights are stored."]
    rank: Annotated[int, "LoRA's rank."]
    seed: Annotated[int, "Draws the adapter's first weights, the order of the examples and the dropout."]
    lora: Annotated[LoraSettings, "LoRA's settings beside the rank."]
    training: Annotated[TrainingSettings, "The settings that all runs of the study share."]
    compute_dtype: Annotated[
        Literal["auto"] | Dtype, "Dtype of the matrix products; `auto` for what the device multiplies fast."
    ]
    processes: NotRequired[Annotated[int, "Processes, a GPU each, that share the training; absent for one."]]
    base_on: NotRequired[Annotated[Literal["host"], "Where the base's layers lie; absent for the device."]]


class EvaluationRequest(DeviceRequest):
    """All that an evaluation depends on beside the model, the adapter, the tokens and the code."""

    name: Annotated[str, "The run's name; of a base model without adapter its precision."]
    batch_size: Annotated[int, "Examples evaluated at a time."]
    compute_dtype: Annotated[Dtype, "Dtype of the matrix products."]


class AccuracyRequest(DeviceRequest, TokensRequest):
    """All that an accuracy depends on beside the model, the adapter, the problems and the code."""

    name: Annotated[str, "The run's name; of a base model without adapter its precision."]
    precision: Annotated[Precision, "How the frozen base model's weights are stored."]
    rank: Annotated[int | None, "LoRA's rank; null for a base model without adapter."]
    seed: Annotated[int | None, "The run's seed; null for a base model without adapter."]
    split: Annotated[Literal["test", "validation"], "The split whose problems are answered."]
    examples: Annotated[int | None, "Problems to answer, from the split's first on; null for all."]
    batch_size: Annotated[int, "Problems answered at a time."]
    max_new_tokens: Annotated[int, "Tokens after which an answer is cut off."]
    compute_dtype: Annotated[Dtype, "Dtype of the matrix products."]


class ModelRequest(TypedDict):
    """What the fetching of a model depends on beside the code."""

    model: Annotated[ModelSource, "The configuration's section `model`."]
    tokenizer_model: Annotated[ModelSource, "The model that lends its tokenizer to one that has none."]


class BaseRequest(DeviceRequest):
    """What the conversion of a base model depends on beside the model and the code."""

    precision: Annotated[Precision, "The precision that the model is converted to."]


class DataRequest(TypedDict):
    """What the examples depend on beside the code."""

    data: Annotated[DataSource, "The configuration's section `data`, without what only tokens or accuracy depend on."]


class PlanRequest(TypedDict):
    """What a plan depends on beside the model's shape, the calibration and the code."""

    study: Annotated[dict[str, Any], "The whole configuration, with every default filled in."]
    card: Annotated[dict[str, Any] | None, "Figures of the card that is planned for; null for the device present."]
    runs: Annotated[list[TrainingRequest], "The request of each run that is planned."]
    tokens: Annotated[str | None, "The text of resources/tokens/tokens.json; null before there are tokens."]


class AskRequest(DeviceRequest):
    """What the options of a card depend on beside the code."""

    study: Annotated[dict[str, Any], "The configuration's section `model`, under that name."]
    card: Annotated[dict[str, Any] | None, "Figures of the card that is asked about; null for the device present."]
    rows: Annotated[int, "Examples that hours are for."]
    hours: Annotated[float | None, "Most hours; null for no limit."]


class Job(TypedDict, Generic[Request]):
    """What the function of a rule is given, as plain data."""

    digest: Annotated[str, "SHA-256 over all that the job's result depends on, code included."]
    tracked: Annotated[TrackedBudget | None, "The budget that Snakemake tracks the job by; null for jobs without."]
    request: Annotated[Request, "The settings that the result depends on."]
    limits: NotRequired[Annotated[Limits | None, "What bounds the job without changing its result; null for nothing."]]
    plan: NotRequired[Annotated[PlanRequest | None, "What tells hopeless runs; null unless `skip_hopeless` is on."]]
    accuracy: NotRequired[
        Annotated[Literal["test", "validation"] | None, "The split that accuracy is to be measured on; null for none."]
    ]
    report_to: NotRequired[Annotated[list[str] | None, "Trackers that a training is reported to while it goes on."]]
    input: Annotated[dict[str, Any], "Paths, or lists of paths, by the rule's names."]
    output: Annotated[dict[str, Any], "Paths, or lists of paths, by the rule's names."]
    code: NotRequired[Annotated[str, "SHA-256 of the logic of the code that does the job."]]
    material: NotRequired[Annotated[Material | None, "Where model and data come from, once the job has read it."]]


class TeamJob(Job[TrainingRequest]):
    """What a further process of a training that several share is given."""

    index: Annotated[int, "Which of the training's processes it is, from 1 on; the first, 0, starts the others."]
    rendezvous: Annotated[str, "The file by which the processes find each other."]
    told: Annotated[str, "The file in which it leaves its outcome for the first process."]
