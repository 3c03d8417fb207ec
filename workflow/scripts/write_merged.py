"""Write the page of several studies."""

from frontier.jobs import supervise

supervise.run_job("results.merged.page.write_merged", snakemake)
