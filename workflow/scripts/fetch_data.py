"""Fetch the examples and split them."""

from frontier.jobs import supervise

supervise.run_job("model.prepare.fetch_data", snakemake)
