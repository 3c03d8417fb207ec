"""Gather every run's accuracy into one table."""

from frontier.jobs import supervise

supervise.run_job("results.accuracy_table.gather_accuracy", snakemake)
