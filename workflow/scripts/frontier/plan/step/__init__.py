"""A training step without content, traced."""
