"""The benchmark that splits trainings of one model anew: what it counts is right where the answer is known."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import resplit

MARGIN = 0.5


def noise(groups, size, *, resplits=4000, seed=0):
    return np.random.default_rng(seed).standard_normal((resplits, groups, size))


def pool_of(of_training, *, images=2):
    scores = np.repeat(of_training[:, None], images, axis=1) + np.arange(images)
    return resplit.Pool(scores, of_training, {resplit.NIQE: of_training}, "eval/psnr_db", True, MARGIN)


def test_groups_of_a_resplit_share_no_training_and_are_drawn_anew():
    drawn = resplit.split(12, 4, 3, 500, np.random.default_rng(0))
    assert drawn.shape == (500, 4, 3)
    assert all(len(set(one.ravel())) == 12 for one in drawn)
    assert np.bincount(drawn[:, 0].ravel(), minlength=12) == pytest.approx(np.full(12, 125), abs=45)


@pytest.mark.parametrize(("variants", "size"), [(1, 3), (1, 10), (5, 3), (5, 8)])
def test_noise_alone_is_called_different_in_5_percent_of_resplits_family_wise(variants, size):
    found = resplit.judged(noise(1 + variants, size), margin=1e-9, higher_is_better=True)
    low, high = resplit.share((found.p < 0.05).any(axis=1))[1:]
    # variants share the full model, so that Holm errs a little less often than it may
    assert low <= 0.05 if variants > 1 else low <= 0.05 <= high
    assert high > 0.025
    called = np.isin(found.verdicts, ("helps", "hurts"))
    assert (called == (found.p < 0.05)).all()
    assert 0.4 < (found.verdicts == "helps").sum() / called.sum() < 0.6


@pytest.mark.parametrize(("shift", "higher_is_better", "verdict"), [
    (2, True, "helps"), (2, False, "hurts"), (-2, True, "hurts"), (0.3, True, "equivalent"),
])  # fmt: skip
def test_a_shift_of_the_full_model_is_called_what_it_is(shift, higher_is_better, verdict):
    scores = 0.01 * noise(6, 5, resplits=200)
    scores[:, 0] += shift
    found = resplit.judged(scores, margin=MARGIN, higher_is_better=higher_is_better)
    assert (found.verdicts == verdict).all()


def test_what_is_computed_at_once_is_what_the_analysis_says_and_a_difference_ends_the_run():
    pool = pool_of(np.random.default_rng(3).normal(15, 0.4, 48))
    drawn = resplit.split(48, 6, 5, 100, np.random.default_rng(1))
    found = resplit.judged(pool.scores.mean(axis=1)[drawn], margin=MARGIN, higher_is_better=True)
    assert resplit.prove(pool, drawn, found) == 5 * resplit.PROVEN
    turned = resplit.Judged(found.p, np.where(found.verdicts == "undecided", "helps", found.verdicts))
    with pytest.raises(SystemExit, match=r"analysis\.compare"):
        resplit.prove(pool, drawn, turned)


def test_the_mistakes_err_as_often_as_can_be_computed():
    pool, drawn = pool_of(np.random.default_rng(4).standard_normal(90_000)), np.arange(90_000).reshape(-1, 2, 3)
    found = {name: float(one.mean()) for name, one in resplit.mistakes(pool, drawn).items()}
    # both images of a training have the same difference: t with 5 degrees, of a mean whose error looks too small
    three = 3 * np.sqrt(0.5 * 0.5 / len(drawn))
    wrong = 2 * stats.t.sf(stats.t.ppf(0.975, 5) * np.sqrt(2 / 5), 2)
    assert found["t over seeds x images"] == pytest.approx(wrong, abs=three)
    assert found["t without Holm's correction"] == pytest.approx(0.05, abs=three)
    single = 2 * stats.norm.sf(MARGIN / np.sqrt(2))
    assert found["one training each, by over 0.5"] == pytest.approx(single, abs=three)
    assert found["one training each, by over 0.05 NIQE"] == pytest.approx(
        2 * stats.norm.sf(0.05 / np.sqrt(2)), abs=three
    )


def test_pools_of_normal_trainings_have_shares_around_5_percent():
    low, high = resplit.expected(48, 2, 10, 300, np.random.default_rng(5))
    assert 0.02 < low < 0.05 < high < 0.085
    assert high - low > 0.03  # 300 resplits tell no more


def test_a_share_that_pools_of_normal_trainings_do_not_give_is_named():
    def row(size, share):
        return {"size": size, "variants": 1, "said": {resplit.DETECTED: (share,)}, "expected": (0.04, 0.06)}

    assert resplit.outside([row(3, 0.05), row(5, 0.061), row(8, 0.039)]) == ["5 each (0.0610)", "8 each (0.0390)"]
