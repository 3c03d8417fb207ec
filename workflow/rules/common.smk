# Everything the rules share: the checked configuration, the runs, and what each job depends on.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from frontier import config as settings, preflight
from frontier.digest import SCRIPTS, code_digest
from frontier.errors import UserError

try:
    STUDY = settings.resolve(config)
    preflight.check_machine(STUDY)
except UserError as error:
    sys.exit(f"error: {error}")

CODE = {path.stem: code_digest(path.stem) for path in SCRIPTS.glob("*.py")}
IDENTITY = settings.identities(STUDY, CODE)
RUNS = settings.runs(STUDY)
PRECISIONS = settings.precisions(STUDY)


wildcard_constraints:
    run=settings.RUN_PATTERN,
    precision=settings.PRECISION_PATTERN,


def job(identity, **request):
    """A job's one parameter: Snakemake tracks a dict whole, two scalars that swap their values not at all."""
    return {"digest": identity, "request": request}
