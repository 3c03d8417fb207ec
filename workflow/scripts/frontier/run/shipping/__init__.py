"""What is shipped of a run: its adapter, merged models, GGUF files, and what each way of using them costs in loss.

It imports what its room does. Read `measure` first: the job that judges one way. It takes the `adapter` from its files
and the base's `weights` tensor by tensor, `merging` puts one into the other, and a GGUF way is written by `gguf_model`
(`gguf_families` has what each family needs beyond names, `gguf_rotary` how its positions are turned,
`gguf_vocabulary` its tokenizer, `gguf_types` which type a quantisation gives each tensor) and computed by `llama_cpp`,
through `judged_gguf`. `gguf_adapter` writes an adapter's own GGUF file. `exports` is the job that compares logits
before any GGUF file counts, `artefacts` has the jobs that make what is shipped, within `room` on the disk.
"""
