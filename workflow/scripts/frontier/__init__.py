"""Measure what LoRA and QLoRA cost, and what they buy, on the machine at hand."""
