import math
import re

import numpy as np
import pytest
from scipy import stats

from analysis.guard import guard, tells

NAN = math.nan


def checked(at_rung, at_end, direction="min", reduction=3, groups=None):
    pairs = dict(enumerate(at_rung)), dict(enumerate(at_end))
    return guard(*pairs, higher_is_better=direction == "max", reduction=reduction, groups=groups)


def test_the_correlation_and_its_interval_by_hand():
    # one of 15 pairs out of order: tau = 13/15, z = ln(14) / 2 = 1.3195, half = 1.95996 * sqrt(0.437 / 2) = 0.9162
    found = checked([1, 2, 3, 4, 5, 6], [2, 1, 3, 4, 5, 6])
    assert (found.n, found.pairs) == (6, 15)
    assert found.tau == pytest.approx(13 / 15)
    assert (found.low, found.high) == pytest.approx((0.3828, 0.9774), abs=1e-4)
    assert found.finding == "foretells"  # six of 720 orders agree so well
    assert found.warning == ""  # the best at the end, 1, was second of the two that go on


def test_what_the_approximation_alone_would_find_is_left_undecided():
    # two of 15 pairs out of order: 20 of 720 orders agree so well or better, 2.8 %
    found = checked([1, 2, 3, 4, 5, 6], [2, 1, 3, 4, 6, 5])
    assert found.tau == pytest.approx(11 / 15)
    assert found.low == 0
    assert found.finding == "unknown"


def test_full_agreement_of_few_trials_is_still_uncertain():
    found = checked(range(6), range(6))
    assert (found.tau, found.high) == pytest.approx((1, 1))
    assert 0.5 < found.low < 0.8


def test_ties_are_those_of_an_independent_implementation():
    at_rung, at_end = [1, 2, 2, 3, 4, 5, 6, 6], [1, 1, 3, 2, 4, 6, 5, 7]
    assert checked(at_rung, at_end).tau == pytest.approx(stats.kendalltau(at_rung, at_end).statistic)


def test_only_trials_of_the_same_group_are_compared():
    # within each group the order is turned round, and the better group is better at both
    at_rung, at_end = [1, 2, 3, 4, 11, 12, 13, 14], [4, 3, 2, 1, 14, 13, 12, 11]
    groups = dict(enumerate("aaaabbbb"))
    found = checked(at_rung, at_end, groups=groups)
    assert (found.n, found.pairs, found.tau) == (8, 12, -1)
    assert found.finding == "against"
    assert checked(at_rung, at_end).tau > 0


def test_six_pairs_of_groups_of_two_are_no_twelve_trials():
    # a rung that says nothing puts all six pairs right in one of 64 cases, but five in seven of 64
    at_rung = [value for group in range(6) for value in (group, group + 0.5)]
    turned = [*at_rung[:10], at_rung[11], at_rung[10]]
    found = checked(at_rung, turned, groups={n: n // 2 for n in range(12)})
    assert (found.n, found.low, found.finding) == (12, -1, "unknown")


@pytest.mark.parametrize(("groups", "size"), [(3, 3), (6, 3), (3, 8), (1, 6), (1, 9)])
def test_a_rung_that_says_nothing_foretells_the_end_in_no_more_cases_than_declared(groups, size):
    rng = np.random.default_rng(3)
    of = {n: n // size for n in range(groups * size)}
    studies = 400
    findings = [checked(rng.normal(size=len(of)), rng.normal(size=len(of)), groups=of).finding for _ in range(studies)]
    assert findings.count("foretells") / studies <= 0.025 + 2 * (0.025 * 0.975 / studies) ** 0.5


def test_with_enough_trials_an_order_that_says_nothing_is_told_from_too_few_to_tell():
    rng = np.random.default_rng(5)
    many = checked(rng.permutation(40), range(40))
    assert many.high < 0.5
    assert many.finding == "against"
    assert many.warning == "early stopping may mislead: the order here tells little of the order at the end"
    few = checked(range(8), [0, 4, 1, 6, 2, 7, 3, 5])  # 8 of 28 pairs out of order
    assert few.tau == pytest.approx(12 / 28)
    assert few.finding == "unknown"
    assert "mislead" not in few.warning
    assert "too few" in few.warning


@pytest.mark.parametrize("direction", ["min", "max"])
def test_it_warns_where_the_best_at_the_end_stood_far_back(direction):
    sign = 1 if direction == "min" else -1
    at_rung, at_end = list(range(12)), list(range(12))
    at_end[6] = -1  # trial 6, seventh at the rung, overtakes all
    found = checked([sign * one for one in at_rung], [sign * one for one in at_end], direction)
    assert found.finding == "foretells"
    assert found.warning.endswith("trial 6, the best at the end, stood at place 7 of 12 here")
    assert checked([sign * one for one in at_rung], [sign * one for one in at_rung], direction).warning == ""


@pytest.mark.parametrize(
    ("at_rung", "at_end", "n"),
    [(range(4), range(4), 4), ([NAN, 1, 2, 3, 4], range(5), 4), ([1] * 7, range(7), 7), ([], [], 0)],
)
def test_where_nothing_can_be_known_it_says_so(at_rung, at_end, n):
    found = checked(at_rung, at_end)
    assert (found.n, found.low, found.high, found.finding) == (n, -1, 1, "unknown")
    assert re.search("too few|nothing can be told", found.warning)


@pytest.mark.parametrize(
    ("sizes", "can"),
    [([5], True), ([4], False), ([3, 3], False), ([3, 3, 3], True), ([1] * 50, False), ([200], True), ([], False)],
)
def test_groups_that_even_full_agreement_tells_nothing_of(sizes, can):
    assert tells(sizes) is can


def test_many_trials_have_the_interval_of_as_many():
    rng = np.random.default_rng(1)
    at_rung = rng.normal(size=300)
    found = checked(at_rung, at_rung + rng.normal(size=300))
    half = 1.959964 * math.sqrt(0.437 / 296)
    assert (math.atanh(found.high) - math.atanh(found.low)) / 2 == pytest.approx(half)
