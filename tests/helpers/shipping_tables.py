"""Made-up tables of the ways in which a run's adapter is used, for the claim that judges them."""

import pandas as pd
from tables import curve

_ENDS = ("against_as_trained", "against_low", "against_high")
_ROWS = curve("nf4", {8: 4.0})


def shipped(run: str = "nf4-r8-s0", against: float | None = 0.04, told: str | None = "worse") -> pd.DataFrame:
    """A run as trained, and one way of using it that is `against` nats a token above that."""
    first = {"run": run, "way": "as-trained", "what": "over the base it was trained on", "recommended_for": "adapter"}
    other = {"run": run, "way": "over-16-bit", "what": "over the 16-bit base", "told": told, "basis": "this seed only"}
    ends = dict(zip(_ENDS, (against, against - 0.01, against + 0.01), strict=True)) if against is not None else {}
    table = pd.DataFrame([first, other | ends], columns=[*first, *(key for key in other if key not in first), *_ENDS])
    return table.astype(dict.fromkeys(_ENDS, float))


CASES = [
    ("shipping_cost", "supported", "a way is worse", _ROWS, {"shipping": shipped()}),
    ("shipping_cost", "contradicted", "none is", _ROWS, {"shipping": shipped(against=0.001, told="no worse")}),
    ("shipping_cost", "contradicted", "one is better", _ROWS, {"shipping": shipped(against=-0.05, told="better")}),
    ("shipping_cost", "inconclusive", "noise", _ROWS, {"shipping": shipped(against=0.005, told="not told apart")}),
    ("shipping_cost", "not_measured", "no table", _ROWS, {}),
    ("shipping_cost", "not_measured", "no way was measured", _ROWS, {"shipping": shipped(against=None, told=None)}),
]
