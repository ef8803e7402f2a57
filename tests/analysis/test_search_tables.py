import json
import math
import sqlite3
from dataclasses import replace

import pytest
from scipy import stats

from analysis.ledger import open_ledger
from analysis.search_tables import guards, search_tables
from analysis.suggestions import read_search
from tests.analysis.synthetic_search import FIRST_TRIAL, NEW, NIQE, PSNR, SEEN, SFP, Asked, Tried, flat, ordinary

VARIANTS = ["baseline", "no_attention", "no_global_sfp"]


@pytest.fixture
def made(make_search):
    def make(asked=None, **plan):
        with open_ledger(make_search(asked, **plan)) as ledger:
            return search_tables(ledger, ledger.study.search, VARIANTS)

    return make


def test_what_was_spent_adds_up_to_the_suggestions(made):
    table = made().spent.set_index("variant")
    counts = ["complete", "stopped", "diverged", "failed", "refused", "repeated"]
    assert table.loc["baseline", counts].tolist() == [2, 1, 1, 0, 0, 0]
    assert table.loc["no_attention", counts].tolist() == [2, 0, 0, 0, 1, 1]
    assert table.loc[["baseline", "no_attention"], "used"].tolist() == [4, 4]
    assert table.loc[["baseline", "no_attention"], "budget"].tolist() == [4, 4]
    assert table["steps"].tolist() == [1100, 800, 0]
    assert table["seconds"].tolist() == [110, 80, 0]


def test_a_variant_with_nothing_to_search_has_no_budget(made):
    table = made().spent.set_index("variant")
    assert table["budget"].isna().tolist() == [False, False, True]


def test_a_budget_in_steps_counts_repeats_and_refusals_in_full_as_the_search_does(made):
    table = made(ordinary(search={"budget": {"steps": 1600}})).spent.set_index("variant")
    assert table.at["baseline", "used"] == 400 + 400 + 200 + 100
    assert table.at["no_attention", "used"] == 4 * 400
    assert table["unit"].unique().tolist() == ["steps"]


def test_the_budget_of_several_repeats_and_seeds(made):
    tried = {("baseline", repeat): [Tried(flat(1.0)), Tried(flat(2.0), left_out="x")] for repeat in range(2)}
    facts = {"repeats": 2, "seeds": [1, 2], "budget": {"trials": 8}}
    row = made(ordinary(tried=tried, search=facts)).spent.set_index("variant").loc["baseline"]
    assert (row["budget"], row["used"], row["suggestions"], row["left out"]) == (16, 4, 2, 2)


def test_promised_stands_beside_confirmed_on_the_same_and_on_new_images(made):
    table = made().promised.set_index("variant")
    assert table["promised"].tolist()[:2] == [17.0, 16.0]
    assert table["confirmed"].tolist() == pytest.approx([16.0, 15.5, 12.0])
    assert table["gap"].tolist()[:2] == pytest.approx([-1.0, -0.5])
    assert table["unseen"].tolist() == pytest.approx([13.0, 12.5, 9.0])
    assert table["confirmed sd"].tolist() == pytest.approx([0.5] * 3)
    assert table["confirmed n"].tolist() == [3, 3, 3]
    assert json.loads(table.at["no_attention", "settings"]) == {SFP: 4.0}


def without_one(value):
    """The ordinary search, whose choice without attention has this on all images of both sets with seed 12."""
    asked = ordinary()
    return replace(asked, confirmed={**asked.confirmed, ("no_attention", 0, 12): {SEEN: (value,), NEW: (value,)}})


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_confirmed_value_that_is_not_finite_has_no_part_in_the_mean_and_is_known(made, value):
    found = made(without_one(value))
    row = found.promised.set_index("variant").loc["no_attention"]
    assert (row["confirmed"], row["confirmed n"], row["gap"]) == (pytest.approx(15.5), 2, pytest.approx(-0.5))
    assert (row["unseen"], row["unseen n"]) == (pytest.approx(12.5), 2)
    lost = found.lost[["quantity", "stage", "variant", "seed", "metric"]].to_numpy().tolist()
    assert lost == [[quantity, "confirm", "no_attention", 12, PSNR] for quantity in ("confirmed", "unseen")]
    assert (found.ended["quantity"] == "confirmed").sum() == 8


def test_in_an_ordinary_search_no_value_is_lost(made):
    assert made().lost.empty


def test_what_no_trial_of_a_kind_was_scored_with_is_not_lost(made):
    objectives = {PSNR: "max", NIQE: "min"}
    confirmed = {("baseline", 0, seed): {SEEN: (9.0,), NEW: (8.0,)} for seed in (11, 12)}
    asked = Asked({("baseline", 0): [Tried(flat(10.0, 4.0))]}, {("baseline", 0): (0, "knee")}, confirmed, [NEW],
                  search={"objectives": objectives})  # fmt: skip
    found = made(asked)
    assert set(found.ended.query("metric == @NIQE")["quantity"]) == {"untuned"}
    assert found.lost.empty


def test_what_has_nothing_to_search_promised_nothing_and_is_confirmed(made):
    row = made().promised.set_index("variant").loc["no_global_sfp"]
    assert row["number"] == -1
    assert math.isnan(row["promised"])
    assert math.isnan(row["gap"])
    assert row["confirmed"] == pytest.approx(12.0)


def test_untuned_is_the_same_variant_in_the_fixed_stage(made, make_study):
    # the made-up truth is 15 dB for the full model, 1.6 less without attention; the curve ends below it
    table = made(noise=0.0).promised.set_index("variant")
    assert table.at["baseline", "untuned"] - table.at["no_attention", "untuned"] == pytest.approx(1.6, abs=0.1)
    assert table["untuned n"].tolist() == [3, 3, 3]


def test_without_images_of_its_own_the_confirmation_has_nothing_unseen(made):
    confirmed = {("baseline", 0, seed): {SEEN: (value,)} for seed, value in ((11, 15.0), (12, 17.5))}
    table = made(ordinary(sets=[], confirmed=confirmed)).promised.set_index("variant")
    assert table.at["baseline", "confirmed"] == pytest.approx(16.25)
    assert table.at["baseline", "gap"] == pytest.approx(-0.75)
    assert table["unseen"].isna().all()


def test_each_objective_and_repeat_has_a_row_of_its_own(made):
    tried = {("baseline", repeat): [Tried(flat(10.0 + repeat, 4.0 - repeat))] for repeat in range(2)}
    confirmed = {("baseline", repeat, 11): {SEEN: (9.0, 5.0), NEW: (8.0, 6.0 + repeat)} for repeat in range(2)}
    facts = {"objectives": {PSNR: "max", NIQE: "min"}, "repeats": 2}
    asked = Asked(tried, dict.fromkeys(tried, (0, "knee")), confirmed, [NEW], search=facts)
    table = made(asked).promised.query("variant == 'baseline'")
    assert table[["repeat", "metric"]].values.tolist() == [[0, PSNR], [0, NIQE], [1, PSNR], [1, NIQE]]
    assert table["promised"].tolist() == [10, 4, 11, 3]
    assert table["gap"].tolist() == pytest.approx([-1, 1, -2, 2])
    assert table["unseen"].tolist() == pytest.approx([8, 6, 8, 7])


def test_a_search_that_is_not_over_has_neither_choice_nor_promise(made):
    table = made(ordinary(choices={}, confirmed={})).promised
    assert table["number"].isna().all()
    assert table["promised"].isna().all()
    assert table["why"].tolist() == ["", "", ""]


def curves(pairs, **options):
    """Suggestions with a value at step 200 and one at the end."""
    return [Tried([(0.0,), (rung,), (end,), (end,)], decisions={200: "continue"}, **options) for rung, end in pairs]


def test_the_guard_compares_orders_within_searches_not_between_them(made):
    # within each search the rung's order is the end's turned round; the better variant is better at both
    tried = {
        ("baseline", 0): curves([(21, 34), (22, 33), (23, 32), (24, 31)]),
        ("no_attention", 0): curves([(1, 14), (2, 13), (3, 12), (4, 11)]),
    }
    (rung,) = made(ordinary(tried=tried, choices={}, confirmed={})).rungs
    assert (rung.step, rung.went_on, rung.stopped, rung.found.n, rung.free) == (200, 8, 0, 8, False)
    assert rung.found.tau == pytest.approx(-1)
    assert rung.found.finding == "against"
    assert rung.name == "PSNR"


def test_the_guard_looks_at_trials_that_nothing_could_stop_if_there_are_enough(made):
    free = [Tried([(0.0,), (value,), (value,), (value,)]) for value in range(6)]
    tried = {("baseline", 0): [*free, *curves([(9, 0), (8, 1)]), Tried([(0.0,), (5.0,)], state="STOPPED",
                                                                          decisions={200: "stop"})]}  # fmt: skip
    (rung,) = made(ordinary(tried=tried, choices={}, confirmed={})).rungs
    assert (rung.free, rung.found.n, rung.went_on, rung.stopped) == (True, 6, 2, 1)
    assert rung.found.tau == pytest.approx(1)
    assert rung.found.warning == ""


def test_a_repeat_is_no_second_trial_for_the_guard(made):
    free = [Tried([(0.0,), (value,), (value,), (value,)]) for value in range(4)]
    tried = {("baseline", 0): [*free, Tried(same_as=0), *curves([(9, 9)])]}
    (rung,) = made(ordinary(tried=tried, choices={}, confirmed={})).rungs
    assert (rung.free, rung.found.n, rung.went_on) == (False, 5, 1)  # four that nothing could stop are too few


def test_a_step_at_which_only_siblings_of_stopped_trials_were_stopped_is_no_rung(made):
    sibling = Tried([(0.0,)], state="STOPPED", decisions={100: "stop"})
    tried = {("baseline", 0): [*curves([(1, 1), (2, 2)]), sibling]}
    assert [rung.step for rung in made(ordinary(tried=tried, choices={}, confirmed={})).rungs] == [200]


def test_two_seeds_of_a_suggestion_are_one_point_for_the_guard(make_search):
    # seed 2 turns the order of seed 1 round at the rung, by more; at the end it says the same. The last was stopped.
    pairs = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]
    folder = make_search(ordinary(tried={("baseline", 0): curves(pairs)}, choices={}, confirmed={}))
    with sqlite3.connect(folder / "ledger.db") as db:
        for number in range(6):
            old, new = FIRST_TRIAL + 1 + number, FIRST_TRIAL + 101 + number
            state = "STOPPED" if number == 5 else "COMPLETED"
            row = (new, f"{new:032x}", 2, "", "{}", "d1", state, None, None, 0, 0, 0)
            db.execute(f"INSERT INTO trial VALUES ({', '.join('?' * 12)})", row)
            db.execute("INSERT INTO cell VALUES ('search', 'baseline', 0, ?, 2, ?)", (number, new))
            db.execute("INSERT INTO step SELECT ?, step, at, seconds, NULL, '{}' FROM step WHERE trial = ?", (new, old))
            value = "CASE WHEN step = 200 THEN -3 * value ELSE value END"
            db.execute(f"INSERT INTO report SELECT ?, step, metric, {value} FROM report WHERE trial = ?", (new, old))
            db.execute("INSERT INTO decision VALUES (?, 200, 'continue', 0)", (new,))
    db.close()
    with open_ledger(folder) as ledger:
        (rung,) = guards(read_search(ledger), ledger.study, {})
    assert rung.went_on == 12
    assert (rung.found.n, rung.found.tau) == (5, -1)


@pytest.mark.parametrize(("at_rung", "place"), [(5.5, None), (4.5, 7)])
def test_the_guard_names_who_stood_far_back_as_readers_know_it(made, at_rung, place):
    pairs = [*((number, number) for number in range(11)), (at_rung, 99)]  # half of 12 go on; the last overtakes all
    (rung,) = made(ordinary(tried={("no_attention", 0): curves(pairs)}, choices={}, confirmed={})).rungs
    who = "suggestion 11 of without attention, the best at the end"
    assert rung.found.warning.endswith(f"{who}, stood at place {place} of 12 here" if place else "")
    assert bool(rung.found.warning) == bool(place)


def test_without_decisions_there_is_no_rung(made):
    assert made(ordinary(tried={("baseline", 0): [Tried(flat(1.0))]}, choices={}, confirmed={})).rungs == []


def tuned(shift, seeds=(1, 2, 3)):
    """The full model at settings that were found, with `shift` dB on what its fixed trials have, on the same images."""
    return {("baseline", 0, seed): {SEEN: (shift[seed],), NEW: (99.0,)} for seed in seeds}


@pytest.fixture
def changed(make_search):
    """Return the row of the full model, whose fixed trials are 10, 12 and 14 dB at every image."""

    def make(asked, **plan):
        folder = make_search(asked, **plan)
        with sqlite3.connect(folder / "ledger.db") as db:
            db.execute(
                "UPDATE image SET value = 8 + 2 * (SELECT seed FROM trial t WHERE t.number = image.trial) "
                "WHERE metric = ? AND trial IN (SELECT trial FROM cell WHERE stage = 'fixed')", [PSNR],
            )  # fmt: skip
        db.close()
        with open_ledger(folder) as ledger:
            table = search_tables(ledger, ledger.study.search, VARIANTS).promised
        return table.set_index(["variant", "repeat"]).loc["baseline", 0]

    return make


def test_tuned_minus_untuned_is_paired_where_three_seeds_are_shared(changed):
    row = changed(ordinary(confirmed=tuned({1: 11.0, 2: 12.5, 3: 16.5})))
    # differences 1, 0.5 and 2.5: mean 4/3, variance 13/12; t(0.975; 2) = 4.302653
    assert row["change"] == pytest.approx(4 / 3)
    assert row["change high"] - row["change low"] == pytest.approx(2 * 4.302653 * (13 / 12 / 3) ** 0.5, rel=1e-5)
    assert row["change how"] == "paired, 3 seeds"


def test_tuned_minus_untuned_is_unpaired_where_the_seeds_differ(changed):
    row = changed(ordinary(confirmed=tuned({11: 15.0, 12: 17.0, 13: 16.0}, (11, 12, 13))))
    # means 16 and 12, variances 1 and 4: Welch's df = (5/3)^2 / ((1/9 + 16/9) / 2) = 50/17
    found = stats.ttest_ind([15.0, 17.0, 16.0], [10.0, 12.0, 14.0], equal_var=False).confidence_interval()
    assert row["change"] == pytest.approx(4)
    assert (row["change low"], row["change high"]) == pytest.approx((found.low, found.high))
    assert row["change how"] == "unpaired, 3 and 3 seeds"


def test_tuned_minus_untuned_of_few_seeds_has_no_interval(changed):
    row = changed(ordinary(confirmed=tuned({1: 11.0, 2: 12.5}, (1, 2))))
    assert row["change"] == pytest.approx(11.75 - 12)
    assert math.isnan(row["change low"])
    assert row["change how"] == "2 and 3 complete seeds, 3 of each are needed for an interval"


def test_what_was_not_scored_on_the_images_of_the_search_has_no_change(changed):
    row = changed(ordinary(confirmed={("baseline", 0, seed): {NEW: (9.0,)} for seed in (1, 2, 3)}))
    assert math.isnan(row["change"])


def test_at_the_specs_own_settings_nothing_was_tuned(changed):
    asked = ordinary(
        tried={("baseline", 0): [Tried(fixed=1), Tried(flat(9.0))]}, choices={("baseline", 0): (0, "best of 2")},
        confirmed=tuned({1: 11.0, 2: 12.5, 3: 16.5}),
    )  # fmt: skip
    row = changed(asked)
    assert row["own"]
    assert row["why"] == "the spec\u2019s own settings: best of 2"
    assert math.isnan(row["change"])
    assert row["change how"] == "the spec\u2019s own settings"
