"""The configuration, its runs, and what each job depends on. Imports the hall, machine.gpus and model.files."""
