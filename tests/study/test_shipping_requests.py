"""What a configuration says of shipping: runs, ways and quantisations, or one line for what there is not."""

import pytest
import yaml
from conftest import ROOT
from frontier import ways
from frontier.errors import UserError
from frontier.study import schema, shipping

RUN = "nf4-r8-s0"
_EMBEDDED = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))


def resolved(**changes) -> dict:
    return schema.resolve(_EMBEDDED | {"shipping": changes})


def test_an_nf4_run_has_each_way_but_its_own_base_again():
    names = shipping.ways_of(resolved(quantisations=["Q8_0"]), RUN)
    assert names == [name for name in ways.all_ways(["Q8_0"]) if name not in ("as-trained", "over-nf4")]


def test_a_16_bit_run_has_no_dequantised_base():
    names = shipping.ways_of(resolved(quantisations=["f16"]), "fp16-r8-s0")
    assert names == ["over-nf4", "merged-original", "merged-original-nf4", "merged-original-f16", "over-16-bit-gguf"]


@pytest.mark.parametrize(
    ("run", "way", "line"),
    [
        (
            RUN,
            "over-nf4",
            f"shipping: {RUN}: got over-nf4, but it was trained over that base: see as-trained; ",
        ),
        (
            RUN,
            "merged-sideways",
            f"{RUN}: got merged-sideways, but there is no such way; takes over-16-bit, ",
        ),
        ("fp16-r8-s0", "merged-dequantised-Q8_0", "but its base, fp16, is not quantised: see merged-original-Q8_0"),
    ],
)
def test_what_is_no_way_of_a_run_is_one_line(run, way, line):
    with pytest.raises(UserError) as refusal:
        shipping.way_request(resolved(), run, way)
    assert line in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"quantisations": ["Q9_K"]}, 'config: shipping.quantisations.0: got "Q9_K", takes one of f16, bf16, Q8_0'),
        ({"quantisations": ["f16", "f16"]}, "config: shipping.quantisations: got "),
        ({"runs": ["nf4-r8"]}, "config: shipping.runs: got nf4-r8, takes PRECISION-rRANK-sSEED"),
        ({"measure": "yes"}, 'config: shipping.measure: got "yes", takes true or false'),
    ],
)
def test_a_section_that_is_wrong_is_one_line(changes, line):
    with pytest.raises(UserError) as refusal:
        shipping.check_named(resolved(**changes))
    assert str(refusal.value).startswith(line)


def test_the_licence_of_the_embedded_model_is_known_and_of_others_named():
    assert shipping.card_request(resolved(), RUN)["license"] == "apache-2.0"
    assert shipping.card_request(resolved(license="mit"), RUN)["license"] == "mit"
    other = schema.resolve(_EMBEDDED | {"model": {"source": "path", "path": "/models/mine"}})
    assert shipping.card_request(other, RUN)["license"] is None


def test_whether_llama_cpp_is_there_is_asked_of_its_ways_alone(monkeypatch):
    monkeypatch.setattr(shipping.importlib.util, "find_spec", lambda name: None)
    assert shipping.way_request(resolved(), RUN, "merged-original-Q8_0")["llama_cpp"] is False
    assert "llama_cpp" not in shipping.way_request(resolved(), RUN, "merged-original")
