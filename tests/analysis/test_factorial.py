from collections import Counter
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest

from analysis.errors import DesignError
from analysis.factorial import (
    aliases,
    defining_words,
    effect_weights,
    fractional,
    full,
    named,
    orders,
    orders_seed,
    runs_of_orders,
    shapley_weights,
    spreads,
    steps_of_order,
)

LETTERS = "ABCDEFGH"


def pattern(words):
    """Return how many words there are of each length, from 3 on."""
    counts = Counter(map(len, words))
    return [counts[length] for length in range(3, 9)]


def products(runs, effect):
    """Return the signs of an effect, multiplied out run by run."""
    signs = []
    for run in runs:
        sign = 1
        for name in effect:
            sign *= 1 if name in run else -1
        signs.append(sign)
    return signs


# Box, Hunter and Hunter, Statistics for Experimenters, table 12.15; Montgomery, Design and Analysis of Experiments,
# table 8.14 and appendix X: components, asked resolution, runs, resolution, word lengths from 3 on.
PUBLISHED = [
    (3, 3, 4, 3, [1, 0, 0, 0, 0, 0]),
    (4, 3, 8, 4, [0, 1, 0, 0, 0, 0]),
    (4, 4, 8, 4, [0, 1, 0, 0, 0, 0]),
    (5, 3, 8, 3, [2, 1, 0, 0, 0, 0]),
    (5, 4, 16, 5, [0, 0, 1, 0, 0, 0]),
    (5, 5, 16, 5, [0, 0, 1, 0, 0, 0]),
    (6, 3, 8, 3, [4, 3, 0, 0, 0, 0]),
    (6, 4, 16, 4, [0, 3, 0, 0, 0, 0]),
    (6, 5, 32, 6, [0, 0, 0, 1, 0, 0]),
    (7, 3, 8, 3, [7, 7, 0, 0, 1, 0]),
    (7, 4, 16, 4, [0, 7, 0, 0, 0, 0]),
    (7, 5, 64, 7, [0, 0, 0, 0, 1, 0]),
    (8, 3, 16, 4, [0, 14, 0, 0, 0, 1]),
    (8, 4, 16, 4, [0, 14, 0, 0, 0, 1]),
    (8, 5, 64, 5, [0, 0, 2, 1, 0, 0]),
]


@pytest.mark.parametrize(("count", "asked", "runs", "resolution", "lengths"), PUBLISHED)
def test_fractions_are_the_published_ones(count, asked, runs, resolution, lengths):
    design = fractional(LETTERS[:count], asked)
    assert (len(design.runs), design.resolution) == (runs, resolution)
    assert pattern(design.words) == lengths
    assert design.runs[0] == frozenset(LETTERS[:count])
    constant = [
        frozenset(word)
        for length in range(1, count + 1)
        for word in combinations(LETTERS[:count], length)
        if len(set(products(design.runs, word))) == 1
    ]
    assert set(constant) == set(design.words)


@pytest.mark.parametrize(("count", "asked"), sorted({(count, asked) for count, asked, *_ in PUBLISHED if count < 8}))
def test_no_other_generators_of_as_many_runs_confuse_less(count, asked):
    design = fractional(LETTERS[:count], asked)
    free = len(design.runs).bit_length() - 1
    choices = [frozenset(word) for length in range(2, free + 1) for word in combinations(LETTERS[:free], length)]
    best = None
    for generators in combinations(choices, count - free):
        words = {frozenset()}
        for name, generator in zip(LETTERS[free:], generators, strict=False):
            words |= {word ^ generator ^ {name} for word in words}
        found = pattern(words - {frozenset()})
        best = found if best is None else min(best, found)
    assert pattern(design.words) == best


@pytest.mark.parametrize("asked", [3, 4, 5])
def test_where_no_fraction_is_sharp_enough_all_runs_are_made(asked):
    design = fractional("ABCD", 5)
    assert (len(design.runs), design.resolution, design.words) == (16, None, ())
    assert len(fractional("ABC", asked).runs) == (4 if asked == 3 else 8)


def test_aliases_of_the_half_fraction_of_four_are_those_of_the_textbook():
    words = fractional("ABCD", 4).words
    assert aliases(frozenset("A"), words) == []
    assert aliases(frozenset("A"), words, order=3) == [frozenset("BCD")]
    assert aliases(frozenset("AB"), words) == [frozenset("CD")]
    assert aliases(frozenset("A"), fractional("ABC", 3).words) == [frozenset("BC")]


def test_main_effects_and_interactions_are_textbook_contrasts():
    # Box, Hunter and Hunter's pilot plant: temperature 160/180, concentration 20/40, catalyst A/B; yields 60 72 54 68
    # 52 83 45 80 in standard order give effects 23, -5, 1.5 and interactions TC 1.5, TK 10, CK 0, TCK 0.5.
    yields = dict(zip(["", "T", "C", "TC", "K", "TK", "CK", "TCK"], [60, 72, 54, 68, 52, 83, 45, 80], strict=True))
    runs = {frozenset(name): value for name, value in yields.items()}
    published = {"T": 23, "C": -5, "K": 1.5, "TC": 1.5, "TK": 10, "CK": 0, "TCK": 0.5}
    for effect, expected in published.items():
        weights = effect_weights(frozenset(effect), full("TCK").runs)
        assert sum(weight * runs[run] for run, weight in weights.items()) == expected


def test_shapley_values_are_means_over_all_orders():
    worth = {
        frozenset(run): len(run) ** 2 + 7 * ("A" in run and "C" in run) - ("B" in run) for run in full("ABCD").runs
    }
    for name in "ABCD":
        steps = [steps_of_order(order)[name] for order in permutations("ABCD")]
        mean = sum(Fraction(sum(weight * worth[run] for run, weight in step.items())) for step in steps) / len(steps)
        assert sum(weight * worth[run] for run, weight in shapley_weights(name, "ABCD").items()) == mean


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shapley_values_add_up_to_the_full_model_less_the_bare_one_exactly(count):
    names = LETTERS[:count]
    total = Counter()
    for name in names:
        for run, weight in shapley_weights(name, names).items():
            total[run] += weight
    left = {run: weight for run, weight in total.items() if weight}
    assert left == {frozenset(names): 1, frozenset(): -1}


def spread_by_hand(effect, runs):
    """Return the deviation of an effect of independent scores of deviation 1, by asking it of each run alone."""
    return sum(effect({run: run == one for run in runs}) ** 2 for one in runs) ** 0.5


@pytest.mark.parametrize("runs", [full("ABCD").runs, fractional("ABCD", 4).runs, fractional("ABCDE", 3).runs])
def test_a_main_effect_varies_as_the_difference_of_two_means_of_runs(runs):
    def effect(score):
        with_it = [score[run] for run in runs if "A" in run]
        return np.mean(with_it) - np.mean([score[run] for run in runs if "A" not in run])

    letters = sorted(runs[0])
    expected = spread_by_hand(effect, runs)
    assert spreads(letters, runs) == pytest.approx(dict.fromkeys(letters, expected))
    assert expected == pytest.approx(2 / len(runs) ** 0.5)


@pytest.mark.parametrize(("letters", "drawn"), [("ABCDEF", 20), ("ABC", 24)])
def test_a_shapley_value_varies_as_the_mean_of_what_it_adds_over_the_orders(letters, drawn):
    found = orders(letters, drawn, seed=5)
    runs = runs_of_orders(found)
    every = list(permutations(letters)) if len(runs) == 2 ** len(letters) else found  # then it is exact

    def effect(score, name):
        places = [(order, order.index(name)) for order in every]
        return np.mean([score[frozenset(order[: n + 1])] - score[frozenset(order[:n])] for order, n in places])

    expected = {name: spread_by_hand(lambda score, name=name: effect(score, name), runs) for name in letters}
    assert spreads(letters, runs, found) == pytest.approx(expected)


def test_orders_are_random_but_the_same_for_the_same_seed():
    drawn = orders(LETTERS, 400, seed=1)
    assert drawn == orders(LETTERS, 400, seed=1)
    assert drawn != orders(LETTERS, 400, seed=2)
    first = Counter(order[0] for order in drawn)
    assert all(25 <= first[name] <= 80 for name in LETTERS)  # 50 expected


def test_a_study_that_asks_for_more_orders_keeps_those_it_had():
    assert orders(LETTERS, 40, seed=1)[:24] == orders(LETTERS, 24, seed=1)


def test_the_orders_of_a_study_follow_from_its_name_in_every_process():
    assert orders_seed("components") == 0x7B12BE43FEBC6E18  # `printf components | sha256sum`, the first 16 digits


def test_over_studies_any_component_comes_before_any_other_half_of_the_time():
    before = [
        sum(order.index("A") < order.index("E") for order in orders(LETTERS[:7], 24, seed=orders_seed(f"study{n}")))
        for n in range(400)
    ]
    assert sum(before) / len(before) == pytest.approx(12, abs=0.5)  # 4 standard errors of a binomial of 24 at 1/2
    assert 1.8 < np.std(before) < 3.1  # 2.45 by theory; 0 if all studies drew the same orders


def test_runs_of_orders_are_their_beginnings_each_once():
    runs = runs_of_orders(["ABC", "BAC"])
    assert [named(run, "ABC") for run in runs] == ["A x B x C", "A x B", "A", "B", ""]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([""], "the full model among the runs"),
        (["AB", "A", "A", ""], "one comes twice"),
        (["AB", "A", "B"], "got 3 runs that span 4"),
    ],
)
def test_runs_that_are_no_regular_design_are_refused(runs, message):
    with pytest.raises(DesignError, match=message):
        defining_words("AB", [frozenset(run) for run in runs])


@pytest.mark.parametrize(
    ("components", "resolution", "message"),
    [
        ("AB", 4, "takes 3 to 8 components, got 2"),
        ("ABCDEFGHI", 4, "takes 3 to 8 components, got 9"),
        ("ABC", 6, "resolution: expected 3, 4 or 5, got 6"),
        ("AAB", 3, "expected components, each once, got A, A, B"),
    ],
)
def test_designs_that_do_not_exist_are_refused(components, resolution, message):
    with pytest.raises(DesignError, match=message):
        fractional(components, resolution)
