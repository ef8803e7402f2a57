import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import schema
from analysis.errors import StudyError
from analysis.frames import load_events, load_references, load_trials
from analysis.ledger import Metric, open_ledger
from analysis.report import main

ROOT = Path(__file__).parents[2]


def change(folder, statement, *values):
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute(statement, values)
    db.close()


def test_the_study_knows_its_question_and_its_rules(make_study):
    folder = make_study()
    with open_ledger(folder) as ledger:
        study = ledger.study
    assert (study.name, study.primary, study.matters, study.images, study.at) == (
        "study", "eval/psnr_db", {"eval/psnr_db": 0.5}, "these", 2,
    )  # fmt: skip
    assert study.metric("eval/niqe").higher_is_better is False
    assert study.storage == folder / "storage"


def test_the_newest_spec_holds(make_study):
    folder = make_study()
    newer = {"analysis": {"primary": "eval/ssim", "matters": {}, "images": "these", "at": 3}}
    change(folder, "INSERT INTO spec VALUES (2, 0, ?)", json.dumps(newer))
    with open_ledger(folder) as ledger:
        assert (ledger.study.primary, ledger.study.at) == ("eval/ssim", 3)


def test_a_metric_tells_its_unit_from_its_key():
    metric = Metric("eval/psnr_matched_db", "PSNR, brightness matched (dB)", True, True)
    assert (metric.name, metric.unit) == ("PSNR, brightness matched", "dB")
    plain = Metric("eval/flat_share", "Flat share (a caution)", None, False)
    assert (plain.name, plain.unit) == ("Flat share (a caution)", "")


def test_a_study_is_found_by_its_name_under_results(make_study, tmp_path, monkeypatch):
    make_study("results/components")
    monkeypatch.chdir(tmp_path)
    assert len(load_trials("components")) == 18


def test_a_missing_study_is_answered_with_the_ones_that_exist(make_study, tmp_path, monkeypatch):
    make_study("results/components")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"no study 'componets': .* studies in results/: components"):
        load_trials("componets")


def test_a_study_that_has_not_begun_says_so(make_study):
    folder = make_study()
    change(folder, "DELETE FROM study WHERE key = 'digest'")
    with pytest.raises(StudyError, match=r"has not begun \(digest missing\); run it first"):
        load_trials(folder)


def test_a_ledger_of_another_version_is_refused(make_study):
    folder = make_study()
    change(folder, "UPDATE study SET value = '99' WHERE key = 'schema'")
    with pytest.raises(StudyError, match=f"version {schema.VERSION}, got version 99"):
        load_trials(folder)


@pytest.mark.parametrize("content", [b"not a database, but some text that is long enough to be read" * 20, b""])
def test_a_file_that_is_no_ledger_is_refused(tmp_path, content):
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(StudyError, match="cannot be read as a ledger"):
        load_trials(tmp_path)


def test_an_unknown_metric_is_answered_with_the_known_ones(make_study):
    with (
        open_ledger(make_study()) as ledger,
        pytest.raises(StudyError, match=r"no metric 'eval/x'; there are eval/psnr"),
    ):
        ledger.study.metric("eval/x")


def test_reading_neither_waits_for_a_writer_nor_sees_what_it_has_not_committed(make_study):
    folder = make_study()
    writer = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trial SET state = 'RUNNING'")
    assert set(load_trials(folder)["state"]) == {"COMPLETED"}
    writer.execute("COMMIT")
    assert set(load_trials(folder)["state"]) == {"RUNNING"}
    writer.close()


def test_an_open_ledger_stays_one_snapshot_while_a_driver_writes(make_study):
    folder = make_study()
    with open_ledger(folder) as ledger:
        before = load_trials(ledger)
        change(folder, "UPDATE trial SET state = 'FAILED'")
        assert load_trials(ledger).equals(before)
    assert set(load_trials(folder)["state"]) == {"FAILED"}


def test_reading_writes_nothing(make_study):
    folder = make_study()
    with open_ledger(folder) as ledger, pytest.raises(sqlite3.OperationalError, match="readonly"):
        ledger.connection.execute("DELETE FROM trial")


@pytest.mark.parametrize(
    ("storage", "folder", "found"),
    [
        ("/before/tiny", "/before/tiny", "/now/tiny"),  # its own, which was moved
        ("/shared/tiny", "/before/tiny", "/shared/tiny"),
        ("s3://bucket/tiny", "/before/tiny", "/now/tiny"),
        ("/before/tiny", None, "/before/tiny"),
    ],
)
def test_pictures_of_a_moved_study_are_looked_for_beside_its_ledger(storage, folder, found):
    facts = {"storage": storage} | ({"folder": folder} if folder else {})
    assert schema.files_folder(facts, Path("/now/tiny")) == Path(found)


def test_a_copy_without_its_log_files_can_be_read(make_study, tmp_path):
    copy = tmp_path / "copy with space # and ?"
    copy.mkdir()
    shutil.copy(make_study() / "ledger.db", copy / "ledger.db")
    assert len(load_trials(copy)) == 18


@pytest.mark.parametrize(
    ("imported", "absent"), [("analysis.schema", "pandas"), ("analysis.frames", "matplotlib"), ("analysis", "torch")]
)
def test_importing_the_ledgers_modules_stays_cheap(imported, absent):
    check = f"import sys, {imported}; sys.exit('{absent}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0


def test_a_ledger_of_the_first_version_is_read_with_nothing_in_what_it_lacks(make_study):
    folder = make_study(model=True, events=[("baseline", 1, 10, "spike", "global", 9.0, "step 10: x")])
    change(folder, "UPDATE study SET value = '1' WHERE key = 'schema'")
    for table in ("event", "scored"):
        change(folder, f"DROP TABLE {table}")
    change(folder, "DELETE FROM study WHERE key = 'inert'")
    before = (folder / "ledger.db").read_bytes()
    with open_ledger(folder) as ledger:
        assert load_events(ledger).empty
        assert load_references(ledger)["weights"].isna().all()
        assert {(one.about, one.per_image) for one in ledger.study.metrics} == {("quality", True)}
        assert ledger.study.inert == {}
    assert (folder / "ledger.db").read_bytes() == before


def test_metrics_tell_what_they_are_about(make_study):
    with open_ledger(make_study(defects=True)) as ledger:
        study = ledger.study
    assert (study.metric("eval/gmsd").about, study.metric("eval/gmsd").per_image) == ("detail", True)
    assert study.metric("health/margin_global").per_image is False
    assert "health/margin_global" not in study.image_keys
    assert study.metric("eval/colour_angle_deg").name == "Colour angle"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE study SET value = '{\"so' WHERE key = 'data'", "expected JSON, got '{\"so'"),
        ("UPDATE trial SET settings = '{\"so' WHERE number = 1", "expected JSON, got '{\"so'"),
        ("UPDATE step SET pictures = '{\"so'", "expected JSON, got '{\"so'"),
        ("UPDATE spec SET resolved = '{}'", "the spec lacks analysis"),
        (
            "UPDATE study SET value = '{\"source\": \"photos\"}' WHERE key = 'data'",
            "the study's data lacks training, sets",
        ),
        ("UPDATE attempt SET record = 'null'", "expected the record of a driver or an attempt, got 'null'"),
        (
            "UPDATE spec SET resolved = replace(resolved, '\"eval/psnr_db\": 0.5', '\"eval/none\": 0.5')",
            "a margin is of 'eval/none', but the metrics are eval/psnr_db",
        ),
        ("DELETE FROM variant", "there are trials of 'baseline', but no such variant"),
    ],
)
def test_a_damaged_ledger_is_answered_in_one_sentence(make_study, capsys, statement, said):
    folder = make_study()
    change(folder, statement)
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"{folder / 'ledger.db'}: is damaged: {said}")
