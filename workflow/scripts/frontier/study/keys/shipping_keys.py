"""What is shipped of a study, and how it is quantised for llama.cpp."""

from frontier.study.keys.key import Key, Section
from frontier.study.keys.kinds import FLAG, different, one_of, text
from frontier.ways import GGUF_FILES

SHIPPING = Section(
    "shipping",
    "a section with measure, runs, quantisations and license",
    keys=(
        Key(
            "measure",
            FLAG,
            default=False,
            buys="true: a claim, a figure and a part of the report; false: results/shipping.csv on demand",
        ),
        Key(
            "runs",
            different(text("a run's name"), "a list of different runs' names"),
            default=[],
            buys="whose adapters are shipped; empty: the recommended run's",
        ),
        Key(
            "quantisations",
            different(one_of(*GGUF_FILES), f"a list of different ones of {', '.join(GGUF_FILES)}"),
            default=["f16", "Q8_0", "Q4_K_M"],
            buys="of llama.cpp, which takes envs/shipping.txt; empty: none",
        ),
        Key(
            "license",
            text("a licence's name").or_empty("for what is known of the base"),
            default=None,
            buys="the base's, for the model card, by the hub's names, say apache-2.0",
        ),
    ),
    buys="what using the adapter costs: merged, requantised, served",
)
