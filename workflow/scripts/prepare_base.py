"""Convert the base model to one precision."""

from frontier import supervise

supervise.run("prepare.prepare_base", snakemake)
