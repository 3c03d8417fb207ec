"""Write an adapter's folder for others."""

from frontier.jobs import supervise

supervise.run_job("run.shipping.artefacts.ship_adapter", snakemake)
