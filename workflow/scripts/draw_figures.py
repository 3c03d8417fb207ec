"""Draw the summary."""

from frontier.jobs import supervise

supervise.run_job("results.figures.draw.draw_figures", snakemake)
