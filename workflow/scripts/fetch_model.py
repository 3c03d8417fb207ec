"""Fetch the base model."""

from frontier import supervise

supervise.run("prepare.fetch_model", snakemake)
