import sqlite3
from collections import namedtuple

import pytest

from platform.errors import LedgerError, SweepError
from platform.ledger import Ledger
from platform.plan import Done, Next
from platform.room import LEAST_B, reserve
from platform.searcher import PlanSearcher
from platform.tune_run import cluster
from tests.platform.test_tune_run import prepared

MIB = 2**20
Usage = namedtuple("Usage", "free")


def test_the_reserve_follows_what_checkpoints_take():
    assert reserve(0, 8) == LEAST_B == 32 * MIB
    assert reserve(300 * MIB, 1) == 32 * MIB + 3 * 300 * MIB  # one aside, two that the next one leaves
    assert reserve(300 * MIB, 4) == 32 * MIB + 6 * 300 * MIB


@pytest.fixture
def job(tmp_path):
    job, ledger = prepared(tmp_path, ["well too"], seeds=[1], at_once=2)
    yield job
    ledger.close()


def report(job, size):
    """Let the first trial report a checkpoint of this size."""
    trial = job.cells[0].trial
    folder = job.storage / "trials" / trial
    folder.mkdir(parents=True)
    with (folder / "checkpoint-1.pt").open("wb") as file:
        file.truncate(size)
    job.begin(trial, {})
    told = {"step": 1, "seconds": 1.0, "metrics": {}, "images": [], "pictures": {}, "events": []}
    job.report(trial, told | {"checkpoint": f"trials/{trial}/checkpoint-1.pt"})
    return trial


def test_no_trial_starts_with_less_and_the_sentence_says_how_much_is_needed(job, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(33 * MIB))
    assert isinstance(job.next(), Next)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(31 * MIB))
    assert job.next() == Done(
        f"the storage {job.storage} is nearly full: 31 MiB are free, and a trial starts with 32 MiB or more; "
        "make room, then the same command goes on"
    )


def test_larger_checkpoints_ask_for_more(job, monkeypatch):
    trial = report(job, 10 * MIB)
    job.ledger.release(trial, "lost", 0.0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(73 * MIB))
    assert isinstance(job.next(), Next)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(71 * MIB))
    assert "71 MiB are free, and a trial starts with 72 MiB or more" in job.next().reason


def test_the_ledger_s_disk_is_watched_too(job, monkeypatch, tmp_path):
    job.storage = tmp_path / "shared"
    job.storage.mkdir()
    free = {job.storage: 1000 * MIB, job.ledger.folder: 1 * MIB}
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(free[path]))
    assert f"{job.ledger.folder} is nearly full: 1 MiB are free" in job.next().reason


def test_ray_does_not_start_where_its_own_files_have_no_room(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(1 * MIB if path == tmp_path else 1000 * MIB))
    said = rf"{tmp_path}, where Ray keeps files while it runs, has 1 MiB free, and 32 are needed; make room, or set RAY"
    with pytest.raises(SweepError, match=said), cluster(None):
        pass


def test_an_end_that_cannot_be_written_ends_the_study_where_tune_hears_of_it(job, monkeypatch):
    searcher = PlanSearcher(job)
    searcher.suggest("a")
    report(job, 1)

    def full(*arguments, **more):
        raise LedgerError("full")

    monkeypatch.setattr(job.ledger, "end", full)
    searcher.on_trial_complete("a", {})  # what is raised here Tune swallows
    with pytest.raises(LedgerError, match="full"):
        searcher.suggest("b")


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "..", ""])
def test_no_trial_s_folder_lies_elsewhere(job, name):
    job.ledger.close()
    with sqlite3.connect(job.ledger.folder / "ledger.db") as db:
        db.execute("UPDATE trial SET id = ? WHERE number = 1", [name])
    with pytest.raises(LedgerError, match=r"was not written by this program: a trial is called"):
        Ledger(job.ledger.folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda db: db.write_bytes(b"no database" * 99), r"ledger\.db is no ledger, or damaged; put back a copy, or"),
        (lambda db: (db.unlink(), db.mkdir()), r"ledger\.db cannot be written to \(unable to open database file\)"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_a_sentence(tmp_path, spoil, said):
    Ledger(tmp_path).close()
    spoil(tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match=said):
        Ledger(tmp_path)
