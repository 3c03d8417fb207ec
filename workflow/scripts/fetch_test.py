"""Fetch the test split's problems."""

from frontier import supervise

supervise.run("accuracy.fetch_test", snakemake)
