"""Draw the plan."""

from frontier import supervise

supervise.run("plan_figure.run", snakemake)
