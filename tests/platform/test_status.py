"""What a study is said to be doing, against ledgers that the driver's own writer made and files laid out here."""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from platform import status, status_disk, status_driver
from platform.design import variants
from platform.ledger import Ledger
from platform.plan import cells
from platform.status_driver import Holder, holder, typed
from platform.status_read import brief, read
from platform.status_study import Brief, Status
from platform.status_trial import Trial
from tests.platform.search_ledgers import CONFIRM, NIQE, PSNR, SEARCH, SearchLedger
from tests.platform.specs import study

ROOT = Path(__file__).parents[2]
COMMAND = ["/usr/bin/python3", "/somewhere/platform/sweep.py", "my spec.yaml", "--results", "out"]
GO_ON = "python -m platform.sweep 'my spec.yaml' --results out"
METRICS = [
    {"key": PSNR, "title": "PSNR (dB)", "higher_is_better": True, "needs_reference": True},
    {"key": NIQE, "title": "NIQE", "higher_is_better": False, "needs_reference": False},
]
TRACEBACK = 'Traceback (most recent call last):\n  File "steps.py", line 7\nZeroDivisionError: by zero'


class Driven:
    """A study of three variants (baseline, no_attention, no_local_sfp) with two seeds, 40 steps, a report every ten."""

    def __init__(self, folder, *settings):
        self.folder, self.study = folder / "small", study(folder, *settings)
        self.ledger = Ledger(self.folder)
        planned = cells(self.study, "d" * 32)
        self.ledger.accept(self.study.resolved(), variants(self.study.spec), planned, now=1000.0)
        own = str(self.folder)
        facts = {
            "name": "small",
            "storage": own,
            "folder": own,
            "metrics": METRICS,
            "data": {"source": "folders", "training": {}, "sets": {}},
            "digest": "d" * 32,
        }
        self.ledger.put(facts)
        self.trials = {(cell.variant, cell.seed): cell.trial for cell in planned}

    def drive(self, at=1000.0):
        self.ledger.begin_driver({"command": COMMAND}, at)

    def begin(self, variant, seed, at):
        trial = self.trials[variant, seed]
        self.ledger.begin(trial, {"node": "n1", "device": "cpu", "pid": 5}, at)
        return trial

    def report(self, trial, step, value, at, seconds, **more):
        found = {"step": step, "seconds": seconds, "metrics": {PSNR: value}, "images": [], "pictures": {}, "events": []}
        self.ledger.report(trial, found | {"checkpoint": f"trials/{trial}/checkpoint-{step}.pt"} | more, at)

    def complete(self, variant, seed, values=(10.0,), at=1000.0):
        """Train a trial for ten seconds to its end, with its last evaluations at these values."""
        trial = self.begin(variant, seed, at)
        for place, value in enumerate(values, 1):
            self.report(trial, 10 * place, value, at + place, 10.0 * place / len(values))
        self.ledger.end(trial, "COMPLETED", at + 10)
        return trial

    def complete_all(self):
        for variant, seed in self.trials:
            self.complete(variant, seed)


@pytest.fixture
def driven(tmp_path):
    made = []

    def make(*settings):
        made.append(Driven(tmp_path, *settings))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def searched(folder, **facts):
    ledger = SearchLedger(folder / "ledger.db", **facts)
    ledger.add("study", ["digest", '"d"'], ["folder", json.dumps(str(folder))])
    rules = {"primary": PSNR, "at": 2, "matters": {}, "images": "these"}
    ledger.add("spec", [1, 0, json.dumps({"study": "searched", "analysis": rules})])
    return ledger


def told(capsys, *arguments):
    """Return the exit status and what was printed."""
    code = status.main([str(one) for one in arguments])
    found = capsys.readouterr()
    return code, found.out + found.err


def one_line(text):
    return " ".join(text.split())


def counted(found):
    return {state: count for state, count in found.trials.items() if count}


# --- the driver ----------------------------------------------------------------------------------------------


def test_a_study_that_runs_shows_what_it_trains_now(driven, capsys):
    one = driven()
    one.drive()
    one.complete("baseline", 1, at=1000.0)
    trial = one.begin("no_attention", 1, 1010.0)
    one.report(trial, 10, 12.5, 1014.0, 4.0)
    found = read(one.folder, 1016.0)
    assert (found.state, found.driver.state, found.driver.pid) == ("running", "running", os.getpid())
    assert found.held_by == Holder(socket.gethostname(), os.getpid())
    assert counted(found) == {"PLANNED": 4, "RUNNING": 1, "COMPLETED": 1}
    (now,) = found.running
    assert (now.trial, now.step, now.steps, now.value, now.attempt) == (trial, 10, 40, 12.5, 1)
    assert (now.seconds, now.node, now.device, now.last_sign) == (4 + 2, "n1", "cpu", 1014.0)
    assert found.time.spent == 10 + 6
    # trials take 10 s: 3/4 of one is left, and four whole ones, one at a time
    assert found.time.left == pytest.approx(7.5 + 40)
    code, text = told(capsys, one.folder)
    assert code == 3
    assert f"process {os.getpid()} on {socket.gethostname()} runs since 1970-01-01 00:16 UTC" in text
    assert "no_attention:1" in text
    assert "12.500" in text
    assert "to go on" not in text


def test_a_driver_killed_without_a_word_is_known_to_be_dead(driven, tmp_path, capsys):
    one = driven()
    one.ledger.close()
    program = (
        "import os, sys; from pathlib import Path; from platform.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1])); ledger.begin_driver({'command': sys.argv[3:]}, 2000.0)\n"
        "ledger.begin(sys.argv[2], {'node': 'n1'}, 2001.0)\n"
        "ledger.report(sys.argv[2], {'step': 10, 'seconds': 5.0, 'metrics': {}, 'images': [], 'checkpoint': 'x.pt',"
        " 'pictures': {}, 'events': []}, 2006.0); print(os.getpid(), flush=True); os.kill(os.getpid(), 9)\n"
    )
    arguments = [sys.executable, "-c", program, str(one.folder), one.trials["baseline", 1], *COMMAND]
    pid = int(subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True).stdout)
    found = read(one.folder, 3000.0)
    assert (found.state, found.driver.state, found.driver.pid, found.driver.ended) == (
        "unfinished",
        "dead",
        pid,
        2006.0,
    )
    assert found.held_by is None
    assert found.running[0].seconds == found.time.spent == 5  # not the time since then
    code, text = told(capsys, one.folder)
    assert code == 3
    assert f"process {pid} on {socket.gethostname()}, is dead without a word, last heard of 1970-01-01 00:33" in text
    assert "1 cut off, 5 planned" in text
    assert f"to go on  {GO_ON}" in text
    one.ledger = Ledger(one.folder)  # the next driver, before it takes over
    found = read(one.folder, 3000.0)
    assert (found.driver.state, found.held_by) == ("dead", Holder(socket.gethostname(), os.getpid()))


def test_how_a_driver_ended_in_order_is_told_apart(driven):
    one = driven()
    assert (read(one.folder, 1.0).state, read(one.folder, 1.0).why) == ("unfinished", "no driver has run yet")
    one.drive()
    one.begin("baseline", 1, 1001.0)
    one.ledger.end_driver(1002.0)
    found = read(one.folder, 2000.0)
    assert (found.driver.state, found.driver.ended, found.why) == ("interrupted", 1002.0, "it was interrupted")
    one.drive(1100.0)
    one.ledger.release(one.begin("baseline", 1, 1101.0), "disk", 1102.0)
    one.ledger.end_driver(1103.0)
    found = read(one.folder, 2000.0)
    assert (found.driver.state, found.why) == ("ended", "a full disk ended it; make room")
    assert found.outcomes == {"interrupted": 1, "disk": 1}
    one.drive(1200.0)
    one.ledger.end_driver(1201.0, "5 trials in a row FAILED")
    assert read(one.folder, 2000.0).why == "5 trials in a row FAILED"
    one.drive(1300.0)
    one.ledger.end_driver(1301.0)
    assert read(one.folder, 2000.0).why == "its driver ended before everything was trained"


def test_a_process_that_holds_the_study_before_it_trains_is_named(driven, capsys):
    one = driven()
    one.drive()
    one.ledger.end_driver(1001.0)  # it still holds the lock, as one does that has yet to begin
    text = told(capsys, one.folder)[1]
    assert f"process {os.getpid()} on {socket.gethostname()} holds the study and has not begun to train" in text


def test_the_lock_is_never_tried_where_that_could_turn_a_driver_away(tmp_path, monkeypatch):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    lock = tmp_path / "driver.lock"
    tried = []
    monkeypatch.setattr(status_driver, "lock_is_held", lambda path: tried.append(path) or True)
    assert holder(lock) is None
    for text in ("", f"process {int(gone.stdout)} on {socket.gethostname()}"):
        lock.write_text(text)
        assert holder(lock) is None
    assert tried == []
    lock.write_text(f"process {int(gone.stdout)} on elsewhere")  # where nobody here can know of its processes
    assert holder(lock) == Holder("elsewhere", int(gone.stdout))


def test_a_reader_sees_one_moment_and_holds_no_writer_up(driven, monkeypatch):
    one = driven()
    one.drive()
    seen, look = [], status_driver.last_driver

    def write_in_between(*arguments):
        found = look(*arguments)
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(20)
        seen.append(writer.is_alive())
        return found

    def write():
        with sqlite3.connect(one.folder / "ledger.db") as db:
            db.execute("UPDATE trial SET state = 'COMPLETED'")

    monkeypatch.setattr("platform.status_read.last_driver", write_in_between)
    assert counted(read(one.folder, 2000.0)) == {"PLANNED": 6}
    assert seen == [False]
    assert counted(read(one.folder, 2000.0)) == {"COMPLETED": 6}


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (COMMAND, GO_ON),
        ([], ""),
        (["/bin/tool", "a b"], "/bin/tool 'a b'"),
    ],
)
def test_a_command_is_shown_as_a_user_would_type_it(command, shown):
    assert typed(command) == shown


# --- what ran, and how it ended --------------------------------------------------------------------------------


def test_a_study_with_every_result_ends_with_0_and_one_with_a_failure_with_1(driven, capsys):
    one = driven()
    one.drive()
    one.complete_all()
    one.ledger.end_driver(1100.0)
    code, text = told(capsys, one.folder)
    assert code == 0
    assert "small: done, every trial has a result" in text
    assert "6 of 6 have ended" in text
    assert "to go on" not in text
    one.ledger.end(one.trials["baseline", 1], "DIVERGED", 1100.0, message="DivergedError: step 2: NaN")
    assert told(capsys, one.folder)[0] == 0  # a result
    one.ledger.end(one.trials["baseline", 1], "FAILED", 1100.0, kind="lost", message="its worker was lost")
    code, text = told(capsys, one.folder)
    assert f"to retry  {GO_ON} --retry failed" in text
    assert code == 1
    assert "all trials have ended, some FAILED" in text


def test_a_budget_that_is_spent_ends_with_1_and_says_so(driven, capsys):
    one = driven("budget.hours=0.01")
    one.drive()
    one.complete("baseline", 1)
    one.ledger.end_driver(1100.0)
    assert read(one.folder, 2000.0).state == "unfinished"  # 10 of 36 s
    one.drive(2000.0)
    trial = one.begin("baseline", 2, 2000.0)
    one.ledger.end(trial, "COMPLETED", 2026.0)
    one.ledger.end_driver(2100.0)
    code, text = told(capsys, one.folder)
    assert code == 1
    assert "the budget of 0.01 hours is spent; raise budget.hours to go on" in text
    assert "36 s of training so far, of 36 s allowed" in text


def test_what_a_search_stopped_is_still_to_be_trained_where_it_is_to_run_to_its_end(driven):
    one = driven()
    one.drive()
    one.complete_all()
    one.ledger.end(one.trials["baseline", 1], "STOPPED", 1100.0)
    one.ledger.end_driver(1100.0)
    assert read(one.folder, 2000.0).state == "unfinished"


def test_a_variants_value_is_the_mean_of_its_completed_trials_last_evaluations(driven):
    one = driven("analysis.at=last 2 evaluations")
    one.drive()
    one.complete("baseline", 1, (90.0, 10.0, 12.0))  # 11
    one.complete("baseline", 2, (13.0, 17.0))  # 15
    one.complete("no_attention", 1, (10.0, float("nan")))
    one.complete("no_attention", 2, (10.0, 10.0))
    found = {
        (row.stage, row.variant): (row.states["COMPLETED"], row.value) for row in read(one.folder, 2000.0).variants
    }
    assert found["fixed", "baseline"] == (2, 13.0)
    assert found["fixed", "no_attention"] == (2, None)
    assert found["fixed", "no_local_sfp"] == (0, None)
    assert list(found) == [("fixed", name) for name in ("baseline", "no_attention", "no_local_sfp")]


def test_failures_with_the_same_sentence_stand_together_and_lead_to_the_traceback(driven, capsys):
    one = driven()
    one.drive()
    for seed in (1, 2):
        trial = one.begin("no_attention", seed, 1000.0)
        one.ledger.end(trial, "FAILED", 1001.0, kind="bug", message=f"ZeroDivisionError: by zero\n\n{TRACEBACK}")
    diverged = one.begin("baseline", 2, 1000.0)
    one.ledger.end(diverged, "DIVERGED", 1001.0, message="DivergedError: step 2: loss is NaN\n\nTraceback")
    code, text = told(capsys, one.folder)
    assert code == 3
    assert "FAILED: 2 trials" in text
    assert text.count("bug: ZeroDivisionError: by zero") == 1
    assert "Traceback" not in text
    assert "DIVERGED: 1 trial\n  DivergedError: step 2: loss is NaN\n    baseline:2" in text
    asked = re.search(r"the traceback: python -m platform.status (\S+) --trial (\w+)", text)
    code, text = told(capsys, asked[1], "--trial", asked[2])
    assert code == 1
    assert "small, no_attention:1: FAILED" in text
    assert TRACEBACK in text


def test_codes_that_drive_a_terminal_are_shown_and_not_sent(driven, capsys):
    one = driven()
    one.drive()
    trial = one.begin("baseline", 1, 1000.0)
    one.ledger.end(
        trial, "FAILED", 1001.0, kind="data", message="\x1b[2J\x07[bold]evil[/bold].png: broken\n\n\x1b]0;x\x07"
    )
    for arguments in ([], ["--trial", trial]):
        text = told(capsys, one.folder, *arguments)[1]
        assert "\\x1b[2J\\x07[bold]evil[/bold].png: broken" in text
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)


def test_lost_attempts_are_counted_with_their_nodes(driven, capsys):
    one = driven()
    one.drive()
    for at in (1000.0, 1010.0):
        one.ledger.release(one.begin("no_attention", 1, at), "lost", at + 5)
    one.complete("no_attention", 1, at=1020.0)
    found = read(one.folder, 1100.0)
    assert found.outcomes == {"lost": 2}
    (lost,) = found.lost
    assert (lost.trial, lost.attempts, lost.nodes, lost.last) == (one.trials["no_attention", 1], 2, ["n1"], 1015.0)
    text = told(capsys, one.folder)[1]
    assert "attempts without an end: 2 lost" in text
    assert "lost 2 times on n1" in text


def test_trials_of_earlier_specs_are_beside_the_plan(driven, tmp_path, capsys):
    one = driven()
    one.drive()
    one.complete_all()
    less = study(
        tmp_path, text="study: small\ntrain: {steps: 40, evaluate_every: 10, crop_px: 32, batch: 2}\nseeds: 2\n"
    )
    one.ledger.accept(less.resolved(), variants(less.spec), cells(less, "d" * 32), now=1200.0)
    one.ledger.end_driver(1300.0)
    found = read(one.folder, 2000.0)
    assert (counted(found), found.unplanned, found.state) == ({"COMPLETED": 2}, 4, "done")
    assert "4 of earlier specs" in told(capsys, one.folder)[1]


# --- a search --------------------------------------------------------------------------------------------------


def test_a_search_is_done_once_each_variant_has_chosen_and_its_choice_is_confirmed(tmp_path, capsys):
    ledger = searched(tmp_path)
    for place, name in enumerate(("baseline", "no_x")):
        ledger.trial("fixed", name, psnr=(9.0, 9.0))
        for number in range(4):
            this = ledger.trial("search", name, psnr=(10.0 + number + place,), number=number)
            ledger.suggest(name, number, trial=this)
    found = read(tmp_path, 200.0)
    assert (found.state, found.to_come) == ("unfinished", 4)  # two seeds each, to confirm
    ledger.choose("baseline", 3)
    ledger.choose("no_x", None, why="none is good enough")
    for seed in (2, 3):
        ledger.trial("confirm", "baseline", psnr=(15.0 + seed,), seed=seed)
    found = read(tmp_path, 200.0)
    assert (found.state, found.to_come) == ("done", 0)
    assert [(one.variant, one.spent, one.budget, one.best) for one in found.search.standings] == [
        ("baseline", 4, 4, {PSNR: 13.0}),
        ("no_x", 4, 4, {PSNR: 14.0}),
    ]
    code, text = told(capsys, tmp_path)
    assert code == 0
    assert f"baseline: chosen 3: loss.sfp_global 1.5; confirmed {PSNR} 17.500" in text
    assert "no_x: chosen nothing, none is good enough" in text


def test_the_time_left_of_a_search_that_rests_is_all_the_training_that_is_left(tmp_path):
    ledger = searched(tmp_path, confirm=CONFIRM, expected={"fixed": 2, "search": 8, "confirm": 4})
    for name in ("baseline", "no_x"):
        this = ledger.trial("fixed", name, psnr=(9.0,) * 4)  # of 4 s each
        ledger.fill(this, "search", name)
    ledger.trial("search", "no_x", "STOPPED", psnr=(9.0, 9.0), number=1)  # 2 s
    found = read(tmp_path, 200.0)
    assert counted(found) == {"COMPLETED": 2, "STOPPED": 1}  # one that fills two places is one
    assert found.to_come == 5 + 4
    # 4 to confirm of 4 s, 5 of the search of (4 + 4 + 2) / 3 s
    assert found.time.left == pytest.approx(4 * 4 + 5 * 10 / 3)


@pytest.mark.parametrize("version", [1, 2])
def test_a_ledger_of_an_earlier_version_is_shown_whole(driven, capsys, version):
    one = driven()
    one.drive()
    one.complete_all()
    one.ledger.end_driver(1100.0)
    one.ledger.close()
    with sqlite3.connect(one.folder / "ledger.db") as db:
        db.execute("UPDATE study SET value = ? WHERE key = 'schema'", (str(version),))
        db.execute("CREATE TABLE earlier AS SELECT stage, variant, seed, trial FROM cell")
        db.execute("DROP TABLE cell")
        db.execute("ALTER TABLE earlier RENAME TO cell")
        for table in ("suggestion", "choice", *(("event", "scored") if version == 1 else ())):
            db.execute(f"DROP TABLE {table}")
    db.close()
    before = (one.folder / "ledger.db").read_bytes()
    assert told(capsys, one.folder)[0] == 0
    assert "no_local_sfp" in told(capsys, one.folder, "--trial", "no_local_sfp:2")[1]
    assert (one.folder / "ledger.db").read_bytes() == before


# --- beside the ledger -----------------------------------------------------------------------------------------


def test_files_are_counted_by_kind_also_after_the_study_was_moved(driven, tmp_path):
    one = driven()
    one.drive()
    trial = one.complete("baseline", 1)
    one.ledger.end_driver(1100.0)
    one.ledger.close()
    shutil.move(one.folder, tmp_path / "moved")
    home = tmp_path / "moved"
    (home / "report").mkdir()
    for path, size in {
        "report/index.html": 300, "report/trials.csv": 50, f"trials/{trial}/checkpoint-10.pt": 1000,
        f"trials/{trial}/generator.pt": 200, f"trials/{trial}/pictures/a.png": 30, "references/input/a.png": 7,
    }.items():  # fmt: skip
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(b"x" * size)
    disk = {kind.what: kind for kind in read(home, 2000.0).disk}
    sizes = {what: kind.bytes for what, kind in disk.items()}
    ledger = sum(path.stat().st_size for path in home.glob("ledger.db*"))
    assert sizes == {"ledger": ledger, "report": 350, "checkpoints": 1000, "trials": 230, "references": 7}
    assert disk["report"].path == str(home / "report" / "index.html")
    assert disk["checkpoints"].path == str(home / "trials")


def test_files_that_cannot_be_seen_are_said_to_be_so(driven, capsys):
    one = driven()
    one.drive()
    one.ledger.put({"storage": "/nowhere/small"})
    assert {kind.what: kind.bytes for kind in read(one.folder, 2000.0).disk if kind.what != "ledger"} == {
        "report": None, "checkpoints": None, "trials": None,
    }  # fmt: skip
    text = one_line(told(capsys, one.folder)[1])
    assert "checkpoints not to be seen from here /nowhere/small/trials" in text
    assert "report not written yet" in text


def test_a_folder_with_too_many_files_is_counted_for_a_while_only(tmp_path):
    for name in "abc":
        (tmp_path / "trials" / name).mkdir(parents=True)
        (tmp_path / "trials" / name / "generator.pt").write_bytes(b"xxxx")
    ticks = iter([0.0, 0.1, status_disk.PATIENCE_S + 0.1])
    found = {one.what: one for one in status_disk.kept(tmp_path, tmp_path, [], lambda: next(ticks))}
    assert (found["trials"].bytes, found["trials"].whole) == (4, False)


def test_the_mirror_is_behind_by_the_trials_that_have_ended_since(driven, capsys):
    one = driven()
    one.drive()
    one.complete_all()
    one.ledger.end_driver(1100.0)
    text = told(capsys, one.folder)[1]
    assert f"no copy in MLflow yet; to make it: python -m platform.mirror {one.folder}" in text
    said = {"uri": "http://h:5000", "experiment": "small", "experiment_id": "1", "copied": 4, "of": 4, "at": 1990.0}
    (one.folder / "mirror.json").write_text(json.dumps(said | {"error": "refused"}))
    found = read(one.folder, 2000.0).mirror
    assert (found.behind, found.uri, found.error, found.at) == (2, "http://h:5000", "refused", 1990.0)
    assert "2 ended trials behind" in told(capsys, one.folder)[1]
    (one.folder / "mirror.json").write_text(json.dumps(said | {"copied": 6, "error": None}))
    assert "up to date (http://h:5000, experiment small)" in told(capsys, one.folder)[1]
    (one.folder / "mirror.json").write_text("{")
    assert read(one.folder, 2000.0).mirror is None


# --- one trial -------------------------------------------------------------------------------------------------


def test_a_trial_is_shown_whole(driven, capsys):
    one = driven()
    one.drive()
    trial = one.begin("no_attention", 2, 1000.0)
    event = {"step": 7, "kind": "spike", "subject": "global", "value": 9.5, "text": "step 7: a spike"}
    one.report(trial, 10, 11.0, 1004.0, 4.0, events=[event])
    one.ledger.release(trial, "lost", 1005.0)
    one.begin("no_attention", 2, 1010.0)
    one.report(trial, 20, 12.0, 1016.0, 10.0)
    code, text = told(capsys, one.folder, "--trial", "no_attention:2", "--json")
    found = json.loads(text)
    assert code == 3
    assert (found["trial"], found["state"], found["seed"], found["steps"]) == (trial, "RUNNING", 2, 40)
    assert found["places"] == [["fixed", "no_attention", 0, 0, 2]]
    assert found["differs"] == {"generator.attention": ["none", "self_regularised"]}
    assert [(row["outcome"], row["resumed_step"], row["ended"]) for row in found["attempts"]] == [
        ("lost", 0, 1005.0), (None, 10, None),
    ]  # fmt: skip
    assert found["attempts"][0]["record"]["node"] == "n1"
    assert [(row["step"], row["metrics"]) for row in found["reports"]] == [(10, {PSNR: 11.0}), (20, {PSNR: 12.0})]
    assert found["events"] == [event]
    text = one_line(told(capsys, one.folder, "--trial", trial[:12])[1])
    assert 'generator.attention "none" "self_regularised"' in text
    assert "1 1970-01-01 00:16 UTC 5 s 0 lost n1 cpu 5 1" in text
    assert "7 spike global step 7: a spike" in text
    assert "20 1970-01-01 00:16 UTC 10 s 12 yes" in text


def test_of_several_trials_with_a_seed_the_one_at_the_specs_settings_is_meant(tmp_path, capsys):
    ledger = searched(tmp_path)
    for number in range(2):
        ledger.trial("search", "baseline", number=number)
    code, text = told(capsys, tmp_path, "--trial", "baseline:1")
    assert code == 2
    assert f"expected one trial, but there are 2: {1:032x} (COMPLETED), {2:032x} (COMPLETED)" in text
    fixed = ledger.trial("fixed", "baseline")
    code, text = told(capsys, tmp_path, "--trial", "baseline:1")
    assert code == 0
    assert f"identity  {fixed:032x}" in text


@pytest.mark.parametrize("asked", ["f" * 32, "nothing:1", "baseline:9", "", "%"])
def test_a_trial_that_there_is_not_is_answered_with_what_is_expected(driven, capsys, asked):
    one = driven()
    code, text = told(capsys, one.folder, "--trial", asked)
    assert code == 2
    assert (
        "there is no such trial; expected the beginning of an identity, or VARIANT:SEED with a variant such as" in text
    )
    assert "baseline, no_attention, no_local_sfp" in text


# --- the command -----------------------------------------------------------------------------------------------


def test_without_a_study_each_one_in_the_results_has_a_line(driven, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, text = told(capsys)
    assert code == 2
    assert "there are no studies in results/" in text
    one = driven()
    one.drive()
    one.complete_all()
    one.ledger.end(one.trials["baseline", 1], "FAILED", 1100.0)
    one.ledger.end_driver(1100.0)
    one.ledger.close()
    shutil.copytree(one.folder, tmp_path / "results" / "first")
    (tmp_path / "results" / "second").mkdir()
    (tmp_path / "results" / "second" / "ledger.db").write_text("not a ledger")
    code, text = told(capsys)
    lines = [one_line(line) for line in text.splitlines()]
    assert code == 0
    assert lines[1] == "first 6/6 1 0 all trials have ended, some FAILED"
    assert lines[2].startswith("second results/second/ledger.db: cannot be read as a ledger")
    assert [(row["study"], row["state"]) for row in json.loads(told(capsys, "--json")[1])] == [
        ("first", "failed"), ("second", "unreadable"),
    ]  # fmt: skip
    assert brief("first").driver.state == "ended"
    code, text = told(capsys, "third")
    assert code == 2
    assert "no study 'third'" in text
    assert "first, second" in text


def test_the_keys_of_the_json_are_those_that_are_documented(driven, capsys):
    one = driven()
    one.drive()
    found = json.loads(told(capsys, one.folder, "--json")[1])
    documented = re.search(r"The keys of a study:\n\n(.*?)\n\nOf a trial:", status.__doc__, re.DOTALL)[1]
    named = [name for line in re.findall(r"^    (\w[\w, ]*?)  ", documented, re.MULTILINE) for name in line.split(", ")]
    assert list(found) == named == list(Status.__dataclass_fields__)
    trial, listed = status.__doc__.rpartition("Of a trial:")[2].split("Of the list,")
    assert [re.sub(r"\W", "", name) for name in re.sub(r"\([^)]*\)", "", trial).split(",")] == list(
        Trial.__dataclass_fields__
    )
    for name in Brief.__dataclass_fields__:
        assert name in listed


def test_the_command_works_in_a_pipe_and_loads_neither_torch_nor_ray_nor_mlflow(driven):
    one = driven()
    one.drive()
    command = [sys.executable, "-m", "platform.status", str(one.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "20"})
    assert (done.returncode, done.stderr) == (3, "")
    assert "\x1b" not in done.stdout
    assert re.search(r"^fixed  no_local_sfp +2 +0 +0", done.stdout, re.MULTILINE)
    with subprocess.Popen([*command, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as short:
        short.stdout.close()  # as `head` does
        assert short.stderr.read() == b""
    program = (
        "import sys; from platform import status; status.main(sys.argv[1:])\n"
        "sys.exit(str({'torch', 'ray', 'mlflow', 'optuna', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(one.folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "set()\n"


def test_a_budget_of_steps_is_told_as_one_over_all_repeats(tmp_path):
    searched(tmp_path, search=SEARCH | {"budget": {"steps": 100}, "repeats": 2})
    found = read(tmp_path, time.time()).search
    assert (found.unit, found.standings[0].budget) == ("steps", 200)
