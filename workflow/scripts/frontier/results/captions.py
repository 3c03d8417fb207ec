"""Say in words what the figures of a report show, and what their learning rates leave open."""

from decimal import Decimal

from frontier import axes
from frontier.results.arms import lines
from frontier.results.figures.canvas import Drawn

# Learning rates that are proposed around a single one stand this factor apart.
_STEP = 2
# Digits of a rate that is computed: 2.5e-4, not 2.4999999e-4.
_DIGITS = 6
_PLACES = "Each configuration stands at its best learning rate alone"


def captions(results: Drawn) -> dict[str, str]:
    """Return each figure's caption, by its name."""
    several = len(results.rates) > 1
    costs = f" {_PLACES}: its other rates cost the same." if several else ""
    alone = f" {_PLACES}." if several else ""
    return {
        "memory_time": f"Peak memory over training time; a line joins a configuration's seeds. Down and left is "
        f"cheaper.{costs}",
        "perplexity_time": "Validation perplexity over training time. Bars are each run's own 95% interval over other "
        f"examples; how two runs differ is known better than that, and stands over rank.{alone}",
        "perplexity_rank": " ".join(_over_rank(results)),
        "training_curves": "Training loss against optimiser steps and against time; long runs as means of 60 "
        f"stretches.{alone}",
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
