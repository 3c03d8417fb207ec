"""Answer the problems with one run's adapter, or with a base model without adapter."""

from frontier.jobs import supervise

supervise.run_job("run.accuracy.measure_accuracy", snakemake)
