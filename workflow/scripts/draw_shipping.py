"""Draw what each way of using an adapter costs."""

from frontier.jobs import supervise

supervise.run_job("results.figures.shipping.draw_shipping", snakemake)
