"""What a training has to have done by its end: moved every tensor of its adapter, or said why one stayed."""

import shutil

import pytest
import torch
from frontier import outcomes, records
from frontier.cost_types import AdapterCounts
from frontier.errors import UserError
from frontier.model import captured_step
from frontier.model.loss import token_losses
from frontier.run import adapter_check, build, fit
from frontier.run.adapter_check import AdapterCheck, Noted, judge
from frontier.run.train import train_adapter
from test_training import cache, job_of, material, train, weights  # noqa: F401
from typed import problems

EXPLAINED = {"partner_at_zero": 0, "idle_experts": 0, "at_rate_zero": 0}
WHOLE = {"tensors": 28, "moved": 28, "without_gradient": 0} | EXPLAINED
PAIR = ["layers.0.q_proj.lora_A.default.weight", "layers.0.q_proj.lora_B.default.weight"]
EXPERT = [name.replace("q_proj", "mlp.experts.3.up_proj") for name in PAIR]


def counts_of(material, folder, **changes) -> dict:  # noqa: F811
    record, _, _ = train(material, folder, **changes)
    counts = record["outcome"]["adapter"]
    assert problems(counts, AdapterCounts) == []
    return counts


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 2},
        {"steps": 6, "gradient_checkpointing": True},
        {"steps": 6, "micro_batch_size": 2, "weight_decay": 0.1},
        {"steps": 6, "optimizer": "adamw_torch", "max_grad_norm": 0.0},
    ],
    ids="two-steps checkpointing accumulation unclipped".split(),
)
def test_every_tensor_has_had_a_gradient_and_has_moved(material, tmp_path, changes):  # noqa: F811
    assert counts_of(material, tmp_path, **changes) == WHOLE


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_one_step_moves_the_half_that_begins_at_zero(material, tmp_path, decay):  # noqa: F811
    """The other half has no gradient before that; weight decay alone moves it, which is no gradient."""
    counts = counts_of(material, tmp_path, steps=1, weight_decay=decay)
    moved = 28 if decay else 14
    assert counts == WHOLE | {"moved": moved, "without_gradient": 14, "partner_at_zero": 14}


def test_a_rate_of_zero_explains_what_it_leaves(material, tmp_path):  # noqa: F811
    """The first step of a warm-up: what begins at zero has a gradient and stays, so that its other half has none."""
    counts = counts_of(material, tmp_path / "one", steps=1, warmup_steps=1)
    assert counts == WHOLE | {"moved": 0, "without_gradient": 14, "partner_at_zero": 14, "at_rate_zero": 14}
    counts = counts_of(material, tmp_path / "two", steps=2, warmup_steps=1)
    assert counts == WHOLE | {"moved": 14, "without_gradient": 14, "partner_at_zero": 14}


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, {"moved": 14, "without_gradient": 14, "partner_at_zero": 14}), (2, {})]
)
def test_captured_steps_gradients_are_seen_where_they_are_kept(material, tmp_path, monkeypatch, steps, expected):  # noqa: F811
    """They lie in tensors of their own, which are the parameters' gradients from a step's start to its end."""

    class Uncaptured(captured_step.CapturedStep):
        def __init__(self, model, *others):
            self.model = model
            self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
            self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]

        def __call__(self, batch, factor):
            self.keep_gradients()
            summed = token_losses(self.model, batch).sum()
            (summed * factor).backward()
            kept = zip(self.parameters, self.gradients, strict=True)
            assert all(parameter.grad is gradient for parameter, gradient in kept)
            return summed.detach()

    monkeypatch.setattr(captured_step, "CapturedStep", Uncaptured)
    monkeypatch.setattr(captured_step, "is_capturable", lambda *_: True)
    record, _, _ = train(material, tmp_path, steps=steps)
    assert record["outcome"]["levers"]["cuda_graphs"] is True
    assert record["outcome"]["adapter"] == WHOLE | expected


@pytest.mark.parametrize("half", ["lora_A", "lora_B"])
def test_a_tensor_that_nothing_trains_ends_the_run_by_name(material, tmp_path, monkeypatch, half):  # noqa: F811
    """A layer whose product leaves one half of its pair out of the gradient; the half that causes it comes first."""

    def cut_off(*arguments):
        model, levers = build.build_model(*arguments)
        for name, weight in model.named_parameters():
            if "layers.1.self_attn.v_proj" in name and half in name:
                weight.register_hook(torch.zeros_like)
        return model, levers

    monkeypatch.setattr("frontier.run.train.build_model", cut_off)
    with pytest.raises(UserError, match=rf"layers\.1\.self_attn\.v_proj\.{half}\.\S+( and 1 more)? had no gradient"):
        train(material, tmp_path)
    assert not (tmp_path / "training.json").exists()


def test_a_tensor_that_is_as_it_was_ends_the_run_by_name(material, tmp_path, monkeypatch):  # noqa: F811
    def taken_back(run, model, *others):
        check = fit.fit(run, model, *others)
        for name, weight in model.named_parameters():
            if "layers.1.mlp.up_proj.lora_B" in name:
                weight.data.zero_()
        return check

    monkeypatch.setattr("frontier.run.train.fit", taken_back)
    with pytest.raises(UserError, match=r"up_proj\.lora_B\.default\.weight had gradients and is as it was"):
        train(material, tmp_path)


def test_a_training_that_goes_on_is_held_against_its_first_weights(material, tmp_path):  # noqa: F811
    """Its adapter is drawn again from the seed before a checkpoint is loaded; one more step is enough for all."""
    job = job_of(material, tmp_path, steps=4, limits={"checkpoint_steps": 3})
    kept = tmp_path / "kept"
    seal = adapter_check.AdapterCheck.on_step_end

    class Cut(Exception):
        pass

    def stop_at_three(self, args, state, control, **kwargs):
        seal(self, args, state, control, **kwargs)
        if state.global_step == 4:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter_check.AdapterCheck, "on_step_end", stop_at_three)
        with pytest.raises(Cut):
            train_adapter(job)
    shutil.copytree(tmp_path / "checkpoints", kept)
    train_adapter(job)
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["resumes"], outcome["adapter"]) == ("ok", 1, WHOLE)
    assert [path.name for path in kept.iterdir()] == ["checkpoint-3"]


def test_fp16_gradients_that_no_step_could_use_are_a_divergence():
    """The loss scaler leaves out every step: losses are finite, and the adapter what it was drawn as."""
    model = torch.nn.Linear(2, 2, bias=False)
    check = AdapterCheck(model)
    check.on_train_begin(None, None, None, model=model)
    model.weight.grad = torch.tensor([[1.0, torch.inf], [0.0, 0.0]])
    check.on_pre_optimizer_step(None, None, None, optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    check.on_step_end(None, None, None)
    with pytest.raises(outcomes.Stop, match="no step had finite gradients") as caught:
        check.counts([model.weight])
    assert caught.value.outcome["status"] == "diverged"


@pytest.mark.parametrize(
    ("names", "moved", "noted", "expected"),
    [
        (PAIR, [True, True], ([5, 6], [5, 6], [4, 5]), {"moved": 2, "without_gradient": 0}),
        (EXPERT, [False, False], ([0, 0],) * 3, {"moved": 0, "without_gradient": 2, "idle_experts": 2}),
        (EXPERT, [False, True], ([0, 1], [0, 1], [0, 0]), {"moved": 1, "without_gradient": 1, "partner_at_zero": 1}),
        # Before an interruption the expert met tokens, and none since.
        (EXPERT, [True, True], ([0, 0],) * 3, {"moved": 2, "without_gradient": 1, "partner_at_zero": 1}),
        (PAIR, [False, False], ([0, 3], [0, 0], [0, 0]), {"moved": 0, "partner_at_zero": 1, "at_rate_zero": 1}),
    ],
    ids="trained idle-expert expert-met-once resumed-expert rate-zero".split(),
)
def test_what_explains_a_tensor(names, moved, noted, expected):
    counts = judge(names, [False, True], moved, Noted(*noted))
    assert counts == {"tensors": 2, "moved": 0, "without_gradient": 1} | EXPLAINED | expected


@pytest.mark.parametrize(
    ("names", "moved", "noted", "told"),
    [
        (PAIR, [False, False], ([0, 0],) * 3, r"lora_B\.default\.weight and 1 more had no gradient in any step"),
        (PAIR, [False, True], ([0, 2], [0, 2], [0, 1]), r"lora_A\.default\.weight had no gradient"),
        # An expert that met tokens twice has no excuse for the half that got no gradient.
        (EXPERT, [False, True], ([0, 2], [0, 2], [0, 1]), r"lora_A\.default\.weight had no gradient"),
        (PAIR, [True, False], ([2, 2], [2, 2], [1, 1]), r"lora_B\.default\.weight had gradients and is as it was"),
        (["a.shared_expert.up_proj.lora_A.weight", "b"], [False, True], ([0, 2],) * 3, "shared_expert"),
    ],
    ids="dead-layer dead-half dead-half-of-expert unmoved shared-expert".split(),
)
def test_what_nothing_explains_is_named(names, moved, noted, told):
    with pytest.raises(UserError, match=told):
        judge(names, [False, True], moved, Noted(*noted))


def test_a_small_gradient_is_one_and_a_missing_one_is_none():
    """Their squares would vanish."""
    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2, bias=False) for name in ("small", "none", "empty")})
    model["empty"].weight = torch.nn.Parameter(torch.zeros(0, 2))
    check = AdapterCheck(model)
    check.on_train_begin(None, None, None, model=model)
    model["small"].weight.grad = torch.full((2, 2), 1e-30)
    model["empty"].weight.grad = torch.zeros(0, 2)
    check.on_pre_optimizer_step(None, None, None, optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    assert check._noted.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_marks_tell_what_differs_by_one_bit():
    whole = torch.randn(64, 32)
    other = whole.clone()
    other[3, 4] = torch.nextafter(other[3, 4], torch.tensor(torch.inf))
    start, end = adapter_check.marks([whole, torch.zeros(3)]), adapter_check.marks([other, torch.zeros(3)])
    assert start.bits[0] != end.bits[0]
    assert start.bits[1] == end.bits[1] == start.sizes[1] == 0
