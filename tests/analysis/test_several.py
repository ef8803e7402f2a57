import json
import re
import shutil
import sqlite3

import pandas as pd
import pytest

from analysis.errors import StudyError
from analysis.factorial import full
from analysis.frames import load_images
from analysis.report import main, write_report
from analysis.several import load_together
from tests.analysis.synthetic import LEAVE_ONE_OUT, designed
from tests.analysis.synthetic_search import ordinary


def change(folder, statement, *values):
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute(statement, values)
    db.close()


def beside(tmp_path, *folders):
    assert main([*map(str, folders), "--out", str(tmp_path / "out")]) == 0
    return pd.read_csv(tmp_path / "out" / "studies.csv", keep_default_na=False)


def primary(folder, out):
    write_report(folder, out)
    table = pd.read_csv(out / "verdicts.csv", keep_default_na=False)
    return table[table["role"] == "primary"].reset_index(drop=True)


def test_the_verdicts_of_several_studies_stand_one_below_the_other(make_study, tmp_path):
    one, two = make_study("one"), make_study("two", seeds=(1, 2, 3, 4, 5))
    table = beside(tmp_path, one, two)
    for name, folder in (("one", one), ("two", two)):
        mine, own = table[table["study"] == name].reset_index(drop=True), primary(folder, tmp_path / f"alone {name}")
        for column in ("variant", "component", "difference", "low", "high", "seeds", "verdict", "sentence"):
            assert mine[column].astype(str).tolist() == own[column].astype(str).tolist(), column
    assert set(table["apart"]) == {""}
    told = (tmp_path / "out" / "studies.md").read_text()
    assert "| two | attention | without attention minus full model | eval/psnr_db |" in told


def test_what_a_number_estimates_stands_beside_it(make_study, tmp_path):
    runs = designed(full(("a", "b")).runs, ("a", "b"), lambda run: 15 + len(run))
    crossed = make_study("crossed", variants=runs, design="factorial", components=("a", "b"))
    table = beside(tmp_path, make_study("one"), crossed)
    assert table.groupby("study")["estimand"].unique().map(list).to_dict() == {"one": [""], "crossed": ["main effect"]}
    told = (tmp_path / "out" / "studies.md").read_text()
    assert "| crossed | a | main effect, present minus absent | eval/psnr_db |" in told


def test_equal_scores_with_other_verdicts_say_what_they_were_judged_by(make_study, tmp_path):
    rules = {"primary": "eval/psnr_db", "at": 2}
    scenes = {"photos": {str(number): str(number) for number in range(8)}}
    strict = {**rules, "matters": {"eval/psnr_db": 0.5}, "images": "these"}
    loose = {**rules, "matters": {"eval/psnr_db": 3.0}, "images": "sample"}
    one, two = (make_study(n, images=scenes, analysis=a) for n, a in (("one", strict), ("two", loose)))
    table = beside(tmp_path, one, two)
    attention = table[table["variant"] == "no_attention"].set_index("study")
    assert attention["verdict"].to_dict() == {"one": "helps", "two": "equivalent"}
    assert attention["difference"].nunique() == 1
    assert attention["margin"].to_dict() == {"one": 0.5, "two": 3.0}
    assert attention.at["two", "p_equivalent_adjusted"] < 0.05 < attention.at["one", "p_equivalent_adjusted"]
    assert attention["images_are"].to_dict() == {"one": "these", "two": "sample"}
    said = "another margin: 3 dB, not 0.5 dB; verdicts on images like these, not on these images"
    assert attention["apart"].to_dict() == {"one": "", "two": said}
    rows = [line for line in (tmp_path / "out" / "studies.md").read_text().splitlines() if "| attention |" in line]
    assert "(equivalence) |" in rows[1]
    assert "| 0.5 dB |" in rows[0]
    assert "| 3 seeds | 8 (these) |" in rows[0]
    assert "| 3 dB |" in rows[1]
    assert "| 8 (sample) |" in rows[1]
    assert len(load_together(load_images, [one, two])) == 2 * len(load_images(one))  # the scores are the same


def test_each_verdict_stands_with_its_sentence_and_what_it_must_be_read_with(make_study, tmp_path):
    one = make_study("one", ends={("no_attention", 2): ("FAILED", "bug", "x")}, seeds=(1, 2, 3, 4))
    table = beside(tmp_path, one, make_study("two"))
    told = (tmp_path / "out" / "studies.md").read_text()
    assert all(sentence in told for sentence in table["sentence"])
    assert told.count("  - Error of the mean luminance: ") == 10
    assert told.count("for trying, not for conclusions") == 2
    assert "scored as the untouched input, they would make the difference" in told
    own = table[table["study"] == "one"].set_index("variant")
    assert own["n_failed"].to_dict() == {name: int(name == "no_attention") for name in own.index}
    write_report(one)
    row = re.search(r"^\| attention \| ([^|]+) \|", (one / "report" / "report.md").read_text(), flags=re.MULTILINE)
    assert f" | {row[1]} | " in told  # with the same digits as in its own report


def test_a_changed_plan_marks_its_verdicts_here_too(make_study, tmp_path):
    one, two = make_study("one"), make_study("two")
    change(two, "INSERT INTO study VALUES ('exploratory', ?)", json.dumps({"": ["margin was changed"]}))
    change(two, "INSERT INTO deviation VALUES (1, 1, 1, 'margin was 1, now 0.5')")
    table = beside(tmp_path, one, two).set_index("study")["unlocked"]
    assert set(table["one"]) == {""}
    assert set(table["two"]) == {"margin was changed"}
    told = (tmp_path / "out" / "studies.md").read_text()
    assert "| helps, exploratory |" in told
    assert "margin was 1, now 0.5" in told


def test_a_search_that_chose_nothing_or_waits_says_why(make_study, make_search, tmp_path):
    asked = ordinary()
    choices = {**asked.choices, ("no_attention", 0): (None, "none met the limit")}
    confirmed = {place: scores for place, scores in asked.confirmed.items() if place[0] != "no_attention"}
    some = make_search(ordinary(choices=choices, confirmed=confirmed), name="some")
    waits = make_search(ordinary(confirmed={}), name="waits")
    table = beside(tmp_path, make_study("plain"), some, waits).set_index("study")
    own = table.loc["some"].set_index("variant")
    write_report(some)
    alone = pd.read_csv(some / "report" / "verdicts.csv").query("role == 'primary'").set_index("variant")
    assert own.loc["no_attention", "why"] == alone.loc["no_attention", "why"]
    assert "chose nothing (none met the limit)" in own.loc["no_attention", "why"]
    assert own.loc["no_attention", "apart"].startswith("other images; judged in the stage confirm, not fixed")
    assert table.loc["waits", "why"].startswith("The verdicts wait for the confirmation of the settings found")
    told = (tmp_path / "out" / "studies.md").read_text()
    assert "For the settings found: each variant was searched once" in told
    assert "untuned variants" not in told


@pytest.mark.parametrize(
    ("statement", "value", "said"),
    [
        ("UPDATE study SET value = ? WHERE key = 'digest'", '"d2"', "other images; another version of the trainer"),
        ("UPDATE scored SET version = ?", "2", "another version of the trainer: 2, not 1"),
        ("UPDATE study SET value = ? WHERE key = 'trainer'", '"mine"', "another trainer: mine, not trials.trainer"),
        (
            "UPDATE spec SET resolved = ?",
            json.dumps({"analysis": {"primary": "eval/ssim", "matters": {}, "images": "these", "at": 3}}),
            "another primary metric: eval/ssim, not eval/psnr_db; scores over the last 3 evaluations, not 2",
        ),
        (
            "UPDATE trial SET settings = ?",
            json.dumps({"steps": 400, "generator": {"width": 16}}),
            "another full model: generator.width 16, not 8",
        ),
    ],
)
def test_what_must_not_be_pooled_says_why(make_study, tmp_path, statement, value, said):
    one, two = make_study("one"), make_study("two")
    change(two, statement, value)
    table = beside(tmp_path, one, two).set_index("study")["apart"]
    assert set(table["one"]) == {""}
    assert all(why.startswith(said) for why in table["two"])
    with pytest.raises(StudyError, match="two cannot be pooled with one: "):
        load_together(load_images, [one, two])


def test_scores_of_studies_that_are_alike_are_loaded_together(make_study):
    one, two = make_study("one"), make_study("two", seeds=(4, 5, 6))
    table = load_together(load_images, [one, two])
    assert list(table)[:2] == ["study", "trial"]
    assert table.groupby("study")["seed"].unique().map(sorted).to_dict() == {"one": [1, 2, 3], "two": [4, 5, 6]}
    assert len(table) == 2 * len(load_images(one))


def test_studies_of_one_name_are_told_apart_by_their_folders(make_study, tmp_path):
    one, two = make_study("a/same"), make_study("b/same")
    change(two, "UPDATE spec SET at = at + 0.001")
    assert set(beside(tmp_path, one, two)["study"]) == {f"same ({one})", f"same ({two})"}


def test_a_study_is_no_second_one_by_another_path_or_as_a_copy(make_study, tmp_path, capsys):
    one = make_study("a/same")
    copy = shutil.copytree(one, tmp_path / "copy")
    for again in (one, one / ".." / "same", copy):
        said = f"same is named twice ({one} and {again}): expected different studies, not one and its copy"
        with pytest.raises(StudyError, match=re.escape(said)):
            load_together(load_images, [one, again])
        assert main([str(one), str(again), "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err


def test_a_study_without_comparisons_or_scores_has_rows_that_say_so(make_study, tmp_path):
    whole = make_study("whole")
    bare = make_study("bare", variants=LEAVE_ONE_OUT[:1])
    seed = make_study("seed", seeds=(1,))
    table = beside(tmp_path, whole, bare, seed).set_index("study")
    assert table.loc["bare", "why"] == "the study declares no comparison"
    assert all(table.loc["seed", "why"].str.len() > 0)


def test_a_folder_with_something_else_in_it_is_not_written_into(make_study, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "figures").mkdir()
    for out in (tmp_path / "mine",):
        assert main([str(make_study()), "--out", str(out)]) == 2
    assert "expected a new folder, or one with a report" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--mlflow", "sqlite:///x.db"], ["one", "--experiment", "x"]])
def test_a_command_that_names_no_study_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "expected" in capsys.readouterr().err
