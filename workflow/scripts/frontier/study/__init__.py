"""What a user asks for: the configuration of a study, its runs, and what each job of it depends on.

The room may import the hall, `machine.gpus` and `model.files`, and no torch: Snakemake loads it before each call.
To be read in this order. A configuration: `keys` (each key, once), `json_schema` (the schema made of them), `schema`
(checks and completes a configuration; start at `resolve`), `refusals` and `together` (what it says, and what it checks
across keys), `cards` (the cards that a plan may be for), `preflight` (what the machine must have). Its jobs: `runs`
(names), `requests` (the part of the configuration that each job gets), `identities` (a digest of all that each depends
on), `resources` (what each asks of a scheduler), `embedded` (the model that lends its tokenizer).
`documentation` and `annotation` write down what `keys` has, by `make docs`.
"""
