"""Measure what the device that is there can do."""

from frontier.jobs import supervise

supervise.run_job("plan.calibration.calibrate_device", snakemake)
