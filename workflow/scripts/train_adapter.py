"""Train one run's adapter."""

from frontier import supervise

supervise.run("training.run", snakemake)
