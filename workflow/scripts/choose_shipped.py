"""Name the runs that are shipped."""

from frontier.jobs import supervise

supervise.run_job("results.shipping.chosen.choose_shipped", snakemake)
