import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.factorial import full
from analysis.report import command, main, write_report
from tests.analysis.synthetic import BEGIN, LEAVE_ONE_OUT, Variant, designed

EVERY = [(variant.name, seed) for seed in (1, 2, 3) for variant in LEAVE_ONE_OUT]
ROOT = Path(__file__).parents[2]
VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """What a browser would make of a page: its text, the attributes of its elements, and what is never closed."""

    def __init__(self, folder):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.source = (folder / "report" / "index.html").read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script", "nav"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page(folder):
    write_report(folder)
    return Page(folder)


def everything(folder):
    paths = sorted(path for path in (folder / "report").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def markdown(folder):
    write_report(folder)
    return (folder / "report" / "report.md").read_text(encoding="utf-8")


def test_the_report_is_a_page_seven_tables_and_a_markdown_file(make_study):
    folder = make_study()
    assert write_report(folder) == folder / "report" / "index.html"
    files = sorted(path.name for path in (folder / "report").iterdir() if path.is_file())
    assert files == [
        "cost.csv",
        "events.csv",
        "images.csv",
        "index.html",
        "outlook.csv",
        "report.md",
        "trials.csv",
        "variants.csv",
        "verdicts.csv",
    ]
    assert len(pd.read_csv(folder / "report" / "images.csv")) == 36
    assert len(pd.read_csv(folder / "report" / "trials.csv")) == 18
    assert set(pd.read_csv(folder / "report" / "verdicts.csv")["role"]) == {"primary", "exploratory"}


def test_the_report_built_twice_is_the_same_bytes(make_study):
    folder = make_study(
        ends={("no_attention", 2): ("DIVERGED", "", "x"), ("no_local_sfp", 3): ("RUNNING", None, None)},
        defects=True, model=True, events=[("no_attention", 2, 150, "collapse", "output", 0.1, "step 150: flat")],
    )  # fmt: skip
    write_report(folder)
    first = everything(folder)
    shutil.rmtree(folder / "report")
    again = [sys.executable, "-m", "analysis.report", str(folder)]
    elsewhere = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run(again, check=True, capture_output=True, cwd=ROOT, env=elsewhere)
    assert everything(folder) == first


def test_the_page_is_well_formed_and_needs_no_network(make_study):
    found = page(make_study())
    assert found.open == []
    links = [value for _, attributes in found.elements for name, value in attributes.items() if name in ("href", "src")]
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in links)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", found.source))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in found.source
    (policy,) = (one["content"] for one in found.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert found.all("script") == [{}]  # the slider's
    assert "eval" not in found.source.partition("<script>")[2]


def test_every_picture_has_a_text_and_every_name_is_given_once(make_study):
    found = page(make_study())
    assert len(found.all("img")) % 9 == 0
    assert found.all("img")
    assert all(image["alt"] for image in found.all("img"))
    assert all(figure["aria-label"] for figure in found.all("svg"))
    names = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(names) == len(set(names))


def test_the_page_says_what_was_asked_found_and_how(make_study):
    found = page(make_study()).text
    for expected in (
        "Which of attention, local discriminator, local sfp, global sfp and relativistic matter for PSNR",
        "Without attention, PSNR on these 2 images falls by",
        "Methods that learn nothing beat the trained full model: gain on PSNR",
        "A few bundled photographs & a recipe",
        "mean over its last 2 evaluations",
        "p-values are adjusted for the 5 declared comparisons (Holm)",
        "0123abc",
    ):
        assert expected in found


def test_the_page_and_the_markdown_give_the_same_verdicts(make_study):
    folder = make_study()
    text, words = markdown(folder), page(folder).text
    sentences = re.findall(r"^- \*\*.*?\*\*: (.*)$", text, flags=re.MULTILINE)
    assert len(sentences) == 5
    assert all(sentence in words for sentence in sentences)
    assert re.search(r"^\| gain \|  \| 17\.70 \| 0\.620 \| 4\.40 \|", text, flags=re.MULTILINE)


def test_an_unfinished_study_says_so_first(make_study):
    ends = {
        ("baseline", 3): ("RUNNING", None, None), ("no_attention", 3): ("PLANNED", None, None),
        ("no_local_sfp", 3): ("DIVERGED", "", "x"), ("no_global_sfp", 3): ("FAILED", "bug", "x"),
    }  # fmt: skip
    folder = make_study(ends=ends)
    expected = "15 of 18 trials have a result; 1 running, 1 waiting and 1 failed."
    assert f"**Unfinished.** {expected}" in markdown(folder)
    found = page(folder).text
    assert found.index(expected) < found.index("Verdicts")


def test_a_study_without_any_result_has_a_report(make_study):
    folder = make_study(ends=dict.fromkeys(EVERY, ("PLANNED", None, None)))
    found = page(folder)
    assert "0 of 18 trials have a result; 18 waiting." in found.text
    assert "No verdict on attention: no completed trial of “without attention” and of “full model”." in found.text
    assert not found.all("svg")


def test_a_study_of_the_full_model_alone_has_a_report(make_study):
    found = page(make_study(variants=(Variant("baseline"),)))
    assert "This study has no variant to compare with the full model." in found.text


def test_what_broke_is_listed_with_its_message_and_nothing_in_it_is_markup(make_study):
    message = "DivergedError: the loss is <script>alert(1)</script> & not finite\nTraceback"
    folder = make_study(
        ends={("no_attention", 2): ("DIVERGED", "", message), ("baseline", 1): ("FAILED", "memory", "")}
    )
    found = page(folder)
    assert "the loss is <script>alert(1)</script> & not finite" in found.text
    assert len(found.all("script")) == 1  # the slider's
    assert "Traceback" not in found.text
    assert "failed (memory)" in found.text
    assert "without attention: 1 of 3 (95 % interval of the share: 6 to 79 %)" in found.text


def test_deviations_and_mixed_devices_are_announced_and_listed(make_study):
    folder = make_study()
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("INSERT INTO deviation VALUES (1, ?, 1, 'seeds: 2 -> 3, after 12 trials')", [BEGIN])
        db.execute('UPDATE attempt SET record = \'{"device": "cuda"}\' WHERE trial = 1')
    db.close()
    found = page(folder).text
    assert "The plan was changed after the first trial: 1 deviation" in found
    assert "seeds: 2 -> 3, after 12 trials" in found
    assert "The trials differ in device" in found
    assert "cuda (1 trial), cpu (17 trials)" in found


def test_fewer_evaluations_than_declared_are_announced(make_study):
    rules = {"primary": "eval/psnr_db", "matters": {}, "images": "these", "at": 9}
    assert "mean of 4 evaluations" in page(make_study(analysis=rules)).text


def test_a_sample_of_scenes_is_said_to_be_one(make_study):
    rules = {"primary": "eval/psnr_db", "matters": {"eval/psnr_db": 0.5}, "images": "sample", "at": 2}
    images = {"LOL": {f"{n}": f"scene {n // 2}" for n in range(16)}}
    found = page(make_study(analysis=rules, images=images, pictures=False)).text
    assert "on images like these (8 scenes)" in found
    assert "MOVER for crossed random effects" in found


def test_missing_pictures_leave_a_word_in_their_place(make_study):
    folder = make_study()
    shutil.rmtree(folder / "storage")
    found = page(folder)
    assert not found.all("img")
    assert "The file cannot be read from here." in found.text


def test_a_report_can_be_written_while_a_driver_writes(make_study):
    folder = make_study()
    writer = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM step")
    assert "All 18 trials" in page(folder).text
    writer.execute("ROLLBACK")
    writer.close()


def test_the_command_prints_variants_verdicts_and_the_path(make_study, capsys):
    folder = make_study()
    assert main([str(folder)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"without attention +3 of 3 +\d+\.\d\d ± \d", printed)
    assert "Without attention, PSNR on these 2 images falls by" in printed
    assert printed.strip().endswith(str(folder / "report" / "index.html"))
    assert "\x1b[" not in printed


def test_the_command_answers_a_missing_study_in_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"no study '.*none': expected a folder with a ledger.db, or a study's name; .*\n", printed.err)


@pytest.mark.parametrize("out", ["file/x", "/proc/x", "y" * 300])
def test_the_command_answers_a_folder_that_cannot_be_written_in_one_sentence(make_study, tmp_path, capsys, out):
    (tmp_path / "file").touch()
    assert command([str(make_study()), "--out", str(tmp_path / out)]) == 2
    printed = capsys.readouterr().err
    assert re.fullmatch(r".+: cannot be written \(.+\); mend that, or choose another folder with --out\n", printed)


def test_the_command_answers_a_report_that_is_a_file_and_a_full_disk_in_one_sentence(make_study, capsys, monkeypatch):
    folder = make_study()
    (folder / "report").touch()
    assert command([str(folder)]) == 2
    assert f"{folder / 'report'}: cannot be written (File exists)" in capsys.readouterr().err
    (folder / "report").unlink()

    def refuse(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert command([str(folder)]) == 2
    assert capsys.readouterr().err.startswith("the report cannot be written (No space left on device)")
    with pytest.raises(OSError, match="No space left"):  # a sweep says it in its own words
        main([str(folder)])


def test_a_folder_keeps_no_table_of_another_study_and_all_that_is_somebody_elses(make_study, make_search, tmp_path):
    runs = designed(full(("a", "b")).runs, ("a", "b"), lambda run: 15 + len(run))
    out = tmp_path / "out"
    write_report(make_study("fact", variants=runs, design="factorial", components=("a", "b"), pictures=False), out)
    (out / "mine.csv").touch()
    assert (out / "effects.csv").exists()
    write_report(make_search(name="srch"), out)
    assert not list(out.rglob("effects.*"))
    assert all((out / name).exists() for name in ("search.csv", "promised.csv", "tables/tuned.parquet"))
    plain = make_study("plain", pictures=False)
    write_report(plain, out)
    write_report(plain)
    assert {path.relative_to(out) for path in out.rglob("*")} == {
        Path("mine.csv"), *(path.relative_to(plain / "report") for path in (plain / "report").rglob("*"))
    }  # fmt: skip


def test_the_known_defects_stand_in_tables_of_their_own_with_a_word_on_each(make_study):
    folder = make_study(defects=True, model=True)
    found, text = page(folder), markdown(folder)
    for expected in (
        "Known defects",
        "GMSD grows with structure",
        "The training as a whole",
        "trained elsewhere: official",
    ):
        assert expected in found.text
    spans = [attributes["colspan"] for attributes in found.all("th") if attributes.get("scope") == "colgroup"]
    assert spans == ["4", "4", "4", "4"]
    assert "- **Equilibrium**: A discriminator" in text
    assert "Trained elsewhere: official (weights ab12ab12ab12)." in text
    assert re.search(r"^\| official \|  \| 18\.40 \|", text, flags=re.MULTILINE)
    variants = pd.read_csv(folder / "report" / "variants.csv")
    assert {"eval/gmsd", "eval/hair_gmsd", "health/duality_gap", "health/duality_gap sd"} <= set(variants)
    assert found.open == []


def test_what_happened_is_told_drawn_and_listed_whole_in_a_file(make_study):
    text = "step 150: the gradient norm of <global> is 31"
    events = [("no_attention", 2, 150 + n, "spike", "global", 9.9, text) for n in range(230)]
    folder = make_study(defects=True, events=events)
    found = page(folder)
    assert "1 of 3, at step 150" in found.text
    assert "The first 200 of 230 events" in found.text
    assert "the gradient norm of <global> is 31" in found.text
    assert len(pd.read_csv(folder / "report" / "events.csv")) == 230
    named = [figure["class"] for figure in found.all("svg")]
    assert named == [
        "forest", "eval-psnr_db", "health-gradient_norm_generator", "health-gradient_norm_global",
        "health-margin_global",
    ]  # fmt: skip
    assert "## What happened in training" in markdown(folder)


def test_a_calm_study_says_so_and_one_that_measured_nothing_of_the_kind_is_silent(make_study):
    assert "No trial reported a gradient spike" in page(make_study("calm", defects=True)).text
    assert "What happened in training" not in page(make_study("silent")).text


def test_a_training_that_broke_down_is_drawn_up_to_its_end(make_study):
    folder = make_study(defects=True, ends={("no_attention", seed): ("DIVERGED", "", "x") for seed in (1, 2, 3)})
    write_report(folder)
    source = (folder / "report" / "index.html").read_text()
    norms = source[source.index('class="health-gradient_norm_global"') :]
    assert "without attention" in norms[: norms.index("</svg>")]
    learning = source[source.index('class="eval-psnr_db"') :]
    assert "without attention" not in learning[: learning.index("</svg>")]


def test_variants_are_listed_with_their_settings_and_what_these_leave_without_effect(make_study):
    folder = make_study()
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("UPDATE variant SET overrides = '{\"generator.attention\": \"none\"}' WHERE name = 'no_attention'")
    db.close()
    assert 'generator.attention: "none" without effect then: generator.attend' in page(folder).text


def test_a_ledger_of_the_first_version_has_a_report(make_study):
    folder = make_study()
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("UPDATE study SET value = '1' WHERE key = 'schema'")
        db.execute("DROP TABLE event")
        db.execute("DROP TABLE scored")
    db.close()
    assert "All 18 trials" in page(folder).text


def test_what_a_killed_writer_left_aside_goes_with_the_next_report(make_study):
    folder = make_study()
    write_report(folder)
    old, fresh = (folder / "report" / f".{name}.4711" for name in ("index.html", "report.md"))
    for draft in (old, fresh):
        draft.touch()
    os.utime(old, (BEGIN, BEGIN))
    write_report(folder)
    assert (old.exists(), fresh.exists()) == (False, True)


def test_each_figure_of_the_page_lies_beside_it_as_svg_and_png(make_study):
    folder = make_study(defects=True)
    found = page(folder)
    names = {figure["class"] for figure in found.all("svg")}
    figures = folder / "report" / "figures"
    assert "forest" in names
    assert {path.name for path in figures.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    (figures / "gone.svg").touch()
    (figures / "notes.txt").touch()
    write_report(folder)
    assert not (figures / "gone.svg").exists()  # of an earlier report
    assert (figures / "notes.txt").exists()


def test_what_must_not_be_concluded_stands_with_the_verdicts(make_study):
    source = page(make_study()).source
    verdicts = source[source.index('<h2 id="verdicts">') : source.index('<h2 id="pictures">')]
    assert "A few bundled photographs &amp; a recipe: for trying, not for conclusions." in verdicts
    assert source.count("A few bundled photographs") == 1
    assert "NIQE moves by 0.1 to 0.2 when an image is only cut elsewhere" in verdicts
    assert verdicts.count("Brightness-matched PSNR: not measured") == 5


def test_a_small_difference_in_niqe_is_marked_and_a_large_one_is_not(make_study):
    text = page(make_study(noise=0.0)).text
    row = text[text.index("Metric without attention") :]
    cells = row[row.index("NIQE +") : row.index("Error of the mean luminance")]
    assert "\u2020" in cells  # without local sfp, 0.05
    assert cells.count("\u2020") < 5


def test_one_seed_is_said_to_decide_nothing(make_study):
    text = page(make_study(seeds=(1,))).text
    assert "How much chance there is in a training cannot be told from one" in text
    assert "1 seed alone: two rows may differ by chance as much as they do here." in text


def test_a_page_of_ten_variants_stays_below_five_megabytes(make_study):
    variants = [Variant("baseline"), *(Variant(f"no_{n}", (-n / 10, 0, 0, 0), f"{n}", "baseline") for n in range(9))]
    images = {name: {f"{name}{n}": f"{name}{n}" for n in range(2)} for name in "abc"}
    folder = make_study(variants=variants, images=images, seeds=(1, 2, 3))
    rng = np.random.default_rng(0)
    for path in folder.rglob("storage/**/*.png"):  # noise, of which JPEG is largest
        Image.fromarray(rng.integers(0, 255, (400, 600, 3), np.uint8)).save(path)
    write_report(folder)
    assert (folder / "report" / "index.html").stat().st_size < 5_000_000
