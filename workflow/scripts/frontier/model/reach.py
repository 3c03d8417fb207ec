"""What of a config short examples do not meet: a window, a chunk, the length from which on positions are scaled.

No list has all the names that families give to such numbers. A number is taken for one where the model has tensors of
the same shapes with another in its place: all that it can change is what is computed. Some words always mean one.
"""

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from frontier.model.shape import on_meta

# Tokens to which each is shortened, fewer than those of the examples of a proof.
SHORT = 16
# Words in the names of numbers that count parts of a model, or are ids. To lower them would prove another model.
_COUNTS = ("heads", "layer", "expert", "group", "vocab", "token_id", "token_index")
# Words in the names of numbers of tokens, whatever else a model makes of them (a bias for each token of a block, say).
_TOKENS = ("window", "chunk", "compress", "block_size")


def reaches_of(config) -> dict[tuple, int]:
    """Return each reach of a transformers config that is above SHORT, by the place where it stands.

    `config` has few layers: the model is built without content once for each of its numbers.
    """
    before, found = _tensors(config), {}
    for place, value in _numbers(config.get_text_config()):
        try:
            tensors = _tensors(cut(config, [place]))
        # A config or a class refuses a number that does not fit its others by whatever error it likes. It is a size.
        except Exception:
            continue
        if tensors == before or any(word in str(part) for part in place for word in _TOKENS):
            found[place] = value
    return found


def cut(config, places: Iterable[tuple]):
    """Return the config with SHORT in these places."""
    short = copy.deepcopy(config)
    for place in places:
        _put(short.get_text_config(), place, SHORT)
    return short


def _numbers(text) -> Iterator[tuple[tuple, int]]:
    """Yield where each whole number above SHORT of a text config is, in lists and dictionaries too, and the number."""
    left: list[tuple[tuple, object]] = [((name,), value) for name, value in vars(text).items()]
    while left:
        place, value = left.pop(0)
        if any(word in str(part) for part in place for word in _COUNTS):
            continue
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            left += [((*place, key), one) for key, one in items]
        elif isinstance(value, int) and not isinstance(value, bool) and value > SHORT:
            yield place, value


def _put(text, place: tuple, value: int) -> None:
    if len(place) == 1:
        setattr(text, place[0], value)
        return
    inner = vars(text)[place[0]]
    for key in place[1:-1]:
        inner = inner[key]
    inner[place[-1]] = value


def _tensors(config) -> dict[str, tuple]:
    """Return the shape of each tensor that a model of the config has, plain attributes' included."""
    model = on_meta(config)
    named: dict[str, torch.Tensor] = dict(model.state_dict(keep_vars=True)) | dict(model.named_buffers())
    for name, module in model.named_modules():
        named |= {f"{name}.{key}": one for key, one in vars(module).items() if _is_plain_tensor(one)}
    return {name: tuple(tensor.shape) for name, tensor in named.items()}


def _is_plain_tensor(value: object) -> bool:
    return torch.is_tensor(value) and not isinstance(value, nn.Parameter)
