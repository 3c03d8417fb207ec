"""Measure what the device that is there can do."""

from frontier import supervise

supervise.run("calibration.run", snakemake)
