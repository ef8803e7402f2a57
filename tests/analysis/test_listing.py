import re
from pathlib import Path

import pytest

from analysis.ledger import open_ledger
from analysis.listing import markdown, show
from analysis.tables import read, tables


@pytest.fixture
def made(make_study):
    with open_ledger(make_study()) as ledger:
        readings = read(ledger, "fixed")
    return readings, tables(readings)


def test_a_pipe_gets_every_metric_without_colours(made, capsys):
    show(*made, path=Path("index.html"))
    printed = capsys.readouterr().out
    assert "\x1b[" not in printed
    assert "Error of the mean luminance" in printed


@pytest.mark.parametrize(("columns", "shown"), [(70, 1), (76, 2), (90, 3)])
def test_a_terminal_gets_the_metrics_that_fit_and_no_broken_number(made, capsys, monkeypatch, columns, shown):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    show(*made, path=Path("index.html"))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    (row,) = re.findall(r"^ +full model.*$", plain, flags=re.MULTILINE)
    assert len(re.findall(r"\d ± \d", row)) == shown


def test_markdown_tables_have_a_cell_for_every_head(made):
    lines = [line for line in markdown(*made).splitlines() if line.startswith("|")]
    blocks = re.split(r"(?m)^(?!\|).*$", markdown(*made))
    assert len(lines) > 30
    for block in blocks:
        assert len({line.count("|") for line in block.strip().splitlines()}) <= 1


def test_a_bar_in_a_name_does_not_break_a_markdown_table(made):
    readings, found = made
    found.variants.loc[found.variants["row"] == "gain", "row"] = "gain | loss"
    assert "| gain \\| loss |" in markdown(readings, found)
