"""What can move a measurement: the device, memory and its limits, clocks, and how a job's process is started.

It imports the hall alone. Read `gpus`, `control_groups` and `device` first: which devices there are, what a container
allows, and what a job computes on. Then `shell`, `heap` and `launch` (the environment variables that a job starts
with), `preload` with `substitution` (what is imported before jobs are forked, and an attribute of torch replaced
meanwhile) and `file_locks` (where jobs wait for each other). Then the memory of a device: `meter`, which `limits` (the
budget), `capture_budget` (the part of the budget that captured steps take) and `spill` (memory that the driver moved to
the host) are built on. Last what a record keeps: `environment` and `phases`.
"""
