"""Draw every figure of a study: results/figures/."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from frontier.results.figures.canvas import Drawn, save_each
from frontier.results.figures.curves import training_curves
from frontier.results.figures.tradeoff import memory_time, perplexity_rank, perplexity_time

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


def read_results(inputs: dict, budget: dict) -> Drawn:
    """Return the summary and the runs' histories, in the order of `inputs["histories"]`, as figures take them."""
    histories = {Path(path).parent.name: pd.read_csv(path) for path in inputs["histories"]}
    return Drawn(pd.read_csv(inputs["summary"]), histories, budget)


def draw_figures(job: dict) -> None:
    """Draw every figure of the summary, as PNG and as SVG."""
    results = read_results(job["input"], job["request"]["budget"])

    def titled(name: str) -> plt.Figure:
        figure = FIGURES[name](results)
        figure.axes[0].set_title(TITLES[name], loc="left", weight="bold", fontsize=12)
        return figure

    save_each(job["output"].values(), titled)
