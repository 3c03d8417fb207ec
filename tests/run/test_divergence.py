"""A loss that is no number: wherever it comes up, its run has diverged, and no figure is made of the others."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from frontier import outcomes, records
from frontier.outcome_types import AccuracyOutcome, EvaluationOutcome, TrainingOutcome
from frontier.results import contrasts, derived, findings, summary
from frontier.results.claims.claim import Evidence
from frontier.run import accuracy, checkpoints, clock, perplexity
from frontier.run.guard import Guard
from frontier.run.train import train_adapter
from frontier.study import requests
from job_doubles import ANSWERED
from safetensors.torch import load_file, save_file
from tables import NO_LIMITS
from test_training import cache, evaluate, job_of, material, train  # noqa: F401
from transformers import TrainerState
from typed import problems

# With these the second step's products overflow: its loss is not a number, and what it makes of the adapter neither.
WILD = {
    "learning_rate": 10,
    "schedule": "constant",
    "warmup_steps": 0,
    "max_grad_norm": 1e9,
    "lora": {"alpha": 1_000_000},
    "steps": 2,
}


def spoilt(adapter, folder, value: float = math.nan):
    """The adapter with one number in it replaced."""
    folder.mkdir()
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in weights if name.endswith("lora_B.weight"))
    weights[name][0, 0] = value
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    return folder


@pytest.mark.parametrize(
    ("steps", "logging_steps", "reason"),
    [
        (3, 1, "loss not finite at the end, at step 3"),
        (3, 10, "loss not finite at the end, at step 3"),
        (2, 1, "28 of the adapter's 28 tensors are not finite at the end, "),
    ],
    ids="last-logged never-logged-before adapter-alone".split(),
)
def test_a_short_training_that_diverges_says_so(material, tmp_path, steps, logging_steps, reason):  # noqa: F811
    """Fewer steps than three logged ones; in the last case only what the last step made is not finite."""
    record, history, _ = train(material, tmp_path, **WILD | {"steps": steps, "logging_steps": logging_steps})
    outcome = record["outcome"]
    assert (outcome["status"], outcome["phase"]) == ("diverged", "train")
    assert outcome["reason"].startswith(reason)
    assert outcome["final_train_loss"] is None
    assert history["loss"].isna().iloc[-1] == (steps == 3)
    assert problems(outcome, TrainingOutcome) == []


def test_a_diverged_run_is_neither_recommended_nor_compared(material, tmp_path):  # noqa: F811
    """From the training to the findings, beside a run that is sound, whose perplexity is the higher of the two."""
    trainings, evaluations, losses = [], [], {}
    for run, changes in (("fp32-r4-s0", {}), ("fp32-r8-s0", WILD)):
        folder = tmp_path / run
        record, _, adapter = train(material, folder, run, **changes)
        outcome, losses[run] = evaluate(material, folder, adapter, training=folder / "training.json")
        trainings.append(record)
        evaluations.append({"request": {"name": run}, "outcome": outcome})
    table = summary.table(trainings, evaluations, [{"request": {"name": "fp32"}, "outcome": evaluations[0]["outcome"]}])
    table = derived.with_derived_columns(table, losses, NO_LIMITS)
    assert list(table["status"]) == ["ok", "diverged"]
    assert table["perplexity"].notna().tolist() == [True, False]
    judged = findings.state(
        Evidence(table, contrasts.gather(table, losses, {}), NO_LIMITS, NO_LIMITS | {"max_perplexity": None})
    )
    recommended = next(one for one in judged if one["id"] == "recommendation")
    assert recommended["evidence"]["values"]["run"] == "fp32-r4-s0"
    assert not any("fp32-r8-s0" in one["evidence"]["runs"] for one in judged)


def test_one_example_without_a_finite_loss_is_enough(material, tmp_path):  # noqa: F811
    """pandas would leave it out of the sum and count its tokens, which lowers the perplexity."""
    losses = pd.DataFrame({"nll": [12.0, math.nan, 12.0, 12.0], "tokens": [4, 4, 4, 4]})
    for value in (math.nan, math.inf, -math.inf):
        losses.loc[1, "nll"] = value
        outcome = perplexity.quality(losses)
        assert (outcome["status"], outcome["perplexity"], outcome["eval_loss"]) == ("diverged", None, None)
        assert outcome["reason"] == "loss not finite on 1 of 4 validation examples"
        assert problems(outcome, EvaluationOutcome) == []
    _, _, adapter = train(material, tmp_path / "run")
    outcome, losses = evaluate(material, tmp_path / "judged", spoilt(adapter, tmp_path / "spoilt"))
    assert (outcome["status"], outcome["phase"], outcome["perplexity"]) == ("diverged", "evaluate", None)
    assert outcome["reason"] == f"loss not finite on {len(losses)} of {len(losses)} validation examples"


def test_a_loss_too_large_for_a_perplexity_has_diverged():
    """Its exponential is no number of 64 bits, and a claim that took it would fail."""
    outcome = perplexity.quality(pd.DataFrame({"nll": [3200.0, 3200.0], "tokens": [4, 4]}))
    assert (outcome["status"], outcome["perplexity"], outcome["eval_loss"]) == ("diverged", None, None)
    assert "800 nats a token" in outcome["reason"]


def test_the_end_of_a_training_looks_at_its_last_loss():
    known = clock.Clock("run", torch.device("cpu"))
    guard = Guard(known, {}, "identity")
    known.history.append({"loss": None})
    known.history.append({"loss": 1.0})
    guard.on_train_end(None, TrainerState(global_step=2), None)
    known.history.append({"loss": None})
    with pytest.raises(outcomes.Stop, match="not finite at the end, at step 3") as caught:
        guard.on_train_end(None, TrainerState(global_step=3), None)
    assert caught.value.outcome["status"] == "diverged"


def test_a_checkpoint_keeps_a_loss_that_is_not_finite(tmp_path):
    """JSON has no such number: a checkpoint between two logged steps failed the job, and so hid that it diverged."""
    known = clock.Clock("run", torch.device("cpu"))
    known._since_log = [1.5, math.nan, math.inf]
    checkpoints.seal(tmp_path, "identity", known.state())
    again = clock.Clock("run", torch.device("cpu"))
    again.restore(checkpoints.clock_of(tmp_path))
    assert again._since_log[0] == 1.5
    assert not np.isfinite(again._since_log[1:]).any()


def test_a_run_that_diverges_between_checkpoints_and_logs_says_so(material, tmp_path):  # noqa: F811
    job = job_of(material, tmp_path, **WILD, limits={"checkpoint_steps": 2})
    job["request"]["training"] |= {"steps": 5, "logging_steps": 5}
    train_adapter(job)
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["steps"]) == ("diverged", 5)


def test_an_answer_of_logits_that_are_no_numbers_is_none(material, tmp_path):  # noqa: F811
    """Their largest would be some token all the same, and the answers wrong ones of a run that is ok."""
    study, paths = material
    _, _, adapter = train(material, tmp_path / "run")
    inputs = {key: paths[key] for key in ("model", "proof")} | {
        "base": paths["fp32"],
        "problems": study["data"]["validation_file"],
    }
    outputs = {name: str(tmp_path / file) for name, file in ANSWERED.items()}
    request = requests.accuracy_request(study | {"accuracy": study["accuracy"] | {"max_new_tokens": 4}}, "fp32")
    for judged, status in ((adapter, "ok"), (spoilt(adapter, tmp_path / "spoilt"), "diverged")):
        job = {"digest": "", "request": request, "input": inputs | {"adapter": str(judged)}, "output": outputs}
        accuracy.measure_accuracy(job)
        outcome = records.read_json(tmp_path / ANSWERED["accuracy"])["outcome"]
        assert outcome["status"] == status
        assert problems(outcome, AccuracyOutcome) == []
    assert "logits not finite in" in outcome["reason"]
    assert {outcome[name] for name in outcomes.ACCURACY} == {None}
    assert len(pd.read_parquet(tmp_path / ANSWERED["answers"])) == 0
