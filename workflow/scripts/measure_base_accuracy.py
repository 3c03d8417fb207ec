"""Answer the problems with a base model without adapter."""

from frontier import supervise

supervise.run("accuracy.run", snakemake)
