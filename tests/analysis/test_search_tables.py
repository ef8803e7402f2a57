import json
import math

import pytest

from analysis.ledger import open_ledger
from analysis.search_tables import search_tables
from tests.analysis.synthetic_search import NEW, NIQE, PSNR, SEEN, SFP, Asked, Tried, flat, ordinary

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


def test_the_guard_compares_orders_within_variants_not_between_them(made):
    # within each variant the rung's order is the end's turned round; the better variant is better at both
    tried = {
        ("baseline", 0): curves([(21, 33), (22, 32), (23, 31)]),
        ("no_attention", 0): curves([(1, 13), (2, 12), (3, 11)]),
    }
    (rung,) = made(ordinary(tried=tried, choices={}, confirmed={})).rungs
    assert (rung.step, rung.went_on, rung.stopped, rung.found.n, rung.free) == (200, 6, 0, 6, False)
    assert rung.found.tau == pytest.approx(-1)
    assert "does not foretell the order at the end" in rung.found.warning


def test_the_guard_looks_at_trials_that_nothing_could_stop_if_there_are_enough(made):
    free = [Tried([(0.0,), (value,), (value,), (value,)]) for value in range(6)]
    tried = {("baseline", 0): [*free, *curves([(9, 0), (8, 1)]), Tried([(0.0,), (5.0,)], state="STOPPED",
                                                                          decisions={200: "stop"})]}  # fmt: skip
    (rung,) = made(ordinary(tried=tried, choices={}, confirmed={})).rungs
    assert (rung.free, rung.found.n, rung.went_on, rung.stopped) == (True, 6, 2, 1)
    assert rung.found.tau == pytest.approx(1)
    assert rung.found.warning == ""


def test_a_repeat_is_no_second_trial_for_the_guard(made):
    free = [Tried([(0.0,), (value,), (value,), (value,)]) for value in range(5)]
    tried = {("baseline", 0): [*free, Tried(same_as=0), *curves([(9, 9)])]}
    (rung,) = made(ordinary(tried=tried, choices={}, confirmed={})).rungs
    assert (rung.free, rung.found.n, rung.went_on) == (False, 6, 1)  # five that nothing could stop are too few


def test_without_decisions_there_is_no_rung(made):
    assert made(ordinary(tried={("baseline", 0): [Tried(flat(1.0))]}, choices={}, confirmed={})).rungs == []
