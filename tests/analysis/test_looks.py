"""Looks against hand calculation: shares of the level, p-values over looks, and what is decided when."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparison import EMPTY, LEVEL, Contrast, judge
from analysis.effects import factorial_effects
from analysis.factorial import effect_weights, full
from analysis.looks import COLUMNS, look, verdicts
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


def decides(table, p):
    """Return whether any look finds a difference; `p`: seeds -> those of the rows."""
    found = NOTHING
    for seeds, values in p.items():
        now = look(table.assign(p=values), found, seeds=seeds, at=AT, higher_is_better=True)
        found = pd.concat([found, now], ignore_index=True) if len(found) else now
    return bool(found["verdict"].isin(["helps", "hurts"]).any())


def test_the_default_looks_are_those_of_the_simulations():
    assert schedule(3, 12) == [3, 5, 8, 12]
    assert schedule(4, 10) == [4, 5, 8, 10]
    assert schedule(3, 30) == [3, 5, 8, 12, 18, 27, 30]
    assert schedule(3, 4) == [3, 4]


def rows(*found):
    return pd.DataFrame(found, columns=list(COLUMNS))


def by_hand(p, difference=1.0):
    """Return rows of `judge` with these p-values, of variants that add a component."""
    given = pd.DataFrame([{**EMPTY, "variant": name, "present": True, "p": one} for name, one in p.items()])
    return given.assign(difference=difference, seeds=3)


def test_a_look_spends_its_share_of_the_level():
    # by hand: of (3/12)^2 and (5/12)^2 - (3/12)^2 the p of 0.01 and 0.004, of two hypotheses
    found = rows((3, "no_a", 1.0, 0.01, np.nan, "undecided"), (5, "no_a", 1.0, 0.004, np.nan, "undecided"))
    assert shares(AT, 12)[:2] == pytest.approx([0.0625, 16 / 144])
    told = verdicts(by_hand({"no_a": 0.5, "no_b": 0.5}), found, at=AT)
    assert told.loc[0, "p_adjusted"] == pytest.approx(2 * min(0.01 / 0.0625, 0.004 * 144 / 16))


def test_a_look_decides_by_its_own_p_whatever_room_others_make():
    # At 3 seeds a has p / share = 0.02, and a fifth of 0.05 is allowed; at 5 all others go, and a has changed sign.
    names = [*"abcde"]
    first = look(by_hand({"a": 0.02 * 0.0625, **dict.fromkeys("bcde", 0.5)}, -1.0), NOTHING, seeds=3, at=AT,
                 higher_is_better=True)  # fmt: skip
    assert list(first["verdict"]) == ["undecided"] * 5
    table = by_hand({"a": 0.9, **dict.fromkeys("bcde", 1e-9)}, 0.05)
    second = look(table, first, seeds=5, at=AT, higher_is_better=True)
    assert dict(zip(names, second["verdict"], strict=True)) == {"a": "undecided", **dict.fromkeys("bcde", "helps")}
    # A family that shrinks after a look does not decide by the old p, either.
    alone = look(by_hand({"a": 0.9}, 0.05), first, seeds=5, at=AT, higher_is_better=True)
    assert list(alone["verdict"]) == ["undecided"]
    assert verdicts(by_hand({"a": 0.9}, 0.05), pd.concat([first, alone]), at=AT)["p_adjusted"].tolist() == [LEVEL]


def test_a_verdict_that_a_look_has_recorded_is_kept_whatever_all_seeds_say():
    recorded = rows((3, "a", -2.0, 1e-6, np.nan, "hurts"), (3, "b", 1.0, 0.5, np.nan, "undecided"))
    told = verdicts(by_hand({"a": 1e-9, "b": 1e-9}, 2.0), recorded, at=AT)
    assert list(told["verdict"]) == ["hurts", "undecided"]
    assert list(told["look"]) == [3, 0]


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
    told = verdicts(table, both, at=AT)
    assert list(told["verdict"]) == ["helps", "undecided"]
    assert list(told["look"]) == [3, 0]
    assert told["p"].equals(table["p"])
    assert told.loc[0, "p_adjusted"] == pytest.approx(first.loc[0, "p"] / 0.0625 * 2)  # Holm, of two


def test_equivalence_is_decided_by_a_family_of_its_own():
    found = looked(scores({"no_a": -5.0, "no_b": 0.0}), 3, NOTHING, margin=3.0)
    assert list(found["verdict"]) == ["helps", "equivalent"]


def test_main_effects_looked_at_err_no_more_often_than_one_test():
    """2^3 factorials without any effect, whose variants share the luck of a seed; p by scipy, 5 % declared."""
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
        p = {seeds: stats.ttest_1samp(effects[:, :seeds], 0, axis=1).pvalue for seeds in AT}
        if study == 0:
            images = frame.assign(**{"eval/psnr_db": scores.ravel()})
            tables = [
                factorial_effects(images[images["seed"] < seeds], design, metric="eval/psnr_db", higher_is_better=True,
                                  order=1).assign(variant=list(names))
                for seeds in AT
            ]  # fmt: skip
            assert np.concatenate([one["p"] for one in tables]) == pytest.approx(np.concatenate(list(p.values())))
        wrong += decides(tables[-1], p)
    assert wrong <= 18  # 10 expected at most; beyond 18 lies 1 % of such samples
