"""Write the report."""

from frontier.jobs import supervise

supervise.run_job("results.report.write_report", snakemake)
