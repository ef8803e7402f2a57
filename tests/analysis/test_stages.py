import pandas as pd
import pytest

from analysis.ledger import open_ledger
from analysis.stages import judged, unit_of, verdict_stage
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


@pytest.mark.parametrize(("repeats", "unit"), [(1, "seed"), (3, "seed"), (4, "repeat")])
def test_four_searches_of_each_variant_make_the_repeat_the_unit(make_search, repeats, unit):
    found = study(make_search(ordinary(search={"repeats": repeats})))
    assert unit_of(found, "confirm") == unit
    assert unit_of(found, "fixed") == "seed"


def test_of_a_repeat_the_completed_seeds_are_averaged():
    frame = images([("baseline", 0, 7, 1.0), ("baseline", 0, 8, 3.0), ("baseline", 1, 7, 10.0)])
    assert judged(frame, "repeat")[["seed", PSNR]].values.tolist() == [[0, 2.0], [1, 10.0]]


def test_of_a_seed_the_repeats_are_averaged():
    frame = images([("baseline", 0, 7, 1.0), ("baseline", 0, 8, 3.0), ("baseline", 1, 7, 10.0)])
    assert judged(frame, "seed")[["seed", PSNR]].values.tolist() == [[7, 5.5], [8, 3.0]]


def test_a_score_that_is_missing_in_one_of_them_is_missing():
    frame = images([("baseline", 0, 7, 1.0), ("baseline", 1, 7, None), ("baseline", 0, 8, 2.0)])
    assert judged(frame, "seed")[PSNR].isna().tolist() == [True, False]


def test_scores_of_one_search_are_judged_as_they_are():
    frame = images([("baseline", 0, 7, 1.0), ("baseline", 0, 8, 3.0)])
    assert judged(frame, "seed") is frame


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


def test_with_fewer_searches_the_interval_is_over_seeds_averaged_over_the_searches(make_search):
    _, row = verdict(make_search(several(2)))
    assert row["seeds"] == 3
    assert row["difference"] == pytest.approx(-2.1)  # (-0.3 + 0.1) / 2 - 2, for every seed
    assert row["deviation"] == pytest.approx(0, abs=1e-9)


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
