"""Evaluate a base model without adapter."""

from frontier import supervise

supervise.run("evaluation.run", snakemake)
