"""Ask a card what can be trained on it, by variables of the shell: CARD, ROWS and HOURS (`make ask`)."""

import json
import os
import sys
from collections.abc import Mapping

from frontier.errors import UserError
from frontier.study import cards

_TARGETS = ("results/options.csv", "results/figures/options.png")


def command(variables: Mapping[str, str], cores: int) -> list[str]:
    """Return the call of Snakemake that answers; one line of refusal, UserError, for what is no card or number."""
    said = {name: variables.get(name, "").strip() for name in ("CARD", "ROWS", "HOURS")}
    if said["CARD"]:
        try:
            cards.find(said["CARD"])
        except UserError as error:
            raise UserError(str(error).replace("config: plan.card:", "CARD:")) from error
    _check("ROWS", said["ROWS"], "a whole number from 1", lambda value: value.isdecimal() and int(value) > 0)
    _check("HOURS", said["HOURS"], "a number above 0", _is_above_nothing)
    asked = {key: said[name] for key, name in (("rows", "ROWS"), ("hours", "HOURS")) if said[name]}
    config = [f"plan={json.dumps({'card': said['CARD']})}"] if said["CARD"] else []
    config += [f"ask={json.dumps(asked)}"] if asked else []
    return ["snakemake", "--cores", str(cores), *_TARGETS, *(["--config", *config] if config else [])]


def _check(name: str, value: str, takes: str, is_good) -> None:
    if value and not is_good(value):
        raise UserError(f"{name}: got {value}, takes {takes}")


def _is_above_nothing(value: str) -> bool:
    try:
        return 0 < float(value) < float("inf")
    except ValueError:
        return False


def main() -> None:
    """Become the Snakemake that answers; exit with one line for what is no card or number."""
    try:
        words = command(os.environ, os.cpu_count() or 1)
    except UserError as error:
        sys.exit(f"error: {error}")
    os.execvp(words[0], words)


if __name__ == "__main__":
    main()
