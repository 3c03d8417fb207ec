"""Settings with several values: how they are written, what they name, and that a name changes nothing that is made."""

import itertools

import pytest
from frontier import axes
from frontier.errors import UserError
from frontier.study import requests, runs
from frontier.study.identities import study_identities
from frontier.study.schema import resolve
from test_schema import CODE, SHIPPED

SMALL = SHIPPED | {"ranks": [8], "precisions": ["nf4"], "learning_rate": 1e-3}
SETS = {"attention": ["q_proj", "v_proj"], "all-linear": "all-linear"}


def names(**changes) -> list[str]:
    return runs.run_names(resolve(SMALL | changes))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.002, "2e-3"),
        (1e-3, "1e-3"),
        (0.00015, "1.5e-4"),
        (0.01, "0.01"),
        (0.5, "0.5"),
        (1.0, "1"),
        (32, "32"),
        (1e6, "1000000"),
        ("2.0r", "2r"),
        ("2r", "2r"),
        ("cosine", "cosine"),
        (True, "true"),
        (0.0, "0"),
    ],
)
def test_a_value_has_one_text(value, text):
    assert axes.text(value) == text


@pytest.mark.parametrize(
    ("changes", "suffixes"),
    [
        ({}, [""]),
        ({"learning_rate": [2e-3]}, [""]),
        ({"learning_rate": ["4.0e-3", 0.001, "2e-3"]}, ["-lr1e-3", "-lr2e-3", "-lr4e-3"]),
        ({"lora": {"alpha": ["2r", 16, "1.5r"]}}, ["-alpha16", "-alpha1.5r", "-alpha2r"]),
        ({"lora": {"dropout": [0, 0.05]}}, ["-dropout0", "-dropout0.05"]),
        ({"lora": {"rslora": [True, False]}}, ["-norslora", "-rslora"]),
        ({"lora": {"dtype": ["float32", "bfloat16"]}}, ["-lorabfloat16", "-lorafloat32"]),
        ({"lora": {"dtype": ["bfloat16"]}}, [""]),
        ({"lora": {"targets": ["q_proj", "v_proj"]}}, [""]),
        ({"lora": {"targets": SETS}}, ["-all-linear", "-attention"]),
        ({"lora": {"targets": {"attention": ["q_proj"]}}}, [""]),
        ({"schedule": ["linear", "cosine"]}, ["-cosine", "-linear"]),
        ({"steps": None, "epochs": [2, 1.5]}, ["-epochs1.5", "-epochs2"]),
        ({"steps": [20, 10]}, ["-steps10", "-steps20"]),
        ({"batch_size": [8.0, 4]}, ["-batch4", "-batch8"]),
        ({"optimizer": ["adamw_torch", "adamw_8bit"]}, ["-adamw_8bit", "-adamw_torch"]),
        ({"gradient_checkpointing": [True, False]}, ["-nocheckpointing", "-checkpointing"]),
        ({"learning_rate": [1e-3, 2e-3], "schedule": ["cosine", "constant"]}, [
            "-lr1e-3-constant", "-lr1e-3-cosine", "-lr2e-3-constant", "-lr2e-3-cosine",
        ]),
    ],
)  # fmt: skip
def test_each_run_bears_the_values_of_keys_that_have_several(changes, suffixes):
    found = names(**changes)
    assert sorted(found) == sorted(f"nf4-r8-s0{suffix}" for suffix in suffixes)
    study = resolve(SMALL | changes)
    assert all(runs.run_name(runs.parse_run(name, study)) == name for name in found)
    columns = {column for values in runs.varied(study, found).values() for column in values}
    assert bool(columns) == (suffixes != [""])


def test_a_runs_request_has_its_own_values():
    study = resolve(SMALL | {"learning_rate": [1e-3, 2e-3], "lora": {"alpha": ["2r", 16], "targets": SETS}})
    request = requests.training_request(study, "nf4-r8-s0-lr2e-3-alpha2r-attention")
    assert request["training"]["learning_rate"] == 2e-3
    assert request["lora"]["alpha"] == 16.0
    assert request["lora"]["targets"] == ["q_proj", "v_proj"]
    assert runs.varied(study, ["nf4-r8-s0-lr2e-3-alpha2r-attention"]) == {
        "nf4-r8-s0-lr2e-3-alpha2r-attention": {"learning_rate": 2e-3, "alpha": "2r", "targets": "attention"}
    }


def test_order_and_spelling_mean_nothing():
    several = [{"learning_rate": [1e-3, 2e-3]}, {"learning_rate": ["2.0e-3", "0.001"]}]
    assert resolve(SMALL | several[0]) == resolve(SMALL | several[1])
    assert resolve(SMALL | {"max_grad_norm": 1}) == resolve(SMALL | {"max_grad_norm": "1.0"})
    orders = [dict(order) for order in itertools.permutations(SETS.items())]
    first, second = (resolve(SMALL | {"lora": {"targets": order}}) for order in orders)
    assert list(first["lora"]["targets"]) == list(second["lora"]["targets"])


def test_what_is_made_depends_on_what_is_trained_and_not_on_its_name():
    alone, several = resolve(SMALL), resolve(SMALL | {"learning_rate": [1e-3, 2e-3]})
    of_one, of_several = study_identities(alone, CODE), study_identities(several, CODE)
    for kind in ("training", "evaluation", "accuracy"):
        assert of_one[kind]("nf4-r8-s0") == of_several[kind]("nf4-r8-s0-lr1e-3")
        assert of_one[kind]("nf4-r8-s0") == of_one[kind]("nf4-r8-s0-lr1e-3")
        assert of_one[kind]("nf4-r8-s0-lr2e-3") == of_several[kind]("nf4-r8-s0-lr2e-3")
        assert of_one[kind]("nf4-r8-s0") != of_several[kind]("nf4-r8-s0-lr2e-3")
    by_rule = resolve(SMALL | {"lora": {"alpha": [16, "2r"]}})
    assert study_identities(by_rule, CODE)["training"]("nf4-r8-s0-alpha2r") == of_one["training"]("nf4-r8-s0")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"learning_rate": []}, "config: learning_rate: got [], takes a number above 0, or a list of different ones"),
        ({"learning_rate": [0.002, "2e-3"]}, "config: learning_rate: got [0.002, 0.002], takes a number above 0"),
        ({"learning_rate": [0.002, None]}, "config: learning_rate: got [0.002, null], takes a number above 0"),
        ({"lora": {"alpha": ["2r", "2.0r"]}}, 'config: lora.alpha: got ["2r", "2r"], where 2r stands twice'),
        ({"lora": {"targets": {}}}, "config: lora.targets: got {}, takes all-linear, a list of module names, or"),
        ({"lora": {"targets": {"a b": "all-linear"}}}, "config: lora.targets: got "),
        (
            {"lora": {"targets": {"linear": ["q_proj"], "all": "all-linear"}}},
            "config: lora.targets: got a set named linear, which in a run's name is another setting",
        ),
        (
            {"batch_size": [4, 6], "micro_batch_size": 4},
            "config: micro_batch_size: got 4, takes a whole number that divides batch_size, 6",
        ),
        (
            {"learning_rate": [1e-3, 2e-3], "extra_runs": ["nf4-r64-s0"]},
            "config: extra_runs: got nf4-r64-s0, which lacks one of the several values of learning_rate; "
            "takes nf4-r64-s0-lr1e-3 or nf4-r64-s0-lr2e-3",
        ),
        (
            {"extra_runs": ["nf4-r64-s0-lr0.002"]},
            "config: extra_runs: got nf4-r64-s0-lr0.002, which is written nf4-r64-s0-lr2e-3",
        ),
        ({"extra_runs": ["nf4-r64-s0-lr11"]}, "config: extra_runs: got nf4-r64-s0-lr11, where learning_rate takes a"),
        ({"extra_runs": ["nf4-r64-s0-some"]}, "config: extra_runs: got nf4-r64-s0-some, takes PRECISION-rRANK-sSEED"),
        (
            {"extra_runs": ["nf4-r8-s0-lr1e-3"]},
            "config: extra_runs: got nf4-r8-s0-lr1e-3, takes runs that are not in the grid already",
        ),
        (
            {"extra_runs": ["nf4-r8-s1", "nf4-r8-s1-lr1e-3"]},
            "config: extra_runs: got nf4-r8-s1, takes runs that are not in the grid already",
        ),
    ],
)
def test_refused_in_one_line(changes, line):
    with pytest.raises(UserError) as refusal:
        resolve(SMALL | changes)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)


def test_extra_runs_take_both_kinds_of_name():
    study = resolve(SMALL | {"extra_runs": ["nf4-r8-s0-lr4e-3", "nf4-r64-s1"]})
    assert runs.run_names(study) == ["nf4-r8-s0", "nf4-r8-s0-lr4e-3", "nf4-r64-s1"]
    assert [values["learning_rate"] for values in runs.varied(study, runs.run_names(study)).values()] == [
        1e-3, 4e-3, 1e-3,
    ]  # fmt: skip
    study = resolve(SMALL | {"learning_rate": [1e-3, 2e-3], "extra_runs": ["nf4-r8-s1-lr4e-3-constant"]})
    assert runs.run_names(study)[-1] == "nf4-r8-s1-lr4e-3-constant"
    assert {values["schedule"] for values in runs.varied(study, runs.run_names(study)).values()} == {
        "cosine",
        "constant",
    }


def test_every_setting_of_a_training_and_of_lora_may_have_several_values():
    assert {axes.place(column) for column in axes.TAGS} == {
        *(("lora", key) for key in SHIPPED["lora"]),
        *((key,) for key in requests.training_request(resolve(SMALL), "nf4-r8-s0")["training"]),
        ("compute_dtype",),
    }
