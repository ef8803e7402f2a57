import json
import sqlite3

import numpy as np
import pandas as pd
import pytest

from analysis.frames import load_curves, load_events, load_images, load_references, load_trials, load_variants
from tests.analysis.synthetic import LEAVE_ONE_OUT, WEIGHTS, Variant

BEGUN = ["trial", "variant", "stage", "seed", "repeat", "number"]


def rows(folder, query, *values):
    with sqlite3.connect(folder / "ledger.db") as db:
        found = db.execute(query, values).fetchall()
    db.close()
    return found


def change(folder, *statements):
    with sqlite3.connect(folder / "ledger.db") as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def test_trials_are_the_plan_in_its_order(make_study):
    trials = load_trials(make_study())
    assert trials["variant"].unique().tolist() == [variant.name for variant in LEAVE_ONE_OUT]
    assert trials["seed"].tolist() == [1, 2, 3] * 6
    assert trials["trial"].str.len().eq(32).all()
    assert set(trials["config/generator.width"]) == {8}


def test_a_trial_shows_its_last_evaluation(make_study):
    folder = make_study()
    trials = load_trials(folder).set_index("trial")
    ((name, value),) = rows(
        folder,
        "SELECT t.id, r.value FROM report r JOIN trial t ON t.number = r.trial "
        "WHERE r.trial = 5 AND r.step = 400 AND r.metric = 'eval/niqe'",
    )
    assert trials.at[name, "eval/niqe"] == value
    assert trials.at[name, "step"] == 400
    assert trials.at[name, "seconds"] == 50


def test_a_trial_that_ended_badly_has_a_message_of_one_line_and_no_score(make_study):
    message = "DivergedError: step 240: the loss is not finite\n\nTraceback ..."
    folder = make_study(ends={("no_attention", 2): ("DIVERGED", "", message), ("baseline", 1): ("PLANNED", None, None)})
    trials = load_trials(folder).set_index(["variant", "seed"])
    broken = trials.loc[("no_attention", 2)]
    assert broken["message"] == "DivergedError: step 240: the loss is not finite"
    assert np.isnan(broken["eval/psnr_db"])
    assert broken["step"] == 200
    assert trials.loc[("baseline", 1)].isna()[["started", "ended", "step", "seconds"]].all()


def test_an_image_score_is_the_mean_of_the_last_declared_evaluations(make_study):
    folder = make_study()
    query = "SELECT avg(value) FROM image WHERE trial = 5 AND image = 'cat' AND metric = 'eval/psnr_db' AND step > ?"
    (name,) = rows(folder, "SELECT id FROM trial WHERE number = 5")[0]
    for at, beyond in ((None, 200), (3, 100), ("final", 300), (99, 0)):
        images = load_images(folder, at=at).set_index(["trial", "image"])
        assert images.at[(name, "cat"), "eval/psnr_db"] == pytest.approx(rows(folder, query, beyond)[0][0], rel=1e-12)
    assert images["evaluations"].unique().tolist() == [4]


def test_a_score_that_lacks_one_of_its_evaluations_is_missing_not_the_mean_of_the_rest(make_study):
    folder = make_study()
    where = "trial = 5 AND image = 'cat' AND metric = 'eval/ssim'"
    change(folder, f"UPDATE image SET value = NULL WHERE step = 300 AND {where}")
    change(folder, "DELETE FROM image WHERE trial = 5 AND step = 300 AND image = 'hall' AND metric = 'eval/ssim'")
    of_trial = load_images(folder).query("variant == 'no_global_sfp' and seed == 1")
    assert of_trial["eval/ssim"].isna().tolist() == [True, True]
    assert load_images(folder, at="final")["eval/ssim"].notna().all()


def test_images_are_those_of_completed_trials_with_their_scenes(make_study):
    folder = make_study(
        images={"LOL": {"a": "kitchen", "b": "kitchen"}, "DICM": {"c": "c"}},
        unpaired=("DICM",),
        ends={("no_attention", 2): ("DIVERGED", "", "x"), ("baseline", 3): ("RUNNING", None, None)},
    )
    images = load_images(folder)
    assert len(images) == 3 * (18 - 2)
    assert not set(zip(images["variant"], images["seed"], strict=True)) & {("no_attention", 2), ("baseline", 3)}
    assert dict(zip(images["image"], images["scene"], strict=True)) == {"a": "kitchen", "b": "kitchen", "c": "c"}
    unpaired = images[images["set"] == "DICM"]
    assert unpaired["eval/psnr_db"].isna().all()
    assert unpaired["eval/niqe"].notna().all()


def test_two_places_of_the_plan_can_share_a_trial(make_study):
    folder = make_study(variants=(Variant("baseline"), Variant("twin", (0, 0, 0, 0), "x", "baseline")))
    change(folder, "UPDATE cell SET trial = 1 WHERE variant = 'twin' AND seed = 1")
    shared = load_images(folder).query("seed == 1")
    assert shared.groupby("image")["eval/psnr_db"].nunique().tolist() == [1, 1]
    assert len(load_trials(folder)) == 6


def test_curves_have_a_row_for_each_report(make_study):
    folder = make_study()
    curves = load_curves(folder)
    assert list(curves)[:7] == [*BEGUN, "step"]
    assert len(curves) == 18 * 4
    one = load_curves(folder, metric="eval/psnr_db")
    assert list(one) == [*BEGUN, "step", "eval/psnr_db"]
    pd.testing.assert_series_equal(one["eval/psnr_db"], curves["eval/psnr_db"])


def test_losses_come_after_the_studys_metrics(make_study):
    folder = make_study()
    change(folder, "INSERT INTO report VALUES (1, 400, 'loss/generator', 0.25)")
    trials = load_trials(folder)
    assert list(trials)[-5:] == [
        "eval/psnr_db", "eval/ssim", "eval/niqe", "eval/luminance_error_levels", "loss/generator",
    ]  # fmt: skip
    assert trials["loss/generator"].dropna().tolist() == [0.25]


def test_references_are_those_of_the_present_images(make_study):
    folder = make_study()
    change(folder, "INSERT INTO reference VALUES ('input', 'old', 'photos', 'gone', 'eval/psnr_db', 1)")
    references = load_references(folder)
    assert set(references["method"]) == {"input", "gain", "gamma"}
    assert set(references["image"]) == {"cat", "hall"}


def test_variants_keep_their_overrides(make_study):
    variants = load_variants(make_study())
    assert variants["name"].tolist()[0] == "baseline"
    assert json.loads(variants.at[1, "overrides"]) == {}
    assert variants.at[1, "compared_to"] == "baseline"


def test_a_study_without_any_result_still_has_its_columns(make_study):
    everything = {(variant.name, seed): ("PLANNED", None, None) for variant in LEAVE_ONE_OUT for seed in (1, 2, 3)}
    folder = make_study(ends=everything)
    assert len(load_trials(folder)) == 18
    for frame in (load_images(folder), load_curves(folder)):
        assert frame.empty
        assert "eval/psnr_db" in frame


SPIKE = (190, "spike", "global", 9.9, "step 190: the gradient norm of global is 31")
COLLAPSE = (210, "collapse", "output", None, "step 210: the output has collapsed")


def test_events_are_those_of_planned_trials_in_the_order_of_the_plan_and_the_steps(make_study):
    events = [("no_attention", 1, *COLLAPSE), ("no_attention", 1, *SPIKE), ("baseline", 3, *SPIKE)]
    found = load_events(make_study(events=events))
    assert list(found) == [*BEGUN, "step", "kind", "subject", "value", "text"]
    assert found["variant"].tolist() == ["baseline", "no_attention", "no_attention"]
    assert found["step"].tolist() == [190, 190, 210]
    assert found["value"].tolist()[:2] == [9.9, 9.9]
    assert np.isnan(found["value"].tolist()[2])
    assert found.loc[2, ["seed", "kind", "subject", "text"]].tolist() == [1, *COLLAPSE[1:3], COLLAPSE[4]]
    assert found.loc[2, "trial"] == f"{2:032x}"


def test_a_study_without_events_has_their_columns(make_study):
    assert list(load_events(make_study())) == [*BEGUN, "step", "kind", "subject", "value", "text"]


def test_the_last_report_of_a_training_that_broke_down_is_a_point_of_its_curves_and_nothing_else(make_study):
    broken = make_study("broken", ends={("no_attention", 2): ("DIVERGED", "", "DivergedError: collapsed")})
    whole = load_images(broken), load_trials(broken)
    change(
        broken,
        "INSERT INTO step VALUES (8, 230, 1790000500, 30, NULL, '{}')",
        "INSERT INTO report VALUES (8, 230, 'health/gradient_norm_global', 99.0)",
        "INSERT INTO report VALUES (8, 230, 'eval/psnr_db', NULL)",
    )
    curves = load_curves(broken, metric="health/gradient_norm_global")
    assert curves[["variant", "seed", "step"]].values.tolist() == [["no_attention", 2, 230]]
    assert curves["health/gradient_norm_global"].tolist() == [99.0]
    assert load_curves(broken).query("variant == 'no_attention' and seed == 2")["step"].tolist() == [100, 200, 230]
    pd.testing.assert_frame_equal(load_images(broken), whole[0])
    trials = load_trials(broken)
    row = trials.query("variant == 'no_attention' and seed == 2").iloc[0]
    assert (row["state"], row["step"], row["message"]) == ("DIVERGED", 230, "DivergedError: collapsed")
    others = [column for column in whole[1] if column not in ("step", "seconds")]
    pd.testing.assert_frame_equal(trials[others], whole[1][others])


def test_what_a_trial_has_as_a_whole_is_a_column_of_trials_not_of_images(make_study):
    folder = make_study(defects=True)
    ((value,),) = rows(
        folder, "SELECT value FROM report WHERE trial = 1 AND step = 400 AND metric = 'health/margin_global'"
    )
    assert load_trials(folder).at[0, "health/margin_global"] == value
    for frame in (load_images(folder), load_references(folder)):
        assert "health/margin_global" not in frame
        assert frame["eval/gmsd"].notna().all()


def test_a_trained_model_stands_among_the_references_with_its_files_digest(make_study):
    references = load_references(make_study(model=True))
    weights = references.drop_duplicates("method").set_index("method")["weights"]
    assert weights["official"] == WEIGHTS
    assert weights.drop("official").isna().all()
