"""Where a search stands, against figures worked out by hand."""

import pytest

from platform.standing import asked, expected, standings
from tests.platform.search_ledgers import CONFIRM, NIQE, PSNR, SEARCH, SearchLedger

BOTH = SEARCH | {"objectives": {PSNR: "max", NIQE: "min"}}


@pytest.fixture
def made(tmp_path):
    return lambda **facts: SearchLedger(tmp_path / "ledger.db", **facts)


def stood(ledger, metrics=(PSNR,), known=None):
    return {one.variant: one for one in standings(ledger.db, asked(ledger.db), metrics, known)}


def test_a_study_without_a_search_asks_nothing_of_one(made):
    assert asked(made(search=None).db) is None


def test_the_best_is_the_mean_over_the_last_evaluations_of_trials_that_ran_to_their_end(made):
    ledger = made()
    ledger.trial("search", "baseline", psnr=(30.0, 12.0, 14.0))  # worth 13, whatever it was at first
    ledger.trial("search", "baseline", psnr=(10.0, 13.0, 14.0), number=1)  # worth 13.5
    ledger.trial("search", "baseline", "STOPPED", psnr=(20.0,), number=2)
    ledger.trial("search", "baseline", "RUNNING", psnr=(40.0, 40.0), number=3)
    ledger.trial("search", "no_x", psnr=(1.0, None, 9.0))  # an evaluation without a value: no number
    ledger.trial("search", "no_x", "DIVERGED", psnr=(50.0,), number=1)
    found = stood(ledger)
    assert found["baseline"].best == {PSNR: 13.5}
    assert found["baseline"].states == {"COMPLETED": 2, "STOPPED": 1, "RUNNING": 1}
    assert (found["baseline"].spent, found["baseline"].budget) == (3, 4)
    assert (found["no_x"].best, found["no_x"].spent) == ({}, 2)


def test_settings_trained_with_several_seeds_are_worth_their_mean_once_all_have_ended(made):
    ledger = made(search=SEARCH | {"seeds": [1, 2]})
    for number, values in enumerate([(10.0, 12.0), (15.0,)]):
        for seed, value in enumerate(values, 1):
            ledger.trial("search", "baseline", psnr=(value,), number=number, seed=seed)
    ledger.trial("search", "no_x", psnr=(18.0,), seed=1)
    ledger.trial("search", "no_x", "STOPPED", psnr=(18.0,), seed=2)
    found = stood(ledger)
    assert found["baseline"].best == {PSNR: 11.0}
    assert found["no_x"].best == {}


def test_of_several_objectives_each_has_its_best_and_the_front_its_size(made):
    ledger = made(search=BOTH)
    # 4 is dominated by 1; the last repeats the settings of the first
    for number, (psnr, niqe) in enumerate([(10, 3), (12, 5), (14, 9), (13, 9.5), (11, 6)]):
        ledger.trial("search", "baseline", psnr=(psnr,), niqe=(niqe,), number=number)
    ledger.fill(1, "search", "baseline", number=5)
    found = stood(ledger)["baseline"]
    assert (found.best, found.front) == ({PSNR: 14.0, NIQE: 3.0}, 3)


def test_what_is_suggested_again_or_refused_is_paid_for_and_what_is_left_out_is_not(made):
    ledger = made()
    ledger.trial("search", "baseline", psnr=(10.0,))
    ledger.fill(1, "search", "baseline", number=1)
    ledger.suggest("baseline", 2, refused="too narrow")
    ledger.suggest("baseline", 3, refused="too narrow", left_out="the space changed")
    found = stood(ledger)["baseline"]
    assert (found.spent, found.states) == (3, {"COMPLETED": 1})


def test_a_budget_in_steps_is_spent_by_the_steps_reported(made):
    ledger = made(search=SEARCH | {"budget": {"steps": 100}, "repeats": 2})
    ledger.trial("fixed", "baseline", psnr=(1, 1, 1, 1))
    ledger.trial("search", "baseline", psnr=(1, 1, 1, 1))
    ledger.trial("search", "baseline", "STOPPED", psnr=(1, 1), repeat=1)
    ledger.trial("search", "baseline", "RUNNING", psnr=(1,), number=1)
    ledger.suggest("baseline", 1, repeat=1, refused="too narrow")  # as long as a training: 40 steps
    found = stood(ledger)["baseline"]
    assert (found.spent, found.budget) == (40 + 20 + 10 + 40, 200)


def test_what_was_promised_stands_beside_what_was_confirmed(made):
    ledger = made()
    ledger.trial("search", "baseline", psnr=(10.0, 20.0))
    ledger.suggest("baseline", 0, trial=1, params={"loss.sfp_global": 3.5})
    ledger.choose("baseline", 0)
    ledger.trial("confirm", "baseline", psnr=(11.0, 13.0), seed=2)
    ledger.trial("confirm", "baseline", "DIVERGED", psnr=(99.0,), seed=3)
    (chosen,) = stood(ledger)["baseline"].chosen
    assert (chosen.number, chosen.params, chosen.promised) == (0, {"loss.sfp_global": 3.5}, {PSNR: 15.0})
    confirmed = chosen.confirmed
    assert (confirmed.ended, confirmed.planned, confirmed.completed, confirmed.values) == (2, 2, 1, {PSNR: 12.0})


def test_on_images_that_the_search_never_saw_a_confirming_trial_is_worth_what_it_scores_there(made):
    ledger = made(confirm=CONFIRM | {"sets": ["SICE"]})
    ledger.choose("baseline", 0)
    trial = ledger.trial("confirm", "baseline", psnr=(1.0, 2.0, 3.0), seed=2)
    for step, value in ((10, 50.0), (20, 6.0), (30, 8.0)):  # the last two count
        ledger.score(trial, step, {("LOL", "a"): 30.0, ("SICE", "a"): value, ("SICE", "b"): value + 1})
    assert stood(ledger)["baseline"].confirmed.values == {PSNR: 7.5}


def test_several_repeats_are_confirmed_each_by_itself_and_together(made):
    ledger = made(search=SEARCH | {"repeats": 2})
    for repeat, value in enumerate((10.0, 20.0)):
        ledger.choose("baseline", repeat + 3, repeat=repeat)
        ledger.trial("confirm", "baseline", psnr=(value,), repeat=repeat, seed=2)
    found = stood(ledger)["baseline"]
    assert [one.confirmed.values for one in found.chosen] == [{PSNR: 10.0}, {PSNR: 20.0}]
    assert (found.confirmed.ended, found.confirmed.planned, found.confirmed.values) == (2, 4, {PSNR: 15.0})


def test_a_variant_with_nothing_to_search_has_no_budget_and_is_confirmed_as_it_stands(made):
    ledger = made(search=SEARCH | {"parameters": {"baseline": ["loss.sfp_global"], "no_x": []}})
    ledger.choose("no_x", -1)
    found = stood(ledger)["no_x"]
    assert (found.budget, found.confirmed.planned, found.chosen[0].promised) == (0, 2, {})


def test_known_trials_are_not_read_again(made):
    ledger, known = made(), {}
    ledger.trial("search", "baseline", psnr=(10.0,))
    first = stood(ledger, known=known)
    ledger.db.execute("DELETE FROM report")
    assert stood(ledger, known=known) == first


def test_more_cells_than_expected_count_and_a_search_that_is_over_expects_no_more(made):
    ledger = made()
    wanted = asked(ledger.db)
    assert expected(wanted, {"search": 3}, list(stood(ledger).values())) == {"fixed": 2, "search": 8, "confirm": 4}
    assert expected(wanted, {"search": 11}, list(stood(ledger).values()))["search"] == 11
    ledger.choose("baseline", 0)
    ledger.choose("no_x", None, why="none of 2 candidates has eval/niqe <= 4")
    found = list(stood(ledger).values())
    assert expected(wanted, {"search": 3}, found) == {"fixed": 2, "search": 3, "confirm": 2}
