"""The token ids of a text as it goes on behind another, without the space that some tokenizers put before each text."""

from frontier.model.data.controls import Reader

# Texts behind which a text can be encoded without that space.
_BEFORE = ("\n", "\t", "=")
# Texts of one character by which a tokenizer's ways are found out; one that it has no token for tells nothing.
PROBES = ("1", "a")


class Continuation:
    """Encodes texts as they go on behind others."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self._before = _texts_that_hide_a_space(reader)

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of texts of a user's, in which no control token is one."""
        return self._behind(texts, self.reader.ids)

    def rendered(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of texts of which each control token is the template's, or has a stand-in."""
        return self._behind(texts, lambda some: [self.reader.rendered(text) for text in some])

    def _behind(self, texts: list[str], encode) -> list[list[int]]:
        found = encode(texts)
        waiting = list(range(len(texts)))
        for before in self._before:
            head, *ids = encode([before, *(before + texts[index] for index in waiting)])
            behind = {index: one[len(head) :] for index, one in zip(waiting, ids, strict=True) if begins(one, head)}
            for index, one in behind.items():
                found[index] = one
            waiting = [index for index in waiting if index not in behind]
        return found


def begins(ids: list[int], head: list[int]) -> bool:
    """Return whether ids begin with others."""
    return ids[: len(head)] == head


def _texts_that_hide_a_space(reader: Reader) -> tuple[str, ...]:
    """Return the texts behind which to encode a text; none where a text has the same tokens anywhere."""
    for probe in PROBES:
        (once,) = reader.ids([probe])
        # Some decoders take away the space that was put before a whole text, others leave it.
        alone = reader.decoded(once)
        if alone.lstrip() != probe:
            continue
        if reader.decoded(once + once) == alone + probe:
            return ()
        useful = []
        for before in _BEFORE:
            head, ids = reader.ids([before, before + probe])
            if begins(ids, head) and reader.decoded(once + ids[len(head) :]) == alone + probe:
                useful.append(before)
        return tuple(useful)
    return ()
