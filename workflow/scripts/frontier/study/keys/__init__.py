"""The keys of a configuration: the one place where each stands, with its values, its default and what it buys.

A new key is one entry in the file of its section; `make docs` then writes it into config/config.yaml, config/README.md
and workflow/schemas/config.schema.yaml. The rest of the room reads `configuration`; nothing here reads a configuration.
To be read in this order: `kinds` (the values that a key takes), `key` (what an entry is made of), the entries
themselves (`model_keys`, `data_keys`, `training_keys`, `study_keys`), `configuration` (all of them, in order).
"""
