"""Judge one way of using a run's adapter."""

from frontier.jobs import supervise

supervise.run_job("run.shipping.measure.measure_way", snakemake)
