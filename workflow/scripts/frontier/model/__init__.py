"""Examples, tokens, base models and the arithmetic of a step. Imports the hall and machine."""
