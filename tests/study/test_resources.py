"""What a job asks of a scheduler: by the configuration, by the plan, or by neither."""

import pytest
import yaml
from conftest import ROOT
from frontier.study import resources, schema

SHIPPED = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
RUN = "nf4-r8-s0"


def asked(run: str = RUN, **changes) -> tuple[int, int]:
    """A run's memory in MB and its minutes, as Snakemake asks for them."""
    found = resources.for_rule(schema.resolve(SHIPPED | changes))
    wildcards = {"run": run} if run else {"precision": "nf4"}
    return found["mem_mb"](wildcards), found["runtime"](wildcards)


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan of one run in the study's folder."""
    (tmp_path / "results").mkdir()
    file = tmp_path / "results/plan.csv"
    file.write_text(f"run,predicted_peak_gib,fits,predicted_hours\n{RUN},5.5,True,10\nfp16-r8-s0,15.0,False,\n")
    monkeypatch.chdir(tmp_path)
    return file


def test_neither(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert asked() == (16 * 1024, 24 * 60)
    assert asked(budget={"hours": 12}) == (16 * 1024, 13 * 60)


def test_the_plan(plan):
    assert asked() == (9728, 16 * 60)
    assert asked("fp16-r8-s0") == (19 * 1024, 24 * 60)
    assert asked("fp16-r8-s0", budget={"hours": 12}) == (19 * 1024, 13 * 60)
    assert asked("nf4-r16-s0") == asked(None) == (16 * 1024, 24 * 60)


def test_a_plan_made_anew_is_read_anew(plan):
    asked()
    plan.write_text(f"run,predicted_peak_gib,predicted_hours\n{RUN},1.0,2\n")
    assert asked() == (5 * 1024, 4 * 60)


def test_the_configuration_comes_first(plan):
    assert asked(cluster={"memory_gib": 2.5, "hours": 0.25}) == (2560, 15)


def test_one_device_and_the_cores_that_torch_will_use():
    assert resources.for_rule(schema.resolve(SHIPPED))["gpu"] == 1
    assert resources.for_rule(schema.resolve(SHIPPED | {"cpu_threads": 7}))["cpus_per_task"] == 7
