"""Gather every run's records into one table."""

from frontier import supervise

supervise.run("summary.run", snakemake)
