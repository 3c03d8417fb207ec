"""What names a configuration, and how tables are read by it."""

import pandas as pd
from frontier.results.configurations import Configuration, axes_but, axes_of, configurations_of, rows_of
from tables import row


def test_a_configuration_is_its_axes_and_sorts_by_them():
    many = [Configuration("nf4", 16), Configuration("fp16", 32), Configuration("nf4", 8)]
    assert sorted(many) == [Configuration("fp16", 32), Configuration("nf4", 8), Configuration("nf4", 16)]
    assert len({*many, Configuration("nf4", 8)}) == 3
    assert Configuration("nf4", 8, 1e-3) < Configuration("nf4", 8, 2e-3) < Configuration("nf4", 16, 1e-3)


def test_a_configuration_has_a_title_and_a_label():
    assert (many := Configuration("nf4", 16)).title() == "nf4 rank 16"
    assert many.label() == "r16"
    assert many.at("fp16") == Configuration("fp16", 16)
    assert Configuration.base("nf4").is_base
    assert not many.is_base
    tried = Configuration("nf4", 16, 0.002, (("alpha", "2r"),))
    assert tried.title() == "nf4 rank 16 at 2e-3, alpha 2r"
    assert tried.arm == Configuration("nf4", 16, None, (("alpha", "2r"),))


def test_rows_are_found_by_their_configuration():
    table = pd.DataFrame([row("nf4", 8, 0, 3.0), row("fp16", 8, 0, 3.0), row("nf4", 8, 1, 3.0), row("nf4", 16, 0, 3.0)])
    table = table.set_index(pd.Index([3, 5, 7, 9])).astype({"rank": "Int64"})
    assert list(rows_of(table, Configuration("nf4", 8)).index) == [3, 7]
    assert configurations_of(table)[1] == Configuration.of_row(table.loc[5]) == Configuration("fp16", 8)
    assert list(rows_of(table[:0], Configuration("nf4", 8)).columns) == list(table.columns)


def test_the_axes_of_a_table_are_the_columns_that_it_has_of_them():
    table = pd.DataFrame([row("nf4", 8, 0, 3.0)] * 2).assign(learning_rate=[1e-3, 2e-3], alpha=["16", "2r"])
    assert axes_of(table) == ["precision", "rank", "learning_rate", "alpha"]
    assert axes_but(table, "rank") == ["precision", "learning_rate", "alpha"]
    assert [one.title() for one in configurations_of(table)] == [
        "nf4 rank 8 at 1e-3, alpha 16",
        "nf4 rank 8 at 2e-3, alpha 2r",
    ]
    assert len(rows_of(table, Configuration("nf4", 8, 1e-3, (("alpha", "16"),)))) == 1
    # The steps that were taken are no axis; of a column that is empty nothing is told.
    assert axes_of(table.assign(steps=4, dropout=None, alpha=None)) == ["precision", "rank", "learning_rate"]
