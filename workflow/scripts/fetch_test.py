"""Fetch the test split's problems."""

from frontier.jobs import supervise

supervise.run_job("model.prepare.fetch_test", snakemake)
