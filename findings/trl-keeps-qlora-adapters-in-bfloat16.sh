#!/usr/bin/env bash
# trl's SFTTrainer keeps an adapter over a 4-bit base in bfloat16, and the same adapter over a 16-bit base in float32.
#
# Version: trl 1.16.0, with peft 0.21.2, transformers 5.23.0, bitsandbytes 0.50.2, torch 2.13.0 (CPU).
# Expected: the same LoraConfig, and no word about the adapter's dtype, give adapters of one dtype, so that a comparison
#   of NF4 with 16 bits compares the bases. PEFT's own rule is float32 for both (autocast_adapter_dtype).
# Seen: torch.float32 over the bfloat16 base, torch.bfloat16 over the NF4 base. Of AdamW's updates to a matrix that is
#   kept in bfloat16, those under half a unit in its last place are lost, and nothing says so.
# Why: where the base is quantised, SFTTrainer casts the adapter to bfloat16, which its source says the QLoRA paper
#   recommends; elsewhere it leaves PEFT's float32.
# Fails if a version gives both one dtype.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 trl==1.16.0 peft==0.21.2 transformers==5.23.0 bitsandbytes==0.50.2
cd "$folder"
cat >dtypes.py <<'PYTHON'
import tokenizers
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

words = {"[PAD]": 0, "[EOS]": 1, "[UNK]": 2, "a": 3, "b": 4}
plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]")
config = LlamaConfig(vocab_size=8, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained("base")
rows = Dataset.from_list([{"prompt": "a b", "completion": " b a"}] * 4)
found = {}
for name in ("bf16", "nf4"):
    quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    options = {"quantization_config": quantised} if name == "nf4" else {}
    model = AutoModelForCausalLM.from_pretrained("base", dtype=torch.bfloat16, **options)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=name, max_steps=1, report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear"),
    )
    dtypes = {weight.dtype for weight in trainer.model.parameters() if weight.requires_grad}
    found[name] = sorted(map(str, dtypes))
    print(f"over {name}: {', '.join(found[name])}")
raise SystemExit(found != {"bf16": ["torch.float32"], "nf4": ["torch.bfloat16"]})
PYTHON
"$folder/venv/bin/python" dtypes.py
echo "as described"
