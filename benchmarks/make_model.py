"""Write a 7.38B model of random weights to a folder: Mistral-7B's layers under a vocabulary of 49,152.

    python benchmarks/make_model.py FOLDER TOKENIZER_FOLDER

Time and memory do not depend on the values of the weights, so that nothing need be downloaded to measure them.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

folder, tokenizer = Path(sys.argv[1]), Path(sys.argv[2])
config = LlamaConfig(
    vocab_size=49152,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=4096,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=2,
)
torch.manual_seed(0)
with torch.device("cuda"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
model.save_pretrained(folder, max_shard_size="4GB")
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(tokenizer / name, folder)
print(f"{sum(parameter.numel() for parameter in model.parameters()) / 1e9:.2f}B parameters in {folder}")
