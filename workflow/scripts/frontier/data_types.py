"""Types of the sources of examples, and of the records of examples and tokens in resources/."""

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


class TokensRequest(TypedDict):
    """How examples become tokens."""

    template: Annotated[
        str | None,
        "The text before the answer, in which `{question}` stands for the question; `chat` for the tokenizer's own "
        "chat template; null for the one of the two that the rows ask for.",
    ]
    max_length: Annotated[int, "Most tokens an example; what is longer loses its end, a conversation whole turns."]
    loss_turns: NotRequired[
        Annotated[Literal["all", "last"], "Which turns of an assistant are learned. Absent where rows have no turns."]
    ]


class ExampleFiles(TypedDict):
    """The content of the examples' files."""

    train: Annotated[str, "SHA-256 (hex) of resources/examples/train.jsonl."]
    validation: Annotated[str, "SHA-256 (hex) of resources/examples/validation.jsonl."]


class ExampleCounts(TypedDict):
    """What became of a source's rows."""

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
    conversations: NotRequired[Annotated[dict[str, int], "Conversations left out, or kept as they are, by why."]]
    numbers_as_text: NotRequired[Annotated[dict[str, int], "Numbers that were taken as their text, by column."]]
    fields_not_read: NotRequired[Annotated[dict[str, int], "Fields of messages that are not read, by name."]]
    input_not_read: NotRequired[Annotated[bool, "Whether Alpaca's `input` is there and not read."]]


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


class TokenDifferences(TypedDict, total=False):
    """Where the tokens of a split say something else than its text; all absent from old records."""

    beginnings_in_template: Annotated[int, "Examples whose template has the tokenizer's beginning; it is there once."]
    ends_not_added: Annotated[int, "Examples behind whose prompt the tokenizer would put an end; it is not put."]
    answers_with_end: Annotated[int, "Answers that named an end of sequence at their end; it is there once."]
    ends_within_answers: Annotated[
        int, "Answers of which a token before the last ends a generation, as a new line does to some models."
    ]
    control_tokens_as_text: Annotated[int, "Control tokens named in questions and answers; they are encoded as text."]
    unknown_tokens: Annotated[int, "Tokens that stand for text unknown to the tokenizer."]
    borders_kept: Annotated[
        int, "Examples of which prompt and answer would be other tokens if they were one text; they are encoded apart."
    ]
    texts_changed: Annotated[int, "Examples whose tokens, decoded, are another text: normalised, or unknown in part."]
    ids_folded: Annotated[int, "Tokens of a borrowed tokenizer that are taken modulo the vocabulary."]


class ChatDifferences(TypedDict, total=False):
    """What a chat template makes of conversations; all absent where rows are none."""

    turns_left_out: Annotated[int, "Turns left out at the ends of conversations longer than `max_length`."]
    turns_untold: Annotated[int, "Examples left out in which the template drops an assistant's turn."]
    template_raised: Annotated[int, "Examples left out for which the template raises."]
    turns_without_end: Annotated[int, "Learned turns that no control token of the template ends."]
    parts_dropped: Annotated[int, "Parts of learned turns that the template drops, such as earlier thinking."]


class TokenCounts(TokenDifferences, ChatDifferences):
    """How many tokens a split has, and what was cut off."""

    examples: Annotated[int, "Examples that are used."]
    tokens: Annotated[int, "Tokens of these examples, prompt and answer."]
    answer_tokens: Annotated[int, "Tokens that the loss is over: those of answers, end of sequence included."]
    tokens_cut_off: Annotated[int, "Tokens beyond `max_length`, of all examples."]
    examples_cut_off: Annotated[int, "Examples longer than `max_length`."]
    examples_left_out: Annotated[int, "Examples left out because their prompt alone is `max_length` tokens or more."]


class TemplateRecord(TypedDict):
    """The template that examples were put into."""

    kind: Annotated[str, "`chat` for the tokenizer's own chat template, `text` for one around a question."]
    digest: Annotated[str, "SHA-256 (hex) of the template."]
    text: Annotated[str, "The template: a text with a place for the question, or the Jinja of a chat template."]


class TokensRecord(TypedDict):
    """resources/tokens/tokens.json: the examples as tokens."""

    request: Annotated[TokensRequest, "How examples became tokens."]
    examples: Annotated[ExamplesRecord, "The record of the examples."]
    model: Annotated[str, "`digest` of the model whose tokenizer was used."]
    template: NotRequired[Annotated[TemplateRecord, "What examples were put into. Absent from old records."]]
    train: Annotated[TokenCounts, "Counts of the training split."]
    validation: Annotated[TokenCounts, "Counts of the validation split."]
