"""Texts as token ids, with control tokens where the template has them and nowhere else."""

import copy
import re
from functools import cached_property

from transformers import AddedToken

from frontier.errors import UserError

# Private characters of Unicode around the number of a control token, for which they stand.
_STAND_IN = "\ue0f1{}\ue0f2"
# Likewise for the name of a control token in a user's text, before a template is put around that.
_NAMED = "\ue0f3{}\ue0f4"
_NAMES = re.compile("\ue0f3([0-9]+)\ue0f4")


class Reader:
    """Reads texts with a tokenizer. `controls` has the id of each of its control tokens by its name.

    Those are the tokens that the tokenizer marks as special, and those to which it gives a part, such as the end of
    sequence. The names of control tokens in a user's text are text.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.controls = _control_tokens(tokenizer)
        self._names = re.compile(_pattern(list(self.controls)) or r"(?!)")

    def count(self, text: str) -> int:
        """Return how many control tokens a text names."""
        return len(self._names.findall(text))

    def first(self, text: str) -> tuple[str, int] | None:
        """Return the name and the id of the first control token that a text names; None where it names none."""
        found = self._names.search(text)
        return (found[0], self.controls[found[0]]) if found else None

    def place(self, text: str, start: int) -> tuple[int, int] | None:
        """Return where the first control token that a text names from a place on begins and ends."""
        found = self._names.search(text, start)
        return found.span() if found else None

    def with_stand_ins(self, template: str) -> str:
        """Return a template with a stand-in for each control token that it names."""
        return self._names.sub(lambda found: _STAND_IN.format(list(self.controls).index(found[0])), template)

    def ids(self, written: list[str], safe: list[str] | None = None, named: int = 0) -> list[list[int]]:
        """Return the token ids of texts of which `named` control tokens are the template's, all others a user's text.

        `safe` are the same texts with stand-ins for the template's control tokens; None where it has no part in them.
        """
        if not written:
            return []
        found = encoded(self.tokenizer, written)
        for index, text in enumerate(written):
            if self.count(text) != named:
                found[index] = self._as_text((safe or written)[index])
        return found

    def named(self, text: str) -> str:
        """Return a user's text with a mark for each name of a control token, by which `rendered` tells it as text."""
        return self._names.sub(lambda found: _NAMED.format(list(self.controls).index(found[0])), text)

    def written(self, text: str) -> str:
        """Return a text with the names that `named` put marks for."""
        return _NAMES.sub(lambda found: list(self.controls)[int(found[1])], text)

    def rendered(self, text: str) -> list[int]:
        """Return the token ids of a template's text, in which each control token is one but those with a mark."""
        if _NAMES.search(text):
            return self._as_text(self.written(self.with_stand_ins(text)))
        return encoded(self.tokenizer, text)

    def decoded(self, ids: list[int]) -> str:
        """Return the text that ids say, control tokens by their names."""
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _as_text(self, safe: str) -> list[int]:
        """Return the ids of a text in which no control token is one but those that have a stand-in."""
        names, real = list(self.controls), set(self.controls.values()) - {self.tokenizer.unk_token_id}
        stand_ins = {self._plain.convert_tokens_to_ids(_STAND_IN.format(i)): name for i, name in enumerate(names)}
        ids = []
        for token in encoded(self._plain, safe, split=True):
            if token in stand_ins:
                ids.append(self.controls[stand_ins[token]])
            elif token in real:
                # A model of whole pieces may have the name itself as a piece.
                ids += self._spelled(self.tokenizer.convert_ids_to_tokens(token), real)
            else:
                ids.append(token)
        return ids

    def _spelled(self, name: str, real: set[int]) -> list[int]:
        ids = [token for part in (name[:1], name[1:]) for token in encoded(self._plain, part, split=True)]
        if real.intersection(ids):
            raise UserError(f"data: names {name}, which the model's tokenizer cannot write as text; take it out")
        return ids

    @cached_property
    def _plain(self):
        """Return a copy of the tokenizer that knows a stand-in for each control token, and no control token."""
        if not self.tokenizer.is_fast:
            raise UserError(
                f"data: names one of {', '.join(self.controls)}, which the model's tokenizer takes for a control token "
                "in any text; take it out"
            )
        other = copy.deepcopy(self.tokenizer)
        ways = {str(added): added for added in self.tokenizer.added_tokens_decoder.values()}
        stand_ins = []
        for index, name in enumerate(self.controls):
            way = ways.get(name)
            sides = {side: bool(way and getattr(way, side)) for side in ("lstrip", "rstrip", "single_word")}
            stand_ins.append(AddedToken(_STAND_IN.format(index), special=False, normalized=False, **sides))
        other.add_tokens(stand_ins)
        return other


def encoded(tokenizer, texts: str | list[str], split: bool = False) -> list:
    """Return the ids of a text, or of each of several; where `split`, no control token in them is taken for one."""
    # Some tokenizers split by default, and would spell out a template's control tokens.
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=split)["input_ids"]


def _control_tokens(tokenizer) -> dict[str, int]:
    """Return the id of each control token by its name, the longest names first."""
    named = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    named |= {str(added): token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return dict(sorted(named.items(), key=lambda item: (-len(item[0]), item[0])))


def _pattern(names: list[str]) -> str:
    """Return a regular expression of names, the longest first, which tells at the first character that none is there.

    Some tokenizers have a thousand control tokens: one alternative for each would be tried at every `<` of a text.
    """
    following: dict[str, list[str]] = {}
    for name in filter(None, names):
        following.setdefault(name[0], []).append(name[1:])
    parts = [re.escape(first) + _pattern(rest) for first, rest in following.items()]
    if not parts:
        return ""
    return f"(?:{'|'.join(parts)})" + ("?" if "" in names else "")
