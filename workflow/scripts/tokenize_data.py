"""Tokenise both splits."""

from frontier.jobs import supervise

supervise.run_job("model.prepare.tokenize_data", snakemake)
