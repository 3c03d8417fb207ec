"""Two-layer models of random weights with a LoRA adapter, of each architecture that packing is tested on."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

ARCHITECTURES = {
    "llama": {},
    "mistral": {"sliding_window": 64},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 30.0, "attn_logit_softcapping": None, "sliding_window": 64},
    "granite": {"logits_scaling": 4.0},
}


def make_model(kind: str, attention: str):
    from transformers import AutoConfig

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=100,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **ARCHITECTURES[kind],
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


def gradients(model) -> list[torch.Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
