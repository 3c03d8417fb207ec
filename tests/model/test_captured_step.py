"""The lengths that rows are padded to, and rows taken in two parts."""

import torch
from frontier.model import captured_step, packing


def test_rows_are_padded_little_and_few_are_too_long():
    generator = torch.Generator().manual_seed(4)
    lengths = torch.normal(200.0, 70.0, (5000,), generator=generator).clamp(40, 512).int().tolist()
    padded = captured_step.row_lengths(lengths, 8)
    assert 2 <= len(padded) <= 6
    totals = [sum(lengths[start : start + 8]) for start in range(0, 5000, 8)]
    fitting = [(total, next(length for length in padded if length >= total)) for total in totals if total <= padded[-1]]
    assert len(fitting) >= 0.98 * len(totals)
    assert sum(length for _, length in fitting) < 1.07 * sum(total for total, _ in fitting)


def test_rows_of_equal_examples_need_one_length():
    assert captured_step.row_lengths([64] * 10, 4) == [256]
    assert captured_step.row_lengths([30], 8) == [32]


def test_halves_are_the_rows_of_half_the_examples():
    examples = [{"input_ids": [i] * n, "labels": [-100] + [i] * (n - 1)} for i, n in ((1, 3), (2, 5), (3, 2))]
    found = packing.halves(packing.collate(examples))
    for half, expected in zip(found, (examples[:1], examples[1:]), strict=True):
        expected = packing.collate(expected)
        assert half.keys() == expected.keys()
        assert half["lengths"] == expected["lengths"]
        assert all(torch.equal(half[key], expected[key]) for key in ("input_ids", "labels", "position_ids"))
