"""Evaluate one run's adapter."""

from frontier import supervise

supervise.run("evaluation.run", snakemake)
