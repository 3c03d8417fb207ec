"""What a run would need and take, before it starts. Imports the hall, machine, model, run and study."""
