"""Write an adapter as a GGUF file."""

from frontier.jobs import supervise

supervise.run_job("run.shipping.artefacts.ship_adapter_gguf", snakemake)
