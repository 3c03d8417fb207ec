"""Predict what each run needs and takes."""

from frontier import supervise

supervise.run("plan.run", snakemake)
