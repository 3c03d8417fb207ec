"""What can move a measurement: GPUs, memory and its limits, clocks, the environment. Imports the hall alone."""
