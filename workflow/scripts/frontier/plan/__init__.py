"""What a run would need and take, before it starts. Imports the hall, machine, model, run and study.

A run's step is traced without its data (`step/`), and the trace is read twice: for its memory and for its time. Read
in this order: model_config (the model's shape), batches (the micro-batches that a run will draw), peak (the memory of
a traced step), roofline (its time, by a device's rates), search (the largest size that fits), planner (memory and
time of each run of a study), advice (what would fit instead), and table, which has the jobs. What a card could train
is asked by surface (a step over any number of tokens), options (what fits), and asking, which has the job. The rates
are a datasheet's, or measured: device_clock, small_step, rates, calibration.
"""
