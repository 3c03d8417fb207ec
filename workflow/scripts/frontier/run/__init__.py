"""One run: an adapter is trained, its perplexity and accuracy are measured, and a record says how each ended.

It imports the hall, machine, model and jobs. Read `train` first: the job that trains an adapter, from top to bottom. It
takes from the model's proof how losses are computed (`method`), builds the model (`build`), and runs the Trainer over
it (`fit`, `trainer`), which a `clock` times and a `guard` may end with `checkpoints` to go on from. It checks that
every tensor of the adapter has trained (`adapter_check`) and records what the training took (`cost`), however it ended
(`recovery`). `sharding` and `sharded_trainer` spread one training over several processes. Then `evaluation`, which the
two jobs that judge an adapter share: `perplexity`, and `accuracy` of what is `asked`, with its `answers`. Last the job
that proves a model before any of these (`prove`): `proof` tries the ways to compute losses against the model's own
(`own_pass`), on shapes and examples of `proof_material`.
"""
