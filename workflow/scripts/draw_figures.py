"""Draw the summary."""

from frontier import supervise

supervise.run("figures.run", snakemake)
