"""Types of the sources of examples, and of the record of examples in resources/."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

# Fewer examples to validate on than this decide nothing: their interval is wider than what ranks differ by.
FEW_EXAMPLES = 30
# A turn of a conversation, by the names that chat templates have for its parts: `role` and `content`, and where there
# are such `reasoning_content`, `tool_calls`, `tool_call_id`, `name` and `weight`.
Message = dict[str, Any]
# An example: of `question` and `answer`, of `text`, or of `messages` and perhaps the `tools` that they may call.
Example = dict[str, Any]


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


class Split(TypedDict, total=False):
    """How rows are read and split; all absent from old records."""

    format: Annotated[str, "The form of the rows; `auto` where their columns say it."]
    split: Annotated[Literal["shuffled", "order"], "Whether `split_seed` draws what validates, or the last rows do."]
    split_seed: Annotated[int, "Draws the rows that validate."]
    group_column: Annotated[str | None, "Rows that share a value of this column are on one side; null for none."]
    stratify_column: Annotated[str | None, "Each value of this column has its share on both sides; null for none."]
    near_repeats: Annotated[Literal["keep", "leave-out"], "What becomes of near-repeats in validation."]


class FileData(AnyData, Split):
    """Examples in files."""

    source: Annotated[Literal["jsonl"], "The kind of source; `file` is another name for it."]
    train_file: Annotated[str, "The file of the training examples, or a folder of files."]
    validation_file: Annotated[str | None, "That of the validation examples; null to hold out training rows."]


class HubData(AnyData, Split):
    """A data set of the Hugging Face hub."""

    source: Annotated[Literal["hub"], "The kind of source."]
    id: Annotated[str, "The data set's id, OWNER/NAME."]
    name: Annotated[str | None, "The data set's configuration, such as main; null for the only one."]
    revision: Annotated[str | None, "Commit, tag or branch; null for the branch that the hub serves by default."]
    train_split: Annotated[str, "The split of the training examples."]
    validation_split: Annotated[str | None, "The split of the validation examples; null to hold out training rows."]


DataSource = ReasoningGymData | FileData | HubData


class ExampleFiles(TypedDict):
    """The content of the examples' files."""

    train: Annotated[str, "SHA-256 (hex) of resources/examples/train.jsonl."]
    validation: Annotated[str, "SHA-256 (hex) of resources/examples/validation.jsonl."]


class ExampleCounts(TypedDict):
    """What became of a source's rows."""

    other_forms: NotRequired[
        Annotated[
            list[str], "Columns of further forms that are there and not read, where none was chosen. Absent likewise."
        ]
    ]
    duplicates_left_out: Annotated[
        int, "Rows left out that repeat another whole; in old records those whose question was there before."
    ]
    examples_not_taken: NotRequired[
        Annotated[int, "Rows beyond the examples that the configuration asks for. Absent from old records."]
    ]
    forms: NotRequired[Annotated[list[str], "The forms in which rows were read. Absent from old records."]]
    prompts_in_validation: NotRequired[
        Annotated[int, "Training rows left out that ask what a validation row of its own file asks. Absent likewise."]
    ]
    near_repeats: NotRequired[
        Annotated[
            int, "Validation examples that ask what a training example asks, but for case, digits or punctuation."
        ]
    ]
    near_repeats_left_out: NotRequired[Annotated[int, "Validation rows left out as such."]]
    strata_not_validated: NotRequired[
        Annotated[int, "Values of `stratify_column` of which no row validates, as too few have them."]
    ]
    conversations: NotRequired[Annotated[dict[str, int], "Conversations left out, or kept as they are, by why."]]
    numbers_as_text: NotRequired[Annotated[dict[str, int], "Numbers that were taken as their text, by column."]]
    fields_not_read: NotRequired[Annotated[dict[str, int], "Fields of messages that are not read, by name."]]
    input_not_read: NotRequired[Annotated[bool, "Whether Alpaca's `input` is there and not read."]]
    systems_not_read: NotRequired[
        Annotated[int, "Conversations that have an instruction of their own beside another in the column `system`."]
    ]


class ExamplesRecord(ExampleCounts):
    """resources/examples/examples.json: the examples as they were fetched."""

    source: Annotated[DataSource, "The configuration's section `data`, without template, length and test split."]
    files: Annotated[ExampleFiles, "The content of the examples' files."]
    answers_without_final: Annotated[
        int, "Examples whose answer does not end in `####` and a number, so that they are no problem of an accuracy."
    ]
    finals_read_otherwise: NotRequired[
        Annotated[
            int,
            "Examples in whose answer lm-evaluation-harness's strict filter reads another number, none where there is "
            "one, or one where there is none. Absent from old records.",
        ]
    ]
