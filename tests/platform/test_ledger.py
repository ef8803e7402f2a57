import fcntl
import json
import sqlite3
import subprocess
import sys

import pytest

from platform.design import variants
from platform.errors import LedgerError
from platform.ledger import Ledger
from platform.ledger_references import keep_models, refer, scored
from platform.ledger_results import change, losses, spent_s
from platform.ledger_search import decisions, go_on
from platform.plan import cells
from tests.platform.specs import SMALL, study
from trials.progress import ImageScore, Report

DIGEST = "d" * 32
RECORD = {"node": "here", "device": "cpu"}


@pytest.fixture
def found(tmp_path):
    return study(tmp_path)


@pytest.fixture
def ledger(tmp_path, found):
    opened = accepted(tmp_path / "study", found)
    yield opened
    opened.close()


def accepted(folder, found):
    ledger = Ledger(folder)
    ledger.accept(found.resolved(), variants(found.spec), cells(found, DIGEST), now=1.0)
    ledger.begin_driver({"command": ["x"]}, 2.0)
    return ledger


def message(step, value, checkpoint=True):
    return {
        "step": step,
        "seconds": step / 10,
        "metrics": {"eval/psnr_db": value},
        "images": [{"set": "photos", "image": "cat", "metrics": {"eval/psnr_db": value}}],
        "checkpoint": f"trials/x/checkpoint-{step}.pt" if checkpoint else None,
        "pictures": {},
        "events": [],
    }


def event(step, kind="spike", subject="global", value=9.5):
    return {"step": step, "kind": kind, "subject": subject, "value": value, "text": f"step {step}: {kind}"}


def report_of(value):
    """Return a report of a method beside the trials."""
    image = ImageScore("photos", "cat", "cat", {"eval/psnr_db": value})
    return Report(0, {}, [image], pictures={"photos/cat": f"references/{value}.png"})


def rows(ledger, query):
    with sqlite3.connect(f"file:{ledger.folder / 'ledger.db'}?mode=ro", uri=True) as db:
        return db.execute(query).fetchall()


def first(ledger):
    return next(iter(ledger.states))


def test_a_new_study_has_a_planned_trial_for_every_cell(ledger):
    assert list(ledger.states.values()) == ["PLANNED"] * 6
    assert rows(ledger, "SELECT count(*), count(DISTINCT trial) FROM cell") == [(6, 6)]
    assert rows(ledger, "SELECT name FROM variant ORDER BY number")[0] == ("baseline",)


def test_accepting_the_same_spec_again_adds_nothing(ledger, found):
    before = rows(ledger, "SELECT * FROM trial"), rows(ledger, "SELECT * FROM spec")
    ledger.accept(found.resolved(), variants(found.spec), cells(found, DIGEST), now=9.0)
    assert (rows(ledger, "SELECT * FROM trial"), rows(ledger, "SELECT * FROM spec")) == before


def test_a_component_taken_away_keeps_its_trials_out_of_the_plan_but_in_the_ledger(ledger, tmp_path):
    less = study(tmp_path, text=SMALL.partition("components")[0] + "seeds: 2\n")
    ledger.accept(less.resolved(), variants(less.spec), cells(less, DIGEST), now=9.0)
    assert len(ledger.cells()) == 2
    assert len(ledger.states) == 6


def test_a_trial_runs_and_ends(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    ledger.report(trial, message(10, 12.5), 4.0)
    ledger.end(trial, "COMPLETED", 5.0)
    assert ledger.states[trial] == "COMPLETED"
    assert rows(ledger, "SELECT state, started, ended FROM trial WHERE number = 1") == [("COMPLETED", 3.0, 5.0)]
    assert rows(ledger, "SELECT step, metric, value FROM report") == [(10, "eval/psnr_db", 12.5)]
    assert rows(ledger, 'SELECT step, "set", image, value FROM image') == [(10, "photos", "cat", 12.5)]
    attempt = rows(ledger, "SELECT driver, resumed_step, outcome, record FROM attempt")
    assert attempt == [(1, 0, "COMPLETED", json.dumps(RECORD))]


def test_a_report_that_comes_twice_counts_once(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    for _ in range(2):
        ledger.report(trial, message(10, 12.5), 4.0)
    assert rows(ledger, "SELECT count(*) FROM report") == [(1,)]


def test_nan_and_infinity_are_kept_as_missing(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    ledger.report(trial, message(10, float("nan")), 4.0)
    ledger.report(trial, message(20, float("inf")), 5.0)
    assert rows(ledger, "SELECT value FROM report") == [(None,), (None,)]


def test_a_trial_goes_on_from_its_last_checkpoint_and_forgets_what_came_after(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    ledger.report(trial, message(10, 1.0), 4.0)
    ledger.report(trial, message(20, 2.0), 5.0)
    ledger.report(trial, message(30, 3.0, checkpoint=False), 6.0)
    ledger.release(trial, "interrupted", 7.0)
    assert ledger.states[trial] == "PLANNED"
    assert ledger.resume(trial).step == 20
    ledger.begin(trial, RECORD, 8.0)
    assert rows(ledger, "SELECT step FROM report") == rows(ledger, "SELECT step FROM image") == [(10,), (20,)]
    assert rows(ledger, "SELECT number, resumed_step, outcome FROM attempt") == [(1, 0, "interrupted"), (2, 20, None)]


def test_what_a_dead_driver_left_running_is_taken_over(ledger, tmp_path, found):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    ledger.report(trial, message(10, 1.0), 4.0)
    ledger.close()  # as a killed process would, without a word
    again = accepted(tmp_path / "study", found)
    assert again.states[trial] == "PLANNED"
    assert rows(again, "SELECT outcome, ended FROM attempt") == [("lost", 4.0)]  # when it was last heard of
    assert rows(again, "SELECT number, ended IS NULL FROM driver") == [(1, 0), (2, 1)]
    again.close()


def test_a_second_driver_is_told_who_holds_the_study(ledger):
    program = f"from pathlib import Path; from platform.ledger import Ledger; Ledger(Path({str(ledger.folder)!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode != 0
    assert "is running this study; wait for it, or stop it first" in done.stderr


def test_a_lock_that_its_holder_removes_meanwhile_is_not_held(tmp_path, monkeypatch):
    flock = fcntl.flock

    def late(file, how):
        (tmp_path / "driver.lock").unlink(missing_ok=True)  # by a driver whose storage was refused
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(LedgerError, match="another process is running this study; wait for it"):
        Ledger(tmp_path)
    assert not (tmp_path / "ledger.db").exists()


def test_a_ledger_of_another_version_is_refused(ledger, tmp_path):
    ledger.put({"schema": 99})
    ledger.close()
    with pytest.raises(LedgerError, match="expected a ledger of version 4, got version 99"):
        Ledger(tmp_path / "study")


def test_attempts_lost_in_a_row_are_counted_until_a_checkpoint_comes_between(ledger):
    trial = first(ledger)
    for _ in range(2):
        ledger.begin(trial, RECORD, 3.0)
        ledger.release(trial, "lost", 4.0)
    assert losses(ledger, trial) == 2
    ledger.begin(trial, RECORD, 5.0)
    ledger.report(trial, message(10, 1.0), 6.0)
    ledger.release(trial, "lost", 7.0)
    ledger.begin(trial, RECORD, 8.0)
    ledger.release(trial, "lost", 9.0)
    assert losses(ledger, trial) == 1


def test_attempts_that_died_with_their_driver_count_for_nothing(ledger):
    trial = first(ledger)
    for moment in (3.0, 5.0, 7.0):
        ledger.begin(trial, RECORD, moment)
        ledger.begin_driver({}, moment + 1)  # the same command again, after kill -9
    assert losses(ledger, trial) == 0
    ledger.begin(trial, RECORD, 9.0)
    ledger.release(trial, "lost", 10.0)
    assert losses(ledger, trial) == 1


def test_a_stopped_trial_that_goes_on_is_planned_for_the_next_driver_too(ledger, tmp_path, found):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    ledger.report(trial, message(10, 1.0), 4.0, "stop")
    ledger.end(trial, "STOPPED", 5.0)
    go_on(ledger, trial)
    assert decisions(ledger) == {(trial, 10): "continue"}
    ledger.close()
    again = accepted(tmp_path / "study", found)
    assert again.states[trial] == "PLANNED"
    again.close()


def test_the_time_spent_is_summed_over_attempts_running_ones_included(ledger):
    one, two = list(ledger.states)[:2]
    ledger.begin(one, RECORD, 10.0)
    ledger.end(one, "COMPLETED", 25.0)
    ledger.begin(two, RECORD, 20.0)
    assert spent_s(ledger, 27.0) == 15 + 7


def test_a_write_that_fails_half_way_leaves_nothing(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    broken = message(10, 1.0) | {"seconds": None}  # the column refuses it
    broken["images"][0]["metrics"]["eval/ssim"] = 0.5
    with pytest.raises(sqlite3.IntegrityError):
        ledger.report(trial, broken, 4.0)
    assert rows(ledger, "SELECT count(*) FROM step") == rows(ledger, "SELECT count(*) FROM report") == [(0,)]
    ledger.report(trial, message(10, 1.0), 5.0)
    assert rows(ledger, "SELECT count(*) FROM report") == [(1,)]


def test_events_come_with_their_report_and_what_lies_past_the_last_checkpoint_goes(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    ledger.report(trial, message(10, 1.0) | {"events": [event(7)]}, 4.0)
    late = [event(14), event(15, "nonfinite", value=float("nan")), event(15, "spike")]
    for _ in range(2):  # a report that comes twice counts once
        ledger.report(trial, message(20, 2.0, checkpoint=False) | {"events": late}, 5.0)
    found = rows(ledger, "SELECT step, kind, subject, value, text FROM event ORDER BY step, kind")
    assert found[:2] == [(7, "spike", "global", 9.5, "step 7: spike"), (14, "spike", "global", 9.5, "step 14: spike")]
    assert found[2:] == [
        (15, "nonfinite", "global", None, "step 15: nonfinite"),
        (15, "spike", "global", 9.5, "step 15: spike"),
    ]
    ledger.release(trial, "lost", 6.0)
    ledger.begin(trial, RECORD, 7.0)
    assert rows(ledger, "SELECT step FROM event") == [(7,)]


def test_a_report_whose_events_are_refused_leaves_nothing(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    with pytest.raises(sqlite3.IntegrityError):
        ledger.report(trial, message(10, 1.0) | {"events": [event(7) | {"text": None}]}, 4.0)
    assert rows(ledger, "SELECT count(*) FROM step") == rows(ledger, "SELECT count(*) FROM event") == [(0,)]


def test_a_training_that_breaks_down_leaves_its_last_measures_and_goes_on_from_none_of_them(ledger):
    trial = first(ledger)
    ledger.begin(trial, RECORD, 3.0)
    ledger.report(trial, message(10, 1.0), 4.0)
    last = message(17, float("nan"), checkpoint=False) | {"images": [], "events": [event(17, "collapse", "output")]}
    ledger.report(trial, last, 5.0)
    assert ledger.resume(trial).step == 10  # if the driver dies now
    ledger.end(trial, "DIVERGED", 6.0, message="DivergedError: collapsed")
    assert rows(ledger, "SELECT step, value FROM report") == [(10, 1.0), (17, None)]
    assert rows(ledger, "SELECT step FROM image") == [(10,)]
    assert rows(ledger, "SELECT kind, step FROM event") == [("collapse", 17)]


def test_references_take_the_place_of_what_was_there_and_know_their_version_and_weights(ledger):
    refer(
        ledger, DIGEST, {"input": report_of(8.0), "official": report_of(17.0)}, version="1", weights={"official": "a1"}
    )
    assert scored(ledger, DIGEST, "1") == {"input": None, "official": "a1"}
    assert scored(ledger, DIGEST, "2") == scored(ledger, "other", "1") == {}
    refer(ledger, DIGEST, {"official": report_of(18.0)}, version="2", weights={"official": "b2"})
    assert scored(ledger, DIGEST, "2") == {"official": "b2"}
    assert rows(ledger, "SELECT method, value FROM reference") == [("input", 8.0), ("official", 18.0)]
    assert rows(ledger, "SELECT method, path FROM reference_picture") == [
        ("input", "references/8.0.png"), ("official", "references/18.0.png"),
    ]  # fmt: skip


def test_a_model_that_is_declared_no_more_or_whose_file_changed_leaves_the_tables(ledger):
    weights = {"official": "a1", "mine": "c3"}
    refer(ledger, DIGEST, {name: report_of(8.0) for name in ("input", *weights)}, version="1", weights=weights)
    keep_models(ledger, weights)
    assert len(rows(ledger, "SELECT * FROM reference")) == 3
    keep_models(ledger, {"official": "changed", "mine": "c3"})
    assert rows(ledger, "SELECT method FROM reference") == rows(ledger, "SELECT method FROM scored")
    assert rows(ledger, "SELECT method FROM reference_picture") == [("input",), ("mine",)]
    keep_models(ledger, {})
    assert rows(ledger, "SELECT method FROM reference") == [("input",)]


def test_every_change_that_a_report_shows_is_seen_and_nothing_else(ledger):
    trial = first(ledger)
    seen = [change(ledger)]

    def changed():
        seen.append(change(ledger))
        return seen[-1] not in seen[:-1]

    assert not changed()
    ledger.begin(trial, RECORD, 3.0)
    assert changed()
    ledger.report(trial, message(10, 1.0) | {"events": [event(7)]}, 4.0)
    assert changed()
    ledger.end(trial, "COMPLETED", 5.0)
    assert changed()
    refer(ledger, DIGEST, {"input": report_of(8.0)}, version="1")
    assert changed()
    for digest in ("a1", "b2"):
        refer(ledger, DIGEST, {"official": report_of(9.0)}, version="1", weights={"official": digest})
        assert changed()
    ledger.put({"reported": change(ledger), "inert": {}})
    assert changed()  # for what means nothing any more
    ledger.put({"reported": change(ledger)})
    assert not changed()
    keep_models(ledger, {})
    assert changed()


def test_a_ledger_of_the_first_version_goes_on(ledger, tmp_path, found):
    ledger.close()
    with sqlite3.connect(tmp_path / "study" / "ledger.db") as db:
        db.execute("UPDATE study SET value = '1' WHERE key = 'schema'")
        for table in ("event", "scored", "suggestion", "choice", "taken_out", "cell"):
            db.execute(f"DROP TABLE {table}")
        db.execute(
            "CREATE TABLE cell (stage TEXT, variant TEXT, seed INTEGER, trial INTEGER, "
            "PRIMARY KEY (stage, variant, seed)) WITHOUT ROWID"
        )
    db.close()
    again = accepted(tmp_path / "study", found)
    assert again.get("schema") == 4
    trial = first(again)
    again.begin(trial, RECORD, 3.0)
    again.report(trial, message(10, 1.0) | {"events": [event(7)]}, 4.0)
    assert rows(again, "SELECT step FROM event") == [(7,)]
    again.close()
