"""Fetch the examples and split them."""

from frontier import supervise

supervise.run("prepare.fetch_data", snakemake)
