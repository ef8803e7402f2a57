"""Seeds and hours to decide: against the reference's table, and against power that scipy gives."""

import sqlite3
from dataclasses import replace
from math import ceil, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.factorial import full, spreads
from analysis.ledger import Metric, open_ledger
from analysis.outlook import Effort, Reach, outlook_table, reach
from analysis.outlook_shown import Asked, effort, outlook_of, outlook_part
from analysis.records import read_records
from analysis.report import write_report
from analysis.tables import read, tables
from tests.analysis.synthetic_search import SFP, Tried, ordinary

METRICS = [Metric("eval/psnr_db", "PSNR (dB)", True, True), Metric("eval/niqe", "NIQE", False, False)]
MATTERS = {"eval/psnr_db": 0.5}
LOOKS = (3, 5, 8, 12)
EFFORT = Effort(4, 0.5, 3)


def verdict(name, deviation, *, seeds=3, said="undecided", metric="eval/psnr_db", role="primary", why="", **more):
    return {
        "variant": f"no_{name}", "component": name, "compared_to": "baseline", "metric": metric, "role": role,
        "deviation": deviation, "seeds": seeds, "verdict": said, "why": why, **more,
    }  # fmt: skip


def table(*rows, matters=MATTERS, **options):
    names = dict.fromkeys((row["variant"] for row in rows), len({row["variant"] for row in rows}))
    return outlook_table(pd.DataFrame(rows), matters, names, EFFORT, **options)


def power(seeds, ratio, level):
    """Return the smaller of two powers: to find a difference of 1 whose sd is `ratio`, and to bound one of zero."""
    shift, df = sqrt(seeds) / ratio, seeds - 1
    found = 1 - stats.nct.cdf(stats.t.ppf(1 - level / 2, df), df, shift)
    bounded = 2 * stats.t.cdf(shift - stats.t.ppf(1 - level, df), df) - 1
    return min(found, bounded)


@pytest.mark.parametrize(
    ("sds", "alone", "of_five"), [(0.25, 285, 420), (0.5, 72, 108), (1, 18, 28), (2, 6, 8), (3, 5, 5)]
)
def test_seeds_agree_with_the_reference_and_are_the_first_that_have_the_power(sds, alone, of_five):
    # The reference's table is for runs without pairs, which have twice the degrees of freedom: a seed or two fewer.
    for level, expected in ((0.05, alone), (0.01, of_five)):
        found = reach(sqrt(2) / sds, level=level, after=2)
        assert not found.beyond
        assert found.seeds == pytest.approx(expected, rel=0.035, abs=2)
        assert power(found.seeds, sqrt(2) / sds, level) >= 0.8 > power(found.seeds - 1, sqrt(2) / sds, level)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6, 0.9, 1.2, 5.0])
@pytest.mark.parametrize("after", [0, 3, 5, 8, 12])
def test_of_looks_it_is_the_first_still_to_come_whose_share_of_the_level_has_the_power(ratio, after):
    shares = dict(zip(LOOKS, np.diff([0.0, *(np.array(LOOKS) / 12) ** 2]), strict=True))
    enough = [seeds for seeds in LOOKS if seeds > after and power(seeds, ratio, 0.01 * shares[seeds]) >= 0.8]
    expected = Reach(enough[0]) if enough else Reach(12, beyond=True)
    assert reach(ratio, level=0.01, after=after, looks=LOOKS) == expected


def test_more_seeds_than_anyone_trains_are_not_counted_out():
    assert reach(1e9, level=0.05, after=3) == Reach(1000, beyond=True)
    assert reach(0.0, level=0.05, after=3) == Reach(4)


def test_a_pilot_of_three_seeds_gives_a_range_with_its_trainings_and_hours():
    found = table(verdict("a", 0.2)).iloc[0]
    low, high = (0.2 / 0.5 * sqrt(2 / stats.chi2.ppf(tail, 2)) for tail in (0.95, 0.05))
    least, most = found["seeds_low"], found["seeds_high"]
    assert least == 4  # what there is has not decided
    assert power(4, low, 0.05) >= 0.8
    assert power(most, high, 0.05) >= 0.8 > power(most - 1, high, 0.05)
    more = 4 * (most - 3)  # of four variants
    assert list(found[["trainings_low", "trainings_high"]]) == [4, more]
    assert list(found[["hours_low", "hours_high"]]) == [2.0, 0.5 * more]
    assert list(found[["wall_hours_low", "wall_hours_high"]]) == [1.0, 0.5 * ceil(more / 3)]  # three at a time


def test_all_together_take_what_the_open_one_takes_that_varies_most():
    found = table(
        verdict("a", 0.1), verdict("b", 0.3), verdict("c", 9.0, said="helps"), verdict("d", 5.0, said="hurts")
    )
    assert list(found["kind"]) == ["component"] * 4 + ["all"]
    both = found.iloc[-1]
    assert (both["seeds_low"], both["seeds_high"]) == tuple(found.iloc[1][["seeds_low", "seeds_high"]])
    assert list(found["trainings_high"][2:4]) == [0, 0]
    assert list(found["why"][2:4]) == ["decided: helps", "decided: hurts"]


def test_one_component_whose_spread_is_not_known_is_named():
    few = verdict("b", np.nan, seeds=2, said="", why="2 complete seeds, 3 are needed for an interval")
    found = table(verdict("a", 0.1), few)
    assert list(found["kind"]) == ["component", "component", "all"]
    assert found["why"].iloc[1] == few["why"]
    assert found["why"].iloc[2] == "not known of b"
    told = outlook_part(found, EFFORT, Asked(METRICS, "eval/psnr_db"))
    assert told.table.rows[1][3] == f"not known: {few['why']}"
    assert "nan" not in str(told).lower()


def test_what_has_a_verdict_before_all_planned_seeds_have_ended_takes_these():
    found = table(verdict("a", 0.2, said="helps"), verdict("b", 0.1, said="equivalent"), planned=5)
    assert found["seeds_high"].tolist() == [5, 5, 5]
    assert found["trainings_low"].tolist() == [8, 8, 8]  # two more seeds of 4 trainings
    rows = outlook_part(found, EFFORT, Asked(METRICS, "eval/psnr_db")).table.rows
    assert [row[1:5] for row in rows] == [
        ["a", "3", "helps so far, to be decided at the 5 planned", "8"],
        ["b", "3", "equivalent so far, to be decided at the 5 planned", "8"],
        ["all of them", "3", "5; all have a verdict so far, to be decided at the 5 planned", "8"],
    ]
    done = outlook_part(table(verdict("a", 0.2, said="helps")), EFFORT, Asked(METRICS, "eval/psnr_db")).table.rows
    assert [row[1:5] for row in done] == [["a", "3", "decided: helps", "0"]]


def test_what_has_a_verdict_so_far_takes_the_trainings_that_are_outstanding():
    names = [verdict("a", 0.2, said="helps", seeds=6), verdict("b", 0.1, said="hurts", seeds=5)]
    untold = verdict("c", np.nan, seeds=0, said="", why="no completed trial of no_c")
    found = table(*names, untold, planned=6, outstanding=5)  # c waits, and a seed of b diverged
    assert found["seeds_high"].tolist() == [6, 6, pd.NA, 6]
    assert found["trainings_low"].tolist() == found["trainings_high"].tolist() == [5, 5, pd.NA, 5]
    assert found["hours_high"].tolist()[-1] == 2.5
    last = outlook_part(found, EFFORT, Asked(METRICS, "eval/psnr_db")).table.rows[-1]
    said = "6; all that are known have a verdict so far, to be decided at the 6 planned; not known of c"
    assert last[1:5] == ["all of them", "5", said, "5"]


def test_all_of_them_take_no_less_than_what_waits_for_the_planned_seeds():
    waits, open_ = verdict("a", 0.2, said="helps"), verdict("b", 0.1)
    alone = table(waits, open_).iloc[1]
    assert alone["seeds_low"] < alone["seeds_high"] < 12
    found = table(waits, open_, planned=12, outstanding=36)
    assert found["seeds_low"].tolist() == [12, alone["seeds_low"], 12]
    assert found["seeds_high"].tolist() == [12, alone["seeds_high"], 12]
    assert found["trainings_high"].tolist() == [36, alone["trainings_high"], 36]
    wide = table(waits, verdict("b", 0.5), planned=5, outstanding=8)  # the open one takes more than are planned
    assert wide["seeds_low"].tolist() == [5, wide["seeds_low"][1], max(5, wide["seeds_low"][1])]
    assert wide["seeds_high"][2] == wide["seeds_high"][1] > 5
    assert wide["trainings_high"][2] == wide["trainings_high"][1] > 8


def test_the_report_counts_the_trainings_that_its_verdicts_say_are_outstanding(make_study):
    ends = {("no_attention", seed): ("PLANNED", None, None) for seed in (1, 2, 3, 4)}
    with open_ledger(make_study(pictures=False, seeds=(1, 2, 3, 4), ends=ends)) as ledger:
        readings = read(ledger, "fixed")
    found, told = outlook_of(readings, tables(readings))
    assert "4 trials are outstanding" in told.note
    waits = found["why"].str.contains("so far")
    assert waits.any()
    assert found.loc[waits, "trainings_low"].eq(4).all()


def test_where_nothing_is_known_no_spread_is_made_up():
    found = outlook_table(None, MATTERS, dict.fromkeys("abcde", 5), Effort(6, np.nan, 1))
    assumed = found[found["kind"] == "assumed"]
    assert assumed["sds"].tolist() == [0.5, 1, 2]
    assert assumed["seeds_low"].tolist() == pytest.approx([108, 28, 8], rel=0.035, abs=2)  # the reference, of five
    assert assumed["trainings_low"].tolist() == [6 * seeds for seeds in assumed["seeds_low"]]
    assert set(found.loc[found["kind"] == "component", "why"]) == {"nothing has been trained yet"}
    told = outlook_part(found, Effort(6, np.nan, 1), Asked(METRICS, "eval/psnr_db"))
    assert [row[0] for row in told.table.rows] == [f"PSNR, 0.5 dB, at an sd of {sd} dB" for sd in (1, 0.5, 0.25)]
    assert told.table.heads[-1] == "More trainings"  # no hours
    assert "nothing has been trained yet" in told.note


@pytest.mark.parametrize(("sds", "seeds"), [(0.5, 15), (1.0, 7), (2.0, 4)])
def test_main_effects_of_many_runs_take_fewer_seeds_than_pairs(sds, seeds):
    runs = full("abcd").runs
    found = outlook_table(None, MATTERS, dict.fromkeys("abcd", 4), EFFORT, spreads=spreads("abcd", runs))
    row = found[found["sds"] == sds].iloc[0]
    ratio = sqrt(4 / len(runs)) / sds  # two means of 8 runs each
    assert row["seeds_low"] == row["seeds_high"] == seeds
    assert power(seeds, ratio, 0.05 / 4) >= 0.8 > power(seeds - 1, ratio, 0.05 / 4)


def test_a_placebo_beside_main_effects_is_a_pair_that_takes_more():
    sizes = {**dict.fromkeys("abcd", 4), "placebo": 1}
    table = outlook_table(None, MATTERS, sizes, EFFORT, spreads=spreads("abcd", full("abcd").runs))
    rows = outlook_part(table, EFFORT, Asked(METRICS, "eval/psnr_db")).table.rows
    alone = reach(sqrt(2), level=0.05, after=0).seeds
    assert rows[1][2] == f"{alone}; 7 without placebo"
    assert "without placebo" not in outlook_part(table, EFFORT, Asked(METRICS, "eval/psnr_db")).note


def test_a_screening_design_without_verdicts_has_no_outlook():
    assert outlook_table(None, MATTERS, {}, EFFORT, spreads={"a": 1.0}).empty


def test_ranges_are_explained_only_where_one_stands():
    def note(*rows, **options):
        return outlook_part(table(*rows, **options), EFFORT, Asked(METRICS, "eval/psnr_db")).note

    assert "Ranges are 90 % intervals" in note(verdict("a", 0.2))
    assert "Ranges" not in note(verdict("a", 0.2, said="helps"))
    assert "Ranges" not in note(verdict("a", 0.0))  # 4 in either case
    assert "Ranges" not in note(verdict("a", np.nan, said="", why="too few"))


def test_more_than_was_declared_is_said_and_not_counted():
    found = table(verdict("a", 0.2, last_look=3), verdict("b", 5.0, last_look=12, seeds=12), looks=LOOKS)
    told = outlook_part(found, EFFORT, Asked(METRICS, "eval/psnr_db", looks=LOOKS))
    seeds, trainings = ([row[place] for row in told.table.rows] for place in (3, 4))
    assert seeds[0] == "5, or more than the 12 that were declared"
    assert trainings[0] == "8 to more than 36"
    assert seeds[1] == "more than the 12 that were declared"
    assert trainings[1] == "\u2013"
    assert "at 3, 5, 8 and 12 seeds" in told.note


def test_what_waits_for_its_first_look_is_told_by_its_spread():
    found = table(verdict("a", 0.05, said="", why="it waits for the look at 3 seeds", last_look=0), looks=LOOKS)
    assert found.iloc[0]["seeds_low"] in LOOKS
    assert found.iloc[0]["why"] == ""


def test_of_other_metrics_the_seeds_there_are_may_be_enough():
    niqe = verdict("a", 0.001, metric="eval/niqe", role="exploratory", said="", why="exploratory", seeds=6)
    found = table(verdict("a", 0.1), niqe, matters={**MATTERS, "eval/niqe": 0.3})
    assert found[found["metric"] == "eval/niqe"].iloc[0][["seeds_low", "trainings_low"]].tolist() == [3, 0]
    told = outlook_part(found, EFFORT, Asked(METRICS, "eval/psnr_db"))
    assert [row[:2] for row in told.table.rows] == [["PSNR, 0.5 dB", "a"], ["NIQE, 0.3", "all of them"]]


def test_of_images_like_these_more_scenes_may_be_needed_too():
    found = table(verdict("a", 0.1))
    notes = [outlook_part(found, EFFORT, Asked(METRICS, sample=sample)).note for sample in (False, True)]
    assert ["more scenes may be needed" in note for note in notes] == [False, True]


def test_without_a_margin_nothing_is_told():
    assert outlook_part(table(verdict("a", 0.1), matters={}), EFFORT, Asked(METRICS)) is None


def test_an_effect_that_cannot_be_told_from_another_is_promised_no_seeds():
    found = table(verdict("a", 0.1, role="exploratory", said="", aliases="b x c", why="it cannot be told from b x c"))
    assert found.iloc[0]["why"] == "it cannot be told from b x c"
    assert pd.isna(found.iloc[0]["seeds_low"])


@pytest.mark.parametrize(("sampling", "is_told"), [(1.98, False), (0.5, False), (0.49, True)])
def test_where_drawing_orders_errs_as_much_as_the_margin_no_seeds_are_promised(sampling, is_told):
    found = table(verdict("a", 0.1, sampling=sampling)).iloc[0]
    assert pd.notna(found["seeds_low"]) == is_told
    assert ("more orders are needed" in found["why"]) != is_told


def test_hours_are_those_that_trainings_took_with_so_many_at_a_time(make_study):
    folder = make_study(pictures=False)
    with sqlite3.connect(folder / "ledger.db") as db:  # 18 trainings of 50 s, one a minute; now two at a time
        db.execute("UPDATE attempt SET ended = started + 100")
    db.close()
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
        assert read_records(ledger).at_once == 2
    found = effort(readings)
    assert (found.trainings, found.at_once) == (6, 2)
    assert found.hours == pytest.approx(50 / 3600)


def test_a_repeat_of_a_search_takes_its_trials_and_what_confirms_it(make_search):
    places = [(name, repeat) for name in ("baseline", "no_attention") for repeat in range(4)]
    confirmed = {(*place, seed): {"SICE": (20.0,)} for place in places for seed in (1, 2)}
    tried = {place: [Tried([(9.0,), (10.0,)])] for place in places}
    asked = ordinary(
        tried=tried, choices=dict.fromkeys(places, (0, "best")), confirmed=confirmed, search={"repeats": 4}
    )
    with open_ledger(make_search(asked)) as ledger:
        found = effort(read(ledger, "confirm"))
    assert found.trainings == 2 + 2 * 2


def test_a_repeat_whose_search_goes_on_takes_more_than_the_trials_that_confirm_it(make_search):
    places = [(name, repeat) for name in ("baseline", "no_attention") for repeat in range(5)]
    chosen, noise = places[:-1], (0.0, 0.1, 0.3, 0.2, 0.0)
    confirmed = {
        (name, repeat, seed): {"SICE": (20.0 + seed + (noise[repeat] - 9 if name != "baseline" else 0),)}
        for name, repeat in chosen
        for seed in (1, 2)
    }
    asked = ordinary(
        tried={place: [Tried([(9.0,), (10.0,)])] for place in places}, choices=dict.fromkeys(chosen, (0, "best")),
        confirmed=confirmed, search={"repeats": 5, "parameters": {"baseline": [SFP], "no_attention": [SFP]}},
    )  # fmt: skip
    with open_ledger(make_search(asked)) as ledger:
        readings = read(ledger, "confirm")
    readings = replace(readings, study=replace(readings.study, matters=MATTERS))
    found, told = outlook_of(readings, tables(readings))
    assert "2 trials are outstanding" in told.note  # these confirm; those of the search come before
    row = found.iloc[0]
    assert (row["seeds"], row["seeds_high"], row["why"][:12]) == (4, 5, "helps so far")
    assert row["trainings_high"] == round(effort(readings).trainings) > 2


def test_the_report_tells_it_on_the_page_in_markdown_and_in_numbers(make_study):
    folder = make_study(pictures=False)
    report = write_report(folder).parent
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    expected, _ = outlook_of(readings, tables(readings))
    csv = pd.read_csv(report / "outlook.csv")
    assert csv["seeds_high"].tolist() == expected["seeds_high"].tolist()
    row = csv[csv["kind"] == "all"].iloc[0]
    cell = f"{int(row['seeds_low'])} to {int(row['seeds_high'])}"
    text = (report / "report.md").read_text()
    assert f"| PSNR, 0.5 dB | all of them | 3 | {cell} |" in text
    page = (report / "index.html").read_text()
    assert '<h2 id="outlook">What it would take</h2>' in page
    assert f">{cell}<" in page
    assert (report / "tables" / "outlook.parquet").exists()
