"""Ask a card what could be trained on it."""

from frontier.jobs import supervise

supervise.run_job("plan.asking.ask_card", snakemake)
