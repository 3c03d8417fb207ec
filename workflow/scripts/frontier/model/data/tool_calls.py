"""Tools of a row, and calls of a message, in OpenAI's form; lists that a cell of a CSV has as JSON."""

from typing import Any

from frontier import strict_json
from frontier.errors import UserError
from frontier.model.data.checks import is_missing, shown


def calls_of(value: Any, where: str) -> list[dict]:
    """Return tool calls in OpenAI's form, with arguments as templates take them: a mapping."""
    calls = value if isinstance(value, list) else [value]
    found = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UserError(f"{where}: tool_calls takes calls with a function's name and arguments, got {shown(call)}")
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            arguments = read_json(arguments or "{}", f"{where}: arguments")
        if not isinstance(arguments, dict):
            raise UserError(f"{where}: arguments takes an object, or JSON of one, got {shown(arguments)}")
        named = {"id": str(call["id"])} if "id" in call else {}
        arguments = strict_json.numbers_read(arguments)
        found.append(named | {"type": "function", "function": {"name": function["name"], "arguments": arguments}})
    return found


def tools_of(row: dict, where: str) -> list[dict]:
    """Return the tools of a row, or its functions, as OpenAI called them before there were others, as tools."""
    key = "functions" if is_missing(row.get("tools")) else "tools"
    value = row.get(key)
    if is_missing(value) or value == "":
        return []
    tools = listed(value, f"{where}: {key}", f"a list of {key}, as OpenAI has them")
    if not all(isinstance(tool, dict) for tool in tools):
        raise UserError(f"{where}: {key} takes a list of {key}, as OpenAI has them, got {shown(value)}")
    tools = strict_json.numbers_read(without_nothing(tools))
    return tools if key == "tools" else [{"type": "function", "function": one} for one in tools]


def listed(value: Any, where: str, takes: str) -> list:
    """Return a list, or the list that a text of JSON says, as cells of a CSV have it."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = read_json(value, where)
    if not isinstance(value, list):
        raise UserError(f"{where} takes {takes}, got {shown(value)}; in a CSV json.dumps writes the list into its cell")
    return value


def read_json(text: str, where: str) -> Any:
    """Return what a text of JSON in a row says; UserError where it is none."""
    try:
        return strict_json.parse(text)
    except ValueError as error:
        raise UserError(f"{where}: takes JSON, got {shown(text)} ({error}); json.dumps writes it") from None


def without_nothing(value: Any) -> Any:
    """Return a value without keys of None, which tables put where another row has a key."""
    if isinstance(value, dict):
        return {key: without_nothing(item) for key, item in value.items() if item is not None}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value
