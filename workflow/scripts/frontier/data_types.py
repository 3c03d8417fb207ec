"""Types of the sources of examples, and of the records of examples and tokens in resources/."""

from typing import Annotated, Literal, NotRequired, TypedDict


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


class ExampleFiles(TypedDict):
    """The content of the examples' files."""

    train: Annotated[str, "SHA-256 (hex) of resources/examples/train.jsonl."]
    validation: Annotated[str, "SHA-256 (hex) of resources/examples/validation.jsonl."]


class ExamplesRecord(TypedDict):
    """resources/examples/examples.json: the examples as they were fetched."""

    source: Annotated[DataSource, "The configuration's section `data`, without template, length and test split."]
    files: Annotated[ExampleFiles, "The content of the examples' files."]
    duplicates_left_out: Annotated[int, "Rows left out because their question was there before, in either split."]
    examples_not_taken: NotRequired[
        Annotated[int, "Rows beyond the examples that the configuration asks for. Absent from old records."]
    ]
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


class TokenCounts(TokenDifferences):
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
