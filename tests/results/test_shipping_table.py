"""The table of ways: each against the run as trained on the same examples, and what is recommended for which use."""

import json

import numpy as np
import pandas as pd
import pytest
from frontier import records, ways
from frontier.errors import UserError
from frontier.results import findings
from frontier.results.figures.shipping import figure_of
from frontier.results.shipping import card, chosen, table, uses
from shipping_tables import shipped
from tables import curve, results, run_losses

RUN = "nf4-r8-s0"


def rows(made: dict[str, pd.DataFrame], tmp_path, precision="nf4", **outcome) -> pd.DataFrame:
    """The rows of a run whose ways have these losses; a way that is not among them ended with the `outcome`."""
    folder, own = tmp_path / "results/shipping" / RUN, tmp_path / f"results/runs/{RUN}"
    reference = run_losses(3.0, 0.0, 0)
    own.mkdir(parents=True)
    folder.mkdir(parents=True)
    reference.to_parquet(own / "nll.parquet")
    records.write_json(own / "training.json", {"request": {"precision": precision}, "outcome": {"status": "ok"}})
    evaluation = {"status": "ok", "perplexity": 3.0, "eval_loss": float(np.log(3.0))}
    records.write_json(own / "evaluation.json", {"outcome": evaluation})
    names = [name for name in ways.all_ways(["Q8_0", "Q4_0"])[1:] if ways.inapplicable(name, precision) is None]
    for place, name in enumerate(names):
        frame = made.get(name)
        loss = None if frame is None else float(frame["nll"].sum() / frame["tokens"].sum())
        ended = {"status": "unmeasured", "reason": "not installed"} | outcome if frame is None else {"status": "ok"}
        ended |= {"eval_loss": loss, "perplexity": loss and float(np.exp(loss)), "size_bytes": (100 - place) * 2**20}
        records.write_json(folder / f"{name}.json", {"outcome": ended})
        (reference.iloc[:0] if frame is None else frame).to_parquet(folder / f"{name}.parquet")
    paths = {name: str(own / file) for name, file in table._OWN.items()}
    made_paths = {f"results/shipping/{RUN}/{name}.json" for name in names}
    return pd.DataFrame(table.rows_of(RUN, paths, ["Q8_0", "Q4_0"], False, made_paths)).set_index("way")


def test_each_way_is_paired_with_the_run_as_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {"over-16-bit": run_losses(3.3, 0.0, 0), "merged-dequantised": run_losses(3.0, 0.0, 0)}
    made["merged-original-Q8_0"] = run_losses(3.0, 0.4, 7)
    found = rows(made, tmp_path)
    assert list(found.index) == ways.all_ways(["Q8_0", "Q4_0"])
    worse, same, noisy = (found.loc[name] for name in made)
    # The examples' own spread is in both, so that hardly any of it is in the difference.
    assert worse["against_as_trained"] == pytest.approx(np.log(1.1))
    assert worse["against_high"] - worse["against_low"] < 0.01
    assert worse["told"] == "worse"
    assert same["against_as_trained"] == pytest.approx(0, abs=1e-12)
    assert same["told"] == "no worse"
    assert noisy["told"] == "not told apart"
    assert found.loc["over-nf4", "reason"] == "it was trained over that base: see as-trained"
    assert found.loc["merged-original-nf4", ["status", "reason"]].tolist() == ["unmeasured", "not installed"]
    assert found["recommended_for"].dropna().to_dict() == {
        "as-trained": "adapter",
        "merged-dequantised": "merged model",
        "merged-original-Q8_0": "llama.cpp",
    }
    lines = uses.lines(found.reset_index())
    assert lines[0] == "to load the adapter: over the base it was trained on, as trained"
    assert lines[-1].startswith("to be avoided most: over the 16-bit base, as vLLM or a 16-bit loader would, +10.0% in")


def test_for_llama_cpp_the_smallest_file_that_costs_little_is_recommended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {f"merged-original-{kind}": run_losses(loss, 0.0, 0) for kind, loss in (("Q8_0", 3.0), ("Q4_0", 3.03))}
    found = rows(made, tmp_path, "fp16")
    assert found.loc["merged-original-Q4_0", "recommended_for"] == "llama.cpp"
    assert found.loc["merged-dequantised", "reason"] == "its base, fp16, is not quantised: see merged-original"
    again = tmp_path / "again"
    again.mkdir()
    monkeypatch.chdir(again)
    made["merged-original-Q4_0"] = run_losses(3.1, 0.0, 0)
    assert rows(made, again, "fp16").loc["merged-original-Q8_0", "recommended_for"] == "llama.cpp"


def test_what_rounding_does_is_neither_worse_nor_better(tmp_path, monkeypatch):
    """Each example's loss is higher by the same hair, so that the whole interval is above zero."""
    monkeypatch.chdir(tmp_path)
    made = {"merged-dequantised": run_losses(3.0001, 0.0, 0), "merged-original": run_losses(3.01, 0.0, 0)}
    found = rows(made, tmp_path)
    assert found.loc["merged-dequantised", "against_low"] > 0
    assert found.loc["merged-dequantised", "told"] == "no worse"
    assert found.loc["merged-original", "told"] == "worse"


def test_one_example_has_no_interval_and_the_claim_says_so(tmp_path):
    one = run_losses(3.3, 0.0, 0).iloc[:1]
    row = table._row(RUN, "over-16-bit", {"status": "ok"}, table._paired(one * [2, 1], one), 1)
    frame = pd.concat([shipped(against=None), pd.DataFrame([row])])
    claims = findings.state(results(curve("nf4", {8: 4.0}), shipping=frame))
    claim = next(one for one in claims if one["id"] == "shipping_cost")
    assert claim["verdict"] == "inconclusive"
    assert "in perplexity against as trained (one example, so no interval)" in claim["sentence"]
    assert claim["evidence"]["interval"]["low"] is None
    assert len(figure_of(frame).axes[0].get_yticklabels()) == 1


def test_a_base_of_random_weights_ships_nothing_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = rows({}, tmp_path, status="ok", reason=None)
    assert found.loc["over-16-bit", "reason"] == (
        "its base is an architecture with random weights, so there is nothing to ship"
    )


def test_the_ways_of_a_name_and_the_names_of_ways():
    assert all(ways.way_of(name).name == name for name in ways.all_ways(list(ways.GGUF_FILES)))
    assert all(ways.in_words(name) for name in ways.all_ways(list(ways.GGUF_FILES)))
    for name in ("merged", "merged-", "merged-original-", "merged-original-Q9_K", "over", "merged-sideways-nf4", ""):
        assert ways.way_of(name) is None
    assert ways.all_ways([])[-1] == "merged-dequantised-nf4"


def test_the_recommended_run_is_shipped_or_a_line_says_that_none_is(tmp_path, capsys):
    for name, perplexity in (("good", 3.0), ("none", 9.0)):
        evidence = results(curve("nf4", {8: perplexity, 16: perplexity}), bases={"nf4": 5.0})
        folder = tmp_path / name
        (folder / "runs").mkdir(parents=True)
        summary = evidence.summary.assign(basis="measured")
        summary.to_csv(folder / "summary.csv")
        paths = []
        for key, run in enumerate(summary["run"]):
            paths.append(folder / run / "nll.parquet")
            paths[-1].parent.mkdir()
            run_losses(perplexity, 0.1, key).to_parquet(paths[-1])
        base = folder / "nf4/nll.parquet"
        base.parent.mkdir()
        run_losses(5.0, 0.1, 1000).to_parquet(base)
        limits = {"memory_gib": None, "hours": None}
        chosen.choose_shipped(
            {
                "input": {"summary": folder / "summary.csv", "losses": paths, "baselines": [base]},
                "request": {"budget": limits, "recommend": limits | {"max_perplexity": None}},
                "output": {"runs": folder / "runs.json"},
            }
        )
    assert json.loads((tmp_path / "good/runs.json").read_text()) == ["nf4-r8-s0"]
    assert json.loads((tmp_path / "none/runs.json").read_text()) == []
    assert "shipping: no run is recommended, so none is shipped; shipping.runs names others." in capsys.readouterr().out


def test_the_claim_names_the_worst_way_and_the_recommended_one():
    one = next(
        one
        for one in findings.state(results(curve("nf4", {8: 4.0}), shipping=shipped()))
        if one["id"] == "shipping_cost"
    )
    assert one["sentence"] == (
        "How the adapter is used costs quality: worst is over the 16-bit base, +4.1% in perplexity against as trained "
        "(+3.0% to +5.1%; this seed only). Recommended: to use it as adapter, over the base it was trained on."
    )
    assert one["evidence"]["runs"] == [RUN]
    assert one["evidence"]["interval"]["estimate"] == pytest.approx(4.081, abs=1e-3)


def test_the_figure_has_a_row_for_each_way_that_was_measured():
    figure = figure_of(shipped().assign(bits_a_weight=None))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["over-16-bit"]
    assert "+4.1%" in [text.get_text() for text in figure.axes[0].texts]
    empty = figure_of(shipped(against=None).assign(bits_a_weight=None))
    assert [text.get_text() for text in empty.axes[0].texts] == ["no way was measured"]


@pytest.mark.parametrize(
    ("trained", "judged", "line"),
    [
        (
            {"status": "oom", "reason": "too large"},
            {"status": "oom"},
            "the run ended oom: too large; nothing is written",
        ),
        ({"status": "ok"}, {"status": "ok", "perplexity": None}, "its base is an architecture with random weights, so"),
    ],
)
def test_a_run_with_nothing_to_ship_has_no_card(tmp_path, trained, judged, line):
    contents = {"training": {"outcome": trained}, "evaluation": {"outcome": judged}, "model": {}}
    for name, content in contents.items():
        records.write_json(tmp_path / f"{name}.json", content)
    job = {"input": {name: tmp_path / f"{name}.json" for name in contents}, "request": {"run": RUN, "license": None}}
    with pytest.raises(UserError, match=f"^shipping: {RUN}: {line}"):
        card.write_card(job | {"output": {"card": tmp_path / "card.md"}})
    assert not (tmp_path / "card.md").exists()
