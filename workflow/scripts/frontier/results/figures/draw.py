"""Draw every figure of a study: results/figures/."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from frontier.results import contrasts
from frontier.results.figures.canvas import BROAD, WIDE, Drawn, save_each
from frontier.results.figures.curves import training_curves
from frontier.results.figures.ranks import perplexity_rank
from frontier.results.figures.tradeoff import memory_time, perplexity_time

FIGURES = {
    "memory_time": memory_time,
    "perplexity_time": perplexity_time,
    "perplexity_rank": perplexity_rank,
    "training_curves": training_curves,
}
TITLES = {
    "memory_time": "What a run costs",
    "perplexity_time": "What time buys",
    "perplexity_rank": "What rank buys",
    "training_curves": "How the loss fell",
}


# Figures that have two panels where there are several learning rates, and beside them.
_BROAD = ("perplexity_rank", "training_curves")
# Inches that a title takes.
_TITLE = 0.28


def read_results(inputs: dict, budget: dict) -> Drawn:
    """Return the summary, the runs' histories and their per-example losses as figures take them.

    The runs are told by the folders of their files, RUN/history.csv and RUN/nll.parquet.
    """
    summary = pd.read_csv(inputs["summary"])
    histories = {Path(path).parent.name: pd.read_csv(path) for path in inputs["histories"]}
    runs = {Path(path).parent.name: pd.read_parquet(path) for path in inputs["losses"]}
    return Drawn(summary, histories, budget, contrasts.gather(summary, runs, {}))


def is_broad(name: str, results: Drawn) -> bool:
    """Return whether a figure takes the whole width of a page, as two panels for several learning rates do."""
    return name in _BROAD and len(results.rates) > 1


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
