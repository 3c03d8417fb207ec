"""Judge the study's claims by the runs."""

from frontier import supervise

supervise.run("findings.run", snakemake)
