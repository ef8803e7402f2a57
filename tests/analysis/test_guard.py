import math

import pytest

from analysis.guard import guard

NAN = math.nan


def checked(at_rung, at_end, direction="min", reduction=3):
    pairs = dict(enumerate(at_rung)), dict(enumerate(at_end))
    return guard(*pairs, higher_is_better=direction == "max", reduction=reduction)


def test_the_correlation_and_its_interval_by_hand():
    # two of 15 pairs out of order: tau = 11/15, z = ln(6.5) / 2 = 0.9359, half = 1.95996 * sqrt(0.437 / 2) = 0.9162
    found = checked([1, 2, 3, 4, 5, 6], [2, 1, 3, 4, 6, 5])
    assert found.n == 6
    assert found.tau == pytest.approx(11 / 15)
    assert (found.low, found.high) == pytest.approx((0.0197, 0.9520), abs=1e-4)
    assert found.warning == ""  # the best at the end, 1, was second of the two that go on


def test_full_agreement_of_few_trials_is_still_uncertain():
    found = checked(range(6), range(6))
    assert (found.tau, found.high) == pytest.approx((1, 1))
    assert 0.5 < found.low < 0.8


def test_it_warns_where_the_order_says_nothing_of_the_end():
    found = checked(range(8), [0, 4, 1, 6, 2, 7, 3, 5])  # 8 of 28 pairs out of order, the best first at both
    assert found.tau == pytest.approx(12 / 28)
    assert found.low < 0
    assert found.warning.startswith("early stopping may mislead: the order here does not foretell")
    assert "8 trials" in found.warning


@pytest.mark.parametrize("direction", ["min", "max"])
def test_it_warns_where_the_best_would_have_been_stopped(direction):
    sign = 1 if direction == "min" else -1
    at_rung, at_end = list(range(12)), list(range(12))
    at_end[6] = -1  # trial 6, seventh at the rung, overtakes all
    found = checked([sign * one for one in at_rung], [sign * one for one in at_end], direction)
    assert found.low > 0
    assert "trial 6, the best at the end, stood at place 7 of 12" in found.warning
    assert checked([sign * one for one in at_rung], [sign * one for one in at_rung], direction).warning == ""


@pytest.mark.parametrize(
    ("at_rung", "at_end", "n"),
    [(range(5), range(5), 5), ([NAN, 1, 2, 3, 4, 5], range(6), 5), ([1] * 7, range(7), 7)],
)
def test_where_nothing_can_be_known_it_says_so(at_rung, at_end, n):
    found = checked(at_rung, at_end)
    assert (found.n, found.low, found.high) == (n, -1, 1)
    assert "not known" in found.warning
