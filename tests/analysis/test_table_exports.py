import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.effects_shown import effects_table
from analysis.exports import parquet
from analysis.factorial import full
from analysis.ledger import open_ledger
from analysis.report import write_report
from analysis.tables import read, tables
from analysis.traces import traces
from tests.analysis.costs import add_costs
from tests.analysis.synthetic import LEAVE_ONE_OUT, designed
from tests.analysis.synthetic_search import NEW, PSNR, SEEN, ordinary


def read_back(data):
    return pd.read_parquet(io.BytesIO(data))


@pytest.mark.parametrize("name", ["variants", "verdicts", "cost", "outlook", "trials", "images", "events"])
def test_parquet_holds_what_the_csv_holds(make_study, name):
    folder = add_costs(make_study(pictures=False), lambda variant, seed: (8.0, 20.0 + seed, 600.0))
    report = write_report(folder).parent
    frame, plain = pd.read_parquet(report / "tables" / f"{name}.parquet"), pd.read_csv(report / f"{name}.csv")
    assert list(frame) == list(plain)
    assert len(frame) == len(plain)
    for column in plain.dropna(axis=1, how="all").select_dtypes("number"):
        np.testing.assert_allclose(frame[column].astype(float), plain[column].astype(float), rtol=1e-12)


def test_parquet_takes_columns_of_several_kinds_and_gives_equal_bytes():
    frame = pd.DataFrame(
        {"mixed": [1, "two", None, [3]], "texts": ["a", None, "b", "c"], "numbers": [1.5, np.nan, 2, 3]}
    )
    back = read_back(parquet(frame))
    assert back["mixed"].tolist()[:2] == ["1", '"two"']
    assert back["mixed"].isna().tolist() == [False, False, True, False]
    assert back["texts"].tolist()[0] == "a"
    assert back["numbers"].iloc[0] == 1.5
    assert parquet(frame) == parquet(frame.copy())


def test_the_exports_built_twice_are_the_same_bytes(make_study):
    folder = add_costs(make_study(pictures=False), lambda variant, seed: (8.0, 20.0 + seed, 600.0))
    once = {path.name: path.read_bytes() for path in (write_report(folder).parent / "tables").iterdir()}
    again = {path.name: path.read_bytes() for path in (write_report(folder).parent / "tables").iterdir()}
    assert {"trace.csv", "verdicts.tex", "variants.tex", "cost.tex", "outlook.tex", "verdicts.parquet"} <= once.keys()
    assert once == again


@pytest.fixture
def traced(make_study):
    def make(change=None, **plan):
        with open_ledger(make_study(pictures=False, **plan)) as ledger:
            readings = read(ledger, "fixed")
        if change:
            change(readings.images)
        found = tables(readings)
        return readings, found, traces(readings, found, effects=effects_table(readings))

    return make


def trials_of(trace, metric, **where):
    for name, value in where.items():
        trace = trace[trace[name] == value]
    (row,) = [one for one in trace.to_dict("records") if metric in one["metrics"].split()]
    assert row["count"] == len(row["trials"].split())
    return row["trials"].split()


def test_every_number_can_be_computed_again_from_the_trials_that_it_names(traced):
    readings, found, trace = traced(
        ends={("no_attention", 2): ("DIVERGED", "", "x"), ("baseline", 3): ("FAILED", "bug", "x")}
    )
    means = readings.images.groupby(["variant", "trial"])["eval/psnr_db"].mean()
    for row in found.variants[found.variants["kind"] == "variant"].to_dict("records"):
        named = trials_of(trace, "eval/psnr_db", table="variants", row=row["row"], set="photos")
        assert len(named) == row["eval/psnr_db n"]
        assert means[row["row"]][named].mean() == pytest.approx(row["eval/psnr_db"])
    for row in found.verdicts[found.verdicts["role"] == "primary"].to_dict("records"):
        named = trials_of(trace, "eval/psnr_db", table="verdicts", row=row["variant"], quantity="")
        assert len(named) == 2 * row["seeds"]
        sides = [[one for one in named if one in means[side].index] for side in (row["variant"], row["compared_to"])]
        difference = means[row["variant"]][sides[0]].mean() - means[row["compared_to"]][sides[1]].mean()
        assert difference == pytest.approx(row["difference"])


def test_a_trial_that_lacks_an_image_is_named_for_the_metrics_alone_that_it_has(traced):
    def change(images):
        hole = (images["variant"] == "no_attention") & (images["seed"] == 2) & (images["image"] == "cat")
        images.loc[hole, "eval/niqe"] = np.nan

    readings, found, trace = traced(change)
    whole = trials_of(trace, "eval/psnr_db", table="variants", row="no_attention")
    holed = trials_of(trace, "eval/niqe", table="variants", row="no_attention")
    (lost,) = set(whole) - set(holed)
    assert readings.trials.set_index("trial").loc[lost, ["variant", "seed"]].tolist() == ["no_attention", 2]
    niqe = found.verdicts[(found.verdicts["metric"] == "eval/niqe") & (found.verdicts["variant"] == "no_attention")]
    assert len(trials_of(trace, "eval/niqe", table="verdicts", row="no_attention")) == 2 * niqe["seeds"].item() == 4


def test_a_trial_with_an_infinite_score_is_not_named(traced):
    def change(images):
        hole = (images["variant"] == "no_attention") & (images["seed"] == 2) & (images["image"] == "cat")
        images.loc[hole, "eval/psnr_db"] = np.inf

    _, found, trace = traced(change, seeds=range(1, 6))
    assert found.verdicts["seeds"].iloc[0] == 4
    assert len(trials_of(trace, "eval/psnr_db", table="verdicts", row="no_attention")) == 8
    assert len(trials_of(trace, "eval/psnr_db", table="variants", row="no_attention", set="photos")) == 4


def test_a_comparison_without_a_number_names_no_trial(traced):
    ends = {("no_attention", seed): ("DIVERGED", "", "x") for seed in (1, 2, 3)}
    _, found, trace = traced(ends=ends)
    assert found.verdicts.loc[found.verdicts["variant"] == "no_attention", "difference"].isna().all()
    named = trace[(trace["table"] == "verdicts") & (trace["quantity"] == "")]
    assert "no_attention" not in set(named["row"])
    assert "no_local_sfp" in set(named["row"])


def test_effects_that_lack_a_whole_variant_name_no_trial(traced):
    runs = designed(full(("a", "b")).runs, ("a", "b"), lambda run: 15 + len(run))
    ends = {("no_a+b", seed): ("FAILED", "bug", "x") for seed in (1, 2, 3)}
    _, found, trace = traced(variants=runs, design="factorial", components=("a", "b"), ends=ends)
    primary = found.verdicts[found.verdicts["role"] == "primary"]
    assert primary["difference"].isna().all()
    assert "" not in set(trace.loc[trace["table"] == "verdicts", "quantity"])


def test_a_metric_that_a_set_does_not_have_is_named_for_the_other_set(traced):
    _, _, trace = traced(images={"LOL": {"a": "a"}, "DICM": {"c": "c"}}, unpaired=("DICM",))
    named = trace[(trace["table"] == "variants") & (trace["row"] == "baseline")].set_index("set")["metrics"]
    assert "eval/psnr_db" in named["LOL"].split()
    assert "eval/psnr_db" not in named["DICM"].split()
    assert len(trials_of(trace, "eval/psnr_db", table="verdicts", row="no_attention")) == 6


def test_a_study_without_results_names_no_trial(traced):
    ends = {(one.name, seed): ("PLANNED", None, None) for one in LEAVE_ONE_OUT for seed in (1, 2, 3)}
    _, _, trace = traced(ends=ends)
    assert trace.empty
    assert list(trace) == ["table", "row", "compared_to", "quantity", "set", "metrics", "count", "trials"]


def test_a_bound_names_the_trials_that_broke_down_too(traced):
    ends = {("no_attention", 2): ("DIVERGED", "", "x"), ("no_attention", 3): ("FAILED", "bug", "x")}
    readings, found, trace = traced(ends=ends)
    named = trials_of(trace, "eval/psnr_db", table="verdicts", row="no_attention", quantity="bound")
    trials = readings.trials.set_index("trial")
    assert sorted(trials.loc[named, "state"]) == ["COMPLETED"] * 4 + ["DIVERGED", "FAILED"]
    scores = readings.images.groupby("trial")["eval/psnr_db"].mean()
    untouched = readings.references.loc[readings.references["method"] == "input", "eval/psnr_db"].mean()
    sides = {
        name: scores.reindex(part.index).fillna(untouched).mean() for name, part in trials.loc[named].groupby("variant")
    }
    row = found.verdicts[(found.verdicts["variant"] == "no_attention") & (found.verdicts["role"] == "primary")].iloc[0]
    assert sides["no_attention"] - sides["baseline"] == pytest.approx(row["bound_difference"])
    assert "bound" not in set(trace.loc[trace["row"] == "no_local_sfp", "quantity"])


def test_each_effect_names_the_trials_of_the_variants_that_it_rests_on(traced):
    runs = designed(full(("a", "b")).runs, ("a", "b"), lambda run: 15 + len(run) ** 2)
    ends = {("no_a", 2): ("FAILED", "bug", "x")}
    readings, _, trace = traced(variants=runs, design="factorial", components=("a", "b"), ends=ends, seeds=range(1, 6))
    means = readings.images.groupby(["variant", "trial"])["eval/psnr_db"].mean()
    table = effects_table(readings)
    contrasts = {
        ("main effect", "a"): {"baseline": 0.5, "no_b": 0.5, "no_a": -0.5, "no_a+b": -0.5},
        ("interaction", "a x b"): {"baseline": 0.5, "no_b": -0.5, "no_a": -0.5, "no_a+b": 0.5},
        ("Shapley value", "a"): {"baseline": 0.5, "no_b": 0.5, "no_a": -0.5, "no_a+b": -0.5},
        ("leave-one-out", "a"): {"baseline": 1.0, "no_a": -1.0},
        ("add-one-in", "a"): {"no_b": 1.0, "no_a+b": -1.0},
        ("together", "all"): {"baseline": 1.0, "no_a+b": -1.0},
    }
    for (estimand, component), weights in contrasts.items():
        named = trials_of(trace, "eval/psnr_db", table="effects", row=component, quantity=estimand)
        assert len(named) == 5 * len(weights) - ("no_a" in weights)
        there = means[means.index.get_level_values("trial").isin(named)].groupby("variant").mean()
        row = table[(table["estimand"] == estimand) & (table["component"] == component)].iloc[0]
        assert sum(weight * there[name] for name, weight in weights.items()) == pytest.approx(row["difference"])


def test_a_cost_names_the_trials_of_the_seeds_that_have_it_on_both_sides(make_study):
    ends = {("no_attention", 2): ("DIVERGED", "", "x")}
    folder = add_costs(make_study(pictures=False, ends=ends), lambda variant, seed: (8.0, 20.0 + seed, 600.0))
    report = write_report(folder).parent
    trace, cost = pd.read_csv(report / "tables" / "trace.csv"), pd.read_csv(report / "cost.csv").set_index("variant")
    states = pd.read_csv(report / "trials.csv").set_index("trial")
    for variant in ("no_attention", "no_local_sfp"):
        for key in ("time/inference_ms", "time/train_hours"):
            named = trials_of(trace, key, table="cost", row=variant)
            assert len(named) == 2 * cost.at[variant, f"{key}_seeds"] == (4 if variant == "no_attention" else 6)
            assert set(states.loc[named, "variant"]) == {variant, "baseline"}
    assert set(states.loc[trials_of(trace, "time/train_hours", table="cost", row="no_attention"), "seed"]) == {1, 3}


def test_a_confirmed_training_without_a_finite_value_is_no_basis_of_what_tuning_changes(make_search):
    asked = ordinary()
    infinite = {("no_attention", 0, 12): {SEEN: (math.inf,), NEW: (math.inf,)}}
    report = write_report(make_search(replace(asked, confirmed={**asked.confirmed, **infinite}))).parent
    trace, trials = pd.read_csv(report / "tables" / "trace.csv"), pd.read_csv(report / "trials.csv").set_index("trial")
    named = trials_of(trace, PSNR, table="tuned", row="no_attention", quantity="tuned")
    assert trials.loc[named, ["variant", "seed"]].sort_values(["variant", "seed"]).to_numpy().tolist() == [
        ["baseline", 11], ["baseline", 12], ["baseline", 13], ["no_attention", 11], ["no_attention", 13]
    ]  # fmt: skip


def test_what_a_search_promised_and_what_was_confirmed_name_their_trials(make_search):
    report = write_report(make_search()).parent
    trace, trials = pd.read_csv(report / "tables" / "trace.csv"), pd.read_csv(report / "trials.csv").set_index("trial")
    rows = pd.read_csv(report / "promised.csv").set_index("variant")
    places = {"untuned": "fixed", "promised": "search", "confirmed": "confirm", "unseen": "confirm"}
    for variant in ("baseline", "no_attention"):
        for quantity, stage in places.items():
            named = trials_of(trace, "eval/psnr_db", table="promised", row=variant, quantity=quantity)
            there = trials.loc[named]
            assert len(named) == (1 if stage == "search" else rows.at[variant, f"{quantity} n"])
            assert set(zip(there["variant"], there["stage"], strict=True)) == {(variant, stage)}
        searched = trials[(trials["stage"] == "search") & (trials["variant"] == variant) & (trials["number"] == 1)]
        assert trials_of(trace, "eval/psnr_db", table="promised", row=variant, quantity="promised") == [*searched.index]
    tuned = trials_of(trace, "eval/psnr_db", table="tuned", row="no_attention", quantity="tuned")
    assert trials.loc[tuned, ["variant", "stage"]].value_counts().to_dict() == {
        ("baseline", "confirm"): 3, ("no_attention", "confirm"): 3
    }  # fmt: skip
