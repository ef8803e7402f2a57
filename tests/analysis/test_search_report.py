import json
import math
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from analysis.report import main, write_report
from tests.analysis.synthetic_search import NEW, NIQE, PSNR, SEEN, SFP, Asked, Tried, flat, ordinary
from tests.analysis.test_report import ROOT, everything, markdown, page


def section(found, name, following):
    return found.text[found.text.index(f" {name} ") : found.text.index(f" {following} ", found.text.index(f" {name} "))]


def test_the_verdicts_are_of_the_settings_found_on_images_that_the_search_never_saw(make_search):
    found = page(make_search())
    assert found.open == []
    verdicts = section(found, "Verdicts", "Variants, confirmed")
    assert "For the settings found: each variant was searched once" in verdicts
    assert "what was chosen was trained with 3 seeds that the search did not use and scored on images that" in verdicts
    assert "the search never saw (SICE). One observation is a seed." in verdicts
    assert "Without attention, for the settings found, PSNR on this image falls by 0.50 dB" in verdicts
    confirmed = section(found, "Variants, confirmed", "Search")
    assert re.search(r"full model 3 of 3 13\.00 ± 0\.50", confirmed)
    assert re.search(r"input 9\.00", confirmed)
    assert re.search(r"full model 3 of 3 14\.\d\d ±", section(found, "Untuned", "Method"))


def test_with_four_searches_each_the_verdicts_are_of_the_components(make_search):
    places = [(name, repeat) for name in ("baseline", "no_attention") for repeat in range(4)]
    confirmed = {
        (name, repeat, seed): {"SICE": (20 + seed + (repeat if name != "baseline" else 0.0),)}
        for name, repeat in places
        for seed in (1, 2)
    }
    tried = {place: [Tried(flat(12.0))] for place in places}
    asked = ordinary(
        tried=tried, choices=dict.fromkeys(places, (0, "best")), confirmed=confirmed, search={"repeats": 4}
    )
    folder = make_search(asked)
    found, text = page(folder).text, markdown(folder)
    assert "On the components, each variant tuned for itself: each was searched 4 times" in found
    assert "One observation is a repeat of the search" in found
    assert "For the settings found" not in found
    assert re.search(r"searches of each variant; there are 4\.", text)
    assert "| Repeats | Verdict |" in text
    assert "4 repeats" in found  # beside the intervals


def test_two_searches_each_are_said_to_be_too_few_for_verdicts(make_search):
    places = [(name, repeat) for name in ("baseline", "no_attention") for repeat in range(2)]
    confirmed = {(*place, 10 * place[1] + seed): {"SICE": (20.0 + seed,)} for place in places for seed in (1, 2, 3)}
    tried = {place: [Tried(flat(12.0))] for place in places}
    asked = ordinary(
        tried=tried, choices=dict.fromkeys(places, (0, "best")), confirmed=confirmed, search={"repeats": 2}
    )
    found = page(make_search(asked)).text
    assert "what each search chose was trained with" in found
    assert "2 repeats are too few for a verdict: with search.repeats of 4 or more there would be" in found
    assert "No verdict on attention: 2 complete repeats of the search, 4 are needed" in found
    assert "makes no difference" not in found


def test_an_unfinished_confirmation_says_how_far_it_is(make_search):
    asked = ordinary()
    waiting = {place: None if place[2] == 13 else scores for place, scores in asked.confirmed.items()}
    found = page(make_search(ordinary(confirmed=waiting))).text
    assert "what was chosen is trained with 3 seeds" in found
    assert "So far 6 of 9 confirming trials are completed." in found
    assert "So far" not in page(make_search(name="whole")).text


def test_verdicts_are_interim_while_a_search_has_not_chosen_what_is_confirmed(make_search):
    places = [(name, repeat) for name in ("baseline", "no_attention") for repeat in range(5)]
    chosen = places[:-1]
    confirmed = {(*place, seed): {"SICE": (20.0 + seed + 0.1 * place[1],)} for place in chosen for seed in (1, 2)}
    asked = ordinary(
        tried={place: [Tried(flat(12.0))] for place in places}, choices=dict.fromkeys(chosen, (0, "best")),
        confirmed=confirmed, search={"repeats": 5, "parameters": {"baseline": [SFP], "no_attention": [SFP]}},
    )  # fmt: skip
    folder = make_search(asked)
    write_report(folder)
    row = pd.read_csv(folder / "report" / "verdicts.csv").set_index(["variant", "role"]).loc["no_attention", "primary"]
    text = "interim: 4 of 5 repeats have ended in every variant, 2 trials are outstanding; "
    text += "the level holds for the 5 planned"
    assert (row["seeds"], row["note"]) == (4, text)
    alone = ordinary(choices={key: value for key, value in ordinary().choices.items() if key[0] != "no_global_sfp"})
    kept = {place: scores for place, scores in alone.confirmed.items() if place[0] != "no_global_sfp"}
    found = page(make_search(ordinary(choices=alone.choices, confirmed=kept), name="alone")).text
    assert "Interim: 0 of 3 seeds have ended in every variant, 3 trials are outstanding; the level holds for" in found
    assert "nterim" not in page(make_search(name="whole")).text


def test_nothing_is_said_of_the_images_while_nothing_is_confirmed(make_search):
    confirmed = dict.fromkeys(ordinary().confirmed)
    found = page(make_search(ordinary(sets=[], confirmed=confirmed))).text
    assert "The images are the same" not in found


def test_a_search_that_chose_the_specs_own_settings_says_so(make_search):
    asked = ordinary(tried={("baseline", 0): [Tried(fixed=1)]}, choices={("baseline", 0): (0, "best of 1")})
    assert "the spec\u2019s own settings: best of 1" in page(make_search(asked)).text


def test_why_settings_were_chosen_names_the_metric_and_not_its_key(make_search):
    text = markdown(make_search())
    assert "highest PSNR of 2 that ran to the end" in text
    assert "eval/psnr_db of 2" not in text


def test_of_keys_that_hold_one_another_each_has_its_own_name(make_search):
    tried = {(name, 0): [Tried(flat(12.0))] for name in ("baseline", "no_attention")}
    whys = dict(zip(tried, ((0, "lowest val.loss of 2"), (0, "lowest loss, loss.sfp_global 3")), strict=True))
    folder = make_search(ordinary(tried=tried, choices=whys, confirmed={}))
    with sqlite3.connect(folder / "ledger.db") as db:
        ((metrics,),) = db.execute("SELECT value FROM study WHERE key = 'metrics'").fetchall()
        more = [
            {"key": key, "title": title, "higher_is_better": False, "needs_reference": False}
            for key, title in (("loss", "Hinge"), ("val.loss", "Hinge, validated"))
        ]
        db.execute("UPDATE study SET value = ? WHERE key = 'metrics'", [json.dumps([*json.loads(metrics), *more])])
    db.close()
    text = markdown(folder)
    assert "lowest Hinge validated of 2 |" in text
    assert "lowest Hinge, loss.sfp_global 3 |" in text


def test_whether_tuning_helped_is_said(make_search):
    asked = ordinary()
    confirmed = {
        (name, 0, seed): {"photos": (value + seed / 10,), "SICE": (1.0,)}
        for name, value in (("baseline", 25.0), ("no_attention", 5.0))
        for seed in (1, 2, 3)
    }
    found = page(make_search(ordinary(tried=asked.tried, confirmed=confirmed), noise=0.2)).text
    assert "of 2 choices other than the spec\u2019s own settings PSNR is better in 1 and worse in 1" in found


def test_what_tuning_changes_of_each_component_stands_with_its_interval(make_search):
    folder = make_search(noise=0.0)
    found, text = page(folder), markdown(folder)
    heading = "Does tuning change what a component does?"
    assert heading in found.text
    # untuned the truth is -1.6 and -3.4 dB; confirmed are 15.5 and 12 against 16
    part = text[text.index(heading) :]
    rows = re.findall(r"^\| (without [^|]+) \| PSNR \(dB\) \| (\S+) \| (\S+) \| (\S+) \[", part, flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["without attention", "without global sfp"]
    untuned, tuned, change = ([float(row[n].replace("\u2212", "-")) for row in rows] for n in (1, 2, 3))
    assert untuned == pytest.approx([-1.6, -3.4], abs=0.1)
    assert tuned == [-0.5, -4.0]
    assert change == pytest.approx([after - before for after, before in zip(tuned, untuned, strict=True)], abs=0.011)
    table = pd.read_csv(folder / "report" / "tuned.csv")
    assert table["change"].tolist() == pytest.approx(change, abs=0.006)
    assert (table["low"] < table["change"]).all()


def test_before_anything_is_confirmed_nothing_is_said_of_what_tuning_changes(make_search):
    folder = make_search(ordinary(confirmed={}))
    assert "Does tuning change" not in page(folder).text
    assert pd.read_csv(folder / "report" / "tuned.csv")["how"].str.startswith("no images that all four").all()


def test_the_suggestions_are_drawn_as_parallel_coordinates_too(make_search):
    folder = make_search()
    (figure,) = [one for one in page(folder).all("svg") if one["class"] == "parallel"]
    assert "across its settings to what it reached" in figure["aria-label"]
    assert {"parallel.svg", "parallel.png"} <= {path.name for path in (folder / "report" / "figures").iterdir()}


def test_too_few_untuned_seeds_to_say_whether_tuning_helped_are_named(make_search):
    found = page(make_search(seeds=(1, 2))).text
    assert "Of 2 choices PSNR, tuned against untuned, has no interval: 3 and 2 complete seeds, 3 of each" in found


def test_a_confirmed_value_that_is_infinite_is_left_out_and_named(make_search):
    asked = ordinary()
    infinite = {seed: {SEEN: (math.inf,), NEW: (math.inf,)} for seed in (11, 12, 13)}
    some = {("no_attention", 0, 12): infinite[12]}
    text = page(make_search(replace(asked, confirmed={**asked.confirmed, **some}), "some")).text
    assert "PSNR was confirmed 0.75 dB worse than promised, on average of 2 choices." in text
    who = "without attention, confirmed, seed 12; without attention, confirmed on new images, seed 12."
    assert f"PSNR: 2 values are left out, infinite or missing: {who}" in text
    every = {("no_attention", 0, seed): scores for seed, scores in infinite.items()}
    text = page(make_search(replace(asked, confirmed={**asked.confirmed, **every}), "every")).text
    assert "PSNR was confirmed 1.00 dB worse than promised. " in text
    assert "PSNR: 6 values are left out, infinite or missing: without attention, confirmed, seed 11;" in text
    assert "seed 13 and 3 more." in text


def test_a_promise_that_was_kept_is_no_flattery_and_one_that_was_not_is(make_search):
    values = {"kept": (17.0, 16.0), "broken": (16.0, 15.0)}
    for name, confirmed in values.items():
        scores = {
            (variant, 0, seed): {"photos": (value,), "SICE": (1.0,)}
            for variant, value in zip(("baseline", "no_attention"), confirmed, strict=True)
            for seed in (1, 2, 3)
        }
        assert ("flatters" in page(make_search(ordinary(confirmed=scores), name=name)).text) == (name == "broken")


def test_budgets_that_were_not_spent_alike_are_not_called_equal(make_search):
    tried = {**ordinary().tried, ("no_attention", 0): [Tried(flat(12.0))]}
    found = page(make_search(ordinary(tried=tried))).text
    assert "Equal budgets" not in found
    assert (
        "A budget of 4 trials for each of the 2 variants that have something to search; they have spent 1 to 4."
        in found
    )


def test_what_holds_at_several_rungs_and_objectives_is_said_once(make_search):
    decided = {100: "continue", 200: "continue"}
    tried = {("baseline", 0): [Tried(flat(12.0, 4.0), decisions=decided), Tried(flat(11.0, 5.0), decisions=decided)]}
    found = page(make_search(Asked(tried, search={"objectives": {PSNR: "max", NIQE: "min"}}))).text
    assert "Early stopping. At steps 100 and 200, PSNR and NIQE: too few trials ran to the end" in found.replace(
        "Early stopping At", "Early stopping. At"
    )
    assert found.count("too few trials ran to the end") == 1 + 4  # and in each row of the table


def test_an_unconfirmed_search_waits_and_judges_nothing(make_search):
    folder = make_search(ordinary(confirmed={}, choices={("baseline", 0): (1, "best")}))
    found, text = page(folder), markdown(folder)
    expected = "The verdicts wait for the confirmation of the settings found: 1 of 3 searches finished"
    for words in (found.text, text):
        assert expected in words
        assert "Without attention, PSNR" not in words
        assert "1 of 3 searches are over" in words
    assert "Variants, untuned" in found.text
    assert "forest" not in [figure["class"] for figure in found.all("svg")]
    verdicts = pd.read_csv(folder / "report" / "verdicts.csv")
    assert verdicts["verdict"].isna().all()


def test_a_search_that_found_nothing_anywhere_says_so_instead_of_waiting(make_search):
    tried = {("baseline", 0): [Tried([(1.0,)], state="DIVERGED")], ("no_attention", 0): []}
    choices = dict.fromkeys(tried, (None, "no candidate has a number for every objective"))
    asked = Asked(tried, choices, search={"parameters": {"baseline": [SFP], "no_attention": [SFP]}})
    found = page(make_search(asked)).text
    assert "There are no verdicts: no search found settings that could be confirmed." in found
    assert "no candidate has a number for every objective" in found


def test_without_a_confirmation_the_verdicts_are_labelled_untuned(make_search):
    found = page(make_search(ordinary(confirm=False, confirmed={})))
    assert "Untuned: the variants are compared at the spec\u2019s settings" in found.text
    assert "Without attention, PSNR on these 2 images falls by" in found.text
    assert "Nothing was confirmed" in found.text
    assert "Variants, untuned" in found.text
    assert "untuned" not in [
        attributes.get("id") for _, attributes in found.elements
    ]  # it would be the same table twice


def test_promised_confirmed_and_the_gap_stand_in_a_row_with_the_untuned(make_search):
    found = page(make_search()).text
    row = r"full model PSNR \(dB\) 14\.\d\d ± \d\.\d\d 17\.00 16\.00 ± 0\.50 1\.00 dB worse"
    row += r" \S+ \[\S+, \S+\] 13\.00 ± 0\.50"
    assert re.search(row, found)
    assert "PSNR was confirmed 0.75 dB worse than promised, on average of 2 choices." in found
    assert "the best promises 2.3 such spreads more than the mean where 0.9 are true" in found
    assert "loss.sfp_global: 3" in found
    assert "it has nothing to search: it is confirmed as it stands" in found


def test_a_metric_to_be_lowered_is_better_below_its_promise(make_search):
    asked = ordinary(
        tried={("baseline", 0): [Tried(flat(4.0))]}, choices={("baseline", 0): (0, "lowest")}, sets=[],
        confirmed={("baseline", 0, 11): {"photos": (3.5,)}}, search={"objectives": {NIQE: "min"}},
    )  # fmt: skip
    found = page(make_search(asked)).text
    assert "NIQE was confirmed 0.50 better than promised." in found
    assert "flatters" not in found
    assert "The images are the same" in found


def test_budgets_are_seen_to_be_equal_and_what_is_left_out_is_said(make_search):
    found = page(make_search())
    assert "Equal budgets: 4 trials for each of the 2 variants that have something to search, of which" in found.text
    assert found.source.count('<span style="width: 100.0%">') == 2
    assert "without global sfp: loss.sfp_global , loss.sfp_global is 0 in it" in found.text
    assert "nothing to search" in found.text


def test_cautions_early_ends_and_the_guards_warnings_stand_at_the_top(make_search):
    facts = {"cautions": ["Too few trials to learn from."], "ended": {"baseline": "the cap of 2 hours is reached"}}
    found = page(make_search(ordinary(search=facts))).text
    for expected in (
        "Too few trials to learn from.", "full model: the cap of 2 hours is reached.",
        "At step 200, PSNR: too few trials ran to the end to tell",
    ):  # fmt: skip
        assert found.index(expected) < found.index(" Verdicts ")


def test_the_search_is_in_files_of_its_own_and_its_images_in_none(make_search):
    folder = make_search()
    write_report(folder)
    suggestions = pd.read_csv(folder / "report" / "search.csv")
    assert len(suggestions) == 8
    assert suggestions[f"params/{SFP}"].notna().all()
    assert pd.read_csv(folder / "report" / "promised.csv")["gap"].dropna().tolist() == pytest.approx([-1.0, -0.5])
    assert set(pd.read_csv(folder / "report" / "trials.csv")["stage"]) == {"fixed", "search", "confirm"}
    assert set(pd.read_csv(folder / "report" / "images.csv")["stage"]) == {"fixed", "confirm"}


def test_a_study_without_a_search_has_neither_its_files_nor_a_word_of_it(make_study):
    folder = make_study()
    found = page(folder)
    assert not (folder / "report" / "search.csv").exists()
    assert " Search " not in found.text
    assert "tuned" not in found.text
    assert "search" not in markdown(folder)


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        ({PSNR: "max"}, "The line is the best so far"),
        ({PSNR: "max", NIQE: "min"}, "NIQE over PSNR (dB) of each suggestion"),
        ({PSNR: "max", NIQE: "min", "eval/ssim": "max"}, "Only the first two of 3 objectives are drawn"),
    ],
)
def test_the_figure_shows_each_search(make_search, objectives, said):
    values = [(10.0, 4.0, 0.5), (12.0, 3.0, 0.6), (11.0, 3.5, 0.7)]
    tried = {
        (name, 0): [
            *(Tried(flat(*one[: len(objectives)])) for one in values),
            Tried(flat(*values[0][: len(objectives)], count=1), state="STOPPED", decisions={100: "stop"}),
        ]
        for name in ("baseline", "no_attention")
    }
    found = page(make_search(Asked(tried, dict.fromkeys(tried, (1, "x")), search={"objectives": objectives})))
    assert said in found.text
    figure = found.source[found.source.index('class="search"') :]
    figure = figure[: figure.index("</svg>")]
    assert {"full model", "without attention"} <= set(re.findall(r">([^<>]+)</text>", figure))
    assert "without global sfp" not in figure


@pytest.mark.parametrize("objectives", [{PSNR: "max"}, {PSNR: "max", NIQE: "min"}])
def test_what_has_no_finite_value_is_in_no_figure_and_its_caption_says_so(make_search, objectives):
    values = [(10.0, 4.0), (math.inf, 3.0), (12.0, 3.5)]
    tried = {("baseline", 0): [Tried(flat(*one[: len(objectives)])) for one in values]}
    tried["baseline", 0].append(Tried(((-math.inf, 1.0)[: len(objectives)],), state="STOPPED", decisions={100: "stop"}))
    found = page(make_search(Asked(tried, {("baseline", 0): (2, "x")}, search={"objectives": objectives})))
    assert "Not drawn: 2 suggestions without a finite value." in found.text
    assert "Broken off at an objective without a finite value: 1 complete suggestion." in found.text
    figure = found.source[found.source.index('class="search"') :]
    assert set(re.findall(r">(1\d)</text>", figure[: figure.index("</svg>")])) <= {"10", "11", "12"}


def test_the_best_so_far_never_gets_worse(make_search):
    tried = {("baseline", 0): [Tried(flat(value)) for value in (10.0, 14.0, 9.0, 12.0, 15.0)]}
    source = page(make_search(Asked(tried))).source
    figure = source[source.index('class="search"') :]
    lines = re.findall(r'<path d="(M[^"]*)"[^>]*style="fill: none; stroke: var\(--accent\)', figure)
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", lines[0])]
    assert len(set(heights)) == 3  # 10, 14 and 15
    assert heights == sorted(heights, reverse=True)  # y grows downwards


def test_the_bytes_are_the_same_from_an_unchanged_ledger(make_search):
    rng = [((n * 7) % 11 / 10 + 0.2, n % 8 + 1) for n in range(14)]
    tried = {
        (name, 0): [Tried(flat(10 + a + b / 9, 4 - a), {SFP: a, "local.patches": b}) for a, b in rng]
        for name in ("baseline", "no_attention")
    }
    parameters = {name: [SFP, "local.patches"] for name, _ in tried}
    facts = {"objectives": {PSNR: "max", NIQE: "min"}, "budget": {"trials": 14}, "parameters": parameters}
    folder = make_search(Asked(tried, dict.fromkeys(tried, (3, "knee")), search=facts))
    assert "Parameters told from noise" in page(folder).text
    first = everything(folder)
    shutil.rmtree(folder / "report")
    again = [sys.executable, "-m", "analysis.report", str(folder)]
    elsewhere = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run(again, check=True, capture_output=True, cwd=ROOT, env=elsewhere)
    assert everything(folder) == first


def test_the_command_prints_what_was_spent_promised_and_confirmed(make_search, capsys):
    assert main([str(make_search())]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"without attention +4 of 4 ", printed)
    assert re.search(r"full model +PSNR \(dB\) +14\.\d\d ± \d\.\d\d +17\.00 +16\.00 ± 0\.50 +1\.00 dB worse", printed)
    assert "For the settings found" in printed


def test_markdown_tables_of_a_search_have_a_cell_for_every_head(make_search):
    for block in re.split(r"(?m)^(?!\|).*$", markdown(make_search())):
        assert len({line.count("|") for line in block.strip().splitlines()}) <= 1


def test_a_search_that_has_only_begun_has_a_report(make_search):
    folder = make_search(Asked({("baseline", 0): [Tried(state="PLANNED")]}, search={"parameters": {"baseline": [SFP]}}))
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("UPDATE trial SET state = 'PLANNED'")
    db.close()
    found = page(folder).text
    assert "0 of 9 trials of the fixed stage and 0 of 1 trials of the search at most have a result; 10 waiting" in found
    assert "its search is not finished" in found
