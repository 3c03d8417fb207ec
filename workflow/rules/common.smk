# Everything the rules share: the checked configuration, the runs, and what each job depends on.
from pathlib import Path

from frontier import paths, ways
from frontier.errors import no_study
from frontier.jobs import code_digest, retries, stopping
from frontier.records import digest, read_json
from frontier.study import (
    embedded,
    identities,
    plan_requests,
    preflight,
    refusals,
    requests,
    resources,
    runs,
    schema,
    shipping,
)

retries.begin_call()
shell.prefix(stopping.SHELL_PREFIX)
try:
    preflight.check_python()
    STUDY = schema.resolve(config)
    # Jobs that are sent to other nodes have those nodes' devices, of which this machine knows nothing.
    sent_away = workflow.resource_settings.nodes is not None
    preflight.check_machine(STUDY, devices_here=not sent_away)
    SHIPPED = shipping.check_named(STUDY)
except UserError as error:
    sys.exit(f"error: {error}{refusals.of_merged(CONFIG_FILE, workflow.config_settings)}")

CODE = code_digest.script_digests()
IDENTITY = identities.study_identities(STUDY, CODE)
RUNS = runs.run_names(STUDY)
PRECISIONS = runs.precisions(STUDY)
# The resources of an evaluation, and of whatever else has one device to itself.
DEVICE = resources.for_rule(STUDY)
# The resources of a training, which may share several devices; `gpus` is the limit of `--resources gpu=N`.
gpus = workflow.global_resources.get("gpu")
DEVICES = resources.for_rule(
    STUDY, STUDY["processes"], None if sent_away or gpus is None else gpus.value
)


wildcard_constraints:
    run=runs.RUN_PATTERN,
    precision=runs.PRECISION_PATTERN,


def budget_in_force(record, skips=False):
    """Return the budget that a job is tracked by: a raised one makes again what did not end well, and that alone."""
    known = read_json(record) if Path(record).exists() else None
    return requests.tracked_budget(STUDY, known, skips)


def job(identity, tracked=None, **request):
    """Return a job's one tracked parameter, a dict: of two scalars that swap their values Snakemake sees nothing."""
    return {"digest": identity, "tracked": tracked, "request": request}


def materials():
    """Return what results are made of: the user's files, and the records of what was made of these.

    Where a job that makes such a record fails, Snakemake deletes the record that was there, and what is older than the
    user's files would still stand: nobody asks for what is deleted but who asks for the results. A study that was
    finished and then moved without its resources asks for none.
    """
    made = [
        rules.fetch_model.output.model,
        rules.fetch_data.output.examples,
        rules.tokenize_data.output.tokens,
    ]
    if Path("results/summary.csv").exists() and not any(
        Path(one).exists() for one in made
    ):
        return []
    return [*made, *requests.model_files(STUDY), *requests.data_files(STUDY)]


def base_of(wildcards):
    """Return the base model of the run that a file is asked of; end with one line for what is no run's name."""
    try:
        precision = runs.parse_run(wildcards.run, STUDY).precision
    except UserError as error:
        sys.exit(f"error: {error}")
    return f"resources/bases/{precision}.json"


def shipping_job(script, run, request, tracked=None):
    """Return the tracked parameter of a job that ships a run: over its training, the request and the script's code."""
    return job(digest([IDENTITY["training"](run), request, CODE[script]]), tracked, **request)


def shipped_runs():
    """Return the runs to ship: those that the configuration names, or the recommended one, once that is known."""
    return SHIPPED or read_json(checkpoints.choose_shipped.get().output.runs)


def inputs_of_way(wildcards):
    """Return what a way's job needs beside the run: for llama.cpp the comparison of its logits."""
    try:
        request = shipping.way_request(STUDY, wildcards.run, wildcards.way)
    except UserError as error:
        sys.exit(f"error: {error}")
    is_gguf = shipping.is_gguf(request["way"])
    return {"export": f"results/shipping/{wildcards.run}/export.json"} if is_gguf else {}


def merges_of(wildcards):
    """Return the records of the ways by which a run's merged model is chosen."""
    ways_of_run = shipping.ways_of(STUDY, wildcards.run)
    merges = [merge for merge in ways.MERGES if f"merged-{merge}" in ways_of_run]
    return {merge: f"results/shipping/{wildcards.run}/merged-{merge}.json" for merge in merges}


def base_of_gguf(wildcards):
    """Return the base model of the run of a GGUF file; end with one line for a quantisation that there is not."""
    try:
        shipping.gguf_request(STUDY, wildcards.run, wildcards.quantisation)
    except UserError as error:
        sys.exit(f"error: {error}")
    return base_of(wildcards)


def summaries_to_merge(wildcards):
    """Return the summaries of the studies to merge; end with one line for a folder that is none of a study.

    That of this study itself is made where it is not there.
    """
    for folder in map(Path, STUDY["merge"]):
        if folder.resolve() != Path.cwd() and not (folder / "results/summary.csv").is_file():
            sys.exit(f"error: {no_study(str(folder))}")
    return [str(Path(folder) / "results/summary.csv") for folder in STUDY["merge"]]


def may_take_over(rule):
    """Return a parameter that tells a run's job whether it may take over a result that the run has by another name.

    It may not where the call asks for it to be made again.
    """

    def answer(wildcards, input):
        asked, run = workflow.dag_settings, wildcards.get("run")
        # A job that another call of Snakemake hands on to a node is forced there, whatever its user asked for.
        everything = asked.forceall or (asked.forcetargets and not asked.target_jobs)
        again = [rule, *(made for made in asked.forcerun if f"results/runs/{run}/" in made)]
        return run is not None and not everything and not set(again) & set(asked.forcerun)

    return answer


def untracked(value):
    """Return a parameter that is `value()`, and that makes no job again when it changes.

    Snakemake tracks the parameters of a rule, except for functions that take an argument named `input`, as this one
    does. It is for what a job must be told and what leaves the job's result as it is, such as limits.
    """
    return lambda wildcards, input: value()
