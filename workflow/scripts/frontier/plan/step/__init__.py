"""A training step traced on the meta device, for a card that need not be there. Imports what its room may.

One pipeline: a transformers config becomes a model without content, which asks an emulated card what a real one would
be asked; what its step does is traced, and the trace goes to `peak` and `roofline`. Read in this order: stand_ins (what
a card runs and tensors without content cannot), emulated_card, meta_model, tracer, passes, traced_graphs, trace.
"""
