"""Small models of random weights that GGUF files are written of, with a tokenizer of merged pairs, and adapters."""

import copy
from pathlib import Path

import torch
from families import configuration
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEXTS = ["Question: 12 + 3 = 15? It's fun to see the sum of it.\nAnswer: we will see 17 plus 4"] * 20


def write_tokenizer(folder: Path, size: int = 300) -> None:
    """Write a byte-level tokenizer of merged pairs, as llama.cpp takes them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<pad>", "<bos>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def write_family(folder: Path, family: str, **changes):
    """Write a small model of a family with spread weights and a tokenizer, and return it as transformers made it."""
    options = copy.deepcopy(configuration(family) | changes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(options.pop("model_type"), **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
            else:
                # Norms that are all ones would hide that one is added, or not.
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_adapter(model, folder: Path, rslora: bool = False, targets="all-linear"):
    """Put an adapter with a spread update on a model, write it, and return the model with it."""
    lora = LoraConfig(r=4, lora_alpha=6, use_rslora=rslora, target_modules=targets, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return adapted.eval()
