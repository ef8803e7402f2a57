"""The benchmark of simulated studies: what it takes for the truth is true, and what it counts as an error is one."""

from itertools import permutations

import numpy as np
import pytest

from benchmarks import simulated_orders
from benchmarks.calibration import Bound, orders_bounds
from benchmarks.simulated_orders import NAMES, TRUTHS, OrdersCell, of_orders, proven_of_orders, steps
from benchmarks.simulated_studies import Cell, parted


def kind(truth="interactions", *, seeds=10, count=20):
    return OrdersCell(truth, Cell("normal", 0.0, 0.7, seeds, 7), count)


@pytest.mark.parametrize("truth", TRUTHS)
def test_true_shapley_values_share_each_interaction_equally_and_are_means_over_all_orders(truth):
    shared = [sum(term / len(names) for names, term in TRUTHS[truth].items() if name in names) for name in NAMES]
    assert kind(truth).shapley == pytest.approx(shared)
    assert steps(kind(truth).worth[:, None], list(permutations(NAMES)))[:, 0].mean(axis=1) == pytest.approx(shared)


def test_two_components_have_a_true_value_of_zero_and_one_of_them_has_effects():
    f, g = (np.ptp(steps(kind().worth[:, None], list(permutations(NAMES)))[NAMES.index(name)]) for name in "fg")
    assert kind().shapley[[5, 6]] == pytest.approx(0)
    assert (f, g) == (pytest.approx(0.8), pytest.approx(0))


def test_intervals_cover_only_if_they_carry_the_error_of_drawing_orders():
    found = of_orders(kind(), 300, 0, sample=1)
    assert found["proven"] == len(NAMES)
    assert found["coverage"] > 0.93
    assert found["seeds alone"] < 0.75
    assert found["error5"].shape == (2,)


def test_what_is_computed_at_once_is_what_the_analysis_says_and_a_difference_ends_the_run():
    rng = np.random.default_rng(0)
    scores = rng.normal(kind().worth[:, None, None], 0.4, (2 ** len(NAMES), 3, 2))
    random = simulated_orders.orders(NAMES, 20, seed=1)
    parts = parted(steps(scores.mean(axis=2), random)[None])
    assert proven_of_orders(scores, random, parts, 0) == len(NAMES)
    with pytest.raises(SystemExit, match="by the analysis itself differ"):
        proven_of_orders(scores, simulated_orders.orders(NAMES, 20, seed=2), parts, 0)


def test_a_missed_bound_is_said_with_its_distance_and_cell():
    one = {"coverage": 0.95, "coverage se": 0.01, "error5": np.array([0.02, 0.05]), "error1": np.array([0.0, 0.01])}
    found = {kind(): one, kind(count=40): {**one, "coverage": 0.92, "error5": np.array([0.09, 0.02])}}
    coverage, error5, error1, *_ = orders_bounds(found, 400)
    assert "missed in 1 of 2 cells, the worst by 2.0 standard errors; worst: normal, rho 0.7, 40 ord" in coverage.row()
    assert error5.missing() == [kind(count=40)]
    assert error1.row().startswith("random orders, interactions: error at 1 %, true value 0")
    assert "kept in all 2 cells" in error1.row()
    assert Bound("width", 1.15, False, {kind(): 1.2}, {kind(): 0.0}).missing() == [kind()]
