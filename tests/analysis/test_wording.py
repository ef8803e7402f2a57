from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.comparison import BELOW, Contrast
from analysis.ledger import Metric, Study
from analysis.wording import (
    bound,
    brightening,
    deciding_p,
    digits,
    estimate,
    first_steps,
    label,
    listed,
    models,
    number,
    question,
    sentence,
)

PSNR = Metric("eval/psnr_db", "PSNR (dB)", True, True)
NIQE = Metric("eval/niqe", "NIQE", False, False)
STUDY = Study("s", Path(), (PSNR, NIQE), "eval/psnr_db", {"eval/psnr_db": 0.5}, "these", 4, {}, "d", {})
ROW = {
    "variant": "no_local_sfp", "compared_to": "baseline", "component": "local_sfp", "present": False,
    "difference": -1.2, "low": -2.0, "high": -0.4, "p": 0.01, "deviation": 0.5, "seeds": 3, "images": 2, "scenes": 2,
    "partial": 0, "verdict": "helps", "note": "", "why": "", "left_out": "", "p_equivalent": 0.01,
}  # fmt: skip


def said(study=STUDY, **change):
    return sentence({**ROW, **change}, study, decimals=2, family=5)


def test_a_component_that_helps_is_said_by_what_is_lost_without_it():
    found = said(high=-0.6)
    assert found == "Without local sfp, PSNR on these 2 images falls by 1.20 dB (0.60 to 2.00): local sfp helps."


@pytest.mark.parametrize(("low", "is_open"), [(0.49, True), (0.5, False)])
def test_an_effect_that_may_be_smaller_than_the_margin_is_said_to_be_open_in_size(low, is_open):
    open_ = "local sfp hurts; whether by as much as the margin of 0.5 dB is open."
    for row in ({"low": low, "high": 1.7}, {"low": -1.7, "high": -low}):
        assert said(verdict="hurts", difference=0.9, **row).endswith(open_) == is_open
    assert "open" not in said(replace(STUDY, matters={}), low=-2.0, high=-0.1)
    assert said(difference=-0.28, low=-0.5, high=-0.11).endswith(" is open.")
    below = said(difference=-0.28, low=-0.49, high=-0.11)
    assert below.endswith("falls by 0.28 dB (0.11 to 0.49): local sfp helps.")


def test_a_component_that_hurts_is_said_by_what_is_gained_without_it():
    expected = "Without local sfp, PSNR on these 2 images rises by 0.90 dB (0.50 to 1.70): local sfp hurts."
    assert said(verdict="hurts", difference=0.9, low=0.5, high=1.7) == expected


def test_what_is_left_out_is_said_with_or_without_a_verdict():
    lost = "1 seed is left out: eval/psnr_db is infinite or missing for photos/cat"
    assert said(left_out=lost, high=-0.5).endswith(f"local sfp helps. {lost}.")
    few = said(left_out=lost, verdict="", why="2 complete seeds, 3 are needed for an interval")
    assert few.endswith(f"needed for an interval. {lost}.")


def test_a_difference_that_is_the_same_for_every_seed_is_doubted():
    same = "the difference is the same for every seed; does the seed reach the training?"
    assert said(deviation=0.0, why=same, high=-0.5).endswith("local sfp helps. T" + same[1:])
    assert "the seed reach" not in said(why=same)


@pytest.mark.parametrize(("sampling", "seeds"), [(0.5, False), (0.49, True)])
def test_where_drawing_orders_errs_as_much_as_the_margin_more_orders_are_asked_for(sampling, seeds):
    found = said(verdict="undecided", p=0.3, sampling=sampling)
    assert ("it would take about" in found) == seeds
    few = "No number of seeds would decide at a margin of 0.5 dB: the error of drawing orders alone is as large as the "
    assert (f"{few}margin: more orders are needed." in found) != seeds


def test_a_variant_without_trials_is_named_as_on_the_page():
    found = said(verdict="", why="no completed trial of no_local_sfp and of baseline")
    assert found.endswith(": no completed trial of “without local sfp” and of “full model”.")


def test_the_p_of_an_equivalence_is_its_own():
    row = {"verdict": "equivalent", "p_adjusted": 0.601, "p_equivalent_adjusted": 0.024}
    assert deciding_p(row) == "0.024 (equivalence)"
    assert deciding_p({**row, "verdict": "undecided"}) == "0.601"


def test_an_added_component_is_said_against_what_it_was_added_to():
    found = said(variant="only_x", component="x", compared_to="bare", present=True, difference=1.2, low=0.6, high=2.0)
    assert found == "With x, PSNR on these 2 images rises by 1.20 dB (0.60 to 2.00) against bare: x helps."


def test_equivalence_names_the_margin():
    found = said(verdict="equivalent", difference=0.05, low=-0.1, high=0.2)
    assert "changes by +0.05 dB (\u22120.10 to +0.20), inside the margin of 0.5 dB: " in found


def test_a_difference_below_the_margin_is_said_to_be_detected():
    found = said(verdict="equivalent", note=BELOW, difference=0.2, low=0.1, high=0.3)
    assert "+0.30): detected, but below the margin of 0.5 dB, so local sfp makes no difference that matters." in found


def test_equivalence_whose_95_percent_interval_reaches_past_the_margin_names_the_interval_that_decides():
    found = said(verdict="equivalent", difference=0.05, low=-0.43, high=0.52)
    assert "inside the margin of 0.5 dB (as its 90 % interval shows, which the two tests use): local sfp" in found
    assert "90 %" not in said(verdict="equivalent", difference=0.05, low=-0.43, high=0.5)
    found = said(verdict="equivalent", note=BELOW, difference=0.3, low=0.08, high=0.52)
    assert "below the margin of 0.5 dB (as its 90 % interval shows" in found


def test_a_verdict_of_a_look_that_all_seeds_contradict_is_said_to_be_that_looks():
    looked = replace(STUDY, looks=(3, 5, 8, 12))
    row = {"verdict": "equivalent", "difference": 0.7, "low": 0.4, "high": 1.0, "p_equivalent": 1.0, "look": 3}
    found = said(looked, **row, seeds=12)
    assert "inside the margin of 0.5 dB by what that look saw; all 12 seeds no longer say so." in found
    assert "makes no difference" not in found
    row = {"verdict": "hurts", "difference": 0.1, "low": -0.2, "high": 0.4, "look": 3}
    assert "local sfp hurts, by what that look saw; all 12 seeds no longer say so." in said(looked, **row, seeds=12)
    assert "no longer" not in said(looked, **row, seeds=3)  # none came later


def test_the_undecided_are_told_how_many_seeds_would_decide():
    found = said(verdict="undecided", p=0.4, low=-2.6, high=0.2)
    assert found.startswith("Without local sfp, PSNR on these 2 images changes by \u22121.20 dB (\u22122.60 to +0.20):")
    # by hand: the variance is 0.33 to 19.5 times 0.5^2; (z(.99) + z(.9))^2 = 13.0 times that over 0.5^2, and z^2 / 2
    # for the t-test's sake, is 257 with the larger one (equivalence at 0.05 / 5); 8 with the smaller is Student's
    assert found.endswith(": undecided. At a margin of 0.5 dB it would take about 8 to 257 seeds; there are 3.")


@pytest.mark.parametrize(
    ("deviation", "last_look", "expected"),
    [
        (0.05, 3, "about 5 to 8 seeds; there are 3."),
        (0.05, 5, "about 8 seeds; there are 3."),
        (0.1, 3, "about 5 seeds, or more than the 12 that were declared; there are 3."),
        (5.0, 3, "more than the 12 seeds that were declared; there are 3."),
        (0.05, 12, "more than the 12 seeds that were declared; there are 3."),
    ],
)
def test_seeds_until_decided_are_told_as_looks_and_none_beyond_the_last(deviation, last_look, expected):
    looked = replace(STUDY, looks=(3, 5, 8, 12))
    found = said(looked, verdict="undecided", p=0.4, deviation=deviation, look=0, last_look=last_look)
    assert found.endswith(f"At a margin of 0.5 dB it would take {expected}")


def test_an_interval_without_zero_that_stays_undecided_is_explained():
    assert "undecided among 5 comparisons." in said(verdict="undecided", p=0.03)


def test_very_many_seeds_are_not_counted_out():
    assert "to more than 1,000 seeds" in said(verdict="undecided", deviation=5.0)


def test_without_a_margin_no_number_of_seeds_is_promised():
    assert "No margin was declared" in said(replace(STUDY, matters={}), verdict="undecided")


def test_repeats_that_lack_a_seed_are_counted():
    row = {**ROW, "partial": 1, "seeds": 4}
    assert sentence(row, STUDY, decimals=2, family=5, unit="repeat").endswith(" In 1 of 4 repeats a seed is missing.")
    assert "missing" not in said()


def test_a_sample_speaks_of_images_like_these():
    found = said(replace(STUDY, images="sample"), scenes=9)
    assert found.startswith("Without local sfp, PSNR on images like these (9 scenes) falls")


def test_no_verdict_comes_with_its_reason():
    found = said(verdict="", why="2 complete seeds, 3 are needed for an interval")
    assert found == "No verdict on local sfp: 2 complete seeds, 3 are needed for an interval."


def test_the_bound_is_said_only_where_trials_broke_down():
    nothing = float("nan")
    row = {"bound_difference": nothing, "bound_low": nothing, "bound_high": nothing, "seeds": 3}
    assert bound(row, STUDY, decimals=2) == ""
    assert bound(dict.fromkeys(row, 0), STUDY, decimals=2) == ""  # all of both: the untouched input less itself
    found = bound({**row, "bound_difference": -3.0, "bound_low": -9.0, "bound_high": 3.0}, STUDY, decimals=1)
    assert found.endswith("they would make the difference \u22123.0 dB (\u22129.0 to +3.0).")


def test_brightening_that_beats_the_full_model_is_named_metric_by_metric():
    table = pd.DataFrame(
        [
            ("baseline", "variant", "photos", 15.2, 4.0), ("input", "reference", "photos", 8.0, 4.5),
            ("gain", "reference", "photos", 17.9, 3.9), ("gamma", "reference", "photos", 16.0, 4.4),
        ],
        columns=["row", "kind", "set", "eval/psnr_db", "eval/niqe"],
    ).assign(weights=None)  # fmt: skip
    assert brightening(table, STUDY) == (
        "Methods that learn nothing beat the trained full model: "
        "gain on PSNR (17.90 against 15.20) and NIQE (3.90 against 4.00); gamma on PSNR (16.00 against 15.20)."
    )
    tied = table.assign(**{"eval/psnr_db": [15.2, 15.204, 15.203, 15.201], "eval/niqe": 4.0})
    assert "No method" in brightening(tied, STUDY)  # as the page shows them they are equal
    worse = table.assign(**{"eval/psnr_db": [20.0, 8, 9, 10], "eval/niqe": [3.0, 4, 4, 4]})
    assert brightening(worse, STUDY) == "No method that learns nothing beats the full model on any metric of quality."
    assert brightening(table[table["kind"] == "reference"], STUDY) == ""


@pytest.mark.parametrize(
    ("contrast", "expected"),
    [
        (Contrast("no_local_sfp", component="local_sfp"), "without local sfp"),
        (Contrast("only_x", "bare", "x", present=True), "only x"),
        (Contrast("wide_net", present=True), "wide net"),
        (Contrast("placebo", component="placebo"), "placebo"),
    ],
)
def test_variants_have_readable_names(contrast, expected):
    assert label(contrast) == expected


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ([Contrast("a", component="x"), Contrast("b", component="y_z")], "Which of x and y z matter for PSNR, and"),
        ([Contrast("a", component="x"), Contrast("placebo", component="placebo")], "Does x matter for PSNR, and"),
        ([Contrast("wide", present=True)], "Which variant changes PSNR, and"),
    ],
)
def test_the_question_names_the_components(family, expected):
    assert question(STUDY, family).startswith(expected)


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "text"),
    [
        (-0.004, 2, True, "0.00"), (0.004, 2, True, "0.00"), (-1.26, 1, False, "\u22121.3"), (2, 2, True, "+2.00"),
        (float("nan"), 2, False, "\u2013"), (float("inf"), 2, False, "\u2013"),
    ],
)  # fmt: skip
def test_numbers_have_true_signs_and_no_signed_zero(value, decimals, signed, text):
    assert number(value, decimals, signed=signed) == text


def test_decimals_follow_the_size_of_the_values():
    assert [digits(value) for value in (0.7, 1.0, 17.3, 170, 0, float("nan"))] == [3, 3, 2, 1, 2, 2]


def test_estimates_without_an_interval_show_the_difference_alone():
    assert estimate({"difference": -1.234, "low": float("nan"), "high": float("nan")}, 2) == "\u22121.23"
    assert estimate({"difference": 1.0, "low": -0.5, "high": 2.5}, 1) == "+1.0 [\u22120.5, +2.5]"


def test_lists_read_like_prose():
    assert [listed(list(words)) for words in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def test_a_model_that_was_trained_is_not_among_the_methods_that_learn_nothing():
    table = pd.DataFrame(
        [("baseline", "variant", "s", 15.0, None), ("official", "reference", "s", 18.0, "ab" * 32)],
        columns=["row", "kind", "set", "eval/psnr_db", "weights"],
    )
    assert brightening(table, STUDY) == ""
    assert models(table) == "official (weights abababababab)"
    assert models(table[:1]) == ""


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "none of 4"),
        ([7], "1 of 4, at step 7"),
        ([9, 1, 5], "3 of 4, at step 5 (1 to 9)"),
        ([3, 1], "2 of 4, at step 1 (1 to 3)"),
    ],
)
def test_first_steps_are_told_by_median_and_range(steps, said):
    assert first_steps(steps, 4) == said


def test_of_many_metrics_on_which_nothing_learned_wins_the_first_are_named():
    metrics = tuple(Metric(f"eval/m{n}", f"M{n}", True, False) for n in range(6))
    rows = [("baseline", "variant", "s", *[1.0] * 6, None), ("gain", "reference", "s", *[2.0] * 6, None)]
    table = pd.DataFrame(rows, columns=["row", "kind", "set", *(one.key for one in metrics), "weights"])
    said = brightening(table, replace(STUDY, metrics=metrics))
    assert said.endswith("gain on M0 (2.00 against 1.00), M1 (2.00 against 1.00), M2 (2.00 against 1.00) and 3 more.")
    four = brightening(table, replace(STUDY, metrics=metrics[:4]))
    assert four.endswith("M2 (2.00 against 1.00) and M3 (2.00 against 1.00).")
