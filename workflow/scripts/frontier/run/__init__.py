"""One run: an adapter is trained, its perplexity and accuracy are measured, and a record says how each ended.

It imports the hall, machine, model and jobs. Read `train` first: the job that trains an adapter, from top to bottom. It
builds the model (`build`), runs the Trainer over it (`fit`, `trainer`), which a `clock` times and a `guard` may end
with `checkpoints` to go on from, and records what that took (`cost`), however it ended (`recovery`). `sharding` and
`sharded_trainer` spread one training over several processes. Then `evaluation`, the frame of the two jobs that judge an
adapter: `perplexity`, and `accuracy` with its `answers`.
"""
