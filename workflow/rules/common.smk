# Everything the rules share: the checked configuration, the runs, and what each job depends on.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from frontier.errors import UserError
from frontier.jobs import code_digest, retries
from frontier.records import digest, read_json
from frontier.study import embedded, identities, preflight, requests, resources, runs, schema

retries.begin_call()
try:
    STUDY = schema.resolve(config)
    # Where jobs are sent away, this machine's devices are not theirs; there each job looks for its own.
    sent_away = workflow.resource_settings.nodes is not None
    preflight.check_machine(STUDY, devices_here=not sent_away)
except UserError as error:
    sys.exit(f"error: {error}")

CODE = code_digest.script_digests()
IDENTITY = identities.study_identities(STUDY, CODE)
RUNS = runs.run_names(STUDY)
PRECISIONS = runs.precisions(STUDY)
# What a job asks of a scheduler that has one device to itself: an evaluation, a base, a calibration.
DEVICE = resources.for_rule(STUDY)
# What a training asks for, which may be spread over several devices. Snakemake's own limit of GPUs is that of
# `--resources gpu=N` and of profiles/default.
gpus = workflow.global_resources.get("gpu")
DEVICES = resources.for_rule(
    STUDY, STUDY["processes"], None if sent_away or gpus is None else gpus.value
)


wildcard_constraints:
    run=runs.RUN_PATTERN,
    precision=runs.PRECISION_PATTERN,


def budget_in_force(record, skips=False):
    """The budget that a job is tracked by: a raised one makes again what did not end well under it, and that alone."""
    known = read_json(record) if Path(record).exists() else None
    return requests.tracked_budget(STUDY, known, skips)


def job(identity, tracked=None, **request):
    """A job's one parameter: Snakemake tracks a dict whole, two scalars that swap their values not at all."""
    return {"digest": identity, "tracked": tracked, "request": request}
