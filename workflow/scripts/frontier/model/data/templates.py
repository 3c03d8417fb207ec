"""The template of examples: a text, or the tokenizer's own chat template; chosen, and described for the record."""

import hashlib

from frontier.data_types import Example
from frontier.errors import UserError
from frontier.token_types import TemplateRecord

# What data.template is for the tokenizer's own chat template.
CHAT = "chat"
# What stands around a text that is learned as a whole.
WHOLE = "{text}"
# What stands around a question where data.template says nothing.
TEXT = "Question: {question}\nAnswer: "
_PLAIN = 'a text as {question} with a place, such as "Question: {question}\\nAnswer: "'


def chosen(template: str | None, rows: list[Example], has_own: bool) -> str:
    """Return the template of rows: CHAT, or a text. UserError where it does not go with the rows or the tokenizer.

    `has_own` tells whether the tokenizer has a chat template.
    """
    is_chat = any("messages" in row for row in rows)
    is_text = any("text" in row for row in rows)
    if is_text and not all("text" in row for row in rows):
        raise UserError("data: some rows are texts and others are not; takes data.format text for all files, or none")
    wanted = template or (CHAT if is_chat else WHOLE if is_text else TEXT)
    if wanted == CHAT and not is_text and not has_own:
        why = "rows of conversations take one" if is_chat else f"takes {_PLAIN}"
        raise UserError(
            f"data.template: the model's tokenizer has no chat template, {why}; put chat_template.jinja beside it"
        )
    if template and is_text:
        raise UserError("data.template: got one, and rows of text have no place for it; leave it empty")
    if wanted != CHAT and is_chat:
        raise UserError("data.template: got a text, and the rows are conversations, which take chat, or nothing")
    return wanted


def describe(kind: str, template: str) -> TemplateRecord:
    """Return what the record says of a template, given as its text, or as the Jinja of a chat template."""
    return {"kind": kind, "digest": hashlib.sha256(template.encode()).hexdigest(), "text": template}


def note(asked: str | None, kind: str, template: str, has_own: bool) -> str | None:
    """Return a line for what a user should know who chose no template; None where there is nothing."""
    if asked is None and kind != CHAT and has_own and template != WHOLE:
        return (
            "note: the tokenizer has a chat template of its own, by which what serves the model will prompt it; "
            "data.template: chat trains with that"
        )
    return None
