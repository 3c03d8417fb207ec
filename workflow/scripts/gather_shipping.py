"""Set each way of using an adapter against the run as it was trained."""

from frontier.jobs import supervise

supervise.run_job("results.shipping.table.gather_shipping", snakemake)
