"""Where the project's own files lie; no other module derives that from its own place."""

import os
from pathlib import Path

# The package.
PACKAGE = Path(__file__).parent
# The folder of the package and of the scripts that Snakemake runs.
SCRIPTS = PACKAGE.parent
# The project's folder.
ROOT = SCRIPTS.parents[1]
# The JSON schema of config/config.yaml.
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
# The figures of known cards.
CARDS = ROOT / "config" / "cards.yaml"
# Well-known shapes of language models.
SHAPES = ROOT / "config" / "shapes.yaml"
# What others have published of LoRA and QLoRA, for the findings to hold against the runs.
CLAIMS = ROOT / "config" / "claims.yaml"
# The template of results/report.html.
TEMPLATE = ROOT / "workflow" / "report" / "report.html.jinja"
# The template of results/merged.html.
MERGED = TEMPLATE.with_name("merged.html.jinja")
# The variable that names another folder for what CACHE holds, where the code's own cannot be written to.
CACHE_VARIABLE = "FRONTIER_CACHE"
# Models and quantised bases. They lie beside the code, not beside the results, so that studies in other folders share
# what was fetched and converted once.
CACHE = Path(os.environ.get(CACHE_VARIABLE) or ROOT / "resources" / "cache").absolute()
