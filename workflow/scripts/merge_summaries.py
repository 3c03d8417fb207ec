"""Put the summaries of several folders into one table."""

from frontier.jobs import supervise

supervise.run_job("results.merge.merge_summaries", snakemake)
