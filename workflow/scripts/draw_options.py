"""Draw what fits a card."""

from frontier.jobs import supervise

supervise.run_job("results.figures.options.draw_options", snakemake)
