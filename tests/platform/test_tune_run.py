"""Trials that end badly, on a real Ray: each in its own way, none harming another."""

import json
import signal
import sqlite3
import time
from types import SimpleNamespace

import pytest
from ray.tune.tune import _setup_signal_catching

from platform import tune_run
from platform.acceptance import accept, facts
from platform.design import variants
from platform.errors import LedgerError
from platform.job import Job
from platform.ledger import Ledger
from platform.plan import cells
from platform.search_run import search_run
from platform.simulation import simulate
from platform.spec import Spec, Study
from tests.platform import misbehaving_trainer
from tests.platform.simulated import everything, rows

BEHAVIOURS = ("bug", "data", "diverge", "memory", "memory once", "die once", "die always", "damaged")


def prepared(folder, behaviours, *, seeds, at_once):
    """Return a job with a trial of each behaviour for each seed, and its ledger, open."""
    by_hand = {name.replace(" ", "_"): {"behaviour": name} for name in behaviours}
    spec = Spec(study="bad", design="list", variants=by_hand, seeds=seeds, resources={"cpu": 1})
    spec = spec.model_copy(update={"trainer": misbehaving_trainer.__name__})
    trainer = misbehaving_trainer
    study = Study(spec, trainer, trainer.Config(), trainer.Data(marks=folder))
    opened = Ledger(folder / "bad")
    planned = cells(study, trainer.digest(study.data))
    opened.accept(study.resolved(), variants(spec), planned, now=time.time())
    opened.begin_driver({}, time.time())
    return Job(study, planned, opened, folder / "bad", lambda: at_once), opened


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    job, opened = prepared(tmp_path_factory.mktemp("run"), BEHAVIOURS, seeds=[1], at_once=2)
    with tune_run.cluster(None):
        assert tune_run.run(job) is True
    opened.end_driver(time.time())
    yield opened
    opened.close()


def test_what_an_earlier_driver_left_and_cannot_be_removed_is_used(tmp_path, monkeypatch):
    job, opened = prepared(tmp_path, ["bug"], seeds=[1], at_once=1)
    (tmp_path / "elsewhere").mkdir()
    (job.storage / ".tune").symlink_to(tmp_path / "elsewhere")
    found = []

    def fit():
        found.extend(job.storage.glob(".tune/*"))

    monkeypatch.setattr(tune_run, "_tuner", lambda *_: SimpleNamespace(fit=fit))
    assert tune_run.run(job) is False
    assert len(found) == 1
    opened.close()


def test_ctrl_c_after_the_trials_is_not_left_to_tune(tmp_path, monkeypatch):
    job, opened = prepared(tmp_path, ["bug"], seeds=[1], at_once=1)
    met = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(tune_run, "_tuner", lambda *_: SimpleNamespace(fit=_setup_signal_catching))
    tune_run.run(job)
    assert signal.getsignal(signal.SIGINT) is met
    opened.close()


def ends(ledger, variant):
    query = (
        "SELECT state, kind, message FROM trial JOIN cell ON trial = trial.number WHERE variant = ? ORDER BY cell.seed"
    )
    with sqlite3.connect(ledger.folder / "ledger.db") as db:
        return db.execute(query, (variant,)).fetchall()


def attempts(ledger, variant):
    query = "SELECT resumed_step, outcome FROM attempt JOIN cell USING (trial) WHERE variant = ? AND seed = 1"
    with sqlite3.connect(ledger.folder / "ledger.db") as db:
        return db.execute(f"{query} ORDER BY attempt.number", (variant,)).fetchall()


def steps(ledger, behaviour):
    return [int(line) for line in (ledger.folder.parent / f"{behaviour}-1").read_text().split()]


def test_the_well_behaved_are_not_harmed(ledger):
    assert [end[0] for end in ends(ledger, "baseline")] == ["COMPLETED"]
    with sqlite3.connect(ledger.folder / "ledger.db") as db:
        query = "SELECT step, value FROM report JOIN cell USING (trial) WHERE variant = 'baseline'"
        assert db.execute(f"{query} AND metric = 'eval/niqe'").fetchall() == [(1, 1.1), (2, 2.1), (3, 3.1)]


@pytest.mark.parametrize(
    ("behaviour", "state", "kind", "said"),
    [
        ("bug", "FAILED", "bug", "ZeroDivisionError: a bug of the trainer"),
        ("data", "FAILED", "data", "DataError: cat.png: broken"),
        ("diverge", "DIVERGED", None, "DivergedError: step 2: loss/generator is NaN"),
    ],
)
def test_an_exception_becomes_a_state_with_its_traceback(ledger, behaviour, state, kind, said):
    for end in ends(ledger, behaviour):
        assert end[:2] == (state, kind)
        assert end[2].startswith(said)
        assert "misbehaving_trainer.py" in end[2]
    assert attempts(ledger, behaviour) == [(0, state)]  # and is not tried again
    assert steps(ledger, behaviour) == [1, 2]


def test_a_trial_that_lacks_memory_comes_again_later_and_alone(ledger):
    assert [end[0] for end in ends(ledger, "memory_once")] == ["COMPLETED"]
    assert attempts(ledger, "memory_once") == [(0, "memory"), (1, "COMPLETED")]
    assert ends(ledger, "memory")[0][:2] == ("FAILED", "memory")
    assert attempts(ledger, "memory") == [(0, "memory"), (1, "FAILED")]
    with sqlite3.connect(ledger.folder / "ledger.db") as db:
        spans = db.execute("SELECT trial, number, outcome, started, ended FROM attempt ORDER BY started").fetchall()
    second = [
        one for one in spans if one[1] == 2 and one[0] in {trial for trial, _, what, *_ in spans if what == "memory"}
    ]
    assert len(second) == 2
    for trial, _, _, started, ended in second:
        assert not [one for one in spans if one[0] != trial and one[3] < ended and one[4] > started]


def test_a_damaged_checkpoint_costs_the_interval_since_the_one_before(ledger):
    assert [end[0] for end in ends(ledger, "damaged")] == ["COMPLETED"]
    assert attempts(ledger, "damaged") == [(0, "lost"), (2, "checkpoint"), (1, "COMPLETED")]
    assert steps(ledger, "damaged") == [1, 2, 3, 2, 3]


def test_many_failures_in_a_row_end_the_study_and_retry_mends_it(tmp_path):
    job, opened = prepared(tmp_path, ("bug",), seeds=list(range(1, 9)), at_once=1)
    job.cells[:] = [cell for cell in job.cells if cell.variant == "bug"]
    job = Job(job.study, job.cells, opened, job.storage, lambda: 1)
    with tune_run.cluster(None):
        assert tune_run.run(job) is True
    states = [opened.states[cell.trial] for cell in job.cells]
    assert states.count("FAILED") == 5
    assert states.count("PLANNED") == 3
    said = "5 trials in a row FAILED, the last one: ZeroDivisionError: a bug of the trainer; "
    assert job.reason == f"{said}mend it, then add --retry failed"
    opened.retry([cell.trial for cell in job.cells if opened.states[cell.trial] == "FAILED"])
    assert {opened.states[cell.trial] for cell in job.cells} == {"PLANNED"}
    opened.close()


def test_a_trial_whose_worker_dies_goes_on_from_its_checkpoint(ledger):
    assert [end[0] for end in ends(ledger, "die_once")] == ["COMPLETED"]
    assert attempts(ledger, "die_once") == [(0, "lost"), (1, "COMPLETED")]
    assert steps(ledger, "die once") == [1, 2, 2, 3]


def test_a_trial_that_always_kills_its_worker_fails_in_the_end(ledger):
    for end in ends(ledger, "die_always"):
        assert end[:2] == ("FAILED", "lost")
        assert "its worker was lost 3 times in a row" in end[2]
    assert [outcome for _, outcome in attempts(ledger, "die_always")] == ["lost"] * 4


def test_every_attempt_tells_where_it_ran(ledger):
    with sqlite3.connect(ledger.folder / "ledger.db") as db:
        records = [json.loads(row[0]) for row in db.execute("SELECT record FROM attempt")]
    assert all(record["node"] and record["versions"]["ray"] for record in records)
    assert len({record["pid"] for record in records}) < len(records)  # workers are used again


def test_nothing_of_tunes_own_is_left_behind(ledger):
    assert list((ledger.folder / ".tune").iterdir()) == []


def test_a_training_that_diverges_leaves_its_last_measures_and_events_without_images(ledger):
    of_trial = "JOIN cell USING (trial) WHERE variant = 'diverge'"
    with sqlite3.connect(ledger.folder / "ledger.db") as db:
        reports = db.execute(f"SELECT step, metric, value FROM report {of_trial} AND step = 2").fetchall()
        events = db.execute(f"SELECT step, kind, subject, value, text FROM event {of_trial} ORDER BY step").fetchall()
        images = db.execute(f"SELECT DISTINCT step FROM image {of_trial}").fetchall()
    assert reports == [(2, "health/gradient_norm_global", 1e9), (2, "loss/generator", None)]
    assert events == [
        (1, "spike", "global", 9.5, "step 1: a spike"),
        (2, "nonfinite", "loss/generator", None, "step 2: loss/generator is NaN"),
    ]
    assert images == [(1,)]


def test_a_full_storage_ends_no_trial_and_starts_none_until_there_is_room(tmp_path):
    (tmp_path / "full").touch()
    job, opened = prepared(tmp_path, ["full"], seeds=[1, 2], at_once=1)
    with tune_run.cluster(None):
        assert tune_run.run(job) is True
        said = "OSError: [Errno 28] No space left on device"
        assert (
            job.reason == f"the storage {tmp_path / 'bad'} is full ({said}); make room, then the same command goes on"
        )
        assert [end[0] for end in ends(opened, "baseline")] == ["COMPLETED", "PLANNED"]
        assert [end[:2] for end in ends(opened, "full")] == [("PLANNED", None)] * 2
        assert attempts(opened, "full") == [(0, "disk")]

        (tmp_path / "full").unlink()
        again = Job(job.study, job.cells, opened, job.storage, job.capacity)
        assert tune_run.run(again) is True
    assert again.reason == ""
    assert [end[0] for end in ends(opened, "baseline") + ends(opened, "full")] == ["COMPLETED"] * 4
    assert attempts(opened, "full") == [(0, "disk"), (1, "COMPLETED")]
    assert steps(opened, "full") == [1, 2, 2, 3]  # from the last checkpoint
    opened.close()


def test_a_ledger_that_finds_no_room_ends_the_run_with_a_sentence_and_stays_sound(tmp_path):
    job, opened = prepared(tmp_path, ["well too"], seeds=[1, 2], at_once=1)
    with sqlite3.connect(opened.folder / "ledger.db") as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    opened.db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then says what it says of a full disk
    with (
        tune_run.cluster(None),
        pytest.raises(LedgerError, match=r"bad is full \(database or disk is full\); make room"),
    ):
        tune_run.run(job)
    opened.close()
    with sqlite3.connect(tmp_path / "bad" / "ledger.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again, opened = prepared(tmp_path, ["well too"], seeds=[1, 2], at_once=1)
    with tune_run.cluster(None):
        assert tune_run.run(again) is True
    assert set(opened.states.values()) == {"COMPLETED"}
    opened.close()


def searched(folder):
    """Return a study whose trainer does as it is told: a search over its quality, with early stopping."""
    search = {
        "trials": 6,
        "space": {"quality": {"float": [0.1, 1]}},
        "scheduler": {"asha": {"first_rung": 1, "reduction": 2}},
    }
    spec = Spec(study="sought", seeds=[1], search=search, confirm={"seeds": [5, 6]}, resources={"cpu": 1})
    spec = spec.model_copy(update={"trainer": misbehaving_trainer.__name__})
    return Study(spec, misbehaving_trainer, misbehaving_trainer.Config(), misbehaving_trainer.Data(marks=folder))


def test_a_search_that_tune_runs_is_the_one_that_is_simulated(tmp_path, monkeypatch):
    for name, made in (("provenance", lambda data: {}), ("scenes", lambda data: [])):
        monkeypatch.setattr(misbehaving_trainer, name, made, raising=False)
    study, keys = searched(tmp_path), [metric.key for metric in misbehaving_trainer.METRICS]

    def curve(settings, seed):
        return {step: dict.fromkeys(keys, step + seed / 10 + settings["quality"]) for step in (1, 2, 3)}

    simulate(study, tmp_path / "simulated", curve)
    ledger, digests = Ledger(tmp_path / "trained"), ("simulated", "simulated")
    fixed = cells(study, "simulated")
    known = facts(study, ledger, storage=ledger.folder, digests=digests)
    accept(study, ledger, known, fixed, time.time())
    search = search_run(study, ledger, fixed, digests=digests, clock=time.time)
    ledger.begin_driver({}, time.time())
    job = Job(study, fixed, ledger, ledger.folder, lambda: 1, search)
    with tune_run.cluster(None):
        assert tune_run.run(job) is True
    ledger.end_driver(time.time())
    ledger.close()
    trained, simulated = everything(tmp_path / "trained"), everything(tmp_path / "simulated")
    assert trained == simulated
    assert {what for _, _, what in trained["decision"]} == {"continue", "stop"}
    assert {row[-1] for row in trained["cell"]} == {"COMPLETED", "STOPPED"}
    first = next(row[5] for row in trained["cell"] if row[-1] == "STOPPED")
    query = "SELECT max(step) FROM step JOIN trial ON trial.number = step.trial WHERE id = ?"
    assert rows(tmp_path / "trained", query, first)[0][0] < 3
