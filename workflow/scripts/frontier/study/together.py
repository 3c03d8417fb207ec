"""Checks of a configuration that no single key shows to be wrong."""

import itertools
import re
from collections.abc import Iterable

from frontier.errors import UserError
from frontier.study import cards, runs
from frontier.study.refusals import shown

# A place in a template that other tools fill. Behind a letter or a brace such a name is LaTeX's, as in \boxed{x}.
_PLACE = re.compile(r"(?<![\w}])\{\w*\}|\{answer\}")


def check_together(config: dict) -> None:
    """Raise UserError, in one line, where the values of a completed configuration do not go together."""
    # Looked up for its refusal of a card that is not known.
    cards.find(config["plan"]["card"])
    _check_template(config["data"]["template"] or "")
    _check_columns(config["data"])
    _check_split(config["data"])
    if isinstance(config["lora"]["targets"], dict):
        taken = next((name for name in config["lora"]["targets"] if runs.is_name_of_other(name)), None)
        if taken:
            raise UserError(f"config: lora.targets: got a set named {taken}, which in a run's name is another setting")
    names = runs.run_names(config)
    trained = {name: runs.shortest_name(name, config) for name in names}
    twice = next((name for name in config["extra_runs"] if [*trained.values()].count(trained[name]) > 1), None)
    twice = twice or next((name for name, following in itertools.pairwise(names) if name == following), None)
    if twice:
        raise UserError(f"config: extra_runs: got {twice}, takes runs that are not in the grid already")
    for own in _differing(runs.settings(config, name) for name in names):
        _check_training(own)


def _differing(configs: Iterable[dict]) -> list[dict]:
    """Return the configurations, one of those alike in what is checked together."""
    keys = ("steps", "epochs", "batch_size", "micro_batch_size", "optimizer")
    return list({(one["lora"]["dtype"], *map(str, map(one.get, keys))): one for one in configs}.values())


def _check_training(config: dict) -> None:
    """Raise UserError where the settings of one run, its configuration with one value a key, do not go together."""
    if (config["steps"] is None) == (config["epochs"] is None):
        raise UserError(
            f"config: steps: got {shown(config['steps'])} with epochs {shown(config['epochs'])}, takes one of the two"
        )
    micro, batch = config["micro_batch_size"], config["batch_size"]
    if micro and batch % micro:
        raise UserError(f"config: micro_batch_size: got {micro}, takes a whole number that divides batch_size, {batch}")
    if config["processes"] > 1:
        _check_processes(config)


def _check_columns(data: dict) -> None:
    """Raise UserError where the answer is the question, which a model would learn to repeat."""
    if data["question_column"] == data["answer_column"]:
        raise UserError(
            f"config: data.answer_column: got {data['answer_column']}, which is data.question_column too, takes another"
        )


def _check_split(data: dict) -> None:
    """Raise UserError where columns to split by go neither together nor with a split that the source has already."""
    asked = [key for key in ("group_column", "stratify_column") if data.get(key)]
    if len(asked) == 2:
        raise UserError("config: data.stratify_column: got one beside data.group_column, takes one of the two")
    own = next((key for key in ("validation_file", "validation_split") if data.get(key)), None)
    if asked and own:
        raise UserError(f"config: data.{asked[0]}: got one with data.{own}, takes it where training rows are held out")


def _check_template(template: str) -> None:
    """Raise UserError where a template has what would stand in every prompt as it is, letter by letter."""
    if "{%" in template or "{{" in template:
        sign = "{%" if "{%" in template else "{{"
        raise UserError(
            f"config: data.template: got one with {sign}, as chat templates in Jinja have it; takes the text itself "
            "that stands around {question}"
        )
    place = _PLACE.search(template.replace("{question}", " "))
    if place:
        raise UserError(
            f"config: data.template: got one with {place[0]}, takes the text before the answer alone, in which "
            "{question} is the one place that is filled"
        )


def _check_processes(config: dict) -> None:
    """Raise UserError where a training cannot be spread over several processes as it is configured."""
    processes, micro, batch = config["processes"], config["micro_batch_size"], config["batch_size"]
    if batch % processes:
        raise UserError(f"config: processes: got {processes}, takes a whole number that divides batch_size, {batch}")
    if micro and batch % (micro * processes):
        raise UserError(
            f"config: micro_batch_size: got {micro} with processes {processes}, "
            f"takes a whole number that divides each one's examples, {batch // processes}"
        )
    if "int8" in runs.precisions(config):
        raise UserError(f"config: precisions: got int8 with processes {processes}, takes it with processes 1 alone")
    if "8bit" in config["optimizer"]:
        raise UserError(
            f"config: optimizer: got {config['optimizer']} with processes {processes}, "
            "takes adamw_torch or adamw_torch_fused there"
        )
    if config["lora"]["dtype"] != "float32":
        raise UserError(f"config: lora.dtype: got bfloat16 with processes {processes}, takes it with processes 1 alone")
    if ":" in config["device"]:
        raise UserError(
            f"config: device: got {config['device']} with processes {processes}, takes auto, cpu or cuda there"
        )
