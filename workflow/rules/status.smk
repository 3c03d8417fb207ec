# How far the runs are, while they go on or later.
rule status:
    """Print how far each run is: finished, running (step, loss, time left), waiting, failed and why. Makes nothing."""
    params:
        python=sys.executable,
        scripts=str(Path(workflow.basedir) / "workflow" / "scripts"),
    log:
        "results/logs/status.log",
    conda:
        "../../envs/workflow.yaml"
    shell:
        "env PYTHONPATH={params.scripts:q} {params.python:q} -m frontier.results.status 2> {log:q}"
