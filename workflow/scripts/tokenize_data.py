"""Tokenise both splits."""

from frontier import supervise

supervise.run("prepare.tokenize_data", snakemake)
