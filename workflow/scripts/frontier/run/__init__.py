"""One run: trained, then judged. Imports the hall, machine, model and jobs."""
