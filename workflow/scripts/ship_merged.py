"""Write a run's merged model."""

from frontier.jobs import supervise

supervise.run_job("run.shipping.artefacts.ship_merged", snakemake)
