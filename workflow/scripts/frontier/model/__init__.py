"""What is trained on and with: examples, tokens, base models, and the arithmetic of one training step.

May import the hall and machine. Read its files in this order:

    where a model lies:         files, cache, stamps, tokenizer
    what its files hold:        headers, config_file, loading, positions, tokenizer_files, inspection
    where a model comes from:   gguf_file, random_weights, sources, dtypes, bases
    its share in 4 bits:        four_bits
    examples and their tokens:  data/
    the jobs that make these:   prepare
    arithmetic of a step:       execution (the ways there are), packing, attention, layers, targets, loss
    what makes a step fast:     levers, card, cuda_graphs, captured_step
    what a proof computes with: shape (the model made small), reach
"""
