"""Packed rows against examples taken one by one, with transformers' own attention and loss as the reference."""

import pytest
import torch
from frontier.model import layers, packing
from frontier.model.attention import Scores
from frontier.model.data.tokens import IGNORED
from frontier.model.loss import token_losses
from small_models import ARCHITECTURES, gradients, make_model


@pytest.fixture
def examples():
    draw = torch.Generator().manual_seed(3)
    rows = []
    for length, prompt in ((9, 3), (21, 10), (1, 0), (14, 13), (30, 2)):
        ids = torch.randint(1, 100, (length,), generator=draw).tolist()
        rows.append({"input_ids": ids, "labels": [IGNORED] * max(prompt, 1) + ids[max(prompt, 1) :]})
    return rows


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_losses_and_gradients_are_those_of_single_examples(kind, examples):
    """The reference is each example alone, through transformers' eager attention, full logits and cross entropy."""
    reference = make_model(kind, "eager")
    expected = []
    for example in examples:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor(example["labels"])
        logits = reference(input_ids=ids, use_cache=False).logits[0, :-1]
        kept = labels[1:] != IGNORED
        expected.append(torch.nn.functional.cross_entropy(logits[kept], labels[1:][kept], reduction="none"))
    torch.cat(expected).mean().backward()

    packed = layers.compute_in(make_model(kind, packing.ATTENTION), torch.float32)
    losses = token_losses(packed, packing.collate(examples))
    losses.mean().backward()
    torch.testing.assert_close(losses, torch.cat(expected), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(packed), gradients(reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_slices_of_the_vocabulary_change_nothing(examples, monkeypatch):
    results = []
    for elements in (2**25, 150):
        monkeypatch.setattr("frontier.model.loss._SLICE_ELEMENTS", elements)
        model = layers.compute_in(make_model("llama", packing.ATTENTION), torch.float32)
        loss = token_losses(model, packing.collate(examples)).mean()
        loss.backward()
        results.append([loss, *gradients(model)])
    for whole, sliced in zip(*results, strict=True):
        torch.testing.assert_close(sliced, whole, rtol=1e-5, atol=1e-6)


def test_a_mask_of_ones_changes_nothing_and_a_cache_is_refused(examples):
    """With transformers' own attention either lets examples see each other in silence."""
    model = make_model("llama", packing.ATTENTION)
    batch = packing.collate(examples)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    without = model(**inputs, attention_mask=None, use_cache=False).logits
    with_ones = model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]), use_cache=False).logits
    torch.testing.assert_close(with_ones, without, rtol=0, atol=0)
    with pytest.raises(ValueError, match="lengths"):
        model(input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False)
    cached = model(**packing.collate(examples[:1]) | {"labels": None}, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="no cache"):
        model(**inputs, past_key_values=cached, use_cache=True)


@pytest.mark.parametrize("window", [None, 4])
def test_examples_padded_into_one_product_are_as_each_alone(window):
    """What a GPU does where it computes no gradients, and no kernel of its own takes rows of unlike lengths."""
    draw = torch.Generator().manual_seed(0)
    lengths = [5, 1, 9, 7]
    query, key, value = (torch.randn(1, heads, sum(lengths), 8, generator=draw) for heads in (6, 2, 2))
    product = torch.nn.functional.scaled_dot_product_attention
    alone, _ = packing.packed_attention(None, query, key, value, None, lengths=lengths, sliding_window=window)
    padded = packing._padded(query, key, value, lengths, Scores(window=window), product)
    assert padded.shape == alone.shape == (1, sum(lengths), 6, 8)
    torch.testing.assert_close(padded, alone, rtol=1e-6, atol=1e-6)


def test_collate_adds_no_mask(examples):
    batch = packing.collate(examples)
    assert set(batch) == {"input_ids", "labels", "position_ids", "lengths"}
    assert batch["position_ids"][0, :10].tolist() == [*range(9), 0]
    assert batch["lengths"] == [9, 21, 1, 14, 30]
