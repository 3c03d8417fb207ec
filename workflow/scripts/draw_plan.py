"""Draw the plan."""

from frontier.jobs import supervise

supervise.run_job("results.figures.plan.draw_plan", snakemake)
