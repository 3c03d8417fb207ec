"""How a model's losses are computed: examples packed into one row or each alone, by which attention and which head.

What is fastest does not hold for every family: a layer that carries a state along the row lets examples leak into their
neighbours, an attention of the model's own may know nothing of packed rows, logits may be scaled or capped after the
head's matrix. `run/proof.py` finds out which ways give a model's own losses; these are the ways there are.
"""

from typing import Literal, NamedTuple

from frontier.errors import UserError
from frontier.proof_types import ProofRecord


class Execution(NamedTuple):
    """One way to compute losses.

    `rows`: "packed", examples end to end in one row, or "single", each example a row of its own.
    `attention`: "packed", this project's (`model/packing.py`), or "own", the model's.
    `head`: "matrix", a product with the head's weight, or "own", the model's code after the last layer.
    `up_to`: the longest example in tokens for which it holds; None for any length.
    """

    rows: Literal["packed", "single"]
    attention: Literal["packed", "own"]
    head: Literal["matrix", "own"]
    up_to: int | None = None

    def holds_for(self, longest: int) -> bool:
        """Return whether it gives the right losses of examples of up to `longest` tokens."""
        return self.up_to is None or longest <= self.up_to


PACKED = Execution("packed", "packed", "matrix")
# The model's own forward pass.
OWN = Execution("single", "own", "own")
ALONE = (Execution("single", "own", "matrix"), OWN)
ROWS = (PACKED, Execution("packed", "packed", "own"))
# The ways in the order in which they are tried, the fastest first.
CANDIDATES = (*ROWS, *ALONE)


class Method(NamedTuple):
    """How a run computes: its way, and what a proof says of the model's layers.

    `read_directly`: endings of the names of linear layers whose weight the model reads without calling the layer; such
    weights are cast once, stored in 16 bits at least, and get no adapter.
    """

    way: Execution | None = None
    read_directly: tuple[str, ...] = ()


# The method where nothing is proved, as in a plan: packed rows, with the head that the model's config speaks of.
UNPROVED = Method()


def method_for(proof: ProofRecord, longest: int) -> Method:
    """Return how examples of up to `longest` tokens are computed by a proof's record (resources/proof.json).

    Raises UserError where none of its ways holds for them.
    """
    ways = [Execution(**one) for one in proof["ways"]]
    for way in ways:
        if way.holds_for(longest):
            return Method(way, tuple(proof["read_directly"]))
    most = max(way.up_to or 0 for way in ways)
    raise UserError(
        f"data.max_length: takes at most {most} for this model, got examples of {longest} tokens; beyond that its own "
        "losses are not the same twice, or not those here (resources/proof.json has why)"
    )
