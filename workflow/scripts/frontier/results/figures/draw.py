"""Draw every figure of a study: results/figures/."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from frontier.results.figures import curves
from frontier.results.figures.canvas import (
    STYLE,
    Drawn,
)
from frontier.results.figures.tradeoff import memory_time, perplexity_rank, perplexity_time

FIGURES = {
    "memory_time": memory_time,
    "perplexity_time": perplexity_time,
    "perplexity_rank": perplexity_rank,
    "training_curves": curves.training_curves,
}
TITLES = {
    "memory_time": "What a run costs",
    "perplexity_time": "What time buys",
    "perplexity_rank": "What rank buys",
    "training_curves": "How the loss fell",
}


def read_results(inputs: dict, budget: dict) -> Drawn:
    """The summary and the runs' histories, in the order of `inputs["histories"]`, as figures take them."""
    histories = {Path(path).parent.name: pd.read_csv(path) for path in inputs["histories"]}
    return Drawn(pd.read_csv(inputs["summary"]), histories, budget)


def draw_figures(job: dict) -> None:
    """Draw every figure of the summary, as PNG and as SVG."""
    results = read_results(job["input"], job["request"]["budget"])
    with plt.rc_context(STYLE):
        for path in map(Path, job["output"].values()):
            figure = FIGURES[path.stem](results)
            figure.axes[0].set_title(TITLES[path.stem], loc="left", weight="bold", fontsize=12)
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)
            plt.close(figure)
