import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.ledger import Metric, open_ledger
from analysis.listing import markdown, show
from analysis.report import write_report
from analysis.shown import happened
from analysis.tables import read, tables
from tests.analysis.synthetic import COMPONENTS, Variant
from tests.analysis.synthetic_search import ordinary


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


def test_markdown_says_what_its_numbers_are(made):
    text = markdown(*made)
    said = "Difference: each variant less what it is compared with, so it is a loss where a component that is left out"
    assert f"{said} helps." in text
    assert "Mean over images, ± standard deviation over seeds." in text
    assert "Each interval stands for itself (95 %, not adjusted for their number); no verdict rests on them." in text
    readings, found = made
    assert "not adjusted for looks" not in text
    looked = replace(readings, study=replace(readings.study, looks=(3, 5)))
    assert (
        "each for itself, not adjusted for looks; p-values are adjusted for 5 (Holm) and over all looks."
        in markdown(looked, found)
    )


def test_markdown_tables_have_a_cell_for_every_head(made):
    lines = [line for line in markdown(*made).splitlines() if line.startswith("|")]
    blocks = re.split(r"(?m)^(?!\|).*$", markdown(*made))
    assert len(lines) > 30
    for block in blocks:
        assert len({line.count("|") for line in block.strip().splitlines()}) <= 1


def test_markdown_reads_each_verdict_with_what_stands_beside_it_on_the_page(make_study):
    matched = {"key": "eval/psnr_matched_db", "title": "PSNR, brightness matched (dB)", "higher_is_better": True,
               "needs_reference": True}  # fmt: skip
    folder = make_study(pictures=False)
    with sqlite3.connect(folder / "ledger.db") as db:
        (metrics,) = db.execute("SELECT value FROM study WHERE key = 'metrics'").fetchone()
        db.execute("UPDATE study SET value = ? WHERE key = 'metrics'", (json.dumps([*json.loads(metrics), matched]),))
        db.execute("""
            INSERT INTO image SELECT i.trial, step, "set", image, 'eval/psnr_matched_db',
                value + CASE c.variant WHEN 'no_attention' THEN 5 ELSE 0 END
            FROM image i JOIN cell c ON c.trial = i.trial WHERE metric = 'eval/psnr_db'""")
    db.close()
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    text = markdown(readings, tables(readings))
    item = text[text.index("- **attention**") : text.index("- **local discriminator**")].splitlines()
    assert re.fullmatch(r"  - Brightness-matched PSNR: \+3\.\d\d \[\+\S+, \+\S+\] dB", item[1])
    assert re.match(r"  - Error of the mean luminance: \+6\.00 \[.*\] grey levels, from \S+ to \S+$", item[2])
    assert item[3].startswith("  - Signs conflict: PSNR falls, but rises once brightness is matched.")


def test_markdown_says_each_caution_once_beside_the_numbers_that_it_limits(made):
    readings, found = made
    text = markdown(readings, found)
    assert text.count("for trying, not for conclusions") == 1
    assert text.index("## Verdicts") < text.index("for trying, not for conclusions") < text.index("- **attention**")
    (row,) = re.findall(r"^\| NIQE \|.*$", text, flags=re.MULTILINE)
    cells = dict(zip(COMPONENTS, row.split(" | ")[1:], strict=True))
    marked = {name for name, cell in cells.items() if "\u2020" in cell}
    means = {name: cell.split()[0].strip("\u2020").replace("\u2212", "-") for name, cell in cells.items()}
    small = {name for name, mean in means.items() if abs(float(mean)) <= 0.2}
    assert marked == small
    assert "local_sfp" in marked
    assert "\u2020 NIQE moves by 0.1 to 0.2" in text


def test_while_verdicts_wait_the_caution_stands_at_the_top(make_search):
    folder = make_search(ordinary(confirmed={}))
    write_report(folder)
    for name in ("report.md", "index.html"):
        text = (folder / "report" / name).read_text()
        assert text.count("for trying, not for conclusions") == 1, name


def test_markdown_has_what_broke_down_what_was_changed_the_method_and_versions(make_study, capsys):
    folder = make_study(pictures=False, ends={("no_attention", 2): ("DIVERGED", "", "DivergedError: the loss went")})
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("INSERT INTO deviation VALUES (1, 1, 1, 'the margin was changed')")
        db.execute("INSERT INTO study VALUES ('lock', ?)", (json.dumps({"sha256": "ab" * 32}),))
    db.close()
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    text = markdown(readings, tables(readings))
    assert "| without attention | 2 | diverged | DivergedError: the loss went |" in text
    assert "- without attention: 1 of 3 (95 % interval of the share: 6 to 79 %)" in text
    assert "## Deviations from the first plan\n\n- 1970-01-01 00:00 UTC: the margin was changed" in text
    assert f"SHA-256 `{'ab' * 32}`" in text
    assert "- torch: 2.15.0" in text
    show(readings, tables(readings), path=Path("index.html"))
    printed = capsys.readouterr().out
    assert "1 deviation, listed below" in printed
    assert "1970-01-01 00:00 UTC: the margin was changed" in printed


@pytest.mark.parametrize(
    "name",
    ["![x](http://evil.example/p.png)", "[x](http://evil.example)", "![x][y]", "[y]: http://e", "<b>", r"\<b>"],
)
def test_no_name_becomes_an_image_a_link_or_html(make_study, name):
    variants = (Variant("baseline"), Variant("no_x", component=name, compared_to="baseline"))
    with open_ledger(make_study(variants=variants, pictures=False)) as ledger:
        readings = read(ledger, "fixed")
    text = markdown(readings, tables(readings))
    rest = re.sub(r"\\.", "", text)  # what Markdown takes as it stands
    assert not re.search(r"<[a-z/!?]|!\[|\][(:\[]", rest)


def test_a_bar_in_a_name_does_not_break_a_markdown_table(made):
    readings, found = made
    found.variants.loc[found.variants["row"] == "gain", "row"] = "gain | loss"
    assert "| gain \\| loss |" in markdown(readings, found)


def test_what_happened_is_of_the_trials_begun_those_too_that_were_cut_off(make_study, capsys):
    waiting = {(variant, seed): ("PLANNED", None, None) for variant in ("baseline", "no_attention") for seed in (1, 2)}
    folder = make_study(
        variants=[Variant("baseline"), Variant("no_attention", component="attention", compared_to="baseline")],
        seeds=(1, 2),
        ends=waiting,
        events=[("no_attention", 1, 5, "drop", "generator", 0.1, "step 5: x")],
    )
    with sqlite3.connect(folder / "ledger.db") as db:  # as an interrupted driver leaves them
        db.execute("UPDATE trial SET started = 1790000060 WHERE seed = 1")
    db.close()
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    show(readings, tables(readings), path=Path("index.html"))
    assert "Of 2 trials begun: gradient drop in 1." in capsys.readouterr().out
    assert happened(readings)[1] == [("full model", ["none of 1"]), ("without attention", ["1 of 1, at step 5"])]


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
