"""Fetch the base model."""

from frontier.jobs import supervise

supervise.run_job("model.prepare.fetch_model", snakemake)
