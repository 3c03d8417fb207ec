"""What can move a measurement: the device, memory and its limits, clocks, and how a job's process is started.

It imports the hall alone. Read `gpus` and `device` first (which devices there are, and the one that a job computes on),
then `heap` and `launch` (the environment variables that a job starts with) and `preload` (what is imported before jobs
are forked). Then the memory of a device: `meter`, on which `limits` (the budget), `capture_budget` (the part of the
budget that captured steps take) and `spill` rest. Last what a record keeps: `environment` and `phases`.
"""
