"""What the runs mean. Imports the hall and study.cards."""
