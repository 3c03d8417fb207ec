"""Train one run's adapter."""

from frontier.jobs import supervise

supervise.run_job("run.train.train_adapter", snakemake)
