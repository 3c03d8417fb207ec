"""Conversations of a row, in OpenAI's form (role, content) or ShareGPT's (from, value), as one form: messages."""

import itertools
import json
from collections import Counter
from typing import Any

from frontier.data_types import Example, Message
from frontier.errors import UserError
from frontier.model.data.checks import checked_text, is_missing, is_number, shown
from frontier.model.data.tool_calls import calls_of, listed, read_json, tools_of, without_nothing

# What messages are called who speaks, by the name that this project and chat templates have for it.
ROLES = {
    "system": ("system",),
    "developer": ("developer",),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "model", "chatgpt", "bot", "function_call"),
    "tool": ("tool", "function", "observation", "tool_response", "function_response"),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
# What a message's thinking is called.
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")
# What is read of a message; anything else in it is left out, and told.
_READ = {
    "role",
    "from",
    "content",
    "value",
    "tool_calls",
    "function_call",
    "tool_call_id",
    "name",
    "weight",
    *_THOUGHTS,
}
# Why a conversation is left out, in the words of a printed line.
LEFT_OUT = {
    "without_answer": "conversations without an assistant's turn",
    "with_empty_turn": "conversations with an empty turn",
}
# What is kept as it is, and told.
KEPT = {
    "assistant_first": "conversations that an assistant's turn begins",
    "same_role_twice": "conversations with two turns of a user or an assistant in a row",
    "trailing_turns": "conversations that go on behind the last assistant's turn",
}


def conversation_of(row: dict, column: str, where: str, counts: Counter) -> Example | None:
    """Return a row's conversation as an example; None where it is left out, which `counts` then has by LEFT_OUT.

    `counts` is also told of KEPT, and of the `fields` of messages that are not read. Raises UserError naming the place
    `where` a conversation is malformed.
    """
    if column not in row:
        raise UserError(f"{where}: has no {column}, has {shown(list(row))}; each row takes {column} here")
    turns = [] if is_missing(row[column]) else listed(row[column], f"{where}: {column}", "a list of messages")
    if not turns:
        leaves_out = f'df = df[df["{column}"].str.len() > 0] leaves such rows out'
        raise UserError(f"{where}: {column} takes a list of messages, got {shown(row[column])}; {leaves_out}")
    messages = [_message(turn, f"{where}: {column}[{place}]", counts) for place, turn in enumerate(turns)]
    system = _content(row.get("system"), f"{where}: system", counts)
    if system.strip() and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    elif system.strip() and messages[0]["content"] != system:
        counts["system_beside_message"] += 1
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        counts["without_answer"] += 1
        return None
    if any(_is_empty(message) for message in messages):
        counts["with_empty_turn"] += 1
        return None
    spoken = [role for role in roles if role not in ("system", "developer")]
    counts["assistant_first"] += spoken[0] == "assistant"
    pairs = itertools.pairwise(roles)
    counts["same_role_twice"] += any(one == other in ("user", "assistant") for one, other in pairs)
    counts["trailing_turns"] += roles[-1] != "assistant"
    tools = tools_of(row, where)
    return {"messages": messages} | ({"tools": tools} if tools else {})


def _message(turn: Any, where: str, counts: Counter) -> Message:
    turn = without_nothing(turn)
    if not isinstance(turn, dict):
        raise UserError(f"{where}: takes an object with role and content, or from and value, got {shown(turn)}")
    name = turn.get("role", turn.get("from"))
    role = _ROLE_OF.get(name) if isinstance(name, str) else None
    if role is None:
        known = ", ".join(other for names in ROLES.values() for other in names)
        raise UserError(f"{where}: role takes one of {known}, got {shown(name)}; rename it, or leave the row out")
    counts.update({f"field {key}": 1 for key in turn.keys() - _READ})
    said = turn.get("content", turn.get("value"))
    content = _content(said, where, counts)
    if name == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": calls_of(read_json(content, where), where)}
    message: dict[str, Any] = {"role": role, "content": content}
    thought = next((turn[key] for key in _THOUGHTS if key in turn), None)
    if thought is not None:
        message["reasoning_content"] = _content(thought, f"{where}.reasoning_content", counts)
    # What OpenAI called it before a turn could have several.
    calls = turn.get("tool_calls") or turn.get("function_call")
    if calls:
        message["tool_calls"] = calls_of(calls, where)
    for key in ("tool_call_id", "name"):
        if key in turn:
            message[key] = str(turn[key])
    if "weight" in turn:
        message["weight"] = _weight(turn["weight"], where)
    return message


def _content(value: Any, where: str, counts: Counter) -> str:
    """Return a message's text: itself, a number's, that of its parts one after another, or an empty one of nothing."""
    if is_missing(value):
        return ""
    if is_number(value):
        counts["number content"] += 1
        return str(value)
    if isinstance(value, list):
        for part in value:
            if not isinstance(part, dict) or not isinstance(part.get("text"), str):
                kind = part.get("type") if isinstance(part, dict) else part
                raise UserError(f"{where}: content takes texts, got a part of {shown(kind)}; leave the row out")
        return checked_text("".join(part["text"] for part in value), "content", where)
    if not isinstance(value, str):
        raise UserError(f"{where}: content takes a text, got {shown(value)}; json.dumps makes one of it")
    return checked_text(value, "content", where)


def _weight(value: Any, where: str) -> int:
    """Return whether an assistant's message is learned, as OpenAI's fine-tuning has it: 0 or 1."""
    # A table in which another row has none makes 1.0 of 1.
    if not is_number(value) or float(value) not in (0, 1):
        raise UserError(f"{where}: weight takes 0, not learned, or 1, got {shown(value)}")
    return int(float(value))


def _is_empty(message: Message) -> bool:
    """Return whether somebody is said to speak, and says nothing. A tool may return nothing, an instruction be none."""
    told = message["content"].strip() or message.get("reasoning_content", "").strip() or message.get("tool_calls")
    return message["role"] in ("user", "assistant") and not told


def as_json(value: Any) -> str:
    """Return a value as JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
