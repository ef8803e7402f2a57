import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparison import Contrast
from analysis.tuned import tuned_effect, tuned_effects

NO_X = Contrast("no_x", "baseline", "x")
TUNED = {"no_x": [17.0, 17.4, 16.9, 17.5], "baseline": [18.0, 18.1, 18.3, 17.9]}
UNTUNED = {"no_x": [13.0, 12.6, 13.1], "baseline": [15.0, 15.3, 15.1]}


def scores(values, *, images=("a", "b"), first=1, metric="psnr"):
    """Made-up scores of one metric: variant -> a value for each seed from `first` on, 1 dB more from image to image."""
    rows = [
        (variant, 0, seed, "set", image, image, metric, value + place)
        for variant, seeds in values.items()
        for seed, value in enumerate(seeds, start=first)
        for place, image in enumerate(images)
    ]
    return pd.DataFrame(rows, columns=["variant", "repeat", "seed", "set", "image", "scene", "metric", "value"])


def test_the_change_is_the_difference_of_both_stages_differences_with_welchs_interval_between_them():
    effects, found = tuned_effect(scores(TUNED, first=11), scores(UNTUNED), NO_X)
    after, before = (np.subtract(one["no_x"], one["baseline"]) for one in (TUNED, UNTUNED))  # paired within a stage
    assert effects == pytest.approx((before.mean(), after.mean()))
    assert found.difference == pytest.approx(after.mean() - before.mean())
    expected = stats.ttest_ind(after, before, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx(
        tuple(expected), rel=0.02
    )  # the degrees of freedom are near Welch's
    assert found.how == "4 tuned seeds and 3 untuned seeds"


def test_equal_seed_numbers_of_the_two_stages_are_no_pairs():
    apart = tuned_effect(scores(TUNED, first=11), scores(UNTUNED), NO_X)
    assert tuned_effect(scores(TUNED, first=1), scores(UNTUNED), NO_X) == apart


def test_only_images_that_all_four_have_count():
    tuned = pd.concat([scores(TUNED), scores({"no_x": [90.0] * 4}, images=("new",))])
    assert tuned_effect(tuned, scores(UNTUNED), NO_X) == tuned_effect(scores(TUNED), scores(UNTUNED), NO_X)
    (untuned, _), found = tuned_effect(scores(TUNED, images=("new",)), scores(UNTUNED), NO_X)
    assert np.isnan(untuned)
    assert found.how == "no images that all four were scored on"


def test_too_few_of_either_stage_have_a_change_without_an_interval():
    few = {name: values[:2] for name, values in UNTUNED.items()}
    _, found = tuned_effect(scores(TUNED), scores(few), NO_X)
    assert np.isfinite(found.difference)
    assert np.isnan(found.low)
    assert found.how == "2 complete seeds, 3 are needed for an interval"


def test_repeats_of_the_search_are_the_unit_where_there_are_several():
    repeats = [
        scores({name: [value - 0.5, value + 0.5]}, first=10 * repeat).assign(repeat=repeat)
        for name, values in TUNED.items()
        for repeat, value in enumerate(values)
    ]
    metrics = {"psnr": "these"}
    (row,) = tuned_effects(pd.concat(repeats), scores(UNTUNED), [NO_X], metrics=metrics, repeats=4).to_dict("records")
    _, found = tuned_effect(scores(TUNED), scores(UNTUNED), NO_X)
    assert (row["change"], row["low"], row["high"]) == pytest.approx((found.difference, found.low, found.high))
    assert row["how"] == "4 tuned repeats and 3 untuned seeds"
    three = [part for part in repeats if part["repeat"].iloc[0] < 3]
    (row,) = tuned_effects(pd.concat(three), scores(UNTUNED), [NO_X], metrics=metrics, repeats=3).to_dict("records")
    assert np.isnan(row["low"])
    assert row["how"].startswith("3 complete repeats of the search, 4 are needed")


def test_a_comparison_that_nobody_confirmed_has_a_row_that_says_so():
    nothing = scores({})
    (row,) = tuned_effects(nothing, scores(UNTUNED), [NO_X], metrics={"psnr": "these"}, repeats=1).to_dict("records")
    assert np.isnan(row["change"])
    assert row["how"] == "no images that all four were scored on"
