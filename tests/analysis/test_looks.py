"""Looks against hand calculation: shares of the level, p-values over looks, and what is decided when."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparison import Contrast, judge
from analysis.effects import factorial_effects
from analysis.factorial import effect_weights, full
from analysis.looks import COLUMNS, look, spent, verdicts
from analysis.sequential import schedule, shares

FAMILY = [Contrast("no_a", component="a"), Contrast("no_b", component="b")]
AT = [3, 5, 8, 12]
NOTHING = pd.DataFrame([], columns=list(COLUMNS))


def scores(differences, seeds=12):
    """Return scores of one image: the full model's are 10, a variant's 10 + its difference + noise of the seed."""
    noise = np.random.default_rng(7).normal(0, 0.1, (len(differences), seeds))
    rows = [("baseline", seed, 10.0) for seed in range(1, seeds + 1)]
    for place, (name, difference) in enumerate(differences.items()):
        rows += [(name, seed, 10 + difference + noise[place, seed - 1]) for seed in range(1, seeds + 1)]
    frame = pd.DataFrame(rows, columns=["variant", "seed", "eval/psnr_db"])
    return frame.assign(set="s", image="i", scene="i", stage="fixed")


def looked(images, seeds, earlier, **options):
    table = judge(images[images["seed"] <= seeds], FAMILY, metric="eval/psnr_db", higher_is_better=True, **options)
    return look(table, earlier, seeds=seeds, at=AT, higher_is_better=True)


def test_the_default_looks_are_those_of_the_simulations():
    assert schedule(3, 12) == [3, 5, 8, 12]
    assert schedule(4, 10) == [4, 5, 8, 10]
    assert schedule(3, 30) == [3, 5, 8, 12, 18, 27, 30]
    assert schedule(3, 4) == [3, 4]


def test_a_look_spends_its_share_of_the_level():
    # by hand: (3/12)^2, (5/12)^2 - (3/12)^2 of p = 0.01 and 0.004
    found = pd.DataFrame([(3, "no_a", 1.0, 0.01, np.nan, "undecided"), (5, "no_a", 1.0, 0.004, np.nan, "undecided")],
                         columns=list(COLUMNS))  # fmt: skip
    assert shares(AT, 12)[:2] == pytest.approx([0.0625, 16 / 144])
    assert spent(found, AT).loc["no_a", "p"] == pytest.approx(min(0.01 / 0.0625, 0.004 * 144 / 16))


def test_a_p_that_one_look_alone_would_take_for_a_finding_is_none_over_all_looks():
    images = scores({"no_a": -0.3, "no_b": 0.0})
    alone = judge(images[images["seed"] <= 3], FAMILY, metric="eval/psnr_db", higher_is_better=True)
    found = looked(images, 3, NOTHING)
    assert list(alone["verdict"]) == ["helps", "undecided"]
    assert list(found["verdict"]) == ["undecided"] * 2
    assert list(found["p"]) == list(alone["p"])


def test_what_is_found_is_not_tested_again_and_the_verdict_stays():
    images = scores({"no_a": -5.0, "no_b": 0.02})
    first = looked(images, 3, NOTHING)
    assert list(first["verdict"]) == ["helps", "undecided"]
    second = looked(images, 5, first)
    assert list(second["variant"]) == ["no_b"]
    both = pd.concat([first, second])
    table = judge(images, FAMILY, metric="eval/psnr_db", higher_is_better=True)
    told = verdicts(table, both, at=AT, higher_is_better=True)
    assert list(told["verdict"]) == ["helps", "undecided"]
    assert list(told["look"]) == [3, 0]
    assert told["p"].equals(table["p"])
    assert told.loc[0, "p_adjusted"] == pytest.approx(first.loc[0, "p"] / 0.0625 * 2)  # Holm, of two


def test_equivalence_is_decided_by_a_family_of_its_own():
    found = looked(scores({"no_a": -5.0, "no_b": 0.0}), 3, NOTHING, margin=3.0)
    assert list(found["verdict"]) == ["helps", "equivalent"]


def test_looks_err_no_more_often_than_one_test():
    """Studies without any effect, p-values by scipy: the share that ever finds a difference, 5 % declared."""
    rng, wrong, studies = np.random.default_rng(3), 0, 500
    table = judge(scores({"no_a": 0.0, "no_b": 0.0}), FAMILY, metric="eval/psnr_db", higher_is_better=True)
    for _ in range(studies):
        runs = rng.normal(size=(3, 12))
        rows = [
            (seeds, name, 0.0, stats.ttest_rel(runs[place, :seeds], runs[0, :seeds]).pvalue, np.nan, "undecided")
            for seeds in AT
            for place, name in enumerate(("no_a", "no_b"), start=1)
        ]
        told = verdicts(table, pd.DataFrame(rows, columns=list(COLUMNS)), at=AT, higher_is_better=True)
        wrong += bool(told["verdict"].isin(["helps", "hurts"]).any())
    assert wrong <= 37  # 25 expected at most; beyond 37 lies 1 % of such samples


def test_main_effects_looked_at_err_no_more_often_than_one_test():
    """The same of a 2^3 factorial whose variants share the luck of a seed, and the p of its effects by scipy."""
    rng, wrong, studies = np.random.default_rng(11), 0, 200
    names, runs = "abc", full("abc").runs
    signs = np.array([[float(effect_weights(frozenset(name), runs)[run]) for run in runs] for name in names])
    design = pd.DataFrame([[int(name in run) for name in names] for run in runs], columns=list(names))
    design.index = [f"run {place}" for place in range(len(runs))]
    frame = pd.DataFrame(
        [(variant, seed) for variant in design.index for seed in range(12)], columns=["variant", "seed"]
    )
    frame = frame.assign(set="s", image="i", scene="i", stage="fixed")
    for study in range(studies):
        scores = 0.84 * rng.normal(size=12) + 0.55 * rng.normal(size=(8, 12))
        effects = signs @ scores  # (3, 12), by seed
        found = pd.DataFrame(
            [
                (seeds, name, 0.0, stats.ttest_1samp(effects[place, :seeds], 0).pvalue, np.nan, "undecided")
                for seeds in AT
                for place, name in enumerate(names)
            ],
            columns=list(COLUMNS),
        )
        if study == 0:
            images = frame.assign(**{"eval/psnr_db": scores.ravel()})
            tables = [
                factorial_effects(images[images["seed"] < seeds], design, metric="eval/psnr_db", higher_is_better=True,
                                  order=1).assign(variant=list(names))
                for seeds in AT
            ]  # fmt: skip
            assert np.concatenate([one["p"] for one in tables]) == pytest.approx(found["p"].to_numpy())
        told = verdicts(tables[-1], found, at=AT, higher_is_better=True)
        wrong += bool(told["verdict"].isin(["helps", "hurts"]).any())
    assert wrong <= 18  # 10 expected at most; beyond 18 lies 1 % of such samples
