"""A training step traced on the meta device, for a card that need not be there. Imports what its room may.

A transformers config becomes a model of tensors without content, built for an emulated card in the place of a real
one. What its training step does is traced, and `peak` and `roofline` read the trace. Read in this order: stand_ins
(for kernels that need content), emulated_card, meta_model, results (shapes remembered), real_values, tracer, passes
(forward and backward told apart), traced_graphs, trace (all of it put together).
"""
