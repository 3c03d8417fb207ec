"""Types of the rows of the tables in results/: the plan, the summary, the accuracies, and the tables of a run.

An empty cell of a CSV file is null here. `results/columns.py` says what each column of the summary is.
"""

from typing import Annotated, Literal, NotRequired, TypedDict

from frontier.outcome_types import Phase, Status
from frontier.request_types import Precision

_MeasuredAccuracy = Annotated[
    float | None, "Empty where no problem was answered; absent unless the configuration measures accuracy."
]

_SEVERAL = "Absent unless the study has several values of it."


class PlanRow(TypedDict):
    """results/plan.csv: what each run will need and take. Of a run that cannot be planned, `run` and `device` alone."""

    run: Annotated[str, "The run's name, PRECISION-rRANK-sSEED."]
    device: Annotated[str, "The device that is planned for."]
    predicted_peak_gib: Annotated[
        float | None, "All that the run holds on the device at its worst moment, in GiB: what a budget is held against."
    ]
    allocated_gib: Annotated[float | None, "Of that, the peak of tensors; the next six add up to it."]
    weights_gib: Annotated[float | None, "Of the tensors: the frozen base model's weights."]
    adapter_gib: Annotated[float | None, "Of the tensors: the adapter's weights."]
    optimizer_gib: Annotated[float | None, "Of the tensors: the optimiser's state."]
    gradients_gib: Annotated[float | None, "Of the tensors: gradients of the adapter's weights."]
    activations_gib: Annotated[float | None, "Of the tensors: activations kept for the backward pass, and work space."]
    logits_gib: Annotated[float | None, "Of the tensors: logits and what is computed of them."]
    overhead_gib: Annotated[
        float | None, "Held beside the tensors: context or interpreter, captured steps, unused blocks."
    ]
    fits: Annotated[bool | None, "Whether the predicted peak is within the limit; empty without a limit."]
    examples: Annotated[int | None, "Training examples; empty where nobody knows yet how many."]
    steps: Annotated[int | None, "Optimiser steps; empty where nobody knows yet how many."]
    tokens: Annotated[int | None, "Tokens of all steps, by the examples' mean length; empty as the steps."]
    predicted_seconds_per_step: Annotated[
        float | None, "Seconds an optimiser step; empty for a device of unknown speed."
    ]
    predicted_hours: Annotated[
        float | None, "Hours of training; empty also where it does not fit, or nobody knows yet how many steps."
    ]
    limited_by: Annotated[
        Literal["compute", "bandwidth", "launches"] | None,
        "What takes most of a step: arithmetic, memory traffic or the host's kernel launches.",
    ]
    largest_batch_that_fits: Annotated[
        int | None, "Most examples at a time that would fit, up to some 32,000 tokens; empty without a limit."
    ]
    best_micro_batch_size: Annotated[
        int | None, "What to set `micro_batch_size` to: the most that divide a step's and surely fit."
    ]
    evaluation_gib: Annotated[float | None, "All that the adapter's evaluation holds on the device, in GiB."]
    evaluation_hours: Annotated[float | None, "Its hours; empty where it or the run does not fit, or nobody knows."]
    accuracy_gib: Annotated[float | None, "As `evaluation_gib`, of its accuracy; empty where none is measured."]
    accuracy_hours: Annotated[float | None, "As `evaluation_hours`, with every answer as long as it may be."]


class SummaryRow(TypedDict):
    """results/summary.csv: one row a run, what it cost and what it bought."""

    run: str
    precision: Precision
    rank: int
    seed: int
    learning_rate: NotRequired[Annotated[float, "Absent from old tables."]]
    alpha: NotRequired[Annotated[float | str, _SEVERAL]]
    dropout: NotRequired[Annotated[float, _SEVERAL]]
    rslora: NotRequired[Annotated[bool, _SEVERAL]]
    targets: NotRequired[Annotated[str, _SEVERAL]]
    lora_dtype: NotRequired[Annotated[str, _SEVERAL]]
    schedule: NotRequired[Annotated[str, _SEVERAL]]
    warmup_steps: NotRequired[Annotated[int, _SEVERAL]]
    steps_asked: NotRequired[Annotated[int, _SEVERAL]]
    epochs: NotRequired[Annotated[float, _SEVERAL]]
    batch_size: NotRequired[Annotated[int, _SEVERAL]]
    micro_batch_size: NotRequired[Annotated[int | None, _SEVERAL]]
    weight_decay: NotRequired[Annotated[float, _SEVERAL]]
    max_grad_norm: NotRequired[Annotated[float, _SEVERAL]]
    optimizer: NotRequired[Annotated[str, _SEVERAL]]
    gradient_checkpointing: NotRequired[Annotated[bool, _SEVERAL]]
    fused_kernels: NotRequired[Annotated[bool, _SEVERAL]]
    cuda_graphs: NotRequired[Annotated[bool, _SEVERAL]]
    offload_embeddings: NotRequired[Annotated[bool, _SEVERAL]]
    compute_dtype: NotRequired[Annotated[str, _SEVERAL]]
    logging_steps: NotRequired[Annotated[int, _SEVERAL]]
    status: Status
    phase: Annotated[Phase | None, "Empty where it is ok."]
    reason: Annotated[str | None, "Empty where it is ok."]
    basis: Literal["measured", "predicted"]
    needs_gib: Annotated[float | None, "Empty but for status oom."]
    perplexity: Annotated[float | None, "Empty where nothing was evaluated."]
    perplexity_low: Annotated[float | None, "Empty without perplexity."]
    perplexity_high: Annotated[float | None, "Empty without perplexity."]
    eval_loss: Annotated[float | None, "Empty without perplexity."]
    base_perplexity: Annotated[float | None, "Empty where the base was not evaluated."]
    against_base: NotRequired[
        Annotated[
            Literal["better", "worse", "not told apart"] | None,
            "By the 95% interval of its difference from its own base before training, on the same examples. Empty "
            "where either was not measured. Absent from old tables.",
        ]
    ]
    four_bit_share: NotRequired[
        Annotated[float | None, "Empty but for nf4 and fp4, and where no process left word. Absent from old tables."]
    ]
    train_seconds: Annotated[float | None, "Empty where training was cut short."]
    load_seconds: Annotated[float | None, "Empty where loading never began."]
    tokens_per_second: Annotated[float | None, "Empty where training was cut short."]
    peak_memory_gib: Annotated[float | None, "Empty where training was cut short."]
    memory_metric: Annotated[Literal["cuda_allocated", "host_rss"] | None, "Empty where training never started."]
    peak_allocated_gib: Annotated[float | None, "Empty without CUDA."]
    peak_reserved_gib: Annotated[float | None, "Empty without CUDA."]
    peak_held_gib: Annotated[float | None, "Empty without CUDA."]
    peak_device_gib: Annotated[float | None, "Empty without CUDA."]
    peak_host_gib: Annotated[float | None, "Empty where training never started."]
    trainable_parameters: Annotated[int | None, "Empty where training was cut short."]
    train_tokens: Annotated[int | None, "Empty where training never started."]
    steps: Annotated[int | None, "Empty where training never started."]
    final_train_loss: Annotated[float | None, "Empty where training was cut short."]
    resumes: Annotated[int | None, "Empty where training never started."]
    base_on: NotRequired[Annotated[str | None, "host, or empty for the device. Absent from old tables."]]
    product_dtype: NotRequired[
        Annotated[str | None, "Dtype of the products, as taken; empty if never started. Absent from old tables."]
    ]
    predicted_peak_gib: Annotated[float | None, "Empty without a plan for the run's device."]
    predicted_seconds: Annotated[float | None, "Empty without a plan for the run's device."]
    predicted_peak_error: Annotated[float | None, "Empty without a plan or a measurement."]
    predicted_seconds_error: Annotated[float | None, "Empty without a plan or a measurement."]
    pareto: Annotated[bool | None, "Empty where time, memory or perplexity was not measured."]
    beaten_by: NotRequired[
        Annotated[str | None, "Empty where nothing does, or where `pareto` is empty. Absent from old tables."]
    ]
    fits: Annotated[bool | None, "Empty without a budget, or where it cannot be told."]
    device: Annotated[str | None, "Empty where no process began, or it left no word."]
    host: Annotated[str | None, "Empty where no process began, or it left no word."]
    notes: Annotated[str | None, "Empty where nothing is unlike."]
    accuracy_strict: NotRequired[_MeasuredAccuracy]
    accuracy_strict_se: NotRequired[_MeasuredAccuracy]
    accuracy_flexible: NotRequired[_MeasuredAccuracy]
    accuracy_flexible_se: NotRequired[_MeasuredAccuracy]
    accuracy_split: NotRequired[Annotated[str, "Absent unless the configuration measures accuracy."]]
    accuracy_examples: NotRequired[
        Annotated[int | None, "Empty where none was answered; absent unless the configuration measures accuracy."]
    ]
    base_accuracy_strict: NotRequired[_MeasuredAccuracy]
    base_accuracy_flexible: NotRequired[_MeasuredAccuracy]


class AccuracyRow(TypedDict):
    """results/accuracy.csv: how many problems each base model and each run solved."""

    run: Annotated[str, "The run's name; of a base model without adapter its precision."]
    precision: Annotated[Precision, "How the frozen base model's weights are stored."]
    rank: Annotated[int | None, "LoRA's rank; empty for a base model."]
    seed: Annotated[int | None, "The run's seed; empty for a base model."]
    split: Annotated[Literal["test", "validation"], "The split whose problems were answered."]
    status: Annotated[Status, "`ok`, or what stopped it."]
    reason: Annotated[str | None, "What stopped it, in words; empty where it is ok."]
    strict: Annotated[float | None, "Share of answers with the right number after ####."]
    strict_se: Annotated[float | None, "Standard error of `strict`."]
    flexible: Annotated[float | None, "Share of answers whose last number is right."]
    flexible_se: Annotated[float | None, "Standard error of `flexible`."]
    examples: Annotated[int | None, "Problems that were answered."]
    unfinished: Annotated[int | None, "Answers that were cut off at `max_new_tokens`."]


class HistoryRow(TypedDict):
    """results/runs/RUN/history.csv: the training as it went, one row a logged step; empty is what is not finite."""

    step: Annotated[int, "Optimiser steps taken by then."]
    loss: Annotated[float | None, "Mean loss of the steps since the last row, in nats an answer token."]
    learning_rate: Annotated[float | None, "The step's learning rate."]
    grad_norm: Annotated[float | None, "Norm of the adapter's gradients before clipping."]
    tokens: Annotated[int, "Tokens that training went through by then."]
    seconds: Annotated[float, "Wall clock of the optimiser steps by then, in seconds."]


class LossRow(TypedDict):
    """nll.parquet beside each evaluation: one row a validation example, in their order."""

    nll: Annotated[float, "The example's summed negative log-likelihood over its answer tokens, in nats."]
    tokens: Annotated[int, "The example's answer tokens."]


class AnswerRow(TypedDict):
    """answers.parquet beside each accuracy: one row a problem, in their order."""

    question: Annotated[str, "The problem."]
    truth: Annotated[str, "The number that its own answer ends in."]
    answer: Annotated[str, "The model's answer."]
    ended: Annotated[bool, "Whether the answer ended by itself, and was not cut off."]
    strict: Annotated[str | None, "The number after #### in it; null where there is none."]
    flexible: Annotated[str | None, "The last number in it; null where there is none."]
    strict_correct: Annotated[bool, "Whether `strict` is the truth."]
    flexible_correct: Annotated[bool, "Whether `flexible` is the truth."]
