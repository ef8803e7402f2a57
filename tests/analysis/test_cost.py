import json
import sqlite3
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.cost import TRAINING, arms, cost_table, costs
from analysis.cost_shown import amount, cost_part
from analysis.ledger import open_ledger
from analysis.tables import read, tables
from tests.analysis.costs import add_costs
from tests.analysis.synthetic import Variant

PARAMETERS, INFERENCE = "cost/generator_parameters_m", "time/inference_ms"
NOISE = {1: 0.2, 2: -0.1, 3: 0.3, 4: -0.4, 5: 0.1, 6: -0.2}


def taken(variant, seed):
    """Attention takes 0.25 M and 3 ms, the relativistic loss nothing, the global SFP 60 s of 600."""
    lacks = {"no_attention": (0.25, 3.0, 0.0), "no_global_sfp": (0.0, 0.0, 60.0), "no_relativistic": (0.1, 0, 0)}
    parameters, inference, seconds = lacks.get(variant, (0.0, 0.0, 0.0))
    noise = NOISE[seed] if variant != "baseline" else 0.0
    return 8.5 - parameters, 20 - inference + noise, 600 - seconds + 10 * noise


@pytest.fixture
def made(make_study):
    def make(of=taken, *, resources=None, **plan):
        folder = add_costs(make_study(**{"seeds": range(1, 7), "pictures": False, **plan}), of)
        if resources:
            with sqlite3.connect(folder / "ledger.db") as db:
                (spec,) = db.execute("SELECT resolved FROM spec").fetchone()
                db.execute("UPDATE spec SET resolved = ?", [json.dumps({**json.loads(spec), "resources": resources})])
            db.close()
        with open_ledger(folder) as ledger:
            readings = read(ledger, "fixed")
        found = tables(readings)
        return readings, found, cost_table(readings, found)

    return make


def by(table, component):
    return table.set_index("component").loc[component]


def test_a_component_costs_what_the_model_without_it_saves(made):
    row = by(made()[2], "attention")
    assert row[PARAMETERS] == pytest.approx(0.25)
    assert row[f"{PARAMETERS}_low"] == row[f"{PARAMETERS}_high"] == row[PARAMETERS]  # every seed has the same
    d = 3.0 - np.array(list(NOISE.values()))
    half = stats.t.ppf(0.975, 5) * d.std(ddof=1) / np.sqrt(6)
    assert row[[INFERENCE, f"{INFERENCE}_low", f"{INFERENCE}_high"]].tolist() == pytest.approx(
        [d.mean(), d.mean() - half, d.mean() + half]
    )
    assert by(made(name="hours")[2], "global_sfp")[TRAINING] == pytest.approx(
        (60 - 10 * np.mean(d * 0)) / 3600, rel=0.05
    )


def test_what_is_bought_is_divided_by_what_it_costs(made):
    _, found, table = made()
    verdict = found.verdicts.set_index("component").loc["attention"].iloc[0]
    row = by(table, "attention")
    assert row["verdict"] == "helps"
    assert row["benefit"] == pytest.approx(-verdict["difference"])
    assert (row["benefit_low"], row["benefit_high"]) == pytest.approx((-verdict["high"], -verdict["low"]))
    assert row[f"{PARAMETERS}_per"] == pytest.approx(row["benefit"] / 0.25)
    assert row[f"{PARAMETERS}_per_low"] == pytest.approx(row["benefit_low"] / 0.25)
    assert row[f"{INFERENCE}_per"] == pytest.approx(row["benefit"] / row[INFERENCE])
    assert row[f"{PARAMETERS}_why"] == row[f"{INFERENCE}_why"] == ""


def test_nothing_is_divided_unless_effect_and_cost_are_both_told_from_zero(made):
    table = made()[2]
    assert by(table, "attention")[f"{TRAINING}_why"] == "its cost is not told from noise"
    assert by(table, "global_sfp")[f"{PARAMETERS}_why"] == "it costs nothing"
    assert by(table, "local_discriminator")[f"{PARAMETERS}_why"] == "it buys nothing that matters"
    assert by(table, "relativistic")[f"{PARAMETERS}_why"] == "it buys nothing: without it the result is better"
    for key in (PARAMETERS, INFERENCE, TRAINING):  # a quotient, or why there is none, never both nor neither
        assert (table[f"{key}_per"].isna() == (table[f"{key}_why"] != "")).all()
    undecided = made(name="noisy", noise=6.0)[2]
    assert by(undecided, "attention")["verdict"] == "undecided"
    assert undecided[[f"{key}_per" for key in (PARAMETERS, INFERENCE, TRAINING)]].isna().all(axis=None)
    assert by(undecided, "attention")[f"{PARAMETERS}_why"] == "what it buys is undecided"


def test_what_is_saved_is_no_cost(made):
    row = by(made(lambda variant, seed: (9.0 if variant == "no_attention" else 8.5, 20, 600))[2], "attention")
    assert row[PARAMETERS] == pytest.approx(-0.5)
    assert row[f"{PARAMETERS}_why"] == "it saves rather than costs"


def test_two_seeds_give_a_cost_without_interval_and_no_verdict(made):
    row = by(made(seeds=(1, 2))[2], "attention")
    assert row[INFERENCE] == pytest.approx(3.0 - (0.2 - 0.1) / 2)
    assert np.isnan(row[f"{INFERENCE}_low"])
    assert row[f"{INFERENCE}_why"] == "there is no verdict on what it buys"


def test_only_completed_trials_and_seeds_of_both_variants_count(made):
    readings, _, table = made(
        ends={("baseline", 1): ("DIVERGED", "", "x"), ("no_attention", 2): ("FAILED", "bug", "x")}
    )
    assert by(table, "attention")[f"{INFERENCE}_seeds"] == 4
    assert readings.trials[readings.trials["state"] == "DIVERGED"]["seconds"].notna().all()


def test_a_variant_without_results_has_a_row_that_says_why(made):
    ends = {("no_attention", seed): ("PLANNED", None, None) for seed in range(1, 7)}
    readings, _, table = made(ends=ends)
    assert by(table, "attention")[f"{PARAMETERS}_why"] == "no seed has this cost in every variant that is compared"
    said = cost_part(readings, table).sentences[0]
    assert "no verdict on what it buys" in said
    assert "nan" not in said


def test_a_component_that_is_in_the_variant_costs_what_the_variant_takes_more(made):
    variants = (
        Variant("baseline"), Variant("bare", (-3, -0.1, 1, 1), None, "baseline"),
        Variant("only_attention", (-1, -0.05, 0.5, 1), "attention", "bare", 1),
    )  # fmt: skip
    table = made(lambda variant, seed: (8.5 if variant != "bare" else 8.0, 20, 600), variants=variants)[2]
    row = by(table, "attention")
    assert row[PARAMETERS] == pytest.approx(0.5)
    assert row["benefit"] == pytest.approx(2, abs=0.4)


def test_hours_are_those_of_the_share_of_the_device_that_a_trial_held(made):
    readings, _, table = made(resources={"cpu": 1, "gpu": 0.25})
    assert [one.unit for one in costs(readings)][-1] == "GPU-hours"
    whole = by(made(name="whole")[2], "global_sfp")[TRAINING]
    assert by(table, "global_sfp")[TRAINING] == pytest.approx(whole / 4)


def test_a_study_without_recorded_costs_still_has_the_hours_of_training(make_study):
    with open_ledger(make_study()) as ledger:
        readings = read(ledger, "fixed")
    assert [one.key for one in costs(readings)] == [TRAINING]


def runs(*rows):
    return pd.DataFrame.from_dict(dict(rows), orient="index", columns=["a", "b"])


EFFECT = {"variant": "a", "compared_to": "", "component": "a", "present": True}


def test_in_a_full_factorial_a_component_costs_the_mean_over_the_pairs_that_differ_by_it():
    full = runs(("baseline", [1, 1]), ("no_a", [0, 1]), ("no_b", [1, 0]), ("bare", [0, 0]))
    assert arms(EFFECT, full) == {"baseline": 0.5, "no_a": -0.5, "no_b": 0.5, "bare": -0.5}


def test_in_a_fraction_it_is_what_those_with_it_take_more_where_the_others_are_balanced():
    rows = [("abc", [1, 1, 1]), ("a", [1, 0, 0]), ("b", [0, 1, 0]), ("c", [0, 0, 1])]
    half = pd.DataFrame.from_dict(dict(rows), orient="index", columns=["a", "b", "c"])
    assert arms(EFFECT, half) == {"abc": 0.5, "a": 0.5, "b": -0.5, "c": -0.5}
    assert arms(EFFECT, half.drop("c")) == {}


def test_sentences_say_what_is_paid_and_what_is_bought(made):
    readings, _, table = made()
    said = dict(zip(table["component"], cost_part(readings, table).sentences, strict=True))
    assert said["attention"].startswith("Attention costs 0.250 M parameters of the generator and 3.02 ms (")
    assert "it buys 1.59 dB of PSNR (1.31 to 1.87), that is 6.36 dB per M and 0.527 dB per ms" in said["attention"]
    assert "in training its cost is not told from noise" in said["attention"]
    assert "it buys nothing that matters" in said["local_discriminator"]
    assert "it buys nothing: with it PSNR is worse by" in said["relativistic"]
    assert "dB per CPU-hour" in said["global_sfp"]
    undecided = made(name="noisy", noise=6.0)
    (text,) = [one for one in cost_part(undecided[0], undecided[2]).sentences if one.startswith("Attention")]
    assert "what it buys is undecided (" in text
    assert "so nothing is divided by its cost" in text
    assert " per " not in text


def test_a_verdict_off_the_locked_plan_is_marked_beside_its_cost(made):
    readings, _, table = made()
    changed = replace(readings.study, exploratory={"attention": ["the margin was changed"]})
    rows = cost_part(replace(readings, study=changed), table).table.rows
    assert [row[1] for row in rows][:2] == ["helps, exploratory", "equivalent"]


def test_what_costs_nothing_is_said_once_and_a_few_parameters_are_counted(made):
    def of(variant, seed):
        return 8.5 - (72e-6 if variant == "no_attention" else 0), 20.0, 600.0

    readings, _, table = made(of)
    said = dict(zip(table["component"], cost_part(readings, table).sentences, strict=True))
    assert said["attention"].startswith("Attention costs 72 parameters of the generator; it buys 1.")
    assert said["attention"].endswith("; it costs nothing in inference of 256 x 256 px and training.")
    nothing = "costs nothing in parameters of the generator, inference of 256 x 256 px and training; it buys"
    assert said["global_sfp"].startswith(f"Global sfp {nothing}")
    assert said["global_sfp"].count("nothing") == 1


def test_every_empty_cell_of_the_table_says_why(made):
    readings, _, table = made()
    grid = cost_part(readings, table).table
    assert all(len(row) == len(grid.heads) for row in grid.rows)
    assert all(cell and "nan" not in cell for row in grid.rows for cell in row)
    assert grid.rows[3][4] == "none: it costs nothing"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000288, "0.000288"), (5517.5, "5,520"), (2.941, "2.94"), (-0.0004381, "\u22120.000438"), (0, "0"),
     (99.96, "100"), (float("nan"), "\u2013")],
)  # fmt: skip
def test_amounts_have_three_significant_digits(value, text):
    assert amount(value) == text
