"""Types of what examples become as tokens: the request, the counts, and the record in resources/."""

from typing import Annotated, Literal, NotRequired, TypedDict

from frontier.data_types import ExamplesRecord


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
    context_dropped: Annotated[
        int, "Messages that are no assistant's, and sets of tools, that the template drops. Absent from old records."
    ]
    nothing_learned: Annotated[
        int, "Examples left out of which no turn is learned, by `weight: 0`; they are among `examples_left_out`."
    ]


class TokenCounts(TokenDifferences, ChatDifferences):
    """How many tokens a split has, and what was cut off."""

    examples: Annotated[int, "Examples that are used."]
    tokens: Annotated[int, "Tokens of these examples, prompt and answer."]
    answer_tokens: Annotated[int, "Tokens that the loss is over: those of answers, end of sequence included."]
    tokens_cut_off: Annotated[int, "Tokens beyond `max_length`, of all examples."]
    examples_cut_off: Annotated[int, "Examples longer than `max_length`."]
    examples_left_out: Annotated[
        int,
        "Examples left out because their prompt alone, of a conversation also its first answer, exceeds `max_length`.",
    ]


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
