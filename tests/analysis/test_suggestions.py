import sqlite3

import numpy as np
import pytest

from analysis import load_suggestions, load_trials
from analysis.ledger import open_ledger
from analysis.suggestions import best_front, worth
from tests.analysis.synthetic_search import NIQE, PSNR, SFP, Asked, Tried, flat, ordinary

BASELINE = ("baseline", 0)


def by_place(frame):
    return frame.set_index(["variant", "repeat", "number"])


def test_a_suggestion_is_what_its_trial_and_the_search_say_of_it(make_search):
    found = by_place(load_suggestions(make_search()))
    assert found["state"].tolist() == [
        "complete", "complete", "stopped", "diverged", "complete", "complete", "complete", "refused",
    ]  # fmt: skip
    assert found.loc[[("baseline", 0, 1), ("no_attention", 0, 1)], PSNR].tolist() == [17.0, 16.0]  # (16.5 + 17.5) / 2
    assert found[PSNR].notna().sum() == 5
    assert found.at[("baseline", 0, 2), "rung"] == 200
    assert found["rung"].notna().sum() == 1
    assert found["chosen"].tolist() == [False, True, False, False, False, True, False, False]
    assert found["front"].tolist() == found["chosen"].tolist()
    assert found[f"params/{SFP}"].tolist() == [1.0, 3.0, 0.2, 9.0, 1.0, 4.0, 1.0, 10.0]
    assert found.at[("no_attention", 0, 3), "refused"] == "too much"


def test_a_repeat_has_the_value_of_its_original_and_trained_nothing(make_search):
    found = by_place(load_suggestions(make_search()))
    repeat, original = found.loc[("no_attention", 0, 2)], found.loc[("no_attention", 0, 0)]
    assert (repeat["same_as"], repeat["trial"], repeat[PSNR]) == (0, original["trial"], 14.5)
    assert (original["steps"], original["seconds"]) == (400, 40)
    assert (repeat["steps"], repeat["seconds"]) == (0, 0)
    assert found.at[("baseline", 0, 2), "steps"] == 200


def test_a_value_missing_at_one_of_the_last_evaluations_is_missing(make_search):
    whole, broken = [(1.0,), (None,), (5.0,), (7.0,)], [(1.0,), (2.0,), (None,), (7.0,)]
    folder = make_search(ordinary(tried={BASELINE: [Tried(whole), Tried(broken), Tried(flat(9.0))]}))
    with sqlite3.connect(folder / "ledger.db") as db:  # a second seed of the last one lacks it, too
        db.execute("INSERT INTO cell SELECT 'search', 'baseline', 0, 2, 2, 1002")
    db.close()
    found = load_suggestions(folder)
    assert found[PSNR].iloc[0] == 6.0
    assert found[PSNR].iloc[1:].isna().all()
    assert found["state"].tolist() == ["complete"] * 3
    assert found["front"].tolist() == [True, False, False]


def test_what_the_search_left_out_is_kept_and_marked_and_has_no_value(make_search):
    tried = {BASELINE: [Tried(flat(9.0), left_out="the space was changed"), Tried(flat(8.0))]}
    found = load_suggestions(make_search(ordinary(tried=tried)))
    assert found["state"].tolist() == ["left out", "complete"]
    assert found["left_out"].iloc[0] == "the space was changed"
    assert np.isnan(found[PSNR].iloc[0])
    assert found["front"].tolist() == [False, True]  # it is no point any more
    assert found["steps"].tolist() == [400, 400]  # but was trained


def test_states_of_a_search_under_way(make_search):
    tried = {BASELINE: [Tried([(1.0,)], state="RUNNING"), Tried(state="PLANNED"), Tried([(1.0,)], state="FAILED")]}
    assert load_suggestions(make_search(ordinary(tried=tried)))["state"].tolist() == ["running", "waiting", "failed"]


def test_the_front_of_two_objectives_is_that_of_each_search_apart(make_search):
    # higher PSNR and lower NIQE: (3, 1) beats (2, 2) and (3, 2), but not (4, 3)
    points = [(2.0, 2.0), (3.0, 1.0), (4.0, 3.0), (3.0, 2.0)]
    tried = {BASELINE: [Tried(flat(*one)) for one in points], ("baseline", 1): [Tried(flat(0.0, 9.0))]}
    asked = Asked(tried, search={"objectives": {PSNR: "max", NIQE: "min"}, "repeats": 2})
    assert load_suggestions(make_search(asked))["front"].tolist() == [False, True, True, False, True]


def test_equal_points_share_a_front_and_what_is_not_finite_is_on_none():
    points = np.array([[1.0, 1.0], [1.0, 1.0], [np.nan, 9.0], [1.0, 0.5], [np.inf, 9.0]])
    assert best_front(points, [True, True]).tolist() == [True, True, False, False, False]


def test_a_trial_of_the_fixed_stage_can_answer_a_suggestion(make_search):
    folder = make_search(ordinary(tried={BASELINE: [Tried(fixed=1)]}))
    with open_ledger(folder) as ledger:
        fixed = worth(ledger, "fixed", [PSNR]).query("variant == 'baseline' and seed == 1")[PSNR].item()
    assert load_suggestions(folder)[PSNR].tolist() == [pytest.approx(fixed)]


def test_several_seeds_are_averaged_and_one_that_broke_down_speaks_for_the_settings(make_search):
    folder = make_search(
        ordinary(tried={BASELINE: [Tried(flat(10.0)), Tried(flat(20.0)), Tried([(1.0,)], state="DIVERGED")]})
    )
    with sqlite3.connect(folder / "ledger.db") as db:  # the first one's second seed is the second one's trial ...
        db.execute("INSERT INTO cell SELECT 'search', 'baseline', 0, 0, 2, 1002")
        db.execute("INSERT INTO cell SELECT 'search', 'baseline', 0, 1, 2, 1003")
    db.close()
    found = load_suggestions(folder)
    assert found["state"].tolist() == ["complete", "diverged", "diverged"]
    assert found[PSNR].tolist()[0] == 15.0
    assert found["steps"].tolist()[:2] == [800, 500]


def test_a_study_without_a_search_has_no_suggestions(make_study):
    found = load_suggestions(make_study())
    assert found.empty
    assert {"variant", "repeat", "number", "state", "rung", "chosen", "front"} <= set(found)


def test_an_older_ledger_has_no_suggestions_and_its_places_all_count_as_fixed(make_study):
    folder = make_study()
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("UPDATE study SET value = '2' WHERE key = 'schema'")
        db.execute("DROP TABLE suggestion")
        db.execute("DROP TABLE choice")
        db.execute("ALTER TABLE cell RENAME TO newer")
        db.execute(
            "CREATE TABLE cell (stage TEXT NOT NULL, variant TEXT NOT NULL, seed INTEGER NOT NULL, "
            "trial INTEGER NOT NULL, PRIMARY KEY (stage, variant, seed)) WITHOUT ROWID"
        )
        db.execute("INSERT INTO cell SELECT stage, variant, seed, trial FROM newer")
        db.execute("DROP TABLE newer")
    db.close()
    assert load_suggestions(folder).empty
    trials = load_trials(folder)
    assert len(trials) == 18
    assert set(zip(trials["stage"], trials["repeat"], trials["number"], strict=True)) == {("fixed", 0, 0)}


def test_trials_come_in_the_order_of_the_stages(make_search):
    trials = load_trials(make_search())
    assert trials["stage"].drop_duplicates().tolist() == ["fixed", "search", "confirm"]
    searched = trials[trials["stage"] == "search"]
    assert searched[["variant", "number"]].values.tolist() == [
        *(["baseline", n] for n in range(4)), *(["no_attention", n] for n in range(3)),
    ]  # fmt: skip
