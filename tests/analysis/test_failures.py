import numpy as np
import pandas as pd
import pytest

from analysis.comparison import compare
from analysis.errors import StatisticsError
from analysis.failures import outcomes, scored_as_input
from tests.analysis.test_comparison import scores

BOTH = {"baseline": [10.0, 10.2, 10.1, 10.3], "no_x": [7.0, 7.3, 7.0]}


def trials(states):
    """Trials from variant -> the state of each seed (1, 2, ...)."""
    rows = [(variant, seed, state) for variant, of_seeds in states.items() for seed, state in enumerate(of_seeds, 1)]
    return pd.DataFrame(rows, columns=["variant", "seed", "state"])


def untouched(level, images=2):
    places = [("set", f"i{image}", f"i{image}", level + image) for image in range(images)]
    rows = [(method, *place) for method in ("gain", "input") for place in places]
    table = pd.DataFrame(rows, columns=["method", "set", "image", "scene", "psnr"])
    return table.assign(weights=None, psnr=table["psnr"].where(table["method"] == "input", 99.0))


def test_shares_of_trials_that_broke_down_have_the_intervals_of_newcombes_example():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: 15 of 148 and 1 of 29.
    states = {"a": ["DIVERGED"] * 10 + ["FAILED"] * 5 + ["COMPLETED"] * 100 + ["STOPPED"] * 33 + ["RUNNING"] * 7,
              "b": ["FAILED"] + ["COMPLETED"] * 28 + ["PLANNED"]}  # fmt: skip
    table = outcomes(trials(states))
    assert table.loc["a", ["completed", "stopped", "diverged", "failed", "unfinished"]].tolist() == [100, 33, 10, 5, 7]
    assert table.loc["a", ["broke_low", "broke_high"]].tolist() == pytest.approx([0.0624, 0.1605], abs=5e-5)
    assert table.loc["b", ["failed_low", "failed_high"]].tolist() == pytest.approx([0.0061, 0.1718], abs=5e-5)
    assert table.loc["b", "diverged_low"] == pytest.approx(0, abs=1e-12)
    assert table.loc["a", "failed_high"] < table.loc["a", "diverged_high"] < table.loc["a", "broke_high"]


def test_of_a_variant_that_has_not_ended_nothing_is_known_and_the_order_is_kept():
    table = outcomes(trials({"z": ["RUNNING"], "a": ["COMPLETED"]}))
    assert table.index.tolist() == ["z", "a"]
    assert table.loc["z", ["broke_low", "broke_high"]].tolist() == [0, 1]


def test_a_state_that_is_not_known_counts_as_unfinished():
    table = outcomes(trials({"a": ["COMPLETED", "PAUSED", "COMPLETED"]}))
    assert table.loc["a", ["completed", "unfinished"]].tolist() == [2, 1]


@pytest.mark.parametrize("state", ["DIVERGED", "FAILED"])
def test_the_bound_pairs_the_untouched_input_with_the_full_models_same_seed(state):
    ended = trials({"baseline": ["COMPLETED"] * 4, "no_x": ["COMPLETED"] * 3 + [state]})
    filled = scored_as_input(scores(BOTH), ended, untouched(8.0))
    assert list(filled.columns) == list(scores(BOTH).columns)
    among, bound = (
        compare(frame, metric="psnr", higher_is_better=True).iloc[0] for frame in (scores(BOTH), filled)
    )  # fmt: skip
    lost = [7.0 - 10.0, 7.3 - 10.2, 7.0 - 10.1]
    assert (among["difference"], among["seeds"], among["n_failed"]) == (pytest.approx(np.mean(lost)), 3, 1)
    assert (bound["difference"], bound["seeds"]) == (pytest.approx(np.mean([*lost, 8.0 - 10.3])), 4)


@pytest.mark.parametrize("score", [np.inf, np.nan])
def test_the_bound_leaves_out_images_on_which_no_training_has_a_finite_score(score):
    ended = trials({"baseline": ["COMPLETED"] * 4, "no_x": ["COMPLETED"] * 3 + ["DIVERGED"]})
    among = scores(BOTH)
    lost = among.assign(psnr=among["psnr"].where(among["image"] != "i1", score))
    found, expected = (
        compare(scored_as_input(frame, ended, untouched(8.0)), metric="psnr", higher_is_better=True).iloc[0]
        for frame in (lost, among[among["image"] != "i1"])
    )
    assert np.isfinite(expected["difference"])
    assert (found["difference"], found["seeds"], found["images"]) == (expected["difference"], 4, 1)


def test_where_nothing_broke_down_the_scores_are_as_they_were():
    frame = scores(BOTH)
    assert scored_as_input(frame, trials({"no_x": ["COMPLETED", "STOPPED", "RUNNING"]}), untouched(8.0)) is frame


def test_a_bound_needs_the_untouched_input():
    with pytest.raises(
        StatisticsError, match=r"1 trial\(s\) broke down, and there are no scores of the method `input`"
    ):
        scored_as_input(scores(BOTH), trials({"no_x": ["FAILED"]}), untouched(8.0).query("method == 'gain'"))
