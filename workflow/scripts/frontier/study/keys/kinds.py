"""The kinds of values that a key of a configuration takes: each a JSON schema with the words for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A set of values: `rule` is its JSON schema, `takes` says it in a refusal and in the tables of keys."""

    rule: dict
    takes: str

    def or_empty(self, meaning: str) -> "Kind":
        """Return the kind that also takes an empty value; `meaning` goes on after "or empty", say "for no limit"."""
        return Kind(self.rule | {"type": [self.rule["type"], "null"]}, f"{self.takes}, or empty {meaning}")

    def or_list(self) -> "Kind":
        """Return the kind that also takes a list of different such values, none of them empty."""
        kinds = self.rule.get("type")
        item = self.rule | ({"type": kinds[0]} if isinstance(kinds, list) else {})
        listed = {"type": "array", "minItems": 1, "uniqueItems": True, "items": item}
        return Kind({"anyOf": [self.rule, listed]}, f"{self.takes}, or a list of different ones")

    def schema(self) -> dict:
        """Return the JSON schema with the words as its description, from which a refusal takes them."""
        return self.rule | {"description": self.takes}


FLAG = Kind({"type": "boolean"}, "true or false")


def whole(minimum: int, maximum: int | None = None, takes: str | None = None) -> Kind:
    """Return the kind of the whole numbers from `minimum` to `maximum`, both included."""
    rule = {"type": "integer", "minimum": minimum}
    if maximum is None:
        return Kind(rule, takes or f"a whole number from {minimum}")
    return Kind(rule | {"maximum": maximum}, takes or f"a whole number from {minimum} to {maximum}")


def number(*, above=None, minimum=None, below=None, maximum=None, takes: str | None = None) -> Kind:
    """Return the kind of the numbers within bounds; `above` and `below` are themselves left out."""
    bounds = {"exclusiveMinimum": above, "minimum": minimum, "exclusiveMaximum": below, "maximum": maximum}
    words = (("above", above), ("from", minimum), ("to below", below), ("to", maximum))
    said = " ".join(f"{word} {bound}" for word, bound in words if bound is not None)
    rule = {name: bound for name, bound in bounds.items() if bound is not None}
    return Kind({"type": "number"} | rule, takes or f"a number {said}")


def text(takes: str, pattern: str | None = None, minimum_length: int = 1) -> Kind:
    """Return the kind of the texts that hold a match of `pattern`, or of all that are long enough."""
    if pattern:
        return Kind({"type": "string", "pattern": pattern}, takes)
    return Kind({"type": "string"} | ({"minLength": minimum_length} if minimum_length else {}), takes)


def one_of(*choices: str) -> Kind:
    """Return the kind of a few names."""
    names = ", ".join(choices)
    return Kind({"enum": list(choices)}, f"one of {names}" if len(choices) > 1 else names)


def different(item: Kind, takes: str, at_least: int = 0) -> Kind:
    """Return the kind of the lists of different values, each of the kind `item`."""
    least = {"minItems": at_least} if at_least else {}
    return Kind({"type": "array", **least, "uniqueItems": True, "items": item.schema()}, takes)


def either(*kinds: Kind, takes: str) -> Kind:
    """Return the kind of the values that are of exactly one of several kinds."""
    return Kind({"oneOf": [kind.rule for kind in kinds]}, takes)


def named(item: Kind, pattern: str) -> Kind:
    """Return the kind of the mappings of a user's own names, matches of `pattern`, to values of the kind `item`."""
    rule = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": pattern}}
    rule["additionalProperties"] = item.rule
    return Kind(rule, f"names of your own, each for {item.takes}")


def figures(takes: str, required: dict[str, Kind], optional: dict[str, Kind]) -> Kind:
    """Return the kind of the mappings with these names, each to a value of its kind, and no others."""
    properties = {name: kind.schema() for name, kind in (required | optional).items()}
    rule = {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}
    return Kind(rule, takes)
