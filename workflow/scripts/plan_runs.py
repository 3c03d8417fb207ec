"""Predict what each run needs and takes."""

from frontier.jobs import supervise

supervise.run_job("plan.table.plan_runs", snakemake)
