"""How many positions a model has, and what becomes of an example that needs more."""

import torch

from frontier.errors import UserError

# Words in the names of tables that have a row for each position.
_WORDS = ("pos", "wpe")
# Rows that a table may have beyond the positions: OPT's has two.
_OFFSET = 8


def positions_of(model: torch.nn.Module) -> dict:
    """Return how many `positions` a model's config.json names, and whether they are a `table`.

    A table has a row for each, learned or computed once, and no more: an index beyond is out of range. Rotary positions
    and their like go on, unlearned. `positions` is None where the configuration names none.
    """
    count = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(count, int):
        return {"positions": None, "is_table": False}
    named = [*model.named_parameters(), *model.named_buffers()]
    is_table = any(
        tensor.dim() == 2
        and count <= tensor.shape[0] <= count + _OFFSET
        and any(word in part for part in name.split(".") for word in _WORDS)
        for name, tensor in named
    )
    return {"positions": count, "is_table": is_table}


def check_positions(model: dict, longest: int, key: str) -> str | None:
    """Return a warning where `longest`, in tokens, is more than the positions of a model's record; None where not.

    Raises UserError where the model has none beyond. `key` is the configuration's key that would make rows shorter.
    """
    count = model["opened"]["positions"]
    if count is None or longest <= count:
        return None
    if model["opened"]["is_table"]:
        raise UserError(
            f"{key}: takes at most {count}, for which the model has a table of positions; got {longest} tokens"
        )
    return f"{longest} tokens are more than the {count} positions that config.json names (max_position_embeddings)"
