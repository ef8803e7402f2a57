from io import StringIO

import pytest
from rich.console import Console

from platform.design import variants
from platform.ledger import Ledger
from platform.plan import cells
from platform.snapshot import Progress, Row, Running, Snapshot, snapshot, states, time_left_s
from platform.view import clock, picture, summary
from tests.platform.search_ledgers import NIQE, PSNR, SEARCH, SearchLedger
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
    assert "baseline  seed 1  25 %  12.00" in text


@pytest.mark.parametrize(("seconds", "said"), [(7.6, "8 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_are_said_as_people_say_them(seconds, said):
    assert clock(seconds) == said


def test_a_snapshot_is_read_while_the_driver_holds_the_ledger(tmp_path):
    found = study(tmp_path)
    ledger = Ledger(tmp_path / "study")
    planned = cells(found, "d" * 32)
    ledger.accept(found.resolved(), variants(found.spec), planned, now=1.0)
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


def searching(tmp_path, **facts):
    """Return the ledger of a search that is under way: its fixed stage is over, three of eight trials have ended."""
    ledger = SearchLedger(tmp_path / "ledger.db", **facts)
    ledger.trial("fixed", "baseline", psnr=(9.0, 10.0, 10.0, 12.0))
    ledger.trial("fixed", "no_x", psnr=(8.0, 8.0, 8.0, 8.0))
    ledger.trial("search", "baseline", psnr=(8.0, 9.0, 14.0, 16.0), niqe=(5.0, 5.0, 5.0, 5.0), number=0)
    ledger.trial("search", "baseline", "STOPPED", psnr=(3.0, 4.0), number=1)
    ledger.trial("search", "no_x", "DIVERGED", psnr=(3.0,))
    ledger.trial("search", "no_x", "RUNNING", psnr=(7.0,), number=1)
    ledger.fill(1, "search", "baseline", number=2)  # the spec's own settings, suggested by the search
    return ledger


def looked(ledger):
    return snapshot(ledger.path, PSNR, 60.0)


def drawn(now, width=160):
    console = Console(file=StringIO(), width=width)
    console.print(picture(now, "searched", METRICS[0], 75, 2))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_search_counts_what_is_still_to_come_into_being(tmp_path):
    now = looked(searching(tmp_path))
    # of 2 + 8 + 4 places 7 are there, and one of the 6 trials in them fills two
    assert (now.trials, now.at_most, now.ended, now.stage) == (6 + 7, True, 5, "search")
    assert now.search.waiting("search") == 8 - 5
    assert now.rows == [Row("baseline", 1, 1, 11.0), Row("no_x", 1, 1, 8.0)]  # the mean of the last two evaluations
    assert now.running == [Running("no_x", 1, 10, 40, 7.0, 10.0, "search", 0, 1)]


def test_a_ledger_without_that_count_counts_the_trials_that_there_are(tmp_path):
    now = looked(searching(tmp_path, expected={}))
    assert (now.trials, now.at_most, now.ended) == (6, False, 5)


def test_untuned_is_worth_what_the_search_and_its_confirmation_take_the_same_trial_to_be_worth(tmp_path):
    ledger = SearchLedger(tmp_path / "ledger.db", at=3)
    trial = ledger.trial("fixed", "baseline", psnr=(1.0, 10.0, 12.0, 17.0))
    ledger.fill(trial, "search", "baseline")
    ledger.fill(trial, "confirm", "baseline")
    ledger.choose("baseline", 0)
    now = looked(ledger)
    standing = now.search.standings[0]
    assert now.rows[0].value == standing.best[PSNR] == standing.confirmed.values[PSNR] == 13.0


def test_an_evaluation_without_a_value_makes_no_number_of_the_others(tmp_path):
    ledger = SearchLedger(tmp_path / "ledger.db", search=None, confirm=None, expected={})
    ledger.trial("fixed", "baseline", psnr=(1.0, 10.0, 12.0))
    ledger.trial("fixed", "baseline", psnr=(1.0, None, 12.0), seed=2)
    assert looked(ledger).rows == [Row("baseline", 2, 2, 11.0)]


@pytest.mark.parametrize("width", [60, 80, 100, 150])
def test_at_any_width_every_number_is_whole_and_a_running_trial_has_a_line(tmp_path, width):
    two = SEARCH | {"objectives": {PSNR: "max", NIQE: "min"}, "repeats": 2}
    ledger = searching(tmp_path, search=two)
    ledger.db.execute("UPDATE variant SET name = 'no_local_discriminator' WHERE name = 'no_x'")
    ledger.db.execute("UPDATE cell SET variant = 'no_local_discriminator' WHERE variant = 'no_x'")
    ledger.trial("confirm", "no_local_discriminator", "RUNNING", psnr=(12.0,), seed=3, repeat=1)
    console = Console(file=StringIO(), width=width)
    console.print(picture(looked(ledger), "searched", METRICS[0], 75, 2))
    text = console.file.getvalue()
    assert "\u2026" not in text
    lines = [line.split() for line in text.splitlines()]
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    (baseline,) = [line for line in lines if line[:1] == ["baseline"]]
    assert {"3/8", "15.000"} <= set(baseline)
    assert ["no_local_discriminator", "search", "1", "repeat", "0", "25", "%", "7.00"] in lines
    assert ["no_local_discriminator", "confirm", "seed", "3", "repeat", "1", "25", "%", "12.00"] in lines
    assert ("in a wider terminal: " in text) == (width < 150)
    assert ("11.000" in baseline) == (width >= 80)


def test_a_trial_that_runs_for_several_stages_is_shown_once_in_the_first(tmp_path):
    ledger = SearchLedger(tmp_path / "ledger.db")
    trial = ledger.trial("search", "no_x", "RUNNING", psnr=(7.0,), number=3)
    ledger.fill(trial, "fixed", "baseline")
    assert [(one.variant, one.stage) for one in looked(ledger).running] == [("baseline", "fixed")]


def test_the_table_of_a_search_shows_untuned_budget_best_and_what_was_stopped(tmp_path):
    lines = drawn(looked(searching(tmp_path)))
    assert lines[0].startswith("searched · search")
    assert "5 of at most 13 trials have a result" in lines[0]
    heads, baseline, no_x, _, running = lines[2:]
    assert heads == "variant untuned PSNR (dB) search stopped diverged best PSNR (dB) confirmed PSNR (dB)"
    assert baseline == "baseline 1/1 11.000 3/4 1 0 15.000"
    assert no_x == "no_x 1/1 8.000 1/4 0 1"
    assert running == "no_x search 1 25 % 7.00"


def test_a_front_is_shown_by_its_size_and_the_best_of_each_objective(tmp_path):
    two = SEARCH | {"objectives": {PSNR: "max", NIQE: "min"}}
    now = looked(searching(tmp_path, search=two, confirm=None, expected={"fixed": 2, "search": 8, "confirm": 0}))
    heads, baseline, _ = drawn(now)[2:5]
    assert heads.endswith("best PSNR (dB) best NIQE front")
    assert baseline == "baseline 1/1 11.000 3/4 1 0 15.000 5.000 1"
    assert "baseline 3/4 (1 stopped) best PSNR (dB) 15.000, NIQE 5.000, front of 1" in summary(now, 75, 2)


def test_what_is_confirmed_is_shown_with_its_mean(tmp_path):
    ledger = searching(tmp_path, search=SEARCH | {"repeats": 2})
    ledger.db.execute("UPDATE trial SET state = 'COMPLETED' WHERE state = 'RUNNING'")
    ledger.db.execute("UPDATE attempt SET ended = 99")
    for repeat in (0, 1):
        ledger.choose("baseline", 0, repeat=repeat)
        ledger.choose("no_x", None, repeat=repeat)
    ledger.trial("confirm", "baseline", psnr=(12.0, 13.0), seed=2)
    ledger.trial("confirm", "baseline", "RUNNING", psnr=(12.0,), seed=3, repeat=1)
    now = looked(ledger)
    # no_x chose nothing, and no search goes on: 2 of the 4 that confirm are still to come
    assert (now.trials, now.ended, now.stage) == (8 + 2, 7, "confirm")
    lines = drawn(now)
    assert lines[3] == "baseline 1/1 11.000 3/8 1 0 15.000 1/4 12.500"
    assert lines[4].endswith("nothing chosen")
    assert lines[6] == "baseline confirm seed 3 repeat 1 25 % 12.00"
    assert "confirmed 1/4 12.500" in summary(now, 75, 2)


def test_the_line_names_the_stage_and_where_every_search_stands(tmp_path):
    line = summary(looked(searching(tmp_path)), 75, 2)
    assert line.startswith(
        "search · 5 of at most 13 trials have a result · 1 running · 1 DIVERGED · "
        "baseline 3/4 (1 stopped) best PSNR (dB) 15.000 · no_x 1/4 (1 diverged) · 1 min 15 s so far · about "
    )


def test_a_search_that_ended_early_and_one_with_nothing_to_search_say_so(tmp_path):
    early = SEARCH | {"ended": {"baseline": "no search found anything better"}, "parameters": {"baseline": ["x"]}}
    lines = drawn(looked(searching(tmp_path, search=early)))
    assert "3/4 (ended)" in lines[3]
    assert "nothing to search" in lines[4]


def progress(**more):
    """Return a search of 10 trials, 2 of them begun, and 4 to confirm."""
    wanted = {"unit": "trials"} | more
    asked = type("Asked", (), wanted)
    planned, states = {"fixed": 0, "search": 10, "confirm": 4}, {"search": {"COMPLETED": 1, "RUNNING": 1}}
    return Progress(asked, {}, more.get("standings", []), planned, states, mean_s=5.0, step_s=0.5)


def test_the_time_left_knows_that_a_searchs_trials_are_stopped_early_and_that_confirming_ones_are_not():
    running = [Running("baseline", 1, 50, 100, None, 10.0, "search", 0, 1)]
    now = Snapshot(STATES | {"RUNNING": 1, "COMPLETED": 1}, running, [], 20.0, progress())
    # half of a whole trial of 20 s runs; 8 of the search at 5 s and 4 that confirm at 20 s are to come
    assert time_left_s(now, slots=2) == pytest.approx((10 + 8 * 5 + 4 * 20) / 2)


def test_the_time_left_of_a_budget_in_steps_goes_by_its_steps():
    running = [Running("baseline", 1, 50, 100, None, 10.0, "search", 0, 1)]
    standing = type("Standing", (), {"spent": 150, "budget": 1000})
    now = Snapshot(
        STATES | {"RUNNING": 1, "COMPLETED": 1}, running, [], 20.0, progress(unit="steps", standings=[standing])
    )
    # of 1,000 steps 150 are spent and 50 more will be by the one that runs: 800 at 0.5 s
    assert time_left_s(now, slots=1) == pytest.approx(10 + 800 * 0.5 + 4 * 20)


def test_a_ledger_of_an_earlier_version_is_shown(tmp_path):
    ledger = SearchLedger(tmp_path / "ledger.db", search=None, confirm=None, expected={})
    ledger.trial("fixed", "baseline", psnr=(9.0,))
    ledger.db.executescript(
        """CREATE TABLE earlier AS SELECT stage, variant, seed, trial FROM cell;
        DROP TABLE cell; ALTER TABLE earlier RENAME TO cell; DROP TABLE suggestion; DROP TABLE choice;
        DELETE FROM study WHERE key IN ('search', 'confirm', 'expected');"""
    )
    now = looked(ledger)
    assert (now.search, now.trials, now.stage, now.rows) == (None, 1, "", [Row("baseline", 1, 1, 9.0)])
