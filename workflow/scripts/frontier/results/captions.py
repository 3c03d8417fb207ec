"""Say in words what the figures of a report show, and what their learning rates leave open."""

from decimal import Decimal

from frontier import axes
from frontier.results.arms import lines
from frontier.results.figures.canvas import Drawn

# Learning rates that are proposed around a single one stand this factor apart.
_STEP = 2
# Digits of a rate that is computed: 2.5e-4, not 2.4999999e-4.
_DIGITS = 6
_MEMORY = "memory as the budget counts it: all that a run's process held at its peak, where that was measured"
_STANDS = "Down and left is better. A faint one is beaten beyond noise, all of memory, time and perplexity considered."
_GAP = (
    "An upright bar is the 95% interval of the difference from the best of all: one that reaches the dotted line is "
    "not told apart from it."
)
_PLACES = "Each configuration stands at its best learning rate alone"


def captions(results: Drawn) -> dict[str, str]:
    """Return each figure's caption, by its name."""
    several = len(results.rates) > 1
    costs = f" {_PLACES}: its other rates cost the same." if several else ""
    alone = f" {_PLACES}." if several else ""
    rates = " The best learning rate is drawn strongly, the others faintly." if several else ""
    dotted = " The dotted curve is that of the best of all." if len(results.bests) > 1 else ""
    bars = f" {_GAP}" if any(one.bar for one in results.bests) else ""
    shaded = " What is shaded is inside the budget." if any(results.budget.values()) else ""
    return {
        "perplexity_memory": f"Validation perplexity, the mean over seeds, over {_MEMORY}. "
        f"{_STANDS}{bars}{shaded}{alone}",
        "perplexity_time": f"The same over training time, the mean over seeds.{shaded}{alone}",
        "memory_time": "Memory as the budget counts it, over training time; a line joins a configuration's seeds. Down "
        f"and left is cheaper.{shaded}{costs}",
        "perplexity_rank": " ".join(_over_rank(results)),
        "training_curves": "Training loss against optimiser steps, a panel a configuration with all its seeds; long "
        f"runs as means of 60 stretches.{dotted}{rates}",
    }


def _over_rank(results: Drawn) -> list[str]:
    """Return the sentences of the caption of perplexity over rank: of what that figure has, and nothing else."""
    said = ["Validation perplexity over LoRA rank, the mean over seeds."]
    if any(one.bar for one in results.bests):
        said.append(
            "A bar is the 95% interval of the difference from the best of all, which has a ring, on the same examples "
            "and seeds: one that reaches the dotted line is not told apart from it."
        )
    if any(len(one.seeds) > 1 for one in results.bests):
        said.append("Small dots are the seeds.")
    if len(results.rates) < 2:
        return said
    said.append(f"{_PLACES}, written below its rank; its bar allows for that rate's having been picked.")
    if any(one.known.edge for one in results.bests):
        said.append("A hollow one is best at an edge of the rates it was tried at: a better rate may lie beyond.")
    said.append("The second chart has every rate: a curve that leaves it is far worse there.")
    if any(one.diverged for one in results.bests):
        said.append("A cross at its top is a rate at which training diverged.")
    return said


def of_rates(results: Drawn) -> dict:
    """Return what a reader should know of the study's learning rates.

    `lines` has, for the configurations whose best rate is at an edge of those tried, what to add; `add` the rates that
    these name. `only` is the rate of a study that has a single one, and `setting` what to write into its configuration
    instead; else both are None.
    """
    at_edge = [one.known for one in results.bests if one.known.edge]
    add = [axes.text(rate) for rate in sorted({known.rate_to_add for known in at_edge})]
    found = {"lines": lines(at_edge), "add": add}
    if len(results.rates) != 1:
        return found | {"only": None, "setting": None}
    (only,) = results.rates
    around = ", ".join(_yaml(float(f"{rate:.{_DIGITS}g}")) for rate in (only / _STEP, only, only * _STEP))
    return found | {"only": axes.text(only), "setting": f"learning_rate: [{around}]"}


def _yaml(rate: float) -> str:
    """Return a rate as YAML reads it as a number: 5.0e-4, where 5e-4 is a text."""
    mantissa, exponent = f"{Decimal(repr(rate)).normalize():e}".split("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"
