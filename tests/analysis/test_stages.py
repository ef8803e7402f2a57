import math

import pandas as pd
import pytest

from analysis import compare, contrasts, judge, load_images, load_judged, load_variants
from analysis.ledger import open_ledger
from analysis.stages import averaged, unit_of, verdict_stage
from analysis.tables import read, tables
from tests.analysis.synthetic_search import NEW, PSNR, SEEN, Tried, flat, ordinary


def images(rows):
    """Scores of one image: (variant, repeat, seed, value)."""
    frame = pd.DataFrame(rows, columns=["variant", "repeat", "seed", PSNR])
    places = {"stage": "confirm", "set": "SICE", "image": "a", "scene": "a", "number": 0, "step": 1, "evaluations": 1}
    return frame.assign(trial=[f"t{n}" for n in range(len(rows))], **places)


def study(folder):
    with open_ledger(folder) as ledger:
        return ledger.study


def test_verdicts_come_from_the_confirmation_where_there_is_one(make_study, make_search):
    assert verdict_stage(study(make_study("plain"))) == "fixed"
    assert verdict_stage(study(make_search(name="both"))) == "confirm"
    assert verdict_stage(study(make_search(ordinary(confirm=False, confirmed={}), name="untuned"))) == "fixed"


@pytest.mark.parametrize(("repeats", "unit"), [(1, "seed"), (2, "repeat"), (4, "repeat")])
def test_several_searches_of_each_variant_make_the_repeat_the_unit(make_search, repeats, unit):
    found = study(make_search(ordinary(search={"repeats": repeats})))
    assert unit_of(found, "confirm") == unit
    assert unit_of(found, "fixed") == "seed"


def test_of_a_repeat_the_completed_seeds_are_averaged():
    frame = images([("baseline", 0, 7, 1.0), ("baseline", 0, 8, 3.0), ("baseline", 1, 7, 10.0)])
    assert averaged(frame, "repeat")[["seed", PSNR]].values.tolist() == [[0, 2.0], [1, 10.0]]
    assert averaged(frame, "seed") is frame


def test_a_score_that_is_missing_at_one_of_the_seeds_is_missing():
    frame = images([("baseline", 0, 7, 1.0), ("baseline", 0, 8, None), ("baseline", 1, 9, 2.0)])
    assert averaged(frame, "repeat")[PSNR].isna().tolist() == [True, False]


SHIFTS = {0: -0.3, 1: 0.1, 2: 0.3, 3: 0.7}


def several(repeats):
    """Searches of two variants: on new images the difference is -2 plus a shift for each repeat, on others 0."""
    places = [(name, repeat) for name in ("baseline", "no_attention") for repeat in range(repeats)]
    confirmed = {
        (name, repeat, seed): {SEEN: (10.0,), NEW: (20.0 + seed + (SHIFTS[repeat] - 2 if name != "baseline" else 0),)}
        for name, repeat in places
        for seed in (1, 2, 4)
    }
    return ordinary(
        tried={place: [Tried(flat(12.0))] for place in places}, choices=dict.fromkeys(places, (0, "best")),
        confirmed=confirmed, search={"repeats": repeats},
    )  # fmt: skip


def verdict(folder):
    with open_ledger(folder) as ledger:
        readings = read(ledger, "confirm")
    return readings, tables(readings).verdicts.query("role == 'primary'").set_index("variant").loc["no_attention"]


def test_with_four_searches_the_interval_is_over_the_searches(make_search):
    readings, row = verdict(make_search(several(4)))
    assert row["seeds"] == 4
    assert row["difference"] == pytest.approx(-1.8)  # the mean of the shifts is 0.2
    # their sample variance is (0.25 + 0.01 + 0.01 + 0.25) / 3; t(0.975; 3) = 3.18245
    assert row["high"] - row["low"] == pytest.approx(2 * 3.18245 * (0.52 / 3 / 4) ** 0.5, rel=1e-5)
    assert set(readings.images["set"]) == {NEW}
    assert set(readings.references["set"]) == {NEW}


@pytest.mark.parametrize("repeats", [2, 3])
def test_fewer_searches_are_too_few_for_a_verdict_however_many_seeds_they_have(make_search, repeats):
    _, row = verdict(make_search(several(repeats)))
    assert row["seeds"] == repeats
    assert row["difference"] == pytest.approx(sum(SHIFTS[one] for one in range(repeats)) / repeats - 2)
    assert math.isnan(row["low"])
    assert row["verdict"] == ""
    assert f"{repeats} complete repeats of the search, 4 are needed to speak of the component" in row["sentence"]


@pytest.mark.parametrize("shift", [0.0, -2.0])
def test_a_seed_that_broke_down_for_one_variant_is_left_out_for_both(make_search, shift):
    # seed 1 is worth 10 dB more for both variants; the full model's broke down with it, in three of four repeats
    confirmed = {
        (name, repeat, 10 * repeat + seed): {
            NEW: (20 + 10 * (seed == 1) + 0.1 * repeat + (name != "baseline") * shift,)
        }
        for name in ("baseline", "no_attention")
        for repeat in range(4)
        for seed in (1, 2, 3)
    }
    confirmed |= {("baseline", repeat, 10 * repeat + 1): "DIVERGED" for repeat in range(3)}
    asked = several(4)
    folder = make_search(ordinary(tried=asked.tried, choices=asked.choices, confirmed=confirmed, search={"repeats": 4}))
    _, row = verdict(folder)
    assert row["difference"] == pytest.approx(shift, abs=1e-12)
    assert (row["seeds"], row["n_failed"], row["partial"]) == (4, 3, 3)
    assert row["deviation"] == 0  # what rounding makes of equal differences is no spread
    assert math.isnan(row["effect"])
    assert row["p"] == (1.0 if shift == 0 else 0.0)
    assert row["verdict"] == ("equivalent" if shift == 0 else "helps")
    assert "In 3 of 4 repeats a seed is missing." in row["sentence"]


@pytest.mark.parametrize("repeats", [1, 4])
def test_the_frame_for_python_gives_the_verdicts_of_the_report(make_search, repeats):
    folder = make_search(several(repeats))
    frame, family = load_judged(folder), contrasts(load_variants(folder))
    found = judge(frame, family, metric=PSNR, higher_is_better=True, margin=0.5).set_index("variant")
    _, row = verdict(folder)
    shown = ["difference", "low", "high", "p_adjusted", "seeds", "verdict"]
    assert found.loc["no_attention", shown].tolist() == row[shown].tolist()
    assert set(frame["set"]) == {NEW}  # not the images of the search, on which there is no difference
    assert row["verdict"] == "helps"


def test_the_frame_for_python_is_that_of_the_fixed_stage_without_a_search(make_study):
    folder = make_study()
    frame = load_judged(folder)
    assert frame.equals(load_images(folder, stage="fixed"))
    assert len(compare(frame, metric=PSNR, higher_is_better=True)) == 5


def test_a_variant_whose_trainings_all_diverged_keeps_its_place_in_the_family(make_study):
    ends = {("no_attention", seed): ("DIVERGED", "", "x") for seed in (1, 2, 3)}
    frame = load_judged(make_study(ends=ends, pictures=False))
    table = compare(frame, metric=PSNR, higher_is_better=True).set_index("variant")
    assert len(table) == 5
    assert table.at["no_attention", "why"].startswith("no completed trial of")
    smallest = table["p"].min()
    assert table["p_adjusted"].min() == pytest.approx(5 * smallest)  # Holm, of five


def test_a_frame_that_was_filtered_or_renamed_is_compared_as_it_is(make_study):
    frame = load_judged(make_study(pictures=False))
    options = {"metric": PSNR, "higher_is_better": True}
    two = compare(frame[frame["variant"].isin(["baseline", "no_attention"])], **options)
    assert two["variant"].tolist() == ["no_attention"]
    assert two["p_adjusted"].tolist() == two["p"].tolist()
    renamed = compare(frame.replace({"variant": {"no_attention": "without"}}), **options)
    assert len(renamed) == 5
    assert not renamed["why"].str.contains("no completed trial").any()


def test_while_nothing_is_confirmed_the_frame_for_python_is_empty(make_search):
    frame = load_judged(make_search(ordinary(confirmed={}, search={"repeats": 4})))
    assert frame.empty
    table = compare(frame, metric=PSNR, higher_is_better=True)
    assert set(table["verdict"]) == {""}
    assert table["why"].str.startswith("no completed trial of ").all()


def test_a_broken_confirmation_bounds_the_verdict_by_the_input_of_the_new_images(make_search):
    asked = several(4)
    confirmed = {**asked.confirmed, **{("no_attention", 3, seed): "DIVERGED" for seed in (1, 2, 4)}}
    _, row = verdict(make_search(ordinary(tried=asked.tried, choices=asked.choices, confirmed=confirmed,
                                          search={"repeats": 4})))  # fmt: skip
    assert row["seeds"] == 3
    lost = 9 - (20 + 7 / 3)  # the input has 9 dB, the full model 20 plus the mean of the seeds
    assert row["bound_difference"] == pytest.approx((-2.3 - 1.9 - 1.7 + lost) / 4)


def test_a_variant_whose_search_chose_nothing_says_why_there_is_no_verdict(make_search):
    asked = ordinary()
    confirmed = {place: scores for place, scores in asked.confirmed.items() if place[0] != "no_attention"}
    with open_ledger(make_search(ordinary(confirmed=confirmed))) as ledger:
        readings = read(ledger, "confirm")
    table = tables(readings, {"no_attention": "no candidate has a number"}).verdicts
    assert table["sentence"].iloc[0] == (
        "No verdict on attention: the search of no_attention chose nothing (no candidate has a number)."
    )
    assert table["verdict"].iloc[1] != ""
