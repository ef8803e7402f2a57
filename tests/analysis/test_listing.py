import re
from pathlib import Path

import pytest

from analysis.ledger import Metric, open_ledger
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


def test_the_command_shows_one_small_table_of_known_defects_and_counts_what_happened(make_study, capsys):
    folder = make_study(defects=True, model=True, events=[("baseline", 1, 5, "spike", "global", 9.0, "step 5: x")])
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    show(readings, tables(readings), path=Path("index.html"))
    printed = capsys.readouterr().out
    assert "Of 18 trials begun: gradient spike in 1." in printed
    heads = re.search(r"Known defects, photos.*\n.*\n(.*)\n", printed)[1]
    assert "CIEDE2000, lightness apart" in heads
    assert "Margin, global discriminator" in heads
    assert "Colour angle" not in printed


def test_a_table_never_grows_wider_than_the_place_it_has(made, capsys, monkeypatch):
    readings, found = made
    for n in range(9):  # more metrics than fit
        key = f"eval/more_{n}"
        metric = Metric(key, f"A metric with a long title, the {n}th of them", True, False)
        object.__setattr__(readings.study, "metrics", (*readings.study.metrics, metric))
        for suffix in ("", " sd", " n"):
            found.variants[f"{key}{suffix}"] = found.variants[f"eval/ssim{suffix}"]
        readings.images[key] = readings.images["eval/ssim"]
    show(readings, found, path=Path("index.html"))
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if line.startswith("  full model")]
    assert len(re.findall(r"\d \u00b1 \d", row)) >= 8
    spread = found.variants.set_index("row").at["baseline", "eval/ssim sd"]
    assert row.rstrip().endswith(f"{spread:.3f}")  # the last cell is whole
