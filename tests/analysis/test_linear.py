from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.errors import StatisticsError
from analysis.linear import Runs, contrast, replicates, sampled
from analysis.statistics import hedges, paired, unpaired

DIFFERENCE = {"a": 1.0, "b": -1.0}


def runs(cells, *, missing=()):
    """Trainings from variants x seeds x images; `missing`: (variant, seed) that never finished."""
    kept = [(v, s) for v in range(cells.shape[0]) for s in range(cells.shape[1]) if (v, s) not in missing]
    return Runs(["abcdefgh"[v] for v, _ in kept], [s for _, s in kept], np.array([cells[at] for at in kept]))


def simulated(rng, variants, seeds, images, *, correlation=0.6, by_image=0.3, noise=1.0):
    """Scores in dB, as the published simulation makes them: run 0.4, seed x image 0.25, image 3."""
    shared = rng.normal(0, 0.4 * np.sqrt(correlation), (1, seeds, 1))
    own = rng.normal(0, 0.4 * np.sqrt(1 - correlation), (variants, seeds, 1))
    own = own + rng.normal(0, 0.25, (variants, seeds, images))
    own[0] *= noise
    effect = rng.normal(0, by_image / np.sqrt(2), (variants, 1, images))
    return shared + own + effect + rng.normal(0, 3, (1, 1, images))


@pytest.mark.parametrize("images", ["these", "sample"])
def test_with_every_seed_complete_it_is_the_paired_estimate_of_the_combined_scores(images):
    cells = simulated(np.random.default_rng(1), 3, 5, 7)
    weights = {"a": 1.0, "b": -0.25, "c": -0.75}
    found = contrast(runs(cells), weights, images=images)
    expected = paired(np.einsum("v,vsi->si", list(weights.values()), cells), images=images)
    assert found.difference == pytest.approx(expected.difference)
    assert found.seeds == pytest.approx(expected.seeds, rel=1e-9)
    assert found.images == pytest.approx(expected.images, rel=1e-9)


@pytest.mark.parametrize("images", ["these", "sample"])
def test_with_no_seed_in_common_it_is_welchs(images):
    cells = simulated(np.random.default_rng(2), 2, 9, 6, noise=2.0)
    apart = runs(cells, missing={*((0, s) for s in range(4)), *((1, s) for s in range(4, 9))})
    found = contrast(apart, DIFFERENCE, images=images)
    expected = unpaired(cells[0, 4:], cells[1, :4], images=images)
    assert found.seeds == pytest.approx(expected.seeds, rel=1e-9)
    assert found.images == pytest.approx(expected.images, rel=1e-9)
    if images == "these":
        welch = stats.ttest_ind(cells[0, 4:].mean(axis=1), cells[1, :4].mean(axis=1), equal_var=False)
        assert found.p() == pytest.approx(welch.pvalue, rel=1e-9)


def test_seeds_that_have_nothing_in_common_but_their_number_are_no_pairs():
    cells = simulated(np.random.default_rng(3), 2, 4, 3)
    expected = unpaired(cells[0], cells[1])
    pairs = runs(cells)
    apart = replace(pairs, seeds=list(zip(pairs.variants, pairs.seeds, strict=True)))
    assert contrast(apart, DIFFERENCE).seeds == pytest.approx(expected.seeds, rel=1e-9)


def test_partly_overlapping_seeds_equal_the_hand_calculation():
    # a: 1 2 6 at seeds 0 1 2, deviations -2 -1 3; b: 1 4 7 at seeds 1 2 3, deviations -3 0 3. Sums of squares 14 and
    # 18, of products 3. A variance keeps 2/3 of its sum, the covariance 1 - 1/3 - 1/3 + 2/9 = 5/9 of its own.
    # Of the means: 14 / (9 * 2/3) = 7/3, 18 / 6 = 3 and 3 / (9 * 5/9) = 3/5.
    found = contrast(Runs(list("aaabbb"), [0, 1, 2, 1, 2, 3], np.array([[1.0, 2, 6, 1, 4, 7]]).T), DIFFERENCE)
    assert found.difference == pytest.approx(3 - 4)
    assert found.seeds[0] == pytest.approx(7 / 3 + 3 - 2 * 3 / 5)


@pytest.mark.parametrize(("draw", "is_floor"), [(0, False), (11, True)])
def test_degrees_of_freedom_are_satterthwaites_for_the_sum_of_squares_written_out_run_by_run(draw, is_floor):
    names, weights = list("aaaaabbbbccc"), {"a": 1.0, "b": -0.4, "c": -0.6}
    seeds = [0, 1, 2, 3, 4, 1, 2, 3, 5, 0, 1, 6]
    y = np.random.default_rng(draw).normal(size=12)
    at = {name: [place for place in range(12) if names[place] == name] for name in weights}
    off = np.eye(12) - [[(one == other) / len(at[one]) for other in names] for one in names]
    form, covariance = np.zeros((12, 12)), np.zeros((12, 12))
    for one in weights:
        for other in weights:
            n, m = len(at[one]), len(at[other])
            pairs = [(i, j) for i in at[one] for j in at[other] if seeds[i] == seeds[j]]
            kept = 1 - 1 / n - 1 / m + len(pairs) / (n * m)
            product = sum((off @ y)[i] * (off @ y)[j] for i, j in pairs) / np.sqrt((n - 1) * (m - 1))
            for i, j in pairs:
                form += weights[one] * weights[other] / (n * m * kept) * np.outer(off[i], off[j])
                covariance[i, j] = product
    share = [weights[name] / len(at[name]) for name in names] * (off @ y)
    of_seeds = sum(share[np.array(seeds) == seed].sum() ** 2 for seed in set(seeds))
    assert (y @ form @ y < of_seeds) == is_floor  # what is right on average alone may be absurdly small
    both = form @ covariance
    expected = (max(y @ form @ y, of_seeds), np.trace(both) ** 2 / np.trace(both @ both))
    assert contrast(Runs(names, seeds, y[:, None]), weights).seeds == pytest.approx(expected, rel=1e-9)


def test_the_variance_is_right_on_average_where_runs_are_missing_and_variants_vary_unequally():
    rng = np.random.default_rng(4)
    missing = {(0, 0), (0, 3), (1, 4), (2, 1)}
    weights = {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}
    draws = [contrast(runs(simulated(rng, 4, 5, 4, noise=3.0), missing=missing), weights) for _ in range(4000)]
    truth = np.var([draw.difference for draw in draws])
    # These images: what differs by image is no error of the seeds, but differs from draw to draw.
    by_image = 4 * 0.5**2 * (0.3**2 / 2) / 4
    assert np.mean([draw.seeds[0] for draw in draws]) == pytest.approx(truth - by_image, rel=0.06)


def test_the_images_part_is_right_on_average_where_runs_are_missing():
    rng = np.random.default_rng(5)
    missing = {(0, 0), (1, 3)}
    draws = [contrast(runs(simulated(rng, 2, 4, 8, by_image=0.6), missing=missing), DIFFERENCE, images="sample")
             for _ in range(2000)]  # fmt: skip
    assert np.mean([draw.images[0] for draw in draws]) == pytest.approx(0.6**2 / 8, rel=0.05)


@pytest.mark.parametrize(
    ("variants", "seeds", "missing"),
    [(2, 4, {(0, 0)}), (2, 5, {(0, 0), (0, 1), (1, 3)}), (8, 3, {(0, 0)}), (8, 5, {(0, 0), (3, 1), (5, 2)})],
)
@pytest.mark.parametrize(("correlation", "noise"), [(0.0, 1.0), (0.7, 1.0), (0.0, 3.0)])
def test_the_interval_covers_where_whole_runs_are_missing(variants, seeds, missing, correlation, noise):
    rng = np.random.default_rng(6)
    weights = {name: (1 if place % 2 else -1) * 2 / variants for place, name in enumerate("abcdefgh"[:variants])}
    draws = [
        contrast(runs(simulated(rng, variants, seeds, 7, correlation=correlation, noise=noise), missing=missing),
                 weights, images="sample")
        for _ in range(400)
    ]  # fmt: skip
    # 0.95 less three standard errors; at most one or two runs are paired with nothing, so it may cover more.
    assert np.mean([abs(draw.difference) <= draw.half_width() for draw in draws]) > 0.917


def test_contrasts_that_add_up_in_weights_add_up_in_estimates_whatever_is_missing():
    table = runs(simulated(np.random.default_rng(7), 3, 5, 4), missing={(0, 1), (2, 4)})
    parts = [{"a": 1.0, "b": -1.0}, {"b": 1.0, "c": -1.0}]
    whole = contrast(table, {"a": 1.0, "c": -1.0}).difference
    assert sum(contrast(table, part).difference for part in parts) == pytest.approx(whole, rel=1e-12)


def test_runs_that_do_not_vary_leave_no_doubt():
    estimate = contrast(runs(np.ones((2, 3, 2)), missing={(0, 0)}), DIFFERENCE, images="sample")
    assert (estimate.p(), estimate.half_width()) == (1, 0)


def test_replicates_and_effect_agree_with_the_paired_ones_and_count_missing_runs():
    cells = simulated(np.random.default_rng(8), 2, 5, 3)
    assert replicates(runs(cells), DIFFERENCE) == pytest.approx(5)
    estimate = contrast(runs(cells), DIFFERENCE)
    assert hedges(estimate, 5) == pytest.approx(hedges(paired(cells[0] - cells[1]), 5))
    assert replicates(runs(cells, missing={(0, 0), (0, 1), (0, 2)}), DIFFERENCE) == pytest.approx(2 / (1 / 2 + 1 / 5))


def drawn(rng, seeds, draws, *, spread, run=0.3):
    """Half as many draws as variants, each of two of its own; the drawn contrasts differ truly by `spread`."""
    truth = rng.normal(0.0, spread, draws)
    cells = rng.normal(0, run, (2 * draws, seeds, 1))
    cells[::2] += truth[:, None, None]
    variants = [f"v{v}" for v in range(2 * draws) for _ in range(seeds)]
    weights = [{f"v{2 * k}": 1.0, f"v{2 * k + 1}": -1.0} for k in range(draws)]
    return Runs(variants, list(range(seeds)) * (2 * draws), cells.reshape(-1, 1)), weights


def test_the_error_of_drawing_is_told_apart_from_the_seeds():
    rng = np.random.default_rng(9)
    parts = {spread: [sampled(*drawn(rng, 4, 10, spread=spread)).draws for _ in range(500)] for spread in (0.0, 1.0)}
    assert np.mean([part for part, _ in parts[1.0]]) == pytest.approx(1 / 10, rel=0.08)
    assert np.mean([part for part, _ in parts[0.0]]) < 0.3**2 * 2 / 4 / 10 / 4  # a quarter of the seeds' own
    assert parts[1.0][0][1] == 9


def test_the_interval_of_drawn_contrasts_covers_what_they_were_drawn_from():
    rng = np.random.default_rng(10)
    for spread in (0.0, 0.2, 1.0):
        draws = [sampled(*drawn(rng, 4, 8, spread=spread)) for _ in range(400)]
        assert np.mean([abs(draw.difference) <= draw.half_width() for draw in draws]) > 0.917
        p = draws[0].p()
        assert draws[0].half_width(p) == pytest.approx(abs(draws[0].difference), rel=1e-6)


@pytest.mark.parametrize(
    ("table", "weights", "message"),
    [
        (
            Runs(["a", "a", "b"], [0, 1, 0], np.zeros((3, 2))),
            DIFFERENCE,
            "2 seeds or more of each variant, b has fewer",
        ),
        (Runs(["a", "a"], [0, 1], np.zeros((2, 2))), DIFFERENCE, "b has fewer"),
        (Runs(["a", "a", "a"], [0, 1, 1], np.zeros((3, 2))), {"a": 1.0}, "one training for each .* a has more"),
        (Runs(["a", "a"], [0, 1], np.array([[0.0], [np.inf]])), {"a": 1.0}, "finite score"),
        (Runs(["a", "a"], [0, 1], np.zeros((2, 1))), {"a": 0.0}, "a weight other than 0"),
        (Runs(["a", "a"], [0, 1], np.zeros((3, 1))), {"a": 1.0}, r"got \(3, 1\)"),
    ],
)
def test_runs_that_allow_no_contrast_are_refused(table, weights, message):
    with pytest.raises(StatisticsError, match=message):
        contrast(table, weights)


def test_a_sample_of_one_image_or_one_draw_is_refused():
    table = Runs(["a", "a"], [0, 1], np.zeros((2, 1)))
    with pytest.raises(StatisticsError, match="2 for a sample"):
        contrast(table, {"a": 1.0}, images="sample")
    with pytest.raises(StatisticsError, match="2 draws or more"):
        sampled(table, [{"a": 1.0}])
    with pytest.raises(StatisticsError, match="expected `these` or `sample`, got 'all'"):
        contrast(table, {"a": 1.0}, images="all")
