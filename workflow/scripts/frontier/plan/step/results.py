"""Remember what an operation's result looks like, since a step does the same ones again and again.

On the meta device an operation only works out shapes, and for some that is Python of many lines: the loss alone calls
a few of them for each slice of its tokens.
"""

from functools import cache

import torch

_empty = torch.ops.aten.empty_strided.default


class Results:
    """Makes the results of operations on tensors without content, and calls none that it has seen before.

    Left out are operations whose results are dense tensors of their own, and those that write to tensors in their
    place, which without content is to do nothing.
    """

    def __init__(self):
        self._known: dict[tuple, list[tuple] | None] = {}

    def of(self, function, args, kwargs):
        """Return `function(*args, **kwargs)`, or what looks like it."""
        kind = _kind(function)
        key = _key((function, args, kwargs)) if kind else None
        if key is None:
            return function(*args, **kwargs)
        if key not in self._known:
            before = [_looks(one) for one in _tensors((args, kwargs))]
            result = function(*args, **kwargs)
            after = [_looks(one) for one in _tensors((args, kwargs))]
            unchanged = before == after
            self._known[key] = _described(result, kind, {looks[-1] for looks in before}) if unchanged else None
            return result
        known = self._known[key]
        if known is None:
            return function(*args, **kwargs)
        if kind != "makes":
            return kwargs["out"] if kind == "fills" else args[0] if kind == "changes" else None
        made = [_empty(size, stride, dtype=dtype, device="meta") for size, stride, dtype in known]
        return made[0] if len(made) == 1 else tuple(made)


@cache
def results_without_content() -> Results:
    """Return the one memory of a process."""
    return Results()


@cache
def _kind(function) -> str | None:
    """Return what an operation does, by its schema: `makes` tensors, `changes` its first, `fills` the one named out.

    `writes` is to tensors in lists, with nothing to return; None is anything else, such as a view.
    """
    schema = function._schema
    if not schema.is_mutable:
        aliases = any(one.alias_info for one in (*schema.arguments, *schema.returns))
        return None if aliases or not schema.returns else "makes"
    written = [one.name for one in schema.arguments if one.alias_info and one.alias_info.is_write]
    if not schema.returns:
        return "writes"
    if len(schema.returns) != 1 or len(written) != 1:
        return None
    if written[0] == "out":
        return "fills"
    return "changes" if written[0] == schema.arguments[0].name and function.__name__.split(".")[0][-1] == "_" else None


def _key(value):
    """Return what a result's looks depend on, hashable: tensors by theirs; None where a tensor has content."""
    if isinstance(value, torch.Tensor):
        return (value.shape, value.stride(), value.dtype) if value.is_meta else None
    if isinstance(value, list | tuple):
        parts = []
        for one in value:
            part = _key(one)
            if part is None:
                return None
            parts.append(part)
        return tuple(parts)
    if isinstance(value, dict):
        return _key([item for pair in value.items() for item in pair])
    return (type(value), value)


def _looks(tensor: torch.Tensor) -> tuple:
    return (tensor.shape, tensor.stride(), tensor.dtype, id(tensor.untyped_storage()))


def _tensors(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _described(result, kind: str, storages: set[int]) -> list[tuple] | None:
    """Return the size, strides and dtype of each new dense tensor of a result; None where it has others.

    `storages` are those of the inputs: some operations, such as `_unsafe_view`, return one and do not say so.
    """
    if kind != "makes":
        return []
    tensors = (result,) if isinstance(result, torch.Tensor) else result
    if not isinstance(tensors, tuple) or not all(isinstance(one, torch.Tensor) for one in tensors):
        return None
    if isinstance(result, tuple) and len(result) == 1:
        return None
    for one in tensors:
        storage = one.untyped_storage()
        if not one.is_meta or id(storage) in storages or storage.nbytes() != one.numel() * one.itemsize:
            return None
    return [(one.shape, one.stride(), one.dtype) for one in tensors]
