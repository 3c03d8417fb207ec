"""What is trained on and with: examples, tokens, base models, and the arithmetic of one training step.

May import the hall and machine. Read its files in this order:

    where a model lies:         files, cache, stamps, tokenizer
    what its files hold:        headers, config_file, loading, positions, tokenizer_files, inspection
    where a model comes from:   gguf_file, random_weights, sources, dtypes, bases
    examples and their tokens:  data/
    the jobs that make these:   prepare
    arithmetic of a step:       packing, attention, layers, loss, targets, levers, captured_step
    what a proof computes with: shape, reach, execution
"""
