"""Draw every figure of a study: results/figures/."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from frontier import records
from frontier.results import contrasts
from frontier.results.figures.canvas import BROAD, WIDE, Drawn, save_each
from frontier.results.figures.costs import memory_time
from frontier.results.figures.curves import training_curves
from frontier.results.figures.ranks import perplexity_rank
from frontier.results.figures.tradeoff import perplexity_memory, perplexity_time

FIGURES = {
    "perplexity_memory": perplexity_memory,
    "perplexity_time": perplexity_time,
    "memory_time": memory_time,
    "perplexity_rank": perplexity_rank,
    "training_curves": training_curves,
}
TITLES = {
    "perplexity_memory": "What memory buys",
    "perplexity_time": "What time buys",
    "memory_time": "What a run costs",
    "perplexity_rank": "What rank buys",
    "training_curves": "How the loss fell",
}


# Figures that take a page's whole width where there are several learning rates: that of two panels then, and the first,
# which leaves the two others of the trade-off side by side.
_BROAD = ("perplexity_memory", "perplexity_rank")
# Inches that a title takes.
_TITLE = 0.28


def read_results(inputs: dict, budget: dict) -> Drawn:
    """Return the summary, the runs' histories, their per-example losses and the recommended run as figures take them.

    The runs are told by the folders of their files, RUN/history.csv and RUN/nll.parquet.
    """
    summary = pd.read_csv(inputs["summary"])
    histories = {Path(path).parent.name: pd.read_csv(path) for path in inputs["histories"]}
    runs = {Path(path).parent.name: pd.read_parquet(path) for path in inputs["losses"]}
    claims = records.read_json(inputs["findings"])
    recommended = next((one for one in claims if one["id"] == "recommendation"), None)
    run = recommended["evidence"]["values"].get("run") if recommended else None
    return Drawn(summary, histories, budget, contrasts.gather(summary, runs, {}), run)


def is_broad(name: str, results: Drawn) -> bool:
    """Return whether a figure takes the whole width of a page, as two panels for several learning rates do."""
    return name == "training_curves" or (name in _BROAD and len(results.rates) > 1)


def draw_figures(job: dict) -> None:
    """Draw every figure of the summary, as PNG and as SVG."""
    results = read_results(job["input"], job["request"]["budget"])

    def titled(name: str) -> plt.Figure:
        figure = FIGURES[name](results, BROAD if is_broad(name, results) else WIDE)
        # The labels were placed without a title, so that the figure grows by its height.
        figure.set_figheight(figure.get_figheight() + _TITLE)
        figure.axes[0].set_title(TITLES[name], loc="left", weight="bold", fontsize=12)
        return figure

    save_each(job["output"].values(), titled)
