"""The effects of components, from a study's ledger to its tables and its report, on scores whose truth is known."""

import re
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from analysis import load_effects, load_judged, load_runs
from analysis.effects import ESTIMANDS, MAIN
from analysis.effects_shown import effects_part, effects_table
from analysis.effects_tables import Effects
from analysis.effects_wording import method
from analysis.factorial import fractional, full, orders, orders_seed, runs_of_orders
from analysis.latex import effects_tex
from analysis.ledger import open_ledger
from analysis.outlook_shown import outlook_of
from analysis.report import main, write_report
from analysis.tables import read, tables, verdict_table
from platform.design import variants
from platform.spec import Spec
from tests.analysis.synthetic import LEAVE_ONE_OUT, Variant, designed
from tests.analysis.synthetic_search import Tried, flat, ordinary
from tests.analysis.test_report import markdown, page

C = ("attention", "local_sfp", "global_sfp", "relativistic")


def worth(run):
    """Attention adds 1.6 dB, the relativistic loss takes 0.9, and one of the two feature losses is as good as both."""
    return 15 + 1.6 * ("attention" in run) - 0.9 * ("relativistic" in run) + 2 * bool({"local_sfp", "global_sfp"} & run)


def crossed(make_study, runs=None, design="factorial", components=C, **plan):
    made = designed(runs or full(components).runs, components, worth)
    plan = {"noise": 0.05, "pictures": False, **plan}
    return make_study(variants=(*made, *plan.pop("also", ())), design=design, components=components, **plan)


def test_effects_are_those_that_the_scores_were_made_of(make_study):
    found = load_effects(crossed(make_study)).set_index(["estimand", "component"])["difference"]
    # A feature loss adds 2 dB where the other is missing, else nothing: 1 on average, and half of -2 as interaction.
    expected = {
        "main effect": [1.6, 1.0, 1.0, -0.9],
        "Shapley value": [1.6, 1.0, 1.0, -0.9],
        "leave-one-out": [1.6, 0.0, 0.0, -0.9],
        "add-one-in": [1.6, 2.0, 2.0, -0.9],
        "interaction": [0.0, 0.0, 0.0, -1.0, 0.0, 0.0],
        "together": [2.7],
    }
    assert set(found.index.get_level_values(0)) == set(expected) == set(ESTIMANDS)
    for estimand, truth in expected.items():
        assert found[estimand].tolist() == pytest.approx(truth, abs=0.2), estimand
    assert found.loc["interaction"].abs().idxmax() == "local_sfp x global_sfp"


def test_the_verdicts_are_the_main_effects_and_the_other_estimands_stand_beside_without_any(make_study):
    folder = crossed(make_study)
    effects = load_effects(folder)
    primary = effects[effects["role"] == "primary"]
    assert primary["estimand"].unique().tolist() == ["main effect"]
    assert primary["verdict"].tolist() == ["helps", "helps", "helps", "hurts"]
    assert primary["p_adjusted"].min() == pytest.approx(4 * primary["p"].min())
    rest = effects[effects["role"] == "exploratory"]
    assert (rest["verdict"] == "").all()
    assert (rest["why"] != "").all()
    write_report(folder)
    verdicts = pd.read_csv(folder / "report" / "verdicts.csv").query("role == 'primary'")
    for name in ("component", "estimand", "difference", "low", "high", "p_adjusted", "verdict", "seeds", "sentence"):
        assert verdicts[name].tolist() == pytest.approx(primary[name].tolist()), name
    written = pd.read_csv(folder / "report" / "effects.csv", keep_default_na=False)
    assert written["sentence"].tolist() == effects["sentence"].tolist()


def test_each_sentence_names_its_estimand(make_study):
    said = load_effects(crossed(make_study)).set_index(["estimand", "component"])["sentence"]
    assert re.fullmatch(
        r"With attention, on average over all combinations of the other components, PSNR on these 2 images rises by "
        r"1\.\d\d dB \(1\.\d\d to 1\.\d\d\): attention helps\.",
        said["main effect", "attention"],
    )
    assert said["leave-one-out", "local_sfp"].startswith("In the full model, local sfp changes PSNR on these 2 images")
    assert said["add-one-in", "local_sfp"].startswith("Added to the bare model, local sfp changes PSNR")
    assert "on average over all orders of adding the components" in said["Shapley value", "local_sfp"]
    assert said["together", "all"].startswith("All components together change PSNR on these 2 images by +2.")
    assert re.match(
        r"Where global sfp is there, the effect of local sfp on PSNR on these 2 images differs by \u2212[12]\.\d\d dB",
        said["interaction", "local_sfp x global_sfp"],
    )


def test_the_report_shows_effects_interactions_and_values_that_add_up(make_study):
    folder = crossed(make_study)
    found, text = page(folder), markdown(folder)
    assert found.open == []
    assert "Which of attention, local sfp, global sfp and relativistic matter for PSNR" in found.text
    for words in (found.text, text):
        assert "The Shapley values add up to the whole: " in words
        assert "here some do, most of all local sfp \u00d7 global sfp." in words
        assert "16 combinations of 4 components were trained (all there are)." in words
    assert "p-values are adjusted for the 4 declared main effects (Holm)" in found.text
    assert "without attention, local sfp and global sfp" in found.text
    rows = re.findall(r"^\| (\w[^|]*) \| [+\u22120.]", text[text.index("### Interactions") :], flags=re.MULTILINE)
    assert rows[0] == "local sfp \u00d7 global sfp"
    assert len(rows) == 6
    added = re.search(r"^\| sum of Shapley values \|  \| (\S+) \|", text, flags=re.MULTILINE)
    whole = re.search(r"^\| all components together \|  \| (\S+) \[", text, flags=re.MULTILINE)
    assert added[1] == whole[1]
    (forest,) = [one for one in found.all("svg") if one["class"] == "forest"]
    assert "With attention, on average" in forest["aria-label"]


def test_before_its_spread_is_known_seeds_are_told_by_how_main_effects_vary(make_study):
    with open_ledger(crossed(make_study, seeds=(1,))) as ledger:
        readings = read(ledger, "fixed")
    table, _ = outlook_of(readings, tables(readings))
    assert table.loc[table["kind"] == "assumed", "seeds_low"].tolist() == [15, 7, 4]  # see test_outlook


def test_values_add_up_and_rows_say_what_is_missing_when_trials_broke_down(make_study):
    ends = {("no_attention", 2): ("DIVERGED", "", "x"), ("no_local_sfp+global_sfp", 1): ("FAILED", "bug", "x")}
    folder = crossed(make_study, ends=ends)
    effects = load_effects(folder).set_index("estimand")
    assert effects.loc["Shapley value", "difference"].sum() == pytest.approx(effects.at["together", "difference"])
    assert (effects.loc["main effect", "n_failed"] == 2).all()
    found = page(folder).text
    assert found.count("scored as the untouched input, they would make the difference") == 4
    ends = {("no_attention", seed): ("DIVERGED", "", "x") for seed in (1, 2, 3)}
    found = page(crossed(make_study, name="lost", ends=ends)).text
    assert "Nothing can be said of attention (main effect): no complete training of no_attention." in found


def test_trainings_that_are_only_planned_have_not_failed_and_are_said_to_be_outstanding(make_study):
    made = [one.name for one in designed(full(C).runs, C, worth)]
    ends = {(name, 4): ("PLANNED", None, None) for name in made} | {("no_attention", 5): ("RUNNING", None, None)}
    ends |= {("no_attention", 1): ("DIVERGED", "", "x"), ("no_local_sfp", 2): ("FAILED", "bug", "x")}
    folder = crossed(make_study, seeds=(1, 2, 3, 4, 5, 6), ends=ends)
    effects = load_effects(folder).set_index(["estimand", "component"])
    assert (effects.loc["main effect", "n_failed"] == 2).all()
    assert effects.loc["leave-one-out", "n_failed"].tolist() == [1, 1, 0, 0]
    assert (effects.loc["add-one-in", "n_failed"] == 0).all()
    text = "interim: 4 of 6 seeds have ended in every variant, 17 trials are outstanding; "
    text += "the level holds for the 6 planned"
    judged = effects[effects["verdict"] != ""]
    assert len(judged) == 4
    assert judged["note"].str.endswith(text).all()
    assert judged["sentence"].str.endswith(f" I{text[1:]}.").all()
    assert not effects.loc[effects["verdict"] == "", "note"].str.contains("interim").any()
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    changed = replace(readings, study=replace(readings.study, exploratory={"attention": ["the margin was changed"]}))
    table = effects_table(changed)
    assert table.loc[table["unlocked"] != "", ["estimand", "component"]].to_numpy().tolist() == [
        ["main effect", "attention"]
    ]
    assert "Exploratory: the plan was changed after the first trial (the margin was changed)" in table["sentence"][0]
    part = effects_part(changed, table)
    assert [row[-1] for row in part.credits.rows[:2]] == ["helps, exploratory, interim", "helps, interim"]
    assert "helps, exploratory, interim" in effects_tex(changed, part)
    assert part.note.endswith("the level holds for the 6 planned.")
    assert part.each == 4  # 16 combinations, a quarter with both of two components


def test_interactions_of_a_fraction_are_named_with_what_they_cannot_be_told_from(make_study):
    folder = crossed(make_study, fractional(C, 4).runs, {"fractional": 4})
    effects = load_effects(folder).set_index("component")
    assert effects.loc[effects["estimand"] == "interaction", "aliases"].to_dict() == {
        "attention x local_sfp": "global_sfp x relativistic",
        "attention x global_sfp": "local_sfp x relativistic",
        "attention x relativistic": "local_sfp x global_sfp",
    }
    assert effects.loc[list(C), "verdict"].tolist() == ["helps", "helps", "helps", "hurts"]
    assert "over the combinations that were trained, PSNR" in effects.at["attention", "sentence"]
    found = page(folder).text
    assert "Main effect What it changes, on average over the combinations that were trained." in found
    assert "over all combinations" not in found
    assert "(or this is local sfp \u00d7 global sfp)" in found
    assert "(resolution IV) main effects are right as far as no three components or more interact" in found
    assert "Which of attention, local sfp, global sfp and relativistic matter" in found


def test_a_fraction_of_resolution_six_says_what_its_main_effects_may_be_mistaken_for():
    runs = pd.DataFrame([{name: int(name in run) for name in "abcdef"} for run in fractional("abcdef", 5).runs])
    found = method(Effects(SimpleNamespace(design={"fractional": 5}), runs, MAIN))
    said = "(resolution VI) main effects are right as far as no five components or more interact."
    assert said in " ".join(found)


def test_a_screening_design_has_effects_and_no_verdicts(make_study):
    folder = crossed(make_study, fractional(C[:3], 3).runs, {"fractional": 3}, C[:3])
    effects = load_effects(folder)
    assert effects["low"].notna().all()
    assert (effects["verdict"] == "").all()
    found = page(folder).text
    assert "no verdict, since it cannot be told from local sfp \u00d7 global sfp." in found
    assert "Resolution III is for screening" in found
    assert not re.search(r": (attention|local sfp|global sfp) (helps|hurts)", found)


def test_of_random_orders_the_shapley_values_have_the_verdicts(make_study):
    components, count = ("a", "b", "c", "d", "e", "f", "g"), 20
    spec = Spec(study="study", components={name: {f"x.{name}": 0} for name in components}, design={"orders": count})
    planned = [{*components} - {*one.out} for one in variants(spec)]
    assert planned == runs_of_orders(orders(components, count, seed=orders_seed("study")))
    made = designed(
        planned, components, lambda run: 15 + 1.5 * ("a" in run) - 2 * ("b" in run) + 4 * ({"b", "c"} <= run)
    )
    plan = {"noise": 0.05, "pictures": False, "seeds": (1, 2, 3, 4), "ends": {(made[-2].name, 2): ("FAILED", "", "x")}}
    folder = make_study(variants=made, design={"orders": count}, components=components, **plan)
    effects = load_effects(folder)
    primary = effects[effects["role"] == "primary"].set_index("component")
    assert primary["estimand"].unique().tolist() == ["Shapley value"]
    assert (effects.loc[effects["role"] == "exploratory", "verdict"] == "").all()
    assert primary.at["a", "difference"] == pytest.approx(1.5, abs=0.2)
    assert primary.at["b", "sampling"] > primary.at["a", "sampling"]
    assert (primary["verdict"] != "").all()
    whole = effects.set_index("estimand").at["together", "difference"]
    assert primary["difference"].sum() == pytest.approx(whole)
    found = page(folder).text
    verdicts = pd.read_csv(folder / "report" / "verdicts.csv").query("role == 'primary'")
    assert verdicts["n_failed"].tolist() == primary["n_failed"].tolist()
    assert verdicts["bound_difference"].notna().tolist() == (primary["n_failed"] == 1).tolist()
    assert set(primary["n_failed"]) == {0, 1}  # not every component's orders pass through that combination
    assert "on average over 20 random orders of adding the components, PSNR" in found
    assert "do not lessen the error of drawing so few orders" in found
    outlook = pd.read_csv(folder / "report" / "outlook.csv").set_index("component")
    assert "more orders are needed" in outlook.at["b", "why"]  # more than 0.5 dB from drawing
    assert pd.isna(outlook.at["b", "seeds_low"])


def test_a_ledger_whose_orders_were_drawn_from_0_is_reported_from_those(make_study):
    components, design = ("a", "b", "c", "d", "e", "f", "g"), {"orders": 4}
    earlier, made = (orders(components, 4, seed=seed) for seed in (0, orders_seed("study")))
    assert not {*runs_of_orders(made)} <= {*runs_of_orders(earlier)}
    planned = designed(runs_of_orders(earlier), components, lambda run: 15 + 1.5 * ("a" in run) - len(run) / 9)
    folder = make_study(variants=planned, design=design, components=components, noise=0.05, pictures=False)
    primary = load_effects(folder).query("role == 'primary'").set_index("component")
    assert primary.at["a", "difference"] == pytest.approx(1.5 - 1 / 9, abs=0.2)
    found = page(folder).text
    assert "on average over 4 random orders of adding the components, PSNR" in found
    assert "a value of 0 passes for an effect at 1 % in up to 4.6 %" in found


def test_a_leave_one_out_study_keeps_its_verdicts_and_has_no_section_of_effects(make_study):
    out = [
        Variant(one.name, one.effect, one.component, one.compared_to, 0, (one.component,) if one.component else ())
        for one in LEAVE_ONE_OUT
    ]
    components = [one.component for one in out if one.component]
    folder = make_study(variants=out, components=components)
    plain = make_study("plain")
    for study in (folder, plain):
        write_report(study)
        assert not (study / "report" / "effects.csv").exists()
        assert "Effects of the components" not in page(study).text
    verdicts = [(study / "report" / "verdicts.csv").read_bytes() for study in (folder, plain)]
    assert verdicts[0] == verdicts[1]
    effects = load_effects(folder)
    assert effects["estimand"].unique().tolist() == ["leave-one-out"]
    assert (effects["verdict"] == "").all()
    assert effects["why"].unique().tolist() == [
        "exploratory: the comparisons of variants have the verdicts of this design"
    ]
    judged = pd.read_csv(folder / "report" / "verdicts.csv").query("role == 'primary'")
    assert effects["difference"].tolist() == pytest.approx((-judged["difference"]).tolist())


def test_an_earlier_ledger_that_does_not_tell_what_variants_lack_has_no_effects(make_study):
    folder = make_study()
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("DROP TABLE taken_out")
    db.close()
    assert load_runs(folder).empty
    found = load_effects(folder)
    assert found.empty
    assert {"estimand", "difference", "why", "sentence"} <= set(found)


def test_runs_are_the_full_model_first_and_without_the_placebo(make_study):
    placebo = Variant("placebo", (0.0, 0.0, 0.0, 0.0), None, "baseline")
    folder = crossed(make_study, components=C[:2], also=[placebo])
    runs = load_runs(folder)
    assert runs.index.tolist() == ["baseline", "no_attention", "no_local_sfp", "no_attention+local_sfp"]
    assert runs.to_numpy().tolist() == [[1, 1], [0, 1], [1, 0], [0, 0]]
    write_report(folder)
    verdicts = pd.read_csv(folder / "report" / "verdicts.csv").query("role == 'primary'")
    assert verdicts["variant"].tolist() == ["attention", "local_sfp", "placebo"]
    # The control is a family of its own.
    assert verdicts["p_adjusted"].iloc[2] == pytest.approx(verdicts["p"].iloc[2])
    assert "In placebo, PSNR on these 2 images changes by" in page(folder).text


def test_after_a_search_effects_are_of_the_confirmed_settings(make_search):
    pair = ("attention", "global_sfp")
    made = designed(full(pair).runs, pair, worth)
    seeds, gains = (5, 6, 7), {"baseline": 0.0, "no_attention": -1.0, "no_global_sfp": -2.0}
    confirmed = {
        (one.name, 0, seed): dict.fromkeys(
            ("SICE", "photos"), (20 + seed / 10 + gains.get(one.name, -3.0) + 0.01 * (seed == place),)
        )
        for place, one in enumerate(made, start=5)
        for seed in seeds
    }
    places = {(one.name, 0): [Tried(flat(12.0))] for one in made}
    asked = ordinary(tried=places, choices=dict.fromkeys(places, (0, "best")), confirmed=confirmed, search={})
    folder = make_search(asked, variants=made, design="factorial", components=pair)
    assert set(load_judged(folder)["set"]) == {"SICE"}
    mains = load_effects(folder).query("estimand == 'main effect'")
    assert mains["difference"].tolist() == pytest.approx([1.0, 2.0], abs=0.02)
    found = page(folder)
    assert "For the settings found" in found.text
    over = "on average over all combinations of the other components"
    assert f"With attention, for the settings found, {over}, PSNR on this image" in found.text
    alone = "Tuned minus untuned is told of variants alone, not of the main effects of the components."
    assert alone in found.text
    assert alone in markdown(folder)


def test_a_search_that_is_not_confirmed_yet_shows_no_effects(make_search):
    pair = ("attention", "global_sfp")
    made = designed(full(pair).runs, pair, worth)
    places = {(one.name, 0): [Tried(flat(12.0))] for one in made}
    asked = ordinary(tried=places, choices={}, confirmed={}, search={})
    found = page(make_search(asked, variants=made, design="factorial", components=pair)).text
    assert "The verdicts wait for the confirmation" in found
    assert "Effects of the components" not in found


def test_a_metric_without_direction_has_effects_and_no_verdicts(make_study):
    rules = {"primary": "eval/luminance_error_levels", "matters": {}, "images": "these", "at": 2}
    effects = load_effects(crossed(make_study, components=C[:2], analysis=rules))
    assert (effects["verdict"] == "").all()
    mains = effects[effects["role"] == "primary"]
    assert mains["why"].unique().tolist() == ["eval/luminance_error_levels has no direction, so there is no verdict"]


def test_the_command_prints_effects_and_the_same_bytes_come_twice(make_study, capsys):
    folder = crossed(make_study)
    assert main([str(folder)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"all components together +\+2\.\d\d \[", printed)
    assert re.search(r"local sfp \u00d7 global sfp +\u2212[01]\.\d\d \[", printed)
    names = ("index.html", "effects.csv", "verdicts.csv", "report.md")
    before = [(folder / "report" / name).read_bytes() for name in names]
    write_report(folder)
    assert [(folder / "report" / name).read_bytes() for name in names] == before


def test_the_other_metrics_have_intervals_of_the_same_effects(make_study):
    folder = crossed(make_study, components=C[:2])
    with open_ledger(folder) as ledger:
        table = verdict_table(read(ledger, "fixed"))
    niqe = table[(table["metric"] == "eval/niqe")]
    assert niqe["component"].tolist() == ["attention", "local_sfp"]
    assert niqe["estimand"].unique().tolist() == ["main effect"]
    assert (niqe["verdict"] == "").all()
    assert niqe["low"].notna().all()
