"""Answer the problems with one run's adapter."""

from frontier import supervise

supervise.run("accuracy.run", snakemake)
