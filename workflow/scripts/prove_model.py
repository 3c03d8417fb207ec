"""Prove that a model's losses, as they are computed here, are its own."""

from frontier.jobs import supervise

supervise.run_job("run.prove.prove_model", snakemake)
