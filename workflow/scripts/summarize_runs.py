"""Gather every run's records into one table."""

from frontier.jobs import supervise

supervise.run_job("results.summary.summarize_runs", snakemake)
