import sqlite3

import numpy as np
import pytest

from analysis.frames import load_images
from analysis.ledger import open_ledger
from analysis.tables import metric_digits, read, tables
from tests.analysis.synthetic import LEAVE_ONE_OUT, REFERENCES, WEIGHTS

EVERY = [(variant.name, seed) for variant in LEAVE_ONE_OUT for seed in (1, 2, 3)]


def made(folder):
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    return readings, tables(readings)


def test_a_variants_row_is_mean_and_deviation_over_seeds_of_means_over_images(make_study):
    folder = make_study()
    _, found = made(folder)
    images = load_images(folder).query("variant == 'no_attention'")
    means = images.groupby("seed")["eval/psnr_db"].mean().to_numpy()
    row = found.variants.set_index("row").loc["no_attention"]
    assert row["eval/psnr_db"] == pytest.approx(means.mean())
    assert row["eval/psnr_db sd"] == pytest.approx(np.std(means, ddof=1))
    assert (row["seeds"], row["images"], row["completed"], row["eval/psnr_db n"]) == (3, 2, 3, 3)


def test_methods_that_learn_nothing_stand_below_the_variants_the_input_first(make_study):
    _, found = made(make_study())
    assert found.variants["row"].tolist()[-3:] == ["input", "gain", "gamma"]
    assert found.variants.set_index("row").at["gain", "eval/ssim"] == pytest.approx(REFERENCES["gain"][1])


def test_every_ending_is_counted_with_the_interval_of_its_share(make_study):
    ends = {
        ("no_attention", 1): ("DIVERGED", "", "x"), ("no_attention", 2): ("FAILED", "bug", "x"),
        ("no_local_sfp", 3): ("RUNNING", None, None), ("no_local_sfp", 2): ("PLANNED", None, None),
    }  # fmt: skip
    _, found = made(make_study(ends=ends))
    table = found.variants.set_index("row")
    counts = ["completed", "stopped", "diverged", "failed", "unfinished"]
    assert table.loc["no_attention", counts].tolist() == [1, 0, 1, 1, 0]
    assert table.loc["no_local_sfp", counts].tolist() == [1, 0, 0, 0, 2]
    # Wilson, 2 of 3 and 0 of 1.
    assert table.loc["no_attention", ["broke_low", "broke_high"]].tolist() == pytest.approx([0.2077, 0.9385], abs=5e-5)
    assert table.loc["no_local_sfp", ["broke_low", "broke_high"]].tolist() == pytest.approx([0, 0.7935], abs=5e-5)


def test_sets_have_rows_of_their_own_and_no_psnr_without_references(make_study):
    images = {"LOL": {"a": "a", "b": "b"}, "DICM": {"c": "c"}}
    _, found = made(make_study(images=images, unpaired=("DICM",)))
    table = found.variants.set_index(["row", "set"])
    assert np.isnan(table.at[("baseline", "DICM"), "eval/psnr_db"])
    assert np.isfinite(table.at[("baseline", "LOL"), "eval/psnr_db"])
    assert np.isfinite(table.at[("baseline", "DICM"), "eval/niqe"])
    assert table["images"].groupby("set").unique().map(list).to_dict() == {"DICM": [1], "LOL": [2]}


def test_a_seed_that_lacks_an_image_does_not_enter_the_mean_of_that_metric(make_study):
    folder = make_study()
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    images = readings.images
    hole = (images["variant"] == "no_attention") & (images["seed"] == 2) & (images["image"] == "cat")
    images.loc[hole, "eval/niqe"] = np.nan
    table = tables(readings).variants.set_index("row")
    whole = images[(images["variant"] == "no_attention") & (images["seed"] != 2)]
    assert table.at["no_attention", "eval/niqe"] == pytest.approx(whole["eval/niqe"].mean())
    assert table.loc["no_attention", ["eval/niqe n", "eval/psnr_db n"]].tolist() == [2, 3]


@pytest.mark.parametrize("score", [np.inf, np.nan])
def test_a_seed_that_lacks_a_finite_score_is_out_of_means_and_verdicts_and_this_is_said(make_study, score):
    with open_ledger(make_study(seeds=range(1, 6))) as ledger:
        readings = read(ledger, "fixed")
    images = readings.images
    hole = (images["variant"] == "no_attention") & (images["seed"] == 2) & (images["image"] == "cat")
    images.loc[hole, "eval/psnr_db"] = score
    found = tables(readings)
    whole = images[(images["variant"] == "no_attention") & (images["seed"] != 2)]
    variants = found.variants.set_index("row")
    assert variants.at["no_attention", "eval/psnr_db"] == pytest.approx(whole["eval/psnr_db"].mean())
    assert variants.loc["no_attention", ["eval/psnr_db n", "seeds"]].tolist() == [4, 5]
    first = found.verdicts.iloc[0]
    assert (first["verdict"], first["seeds"]) == ("helps", 4)
    lost = "1 seed is left out: eval/psnr_db is infinite or missing for photos/cat."
    assert first["sentence"].endswith(f"attention helps. {lost}")
    assert not found.verdicts["sentence"].iloc[1:].str.contains("left out").any()


def test_verdicts_find_the_truth_of_the_made_up_study(make_study):
    _, found = made(make_study(seeds=range(1, 9)))
    primary = found.verdicts[found.verdicts["role"] == "primary"].set_index("component")
    assert primary["verdict"].to_dict() == {
        "attention": "helps",
        "local_discriminator": "equivalent",
        "local_sfp": "equivalent",
        "global_sfp": "helps",
        "relativistic": "hurts",
    }
    assert primary["difference"].tolist() == pytest.approx([-1.6, -0.2, 0.02, -3.4, 0.9], abs=0.25)


def test_other_metrics_have_intervals_but_neither_p_nor_verdict(make_study):
    _, found = made(make_study())
    others = found.verdicts[found.verdicts["role"] == "exploratory"]
    assert set(others["metric"]) == {"eval/ssim", "eval/niqe", "eval/luminance_error_levels"}
    assert others["low"].notna().all()
    assert others[["p", "p_adjusted"]].isna().all(axis=None)
    assert set(others["verdict"]) == {""}
    assert others["why"].str.startswith("exploratory").all()


def test_the_bound_scores_a_broken_trial_as_the_untouched_input(make_study):
    folder = make_study(seeds=(1, 2, 3, 4), ends={("no_attention", 4): ("DIVERGED", "", "x")})
    readings, found = made(folder)
    primary = found.verdicts[found.verdicts["role"] == "primary"].set_index("variant")
    means = readings.images.groupby(["variant", "seed"])["eval/psnr_db"].mean()
    untouched = readings.references.query("method == 'input'")["eval/psnr_db"].mean()
    differences = [means["no_attention", seed] - means["baseline", seed] for seed in (1, 2, 3)]
    assert primary.at["no_attention", "difference"] == pytest.approx(np.mean(differences))
    bound = np.mean([*differences, untouched - means["baseline", 4]])
    assert primary.at["no_attention", "bound_difference"] == pytest.approx(bound)
    assert primary["bound_difference"].notna().tolist() == [True, False, False, False, False]


def test_a_broken_full_model_bounds_every_comparison(make_study):
    _, found = made(make_study(ends={("baseline", 1): ("FAILED", "bug", "x")}))
    primary = found.verdicts[found.verdicts["role"] == "primary"]
    assert primary["bound_difference"].notna().all()


def test_a_study_without_results_has_a_row_for_each_variant_and_a_reason_for_each_verdict(make_study):
    readings, found = made(make_study(ends=dict.fromkeys(EVERY, ("PLANNED", None, None))))
    variants = found.variants[found.variants["kind"] == "variant"]
    assert variants["row"].tolist() == [variant.name for variant in LEAVE_ONE_OUT]
    assert variants["seeds"].tolist() == [0] * 6
    assert found.verdicts.query("role == 'primary'")["why"].str.startswith("no completed trial of no_").all()
    assert metric_digits(readings, "eval/psnr_db") == 2


def test_what_trials_have_as_a_whole_is_mean_and_deviation_over_seeds_on_every_set(make_study):
    images = {"LOL": {"a": "a"}, "DICM": {"c": "c"}}
    folder = make_study(images=images, unpaired=("DICM",), defects=True)
    readings, found = made(folder)
    values = readings.trials.query("variant == 'no_attention'")["health/margin_global"].to_numpy()
    table = found.variants.set_index(["row", "set"])
    for name in images:
        row = table.loc[("no_attention", name)]
        assert row["health/margin_global"] == pytest.approx(values.mean())
        assert row["health/margin_global sd"] == pytest.approx(np.std(values, ddof=1))
        assert row["health/margin_global n"] == 3
    assert np.isnan(table.at[("gain", "LOL"), "health/margin_global"])
    assert np.isfinite(table.at[("gain", "LOL"), "eval/gmsd"])
    assert metric_digits(readings, "health/margin_global") == 3
    assert "health/margin_global" not in set(found.verdicts["metric"])
    assert "eval/gmsd" in set(found.verdicts["metric"])


def test_a_trained_model_stands_below_the_methods_that_learn_nothing_with_its_digest(make_study):
    folder = make_study(model=True)
    with sqlite3.connect(folder / "ledger.db") as db:  # a name that the alphabet would put first
        db.execute("UPDATE reference SET method = 'best' WHERE method = 'official'")
        db.execute("UPDATE scored SET method = 'best' WHERE method = 'official'")
    db.close()
    _, found = made(folder)
    table = found.variants.set_index("row")
    assert table.index.tolist()[-4:] == ["input", "gain", "gamma", "best"]
    assert (table.at["best", "kind"], table.at["best", "weights"]) == ("reference", WEIGHTS)
    assert table["weights"].notna().sum() == 1
