"""Where what a run is trained on comes from, for its record."""

from typing import Any, cast

from frontier import records
from frontier.material_types import Material


def material(inputs: dict[str, Any]) -> Material:
    """Return where a run's model and data come from, by content, and how much of the base is in 4 bits."""
    model, base = records.read_json(inputs["model"]), records.read_json(inputs["base"])
    found = {
        "model": {key: model[key] for key in ("source", "digest", "files", "architecture_only", "warnings")},
        "data": records.read_json(inputs["material"]),
        "four_bit_share": base.get("four_bit_share"),
    }
    return cast(Material, found)
