"""Gather every run's accuracy into one table."""

from frontier import supervise

supervise.run("accuracy.gather", snakemake)
