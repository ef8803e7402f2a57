import numpy as np
import pytest
from scipy import optimize, special, stats

from analysis.errors import StatisticsError
from analysis.statistics import Estimate, deviation_range, hedges, holm, paired, seeds_needed, unpaired, wilson

SMALL = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 7.0]])


def test_interval_for_images_as_a_sample_equals_the_hand_calculation():
    # Seed means 1.5, 2.5, 5: variance 3.25. Image means 2, 4: variance 2. Residuals +-0.5, +-0.5, +-1: C = 3 / 2.
    estimate = paired(SMALL, images="sample")
    assert estimate.difference == 3
    assert estimate.seeds == pytest.approx((3.25 / 3, 2))
    assert estimate.images == pytest.approx((2 / 2 - 1.5 / 6, 1))
    assert estimate.half_width(0.05) == pytest.approx(np.sqrt(4.30265**2 * 3.25 / 3 + 12.70620**2 * 0.75), rel=1e-5)


def test_for_these_images_interval_and_p_are_those_of_the_t_test_on_seed_means():
    d = np.random.default_rng(1).normal(0.4, 1, (5, 9))
    expected = stats.ttest_1samp(d.mean(axis=1), 0)
    estimate = paired(d)
    assert estimate.p() == pytest.approx(expected.pvalue, rel=1e-12)
    assert estimate.interval(0.1) == pytest.approx(tuple(expected.confidence_interval(0.9)), rel=1e-12)


def test_unpaired_seeds_of_these_images_give_welchs_test():
    rng = np.random.default_rng(2)
    variant, baseline = rng.normal(1, 1, (4, 6)), rng.normal(0, 3, (7, 6))
    expected = stats.ttest_ind(variant.mean(axis=1), baseline.mean(axis=1), equal_var=False)
    estimate = unpaired(variant, baseline)
    assert estimate.p() == pytest.approx(expected.pvalue, rel=1e-10)
    assert estimate.interval() == pytest.approx(tuple(expected.confidence_interval()), rel=1e-10)


def test_unpaired_sample_removes_each_arms_own_residual_from_the_images_part():
    variant, baseline = SMALL, np.zeros((2, 2))
    assert unpaired(variant, baseline, images="sample").images == pytest.approx((2 / 2 - (1.5 / 3 + 0) / 2, 1))


@pytest.mark.parametrize("images", ["these", "sample"])
def test_p_is_the_level_whose_interval_ends_at_zero(images):
    estimate = paired(np.random.default_rng(3).normal(0.3, 1, (4, 8)), images=images)
    low, high = estimate.interval(estimate.p())
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("images", ["these", "sample"])
def test_equivalence_p_is_half_the_level_whose_interval_ends_at_the_margin(images):
    estimate = paired(np.random.default_rng(4).normal(0.1, 0.2, (5, 8)), images=images)
    low, high = estimate.interval(2 * estimate.p_equivalent(0.4))
    assert max(-low, high) == pytest.approx(0.4, abs=1e-9)


def test_a_difference_at_or_beyond_the_margin_is_never_equivalent():
    assert Estimate(0.5, (1e-12, 4)).p_equivalent(0.5) == 1


def test_runs_that_do_not_vary_are_certain_in_both_directions():
    assert paired(np.zeros((3, 2))).p() == 1
    assert paired(np.ones((3, 2))).p() == 0


@pytest.mark.parametrize("df", [2.0, np.nextafter(2, 3), 2 + 1e-15, np.nextafter(2, 1)])
def test_p_of_two_degrees_of_freedom_has_its_closed_form_also_where_they_were_computed_with_rounding(df):
    x = 0.2 / np.sqrt(0.0036 + 0.01)
    assert Estimate(0.2, (0.0036, df), (0.01, 2)).p() == pytest.approx(1 - x / np.sqrt(2 + x**2), rel=1e-9)


def two_sided(x, df):
    """Student's two-sided tail by the incomplete beta function, without any quantile of his."""
    return np.maximum(special.betainc(df / 2, 0.5, df / (df + x * x)), 1e-300)


@pytest.mark.parametrize("level", [0.7, 0.05, 1e-4, 1e-12, 1e-60])
@pytest.mark.parametrize("others", [(2,), (7,), (14, 19)])
@pytest.mark.parametrize("df", [1.0, np.nextafter(1, 2), 1.3, np.nextafter(2, 1), np.nextafter(2, 3), 2.01, 2.5, 11.7])
def test_p_is_the_level_whose_interval_by_inverting_students_tail_just_reaches_zero(df, others, level):
    variances, dfs = (0.0036, 0.01, 0.002)[: 1 + len(others)], (df, *others)
    of_each = [optimize.brentq(lambda x, df=df: np.log(two_sided(np.exp(x), df) / level), -20, 250) for df in dfs]
    half = np.sqrt(sum(v * np.exp(2 * x) for v, x in zip(variances, of_each, strict=True)))
    estimate = Estimate(half, *zip(variances, dfs, strict=True))
    assert estimate.p() == pytest.approx(level, rel=1e-6, abs=0)
    assert Estimate(0.0, *zip(variances, dfs, strict=True)).p_equivalent(half) == pytest.approx(
        level / 2, rel=1e-6, abs=0
    )


@pytest.mark.parametrize("df", [1.0, np.nextafter(1, 2), np.nextafter(2, 1), np.nextafter(2, 3), 2.5, 9])
def test_p_of_several_parts_is_never_less_than_quantiles_can_be_trusted_for(df):
    assert Estimate(1e308, (1e-4, df), (1e-4, 14)).p() == pytest.approx(1e-100, rel=1e-9, abs=0)


def test_p_keeps_its_meaning_far_out_in_the_tail():
    assert Estimate(1e6, (1.0, 9), (1.0, 14)).p() == pytest.approx(0, abs=1e-40)


def simulated(rng, seeds, images, *, effect_by_image, correlation):
    """Differences in dB whose true mean over all images is 0: the components of the reference simulation."""
    run = rng.normal(0, 0.4 * np.sqrt(2 * (1 - correlation)), (seeds, 1))
    cell = rng.normal(0, np.hypot(0.25, 0.1) * np.sqrt(2), (seeds, images))
    return run + cell + rng.normal(0, effect_by_image, (1, images))


@pytest.mark.parametrize(
    ("seeds", "images", "effect_by_image", "correlation", "expected"),
    [(3, 7, 0.0, 0.0, 0.956), (5, 15, 0.3, 0.6, 0.960), (10, 7, 0.5, 0.6, 0.962)],
)
def test_the_interval_covers_as_often_as_in_the_published_simulation(
    seeds, images, effect_by_image, correlation, expected
):
    rng = np.random.default_rng(5)
    draws = [
        paired(simulated(rng, seeds, images, effect_by_image=effect_by_image, correlation=correlation), images="sample")
        for _ in range(800)
    ]
    covered = np.mean([low <= 0 <= high for low, high in (draw.interval() for draw in draws)])
    assert covered == pytest.approx(expected, abs=0.025)


def test_the_seeds_own_interval_does_not_cover_new_images_where_effects_differ_by_image():
    rng = np.random.default_rng(6)
    draws = [paired(simulated(rng, 10, 7, effect_by_image=0.5, correlation=0.7)) for _ in range(800)]
    covered = np.mean([low <= 0 <= high for low, high in (draw.interval() for draw in draws)])
    assert covered == pytest.approx(0.701, abs=0.05)


@pytest.mark.parametrize(
    ("matrix", "images", "message"),
    [
        (np.zeros(3), "these", "matrix of seeds x images"),
        (np.zeros((1, 4)), "these", "2 seeds or more"),
        (np.zeros((3, 1)), "sample", "2 images for a sample"),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), "these", "finite score"),
        (np.zeros((3, 3)), "all", "expected `these` or `sample`, got 'all'"),
    ],
)
def test_scores_that_allow_no_interval_are_refused(matrix, images, message):
    with pytest.raises(StatisticsError, match=message):
        paired(matrix, images=images)


def test_unpaired_arms_must_show_the_same_images():
    with pytest.raises(StatisticsError, match="same images, got 2 against 3"):
        unpaired(np.zeros((3, 2)), np.zeros((3, 3)))


def test_holm_adjusts_as_by_hand_and_keeps_the_order():
    # Sorted 0.005, 0.01, 0.03, 0.04, times 4, 3, 2, 1, made monotone.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("count", "total", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)]
)
def test_wilson_equals_newcombes_examples(count, total, low, high):
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing_excludes_nothing():
    assert wilson(0, 0) == (0, 1)
    assert wilson(0, 3)[0] == pytest.approx(0, abs=1e-12)


def test_hedges_shrinks_three_seeds_by_four_sevenths():
    d = np.array([[1.0], [2.0], [3.0]])
    assert hedges(paired(d), 3) == pytest.approx(2 / 1 * 4 / 7)
    assert np.isnan(hedges(paired(np.ones((3, 1))), 3))


@pytest.mark.parametrize(
    ("ratio", "alone", "of_five"), [(0.25, 285, 420), (0.5, 72, 108), (1, 18, 28), (2, 6, 8), (3, 5, 5)]
)
def test_seeds_needed_agree_with_the_table_of_planned_seeds(ratio, alone, of_five):
    # The table is for runs that are not paired; the difference then has sqrt(2) times their deviation, and the paired
    # test has half the degrees of freedom, which costs a seed or two.
    assert seeds_needed(np.sqrt(2), ratio) == pytest.approx(alone, rel=0.035, abs=2)
    assert seeds_needed(np.sqrt(2), ratio, level=0.01) == pytest.approx(of_five, rel=0.035, abs=2)


def test_seeds_needed_are_enough_in_four_studies_of_five():
    rng = np.random.default_rng(7)
    seeds = seeds_needed(1.0, 1.0)
    none = [paired(rng.normal(0, 1, (seeds, 1))).p_equivalent(1.0) < 0.05 for _ in range(1000)]
    some = [paired(rng.normal(1, 1, (seeds, 1))).p() < 0.05 for _ in range(1000)]
    assert min(np.mean(none), np.mean(some)) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.33, 19.5), (5, 0.42, 5.6), (10, 0.5, 2.7)])
def test_few_seeds_leave_the_variance_open_by_the_factors_of_the_reference(seeds, least, most):
    low, high = deviation_range(2.0, seeds=seeds)
    assert (low / 2) ** 2 == pytest.approx(least, rel=0.07)
    assert (high / 2) ** 2 == pytest.approx(most, rel=0.01)
