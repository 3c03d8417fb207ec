"""8-bit optimisers where there is no GPU: they train, and are planned as bitsandbytes keeps them there."""

from pathlib import Path

import planned
import pytest
import torch
from conftest import RESULTS
from frontier import records
from frontier.plan import table as plan_table
from frontier.plan.planner import Planner
from frontier.plan.step import emulated_card, meta_model
from job_doubles import OUTPUTS, Job, inputs_of, job_of, start
from planned import judging, request, rows, shape


def test_eight_bit_optimisers_train_and_are_planned_on_a_cpu(trained, tmp_path):
    known = job_of(trained)
    known["request"]["training"] |= {"optimizer": "adamw_8bit", "steps": 4}
    supervisor = start(Job(known, tmp_path, inputs_of(trained), OUTPUTS))
    assert supervisor.wait(timeout=120) == 0, (tmp_path / "job.log").read_text()
    record = records.read_json(tmp_path / "training.json")
    assert (record["outcome"]["status"], record["outcome"]["steps"]) == ("ok", 4)
    before, after = (
        (folder / "adapter/adapter_model.safetensors").read_bytes() for folder in (trained.folder / RESULTS, tmp_path)
    )
    assert before != after
    planner = Planner(shape(1), rows(8, 16), planned.CPU, None, None, 0.0)
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        table, lines = plan_table.table(planner, [request(precision="fp32", rank=2, optimizer=name)], judging(planner))
        assert (table["predicted_peak_gib"] > 0).all()
        assert lines == []


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_eight_bit_state_is_planned_as_bitsandbytes_keeps_it_on_a_cpu(name):
    """Matrices under 4,096 elements have state of 32 bits, and no state is paged there."""
    from frontier.run import fit
    from transformers import Trainer

    model = torch.nn.Sequential(*[torch.nn.Linear(size, 1, bias=False) for size in (100, 4095, 4096, 5000)])
    wanted = request(optimizer=name)
    planned = meta_model.optimizer(model, wanted, emulated_card.EmulatedCard(False))
    arguments = fit.trainer_arguments(wanted, torch.device("cpu"), torch.float32, Path("."))
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    real = kind(list(model.parameters()), **options)
    for optimizer in (planned, real):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    for parameter in model.parameters():
        sizes = [
            sorted(
                (key, value.dtype, value.numel())
                for key, value in optimizer.state[parameter].items()
                if torch.is_tensor(value) and not key.startswith("qmap")
            )
            for optimizer in (planned, real)
        ]
        assert sizes[0] == sizes[1]
