import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparison import Contrast, compare, contrasts, judge, seed_differences
from analysis.errors import StatisticsError
from analysis.statistics import unpaired

PSNR = {"metric": "psnr", "higher_is_better": True}


def scores(values, *, images=2, scenes=None):
    """A frame of made-up PSNR: variant -> a value for each seed (1, 2, ...), plus 1 dB from image to image."""
    rows = [
        (variant, seed, "set", f"i{image}", scenes[image] if scenes else f"i{image}", value + image)
        for variant, seeds in values.items()
        for seed, value in enumerate(seeds, start=1)
        for image in range(images)
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", "set", "image", "scene", "psnr"])


BASELINE = [10.0, 10.2, 10.1, 10.3]
LOWER = [7.0, 7.3, 7.0, 7.4]


def row(frame, **options):
    return compare(frame, **{**PSNR, **options}).iloc[0]


def test_a_variant_that_loses_without_its_component_says_that_the_component_helps():
    found = row(scores({"baseline": BASELINE, "no_x": LOWER}))
    assert found["verdict"] == "helps"
    assert found["difference"] == pytest.approx(np.mean(LOWER) - np.mean(BASELINE))
    assert (found["seeds"], found["images"], found["n_failed"]) == (4, 2, 0)


def test_the_interval_is_the_paired_t_test_on_seed_means():
    found = row(scores({"baseline": BASELINE, "no_x": LOWER}))
    expected = stats.ttest_rel(LOWER, BASELINE)
    assert found["p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval()))


def test_runs_that_are_no_pairs_are_compared_by_welch_each_over_its_own_seeds():
    others = scores({"no_x": [*LOWER, 7.9]})
    frame = pd.concat([scores({"baseline": BASELINE}), others.assign(seed=others["seed"] + 90)])
    found = row(frame, paired=False)
    expected = stats.ttest_ind([*LOWER, 7.9], BASELINE, equal_var=False)
    assert found["p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert (found["verdict"], found["seeds"], found["n_failed"]) == ("helps", 4, 0)
    assert row(frame)["why"] == "no seed is completed for both"  # by pairs there is nothing


def test_equal_numbers_that_are_no_pairs_have_the_deviation_of_a_difference_of_two():
    found = row(scores({"baseline": BASELINE, "no_x": LOWER}), paired=False)
    assert found["deviation"] == pytest.approx(np.sqrt(np.var(BASELINE, ddof=1) + np.var(LOWER, ddof=1)))


def test_runs_that_are_no_pairs_drop_only_their_own_incomplete_seeds():
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    frame.loc[(frame["variant"] == "no_x") & (frame["seed"] == 2) & (frame["image"] == "i0"), "psnr"] = np.nan
    found = row(frame, paired=False)
    assert found["p"] == pytest.approx(stats.ttest_ind(np.delete(LOWER, 1), BASELINE, equal_var=False).pvalue)
    assert (found["seeds"], found["n_failed"]) == (3, 1)
    few = row(frame[(frame["variant"] == "baseline") | (frame["seed"] < 4)], paired=False)
    assert np.isnan(few["low"])
    assert few["why"] == "2 complete seeds, 3 are needed for an interval"


def test_runs_that_are_no_pairs_on_a_sample_of_images_have_the_interval_of_crossed_seeds_and_images():
    frame, rng = scores({"baseline": BASELINE, "no_x": LOWER}, images=8), np.random.default_rng(3)
    frame["psnr"] += rng.normal(size=len(frame))
    arms = [frame.loc[frame["variant"] == name, "psnr"].to_numpy().reshape(4, 8) for name in ("no_x", "baseline")]
    found = row(frame, paired=False, images_are="sample")
    assert (found["low"], found["high"]) == pytest.approx(unpaired(*arms, images="sample").interval())


def test_a_metric_where_less_is_better_turns_the_verdict():
    assert row(scores({"baseline": BASELINE, "no_x": LOWER}), higher_is_better=False)["verdict"] == "hurts"


def test_adding_a_component_that_gains_says_that_it_helps():
    frame = scores({"bare": LOWER, "only_x": BASELINE})
    (found,) = judge(frame, [Contrast("only_x", "bare", "x", present=True)], **PSNR).to_dict("records")
    assert found["verdict"] == "helps"
    assert found["difference"] > 0


def test_a_difference_that_is_certain_but_below_the_margin_is_equivalent():
    frame = scores({"baseline": BASELINE, "no_x": [value - 0.1 for value in BASELINE[:3]] + [10.19]})
    found = row(frame, margin=0.5)
    assert found["p_adjusted"] < 0.05
    assert (found["verdict"], found["note"]) == ("equivalent", "detected, but below the margin")
    assert row(frame)["verdict"] == "helps"
    assert row(frame)["note"] == ""


def test_equivalence_without_a_detected_difference_has_no_note():
    found = row(scores({"baseline": BASELINE, "no_x": [10.05, 10.15, 10.15, 10.25]}), margin=0.5)
    assert (found["verdict"], found["note"]) == ("equivalent", "")


def test_noise_is_undecided():
    found = row(scores({"baseline": BASELINE, "no_x": [9.0, 11.5, 10.0, 10.4]}), margin=0.5)
    assert found["verdict"] == "undecided"
    assert found["low"] < 0 < found["high"]


def test_the_family_adjusts_p_values_even_for_variants_without_scores():
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    family = [Contrast("no_x"), Contrast("no_y"), Contrast("no_z")]
    found = judge(frame, family, **PSNR)
    assert found.at[0, "p_adjusted"] == pytest.approx(3 * found.at[0, "p"])
    assert found["why"].tolist()[1:] == ["no completed trial of no_y", "no completed trial of no_z"]
    assert found["verdict"].tolist()[1:] == ["", ""]


@pytest.mark.parametrize("seeds", [1, 2])
def test_with_fewer_than_three_seeds_there_is_a_difference_and_a_reason_but_no_verdict(seeds):
    found = row(scores({"baseline": BASELINE, "no_x": LOWER[:seeds]}), margin=0.5)
    assert found["difference"] == pytest.approx(np.mean(LOWER[:seeds]) - np.mean(BASELINE[:seeds]))
    assert np.isnan(found["low"])
    assert found["verdict"] == ""
    assert found["why"].startswith(f"{seeds} complete seed")
    assert found["n_failed"] == 4 - seeds


def test_only_seeds_with_every_image_in_both_variants_are_used():
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    frame.loc[(frame["variant"] == "no_x") & (frame["seed"] == 2) & (frame["image"] == "i1"), "psnr"] = np.inf
    found = row(frame)
    assert (found["seeds"], found["n_failed"]) == (3, 1)
    kept = [0, 2, 3]
    assert found["p"] == pytest.approx(stats.ttest_rel(np.array(LOWER)[kept], np.array(BASELINE)[kept]).pvalue)


def test_a_metric_that_one_image_never_has_is_judged_on_the_others():
    frame = scores({"baseline": BASELINE, "no_x": LOWER}, images=3)
    frame.loc[frame["image"] == "i2", "psnr"] = np.nan
    assert row(frame)["images"] == 2
    assert row(frame)["left_out"] == "1 image is left out: psnr is infinite or missing everywhere on set/i2"
    frame["psnr"] = np.nan
    assert row(frame)["why"] == "no image has a finite psnr"


def test_a_set_without_the_metric_leaves_nothing_out_and_one_with_infinite_scores_alone_does():
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    bare = pd.concat([frame, frame.assign(set="bare", psnr=np.nan)], ignore_index=True)
    assert row(bare)["left_out"] == ""  # such as one without references
    same = pd.concat([frame, frame.assign(set="same", psnr=np.inf)], ignore_index=True)
    told = f"{frame['image'].nunique()} images are left out: psnr is infinite or missing everywhere on same/i0, same/i1"
    assert row(same)["left_out"].startswith(told)
    assert row(same)["images"] == frame["image"].nunique()


def test_an_image_missing_for_every_seed_of_one_variant_is_named():
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    frame.loc[(frame["variant"] == "no_x") & (frame["image"] == "i1"), "psnr"] = np.nan
    found = row(frame)
    assert np.isnan(found["difference"])
    assert found["why"] == "psnr is infinite or missing for set/i1"


@pytest.mark.parametrize("score", [np.inf, np.nan])
def test_a_seed_that_is_left_out_is_told_with_its_image(score):
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    frame.loc[(frame["variant"] == "no_x") & (frame["seed"] == 2) & (frame["image"] == "i1"), "psnr"] = score
    lost = "psnr is infinite or missing for set/i1"
    assert row(frame)["left_out"] == f"1 seed is left out: {lost}"
    assert row(frame, paired=False)["left_out"] == f"1 training is left out: {lost}"
    assert row(scores({"baseline": BASELINE, "no_x": LOWER[:3]}))["left_out"] == ""  # a trial that is not completed


def test_seeds_that_never_meet_are_no_pair():
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    frame = frame[(frame["variant"] == "baseline") == (frame["seed"] < 3)]
    assert row(frame)["why"] == "no seed is completed for both"


def test_of_a_sample_the_scene_is_the_unit():
    scenes = [f"s{image // 2}" if image < 4 else f"s{image}" for image in range(10)]
    frame = scores({"baseline": BASELINE, "no_x": LOWER}, images=10, scenes=scenes)
    frame.loc[(frame["variant"] == "no_x") & (frame["scene"] == "s0"), "psnr"] -= 8.0
    found = row(frame, images_are="sample")
    assert found["scenes"] == 8
    # Two of ten images, but one scene of eight, lies 8 dB lower.
    assert found["difference"] == pytest.approx(np.mean(LOWER) - np.mean(BASELINE) - 8 / 8)
    assert found["high"] - found["low"] > row(frame)["high"] - row(frame)["low"]


def test_six_scenes_are_too_few_to_speak_of_images_like_these():
    found = row(scores({"baseline": BASELINE, "no_x": LOWER}, images=6), images_are="sample")
    assert found["verdict"] == ""
    assert found["why"] == "6 scenes, 7 are needed to speak of images like these"


def test_scenes_of_the_same_name_in_two_sets_are_two():
    frame = scores({"baseline": BASELINE, "no_x": LOWER}, images=4)
    both = pd.concat([frame, frame.assign(set="other")])
    assert row(both, images_are="sample")["scenes"] == 8


def test_without_a_direction_there_is_an_interval_but_no_verdict():
    found = row(scores({"baseline": BASELINE, "no_x": LOWER}), higher_is_better=None)
    assert np.isfinite(found["low"])
    assert found["verdict"] == ""
    assert "direction" in found["why"]


def test_every_missing_number_has_a_reason():
    frame = scores({"baseline": BASELINE, "no_x": LOWER, "no_y": LOWER[:2], "no_z": [9.0, 9.2, 9.1, 9.3]})
    family = [Contrast(name) for name in ("no_x", "no_y", "no_z", "no_w")]
    for margin in (None, 0.5):
        table = judge(frame, family, **PSNR, margin=margin)
        bare = table.drop(columns=["why", "verdict"]).isna().any(axis=1) & (table["why"] == "")
        assert not bare.any()


def test_another_baseline_can_be_chosen():
    frame = scores({"baseline": BASELINE, "no_x": LOWER})
    assert compare(frame, baseline="no_x", **PSNR)["variant"].tolist() == ["baseline"]


def test_the_declared_family_alone_is_adjusted_and_judged_and_counts_a_variant_without_scores():
    frame = scores({"baseline": BASELINE, "no_x": LOWER, "later": LOWER})
    table = compare(frame, family=["no_x", "no_y", "no_z"], margin=0.5, **PSNR).set_index("variant")
    assert table.index.tolist() == ["no_x", "no_y", "no_z", "later"]
    assert table.at["no_x", "p_adjusted"] == pytest.approx(3 * table.at["no_x", "p"])
    assert table.at["no_x", "verdict"] == "helps"
    assert table.at["later", "low"] == table.at["no_x", "low"]
    assert table.at["later", "verdict"] == ""
    assert table.loc["later", ["p_adjusted", "p_equivalent_adjusted"]].isna().all()
    assert table.at["later", "why"] == "not in the declared family: an interval for itself, no verdict"
    default = compare(frame, **PSNR)
    assert default["p_adjusted"].tolist() == pytest.approx(2 * default["p"])


@pytest.mark.parametrize("family", [["baseline"], ["no_x", "no_x"]])
def test_a_family_with_the_baseline_or_a_variant_twice_is_refused(family):
    with pytest.raises(StatisticsError, match="family: expected each variant but 'baseline', once, got"):
        compare(scores({"baseline": BASELINE, "no_x": LOWER}), family=family, **PSNR)


def test_contrasts_come_from_the_table_of_variants():
    table = pd.DataFrame(
        [
            ("baseline", None, None, 0),
            ("no_a", "a", "baseline", 0),
            ("only_a", "a", "bare", 1),
            ("wide", None, "baseline", 0),
        ],
        columns=["name", "component", "compared_to", "present"],
    )
    assert contrasts(table) == [
        Contrast("no_a", "baseline", "a", present=False),
        Contrast("only_a", "bare", "a", present=True),
        Contrast("wide", "baseline", "", present=True),
    ]


def test_seed_differences_are_what_the_interval_is_made_of():
    frame = scores({"baseline": BASELINE, "no_x": LOWER, "no_y": []})
    found = seed_differences(frame, [Contrast("no_x"), Contrast("no_y")], metric="psnr")
    assert list(found) == ["no_x"]
    assert found["no_x"] == pytest.approx(np.array(LOWER) - np.array(BASELINE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.rename(columns={"variant": "arm", "set": "group"}), "there is no variant, set"),
        (lambda frame: frame.drop(columns="psnr"), "no metric 'psnr' among the scores; there are variant, seed"),
        (lambda frame: frame.assign(stage=["fixed", "confirm"] * (len(frame) // 2)), "one stage, got fixed, confirm"),
        (lambda frame: pd.concat([frame, frame]), "some come twice"),
        (lambda frame: frame.assign(psnr="high"), "expected numbers in the column 'psnr', got"),
        (lambda frame: frame.assign(seed=frame["seed"].mask(frame["seed"] == 2)), "each score's seed, but some rows"),
        (lambda frame: frame.assign(image=frame["image"].mask(frame["image"] == "i1")), "each score's image, but some"),
        (lambda frame: frame.assign(variant=None, set=None), "each score's variant, set, but some rows have none"),
        (lambda frame: frame.assign(scene=None), "each score's scene, but some rows have none"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused(change, message):
    with pytest.raises(StatisticsError, match=message):
        compare(change(scores({"baseline": BASELINE, "no_x": LOWER})), **PSNR)


@pytest.mark.parametrize("margin", [-1.0, 0.0, np.nan, np.inf])
def test_a_margin_that_is_no_difference_is_refused(margin):
    with pytest.raises(StatisticsError, match=f"margin: expected a finite number above 0 .*, got {margin}"):
        compare(scores({"baseline": BASELINE, "no_x": LOWER}), **PSNR, margin=margin)


def repeated(values):
    """Scores of one image: variant -> for each repeat of a search a value for each of its seeds, or None."""
    rows = [
        (variant, repeat, 10 * repeat + seed, "set", "i", "i", value)
        for variant, repeats in values.items()
        for repeat, seeds in enumerate(repeats)
        for seed, value in enumerate(seeds)
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["variant", "observation", "seed", "set", "image", "scene", "psnr"])


def test_of_an_observation_the_differences_of_the_seeds_that_both_have_are_averaged():
    # differences: 0 and 1; 2, the other seed lacks its partner; 3; 5 and 7
    values = {
        "baseline": [[10.0, 20.0], [10.0, None], [10.0, 90.0], [10.0, 20.0]],
        "no_x": [[10.0, 21.0], [12.0, 90.0], [13.0, None], [15.0, 27.0]],
    }
    found = row(repeated(values))
    means = [0.5, 2, 3, 6]
    assert (found["seeds"], found["partial"], found["n_failed"]) == (4, 2, 0)
    assert found["difference"] == pytest.approx(np.mean(means))
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    (differences,) = seed_differences(repeated(values), [Contrast("no_x")], metric="psnr").values()
    assert differences.tolist() == pytest.approx(means)


def test_three_observations_of_several_seeds_are_too_few_for_a_verdict():
    frame = repeated({"baseline": [[1.0, 2.0]] * 3 + [[3.0, None]], "no_x": [[0.0, 1.0]] * 3 + [[None, 3.0]]})
    found = row(frame)
    assert (found["seeds"], found["n_failed"], found["verdict"]) == (3, 1, "")
    assert found["difference"] == -1
    assert np.isnan(found["low"])
    assert "3 complete repeats of the search, 4 are needed" in found["why"]


def test_rounding_is_neither_a_difference_nor_a_spread():
    tiny = 4e-15  # one unit in the last place of 20
    found = row(scores({"baseline": [20.0, 21.0, 22.0], "no_x": [20.0 + tiny, 21.0, 22.0]}), margin=0.5)
    assert (found["difference"], found["deviation"], found["p"]) == (0, 0, 1)
    assert np.isnan(found["effect"])
    low = [value - 0.1 for value in (0.3, 1.1, 20.3)]
    assert len({one - other for one, other in zip(low, (0.3, 1.1, 20.3), strict=True)}) > 1
    found = row(scores({"baseline": [0.3, 1.1, 20.3], "no_x": low}))
    assert found["difference"] == pytest.approx(-0.1)
    assert found["deviation"] == 0
    assert np.isnan(found["effect"])
