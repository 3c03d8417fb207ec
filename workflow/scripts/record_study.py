"""Record the configuration that the results are made under."""

from frontier import supervise

supervise.run("summary.record_study", snakemake)
