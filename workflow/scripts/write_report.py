"""Write the report."""

from frontier import supervise

supervise.run("report.run", snakemake)
