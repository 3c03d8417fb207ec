"""Write a run's merged model as a GGUF file."""

from frontier.jobs import supervise

supervise.run_job("run.shipping.artefacts.ship_gguf", snakemake)
