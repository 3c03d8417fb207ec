"""Evaluate one run's adapter, or a base model without adapter."""

from frontier.jobs import supervise

supervise.run_job("run.perplexity.evaluate", snakemake)
