"""Convert the base model to one precision."""

from frontier.jobs import supervise

supervise.run_job("model.prepare.prepare_base", snakemake)
