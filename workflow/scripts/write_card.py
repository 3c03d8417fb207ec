"""Write the card beside an adapter."""

from frontier.jobs import supervise

supervise.run_job("results.shipping.card.write_card", snakemake)
