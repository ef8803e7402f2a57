from io import StringIO

import pytest
from rich.console import Console

from platform.design import variants
from platform.ledger import Ledger
from platform.plan import cells
from platform.snapshot import Row, Running, Snapshot, snapshot, states, time_left_s
from platform.view import clock, picture, summary
from tests.platform.specs import study
from trials.trainer import METRICS

STATES = dict.fromkeys(("PLANNED", "RUNNING", "COMPLETED", "STOPPED", "DIVERGED", "FAILED"), 0)


def moment(mean_s=None, **counts):
    running = [Running("baseline", 1, 50, 200, 12.0, 10.0), Running("no_x", 1, 0, 200, None, 1.0)]
    rows = [Row("baseline", 1, 3, 14.0), Row("no_x", 0, 3, None)]
    return Snapshot(STATES | {"RUNNING": 2, "PLANNED": 3, "COMPLETED": 1} | counts, running, rows, mean_s)


def test_the_time_left_comes_from_the_pace_of_running_trials_before_one_has_ended():
    # 50 of 200 steps took 10 s, so a trial takes 40 s: 30 s and 40 s of the running, 3 x 40 s planned, 2 at a time
    assert time_left_s(moment(), slots=2) == pytest.approx((30 + 40 + 120) / 2)


def test_the_time_left_comes_from_completed_trials_once_there_are_some():
    assert time_left_s(moment(mean_s=20.0), slots=2) == pytest.approx((15 + 20 + 60) / 2)
    assert time_left_s(moment(mean_s=20.0, PLANNED=0), slots=8) == pytest.approx(20)  # the slowest is waited for


def test_nothing_is_guessed_before_the_first_evaluation():
    nothing = Snapshot(STATES | {"PLANNED": 3}, [], [], None)
    assert time_left_s(nothing, 2) is None
    assert "time left not yet known" in summary(nothing, 3, 2)


def test_the_line_tells_what_ended_what_runs_and_what_went_wrong():
    line = summary(moment(mean_s=20.0, DIVERGED=1, FAILED=2), elapsed_s=75, slots=2)
    assert (
        line == "4 of 9 trials have a result · 2 running · 2 FAILED · 1 DIVERGED · 1 min 15 s so far · about 48 s left"
    )


def test_the_table_shows_each_variant_with_its_running_trials():
    console = Console(file=StringIO(), width=120)
    console.print(picture(moment(mean_s=20.0), "components", METRICS[0], 75, 2))
    text = console.file.getvalue()
    assert "PSNR (dB)" in text
    assert "14.000" in text
    assert "seed 1   25 %  12.00" in text


@pytest.mark.parametrize(("seconds", "said"), [(7.6, "8 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_are_said_as_people_say_them(seconds, said):
    assert clock(seconds) == said


def test_a_snapshot_is_read_while_the_driver_holds_the_ledger(tmp_path):
    found = study(tmp_path)
    ledger = Ledger(tmp_path / "study")
    planned = cells(found, "d" * 32)
    ledger.accept(found.resolved(), variants(found.spec), planned, data="d" * 32, now=1.0)
    ledger.begin_driver({}, 2.0)
    for number, cell in enumerate(planned[:2]):
        ledger.begin(cell.trial, {}, 10.0)
        metrics = {"eval/psnr_db": 10.0 + number}
        row = {"step": 20, "seconds": 5.0, "metrics": metrics, "checkpoint": None, "pictures": {}}
        ledger.report(cell.trial, row | {"images": [], "events": []}, 15.0)
    ledger.end(planned[0].trial, "COMPLETED", 16.0)
    now = snapshot(tmp_path / "study" / "ledger.db", "eval/psnr_db", 20.0)
    assert (now.trials, now.ended, now.mean_s) == (6, 1, 5.0)
    assert now.running == [Running("no_attention", 1, 20, 40, 11.0, 10.0)]
    assert now.rows[0] == Row("baseline", 1, 2, 10.0)
    assert states(tmp_path / "study" / "ledger.db")[planned[0].trial] == "COMPLETED"
    assert states(tmp_path / "none.db") == {}
    ledger.close()
