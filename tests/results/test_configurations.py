"""What names a configuration, and how tables are read by it."""

import pandas as pd
from frontier.results.configurations import AXES, Configuration, axes_but, configurations_of, rows_of
from tables import row


def test_a_configuration_is_its_axes_and_sorts_by_them():
    many = [Configuration("nf4", 16), Configuration("fp16", 32), Configuration("nf4", 8)]
    assert sorted(many) == [Configuration("fp16", 32), Configuration("nf4", 8), Configuration("nf4", 16)]
    assert len({*many, Configuration("nf4", 8)}) == 3
    assert AXES == ("precision", "rank")
    assert axes_but("rank") == ["precision"]


def test_a_configuration_has_a_title_and_a_label():
    assert (many := Configuration("nf4", 16)).title() == "nf4 rank 16"
    assert many.label() == "r16"
    assert many.at("fp16") == Configuration("fp16", 16)
    assert Configuration.base("nf4").is_base
    assert not many.is_base


def test_rows_are_found_by_their_configuration():
    table = pd.DataFrame([row("nf4", 8, 0, 3.0), row("fp16", 8, 0, 3.0), row("nf4", 8, 1, 3.0), row("nf4", 16, 0, 3.0)])
    table = table.set_index(pd.Index([3, 5, 7, 9])).astype({"rank": "Int64"})
    assert list(rows_of(table, Configuration("nf4", 8)).index) == [3, 7]
    assert configurations_of(table)[1] == Configuration.of_row(table.loc[5]) == Configuration("fp16", 8)
    assert list(rows_of(table[:0], Configuration("nf4", 8)).columns) == list(table.columns)
