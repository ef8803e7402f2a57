import math
import random
from functools import partial

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.stopping import Decision, asha, bracket, decide, hyperband, median, rungs

CONTINUE, STOP, NAN = Decision.CONTINUE, Decision.STOP, math.nan
RUNGS = [10, 30, 90]
RULES = {
    "asha": partial(asha, rungs=RUNGS, reduction=3),
    "hyperband": partial(hyperband, rungs=RUNGS, reduction=3),
    "median": partial(median, first=10, least=1),
}
ALIKE = [number for number in range(200) if bracket(number, RUNGS, 3) == 0]
"""Numbers of trials that Hyperband compares with each other."""

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
values = st.one_of(st.integers(-3, 3).map(float), st.just(NAN))
several = partial(st.lists, min_size=1, max_size=12)


def curves(points, step=10):
    """The curves of trials that have one value each: at `step`, in the order of their numbers."""
    return {
        number: {step: point if isinstance(point, tuple) else (point,)}
        for number, point in zip(ALIKE, points, strict=False)
    }


def at_once(rule, points, directions=("min",)):
    known = curves(points)
    return [rule(known, number, 10, directions=directions) for number in known]


def arriving(rule, points, directions=("min",)):
    """The decision on each trial when only those before it are known."""
    known = curves(points)
    numbers = list(known)
    return [
        rule({number: known[number] for number in numbers[: index + 1]}, this, 10, directions=directions)
        for index, this in enumerate(numbers)
    ]


# --- what holds of every rule --------------------------------------------------------------------------------------


@every_rule
@pytest.mark.parametrize("point", [-1e9, 0.0, 1e9, (3.0, 4.0)])
def test_the_first_trial_at_a_rung_goes_on(rule, point):
    directions = ["max"] if isinstance(point, float) else ["max", "min"]
    assert arriving(rule, [point], directions) == [CONTINUE]


@every_rule
@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_what_is_not_finite_is_stopped_and_beats_nobody(rule, bad, direction):
    assert at_once(rule, [bad], [direction]) == [STOP]
    assert at_once(rule, [5.0, bad, bad], [direction]) == [CONTINUE, STOP, STOP]
    assert at_once(rule, [(5.0, 5.0), (9.0, bad), (bad, 0.0)], [direction] * 2) == [CONTINUE, STOP, STOP]


@every_rule
@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_goes_on_and_the_worst_does_not(rule, direction):
    sign = 1 if direction == "min" else -1
    decisions = at_once(rule, [sign * value for value in (4.0, 1.0, 3.0, 2.0, 5.0, 6.0, 7.0)], [direction])
    assert decisions[1] == CONTINUE
    assert decisions[6] == STOP


@every_rule
@settings(deadline=None, derandomize=True, max_examples=60)
@given(points=several(values), seed=st.integers(0, 99))
def test_the_order_in_which_it_is_told_plays_no_part(rule, points, seed):
    known = curves(points)
    shuffled = dict(random.Random(seed).sample(sorted(known.items()), len(known)))
    for number in known:
        assert rule(known, number, 10, directions=["min"]) == rule(shuffled, number, 10, directions=["min"])


@every_rule
@settings(deadline=None, derandomize=True, max_examples=60)
@given(points=several(st.tuples(values, values)))
def test_a_maximum_is_the_minimum_of_the_negative(rule, points):
    negative = [(-first, second) for first, second in points]
    assert at_once(rule, points, ["min", "max"]) == at_once(rule, negative, ["max", "max"])


@every_rule
@settings(deadline=None, derandomize=True, max_examples=60)
@given(points=several(st.tuples(values, values)), worse=st.sampled_from([(4.0, 4.0), (NAN, NAN)]))
def test_one_more_trial_that_is_worse_than_all_stops_nobody(rule, points, worse):
    for before, after in zip(
        at_once(rule, points, ["min"] * 2), at_once(rule, [*points, worse], ["min"] * 2), strict=False
    ):
        assert before == STOP or after == CONTINUE


@every_rule
@settings(deadline=None, derandomize=True, max_examples=60)
@given(points=several(st.tuples(values, values)), gain=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_a_better_value_never_stops_a_trial(rule, points, gain):
    better = [*points[:-1], tuple(value - less for value, less in zip(points[-1], gain, strict=True))]
    assert at_once(rule, points, ["min"] * 2)[-1] == STOP or at_once(rule, better, ["min"] * 2)[-1] == CONTINUE


@every_rule
@settings(deadline=None, derandomize=True, max_examples=60)
@given(points=several(values))
def test_two_equal_objectives_decide_as_one(rule, points):
    if rule is RULES["median"]:  # the median of an even count lies between two values, but may be one of the fronts
        points = points[: len(points) - (len(points) + 1) % 2]
    assert at_once(rule, points) == at_once(rule, [(value, value) for value in points], ["min", "min"])


@every_rule
def test_before_the_first_rung_every_trial_goes_on(rule):
    known = {number: {5: (float(number),)} for number in ALIKE[:9]}
    assert {rule(known, number, 5, directions=["min"]) for number in known} == {CONTINUE}


@every_rule
def test_a_recorded_decision_stands(rule):
    known, best, worst = curves([1.0, 2.0, 3.0, 4.0]), ALIKE[0], ALIKE[3]
    ours = partial(rule, directions=["min"])
    assert [decide(ours, known, number, 10, {}) for number in (best, worst)] == [CONTINUE, STOP]
    recorded = {(best, 10): "stop", (worst, 10): "continue", (best, 30): "continue"}
    assert [decide(ours, known, number, 10, recorded) for number in (best, worst)] == [STOP, CONTINUE]


@every_rule
def test_at_a_tie_the_lower_number_is_never_behind(rule):
    decisions = at_once(rule, [2.0] * 7)
    assert decisions == sorted(decisions)  # "continue" before "stop"
    assert decisions[0] == CONTINUE


# --- each rule against figures from elsewhere ----------------------------------------------------------------------


def test_asha_by_hand():
    # at each arrival: of n values so far the best max(1, floor(n / 3)) go on
    losses = [5.0, 4.0, 6.0, 4.5, 3.0, 4.2, 3.5, 3.5, NAN, 3.4]
    places = [(1, 1), (1, 1), (3, 1), (2, 1), (1, 1), (3, 2), (2, 2), (2, 2), (9, 3), (2, 3)]  # place, how many go on
    expected = [CONTINUE if place <= best else STOP for place, best in places[:8]] + [STOP, CONTINUE]
    assert arriving(RULES["asha"], losses) == expected
    # three have come to the next rung, of which one goes on
    known = curves(losses)
    for index, loss in ((0, 2.5), (4, 2.0), (6, 1.9)):
        known[ALIKE[index]] = known[ALIKE[index]] | {30: (loss,)}
    later = [RULES["asha"](known, ALIKE[index], 30, directions=["min"]) for index in (0, 4, 6)]
    assert later == [STOP, STOP, CONTINUE]


def test_asha_by_fronts_by_hand():
    # fronts: (1, 4), (4, 1), (2, 2) first; (3, 3) second; (5, 5) third. Of 6 the best 2 go on: the whole first front.
    points = [(5.0, 5.0), (1.0, 4.0), (3.0, 3.0), (4.0, 1.0), (2.0, 2.0), (NAN, 0.0)]
    assert at_once(RULES["asha"], points, ["min", "min"]) == [STOP, CONTINUE, STOP, CONTINUE, CONTINUE, STOP]


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_asha_decides_as_optunas_successive_halving(direction, reduction):
    rng = random.Random(reduction)
    study = optuna.create_study(
        direction=f"{direction}imize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=4, reduction_factor=reduction),
    )
    at = rungs(4, reduction, 200, 1)
    known: dict[int, dict[int, list[float]]] = {}
    stopped = 0
    for number in range(60):
        trial, level = study.ask(), rng.gauss(0, 1)
        known[number] = {}
        for step in at:
            value = level + rng.gauss(0, 1)
            known[number][step] = [value]
            trial.report(value, step)
            decision = asha(known, number, step, rungs=at, reduction=reduction, directions=[direction])
            assert (decision == STOP) == trial.should_prune()
            if decision == STOP:
                stopped += 1
                break
    assert 30 < stopped < 60


def test_hyperbands_shares_are_the_published_ones():
    # Li et al. 2018, table 1: R = 81, eta = 3 starts 81, 34, 15, 8 and 5 configurations in brackets s = 4 to 0
    counts = [0] * 5
    for number in range(2 * (81 + 34 + 15 + 8 + 5)):
        counts[bracket(number, [1, 3, 9, 27], 3)] += 1
    assert counts == [162, 68, 30, 16, 10]


def test_hyperband_deals_every_stretch_of_trials_by_the_shares():
    shares = [81, 34, 15, 8, 5]
    for start in (0, 20, 77):
        dealt = [bracket(number, [1, 3, 9, 27], 3) for number in range(start, start + 60)]
        assert all(abs(dealt.count(own) - 60 * share / 143) < 2 for own, share in enumerate(shares))


def test_hyperband_compares_within_a_bracket_at_the_brackets_own_rungs():
    own = {which: [number for number in range(40) if bracket(number, RUNGS, 3) == which] for which in range(4)}
    loss = {number: (number + 100.0 * which,) for which, numbers in own.items() for number in numbers}
    known = {number: dict.fromkeys(RUNGS, loss[number]) for number in range(40)}
    first = {which: numbers[0] for which, numbers in own.items()}
    last = {which: numbers[-1] for which, numbers in own.items()}
    for which in range(4):
        assert RULES["hyperband"](known, first[which], 90, directions=["min"]) == CONTINUE
    decide_last = {(which, step): RULES["hyperband"](known, last[which], step, directions=["min"])
                   for which in range(4) for step in RUNGS}  # fmt: skip
    assert [key for key, decision in decide_last.items() if decision == STOP] == [
        (0, 10), (0, 30), (0, 90), (1, 30), (1, 90), (2, 90),
    ]  # fmt: skip


def test_median_stopping_by_hand():
    # running means up to step 20: 3, 5, 8; at step 20 the median is 5. Trial 4 has not got there.
    others = {1: {10: (2.0,), 20: (4.0,)}, 2: {10: (6.0,), 20: (4.0,)}, 3: {10: (9.0,), 20: (7.0,)}, 4: {10: (0.0,)}}
    ours = partial(median, first=20, directions=["min"])
    assert ours(others | {0: {10: (5.0,), 20: (9.0,)}}, 0, 20) == CONTINUE  # its best so far is 5, no worse
    assert ours(others | {0: {10: (5.1,), 20: (9.0,)}}, 0, 20) == STOP
    assert ours(others | {0: {10: (NAN,), 20: (4.9,)}}, 0, 20) == CONTINUE
    assert ours(others | {0: {10: (1.0,), 20: (NAN,)}}, 0, 20) == STOP
    assert ours(others | {0: {10: (99.0,)}}, 0, 10) == CONTINUE  # before the first rung
    assert ours(others | {0: {10: (5.1,), 20: (9.0,)}}, 0, 20, least=4) == CONTINUE
    later = {number: curve | {30: (0.0,)} for number, curve in others.items()}  # what came after is not looked at
    del later[4]
    assert ours(later | {0: {10: (5.0,), 20: (9.0,)}}, 0, 20) == CONTINUE
    assert ours(others | {0: {10: (5.1,), 20: (9.0,), 30: (0.0,)}}, 0, 20) == STOP


# --- rungs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((100, 3, 2700, 100), [100, 300, 900]),
        ((100, 3, 901, 100), [100, 300, 900]),
        ((100, 3, 900, 100), [100, 300]),
        ((50, 3, 1000, 100), [100, 200, 500]),  # 50, 150, 450 moved up to evaluations
        ((10, 2, 100, 30), [30, 60, 90]),  # 10 and 20 both move to 30, 40 to 60, 80 to 90
        ((400, 3, 400, 100), []),
    ],
)
def test_rungs_are_evaluations_before_the_end(arguments, expected):
    assert rungs(*arguments) == expected


@pytest.mark.parametrize("arguments", [(0, 3, 100, 10), (10, 1, 100, 10), (10, 3, 100, 0)])
def test_rungs_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match="expected first and evaluate_every of 1 or more"):
        rungs(*arguments)
