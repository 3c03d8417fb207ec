"""A model of a few thousand random parameters and a data set of sums, made afresh for tests that need real runs."""

import json
import random
from pathlib import Path

CONFIG = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


def write_model(folder: Path, **changes) -> Path:
    """A Llama of 30 thousand parameters (`changes` make others) and a byte-level tokenizer, as transformers' files."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    options = CONFIG | changes
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(options.pop("model_type"), **options))
    with torch.no_grad():
        # Fresh weights are so small that logits hardly differ; a wider spread gives the tests something to measure.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>").save_pretrained(folder)
    return folder


def write_sums(path: Path, count: int, seed: int) -> Path:
    """`count` different sums with worked answers, as JSON lines."""
    draw = random.Random(seed)
    pairs = draw.sample([(a, b) for a in range(10 * seed, 10 * seed + 40) for b in range(40)], count)
    rows = [{"question": f"{a} plus {b}?", "answer": f"{a}+{b}={a + b}\n#### {a + b}"} for a, b in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
