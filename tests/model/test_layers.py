"""The fused LoRA layer against PEFT's own arithmetic."""

import bitsandbytes as bnb
import pytest
import torch
from frontier.model import layers
from peft import LoraConfig, get_peft_model
from torch import nn


class Block(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.embedding = nn.Embedding(50, 64)
        self.norm = nn.LayerNorm(64)
        self.first, self.second = make(64, 128), make(128, 64)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, ids):
        return self.second(torch.tanh(self.first(self.norm(self.embedding(ids)))))


def four_bit(inputs: int, outputs: int):
    return bnb.nn.Linear4bit(inputs, outputs, quant_type="nf4")


def eight_bit(inputs: int, outputs: int):
    return bnb.nn.Linear8bitLt(inputs, outputs, has_fp16_weights=False)


def adapted(make, dropout: float = 0.0):
    torch.manual_seed(0)
    block = Block(make).requires_grad_(False).to("cpu")
    model = get_peft_model(
        block, LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["first", "second"])
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


@pytest.mark.parametrize("make", [nn.Linear, four_bit, eight_bit])
def test_losses_and_gradients_are_pefts(make):
    """In 8 bits LoRA's own matrices once lost their gradient, being linear layers too."""
    ids = torch.randint(0, 50, (3, 7))
    results = []
    for fused in (False, True):
        model = adapted(make)
        if fused:
            layers.compute_in(model.base_model, torch.float32)
        loss = model(ids).square().mean()
        loss.backward()
        results.append([loss, *(p.grad for p in model.parameters() if p.requires_grad)])
    assert len(results[0]) == 5
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-7)


def test_dropout_draws_what_peft_draws():
    ids = torch.randint(0, 50, (3, 7))
    losses = []
    for fused in (False, True):
        model = adapted(nn.Linear, dropout=0.3).train()
        if fused:
            layers.compute_in(model.base_model, torch.float32)
        torch.manual_seed(1)
        loss = model(ids).square().mean()
        loss.backward()
        losses.append([loss, *(p.grad for p in model.parameters() if p.requires_grad)])
    for plain, fused in zip(*losses, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-7)


def test_stored_precision_stays_and_products_are_float32():
    model = adapted(nn.Linear).half()
    layers.compute_in(model.base_model, torch.float32)
    output = model(torch.randint(0, 50, (2, 5)))
    assert output.dtype == torch.float32
    assert model.base_model.model.first.base_layer.weight.dtype == torch.float16


@pytest.mark.parametrize("make", [nn.Linear, four_bit])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_states_stay_in_float32_between_products_in_bfloat16(make, dropout):
    ids = torch.randint(0, 50, (3, 7))
    results = {}
    for products in (torch.float32, torch.bfloat16):
        model = layers.compute_in(adapted(make, dropout).half(), products, states=torch.float32).train()
        seen = []
        for module in (model.base_model.model.norm, model.base_model.model.first, model.base_model.model.second):
            module.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output.dtype))
        torch.manual_seed(1)
        loss = model(ids).square().mean()
        loss.backward()
        assert seen == [torch.float32] * 3
        gradients = [p.grad.float() for p in model.parameters() if p.requires_grad]
        results[products] = [loss.detach(), *gradients]
    for exact, rounded in zip(*results.values(), strict=True):
        assert not torch.equal(exact, rounded)
        assert float((exact - rounded).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize("make", [nn.Linear, four_bit])
def test_weights_for_which_there_is_room_are_made_once_and_change_no_number(make, monkeypatch):
    ids = torch.randint(0, 50, (3, 7))
    made = []
    dense_bytes = 2 * 64 * 128 * 4
    results = {}
    for room in (0, dense_bytes - 1, dense_bytes):
        torch.manual_seed(0)
        model = layers.compute_in(adapted(make).half(), torch.float32, room=room)
        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(bnb.functional, "dequantize_4bit", counted(made, bnb.functional.dequantize_4bit))
            results[room] = model(ids)
        made.append(room)
    assert torch.equal(results[0], results[dense_bytes])
    assert torch.equal(results[0], results[dense_bytes - 1])
    calls = 2 if make is four_bit else 0
    assert made == ["made"] * calls + [0] + ["made"] * calls + [dense_bytes - 1] + [dense_bytes]


def counted(calls: list, function):
    """The function, which adds a word to `calls` each time."""

    def call(*arguments, **named):
        calls.append("made")
        return function(*arguments, **named)

    return call
