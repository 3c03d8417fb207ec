"""Put the summaries of several folders into one table."""

from frontier import supervise

supervise.run("merge.run", snakemake)
