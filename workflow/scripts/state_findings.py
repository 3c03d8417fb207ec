"""Judge the claims by the runs."""

from frontier.jobs import supervise

supervise.run_job("results.findings.state_findings", snakemake)
