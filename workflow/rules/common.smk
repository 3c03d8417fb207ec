# Everything the rules share: the checked configuration, the runs, and what each job depends on.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from frontier import cluster, config as settings, preflight, retries
from frontier.digest import SCRIPTS, code_digest
from frontier.errors import UserError
from frontier.records import digest, read_json

retries.begin_call()
try:
    STUDY = settings.resolve(config)
    # Where jobs are sent away, this machine's devices are not theirs; there each job looks for its own.
    sent_away = workflow.resource_settings.nodes is not None
    preflight.check_machine(STUDY, devices_here=not sent_away)
except UserError as error:
    sys.exit(f"error: {error}")

CODE = {path.stem: code_digest(path.stem) for path in SCRIPTS.glob("*.py")}
IDENTITY = settings.identities(STUDY, CODE)
RUNS = settings.runs(STUDY)
PRECISIONS = settings.precisions(STUDY)
# Of a training, an evaluation, and whatever else has a device to itself.
DEVICE = cluster.resources(STUDY)
# Of a training, which may be spread over several; the limit is that of `--resources gpu=N` and profiles/default.
gpus = workflow.global_resources.get("gpu")
DEVICES = cluster.resources(
    STUDY, STUDY["processes"], None if sent_away or gpus is None else gpus.value
)


wildcard_constraints:
    run=settings.RUN_PATTERN,
    precision=settings.PRECISION_PATTERN,


def budget_in_force(record):
    """The budget that a job is tracked by: a raised one makes again what did not end well under it, and that alone."""
    if Path(record).exists():
        known = read_json(record)
        if known["outcome"].get("status") == "ok":
            return known.get("tracked")
    return STUDY["budget"]


def job(identity, tracked=None, **request):
    """A job's one parameter: Snakemake tracks a dict whole, two scalars that swap their values not at all."""
    return {"digest": identity, "tracked": tracked, "request": request}
