import math
import random

import optuna
import pytest

from platform.fronts import Constraint, Knee, Weights, choose, front, ranks

NAN = math.nan
OBJECTIVES = {"psnr": "max", "niqe": "min"}
# By hand: 1, 2 and 3 are the front; 4 is behind 2; 5 has no PSNR. Normalised losses: 1 (0, 1), 2 (0.2, 0.25), 3 (1, 0).
CANDIDATES = {
    4: {"psnr": 19.0, "niqe": 4.5},
    3: {"psnr": 15.0, "niqe": 4.0},
    2: {"psnr": 19.0, "niqe": 4.2},
    1: {"psnr": 20.0, "niqe": 4.8},
    5: {"psnr": NAN, "niqe": 3.0},
}


def test_fronts_by_hand():
    points = [(1, 4), (2, 2), (4, 1), (2, 3), (4, 4), (2, 2), (3, 3)]
    assert ranks(points, ["min", "min"]) == [0, 0, 0, 1, 3, 0, 2]
    assert ranks(points, ["max", "max"]) == [1, 3, 1, 2, 0, 3, 1]
    assert ranks([(3,), (1,), (3,), (2,)], ["min"]) == [2, 0, 2, 1]


def test_a_point_that_is_not_finite_is_on_no_front():
    points = [(NAN, 0.0), (1.0, 1.0), (-math.inf, 0.0), (2.0, 2.0), (0.0, math.inf)]
    assert ranks(points, ["min", "min"]) == [None, 0, None, 1, None]
    assert front([(NAN, NAN)], ["min", "max"]) == []
    assert ranks([], ["min", "min"]) == []


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="expected 'min' or 'max', got 'maximize'"):
        ranks([(1.0,)], ["maximize"])


@pytest.mark.parametrize("directions", [["min"], ["max", "min"], ["min", "max", "min"], ["max"] * 4])
@pytest.mark.parametrize("levels", [4, 1000])
def test_the_front_is_the_one_that_optuna_finds(directions, levels):
    rng = random.Random(f"{directions}{levels}")
    points = [[float(rng.randrange(levels)) for _ in directions] for _ in range(150)]
    study = optuna.create_study(directions=[f"{one}imize" for one in directions])
    study.add_trials([optuna.trial.create_trial(values=point) for point in points])
    best = study.best_trials if len(directions) > 1 else [t for t in study.trials if t.value == study.best_value]
    assert front(points, directions) == sorted(trial.number for trial in best)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fronts_are_what_is_left_when_those_before_are_taken_away(count):
    rng = random.Random(count)
    points = [[float(rng.randrange(12)) for _ in range(count)] for _ in range(120)]
    directions = ["min", "max", "max"][:count]
    left, found = list(range(len(points))), {}
    for number in range(len(points)):
        best = [left[index] for index in front([points[one] for one in left], directions)]
        found |= dict.fromkeys(best, number)
        left = [one for one in left if one not in best]
    assert ranks(points, directions) == [found[index] for index in range(len(points))]


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        (Weights({"psnr": 1, "niqe": 1}), 2),  # 0.5, 0.225, 0.5
        (Weights({"psnr": 9, "niqe": 1}), 1),  # 0.1, 0.205, 0.9
        (Weights({"niqe": 1}), 3),
        (Constraint({"niqe": (-math.inf, 4.5)}, "psnr"), 2),
        (Constraint({"niqe": (4.0, 4.0)}, "psnr"), 3),
        (Constraint({"psnr": (19.5, math.inf)}, "niqe"), 1),
        (Knee(), 2),  # distances 0, 0.55 / sqrt(2), 0
    ],
)
def test_what_each_rule_picks_by_hand(rule, number):
    assert choose(rule, CANDIDATES, OBJECTIVES).number == number
    assert choose(rule, dict(sorted(CANDIDATES.items())), OBJECTIVES).number == number


def test_equally_good_candidates_give_the_lowest_number_in_any_order():
    twins = {number: {"psnr": 20.0, "niqe": 4.0} for number in (9, 2, 5)}
    for rule in (Weights({"psnr": 1, "niqe": 2}), Knee(), Constraint({"niqe": (0, 5)}, "psnr")):
        assert choose(rule, twins, OBJECTIVES).number == 2


def test_a_tie_under_a_constraint_goes_to_the_one_better_elsewhere():
    candidates = {1: {"psnr": 20.0, "niqe": 4.4}, 2: {"psnr": 20.0, "niqe": 4.1}}
    assert choose(Constraint({"niqe": (0, 5)}, "psnr"), candidates, OBJECTIVES).number == 2


def test_a_constraint_may_name_a_metric_that_is_no_objective():
    candidates = {1: {"psnr": 20.0, "lpips": 0.3}, 2: {"psnr": 19.0, "lpips": 0.1}, 3: {"psnr": 30.0}}
    assert choose(Constraint({"lpips": (0, 0.2)}, "psnr"), candidates, {"psnr": "max"}).number == 2


def test_where_nothing_can_be_chosen_it_says_why():
    none = choose(Constraint({"niqe": (-math.inf, 3.5)}, "psnr"), CANDIDATES, OBJECTIVES)
    assert (none.number, none.why) == (None, "none of 4 candidates has niqe <= 3.5")
    empty = choose(Knee(), {5: CANDIDATES[5]}, OBJECTIVES)
    assert (empty.number, empty.why) == (None, "no candidate has a number for every objective")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Weights({"ssim": 1}), "expected objectives among psnr, niqe, got ssim"),
        (Weights({"psnr": 0}), "expected weights of 0 or more, not all 0"),
        (Weights({"psnr": 2, "niqe": -1}), "expected weights of 0 or more, not all 0"),
        (Constraint({"niqe": (0, 4)}, "ssim"), "expected objectives among psnr, niqe, got ssim"),
        (Constraint({}, "psnr"), "expected at least one bound"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        choose(rule, CANDIDATES, OBJECTIVES)
