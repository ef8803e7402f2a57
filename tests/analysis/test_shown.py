import numpy as np
import pytest

from analysis.ledger import open_ledger
from analysis.shown import breaks, explored, facts, groups, labels, notices, trials, verdicts
from analysis.tables import read, tables
from tests.analysis.synthetic import Variant


@pytest.fixture
def made(make_study):
    def make(**plan):
        with open_ledger(make_study(**plan)) as ledger:
            readings = read(ledger, "fixed")
        return readings, tables(readings)

    return make


def test_a_set_without_references_has_no_columns_for_what_needs_them(made):
    sets = {"LOL": {"a": "a"}, "DICM": {"b": "b"}}
    by_name = {group.name: group for group in groups(*made(images=sets, unpaired=("DICM",)))}
    assert by_name["DICM"].heads == [("NIQE", "\u2193")]
    assert [title for title, _ in by_name["LOL"].heads][:3] == ["PSNR (dB)", "SSIM", "NIQE"]


def test_a_mean_over_fewer_seeds_than_completed_shows_their_number(made):
    readings, _ = made()
    hole = (readings.images["variant"] == "no_attention") & (readings.images["seed"] == 2)
    readings.images.loc[hole, "eval/niqe"] = np.nan
    (group,) = groups(readings, tables(readings))
    niqe = {row["name"]: row["cells"][2][1] for row in group.rows}
    assert niqe["without attention"].endswith(" (2)")
    assert "(" not in niqe["full model"]


def test_numbers_of_a_metric_have_the_same_decimals_in_every_row(made):
    (group,) = groups(*made())
    for place in range(len(group.heads)):
        assert len({len(row["cells"][place][0].partition(".")[2]) for row in group.rows}) == 1


def test_the_facts_count_the_study(made):
    readings, _ = made(seeds=(1, 2))
    assert facts(readings) == [
        "6 variants \u00d7 2 seeds", "2 images", "10.0 min of training", "as of 2026-09-21 14:26 UTC",
    ]  # fmt: skip


def test_a_shared_trial_is_counted_once_in_the_time_it_took(made):
    readings, _ = made(variants=(Variant("baseline"), Variant("twin", component="x", compared_to="baseline")))
    readings.trials["trial"] = "the same"
    assert facts(readings)[2] == "0.8 min of training"


def test_a_finished_study_without_cautions_has_no_notices(made):
    readings, _ = made()
    readings.study.data["caution"] = None
    assert notices(readings) == []


def test_a_study_whose_only_gaps_are_failures_is_incomplete_not_unfinished(made):
    readings, _ = made(ends={("no_attention", 1): ("FAILED", "bug", "x")})
    assert notices(readings)[0] == ("Incomplete", "17 of 18 trials have a result; 1 failed.")


def test_verdicts_carry_numbers_and_words(made):
    first = verdicts(*made(seeds=range(1, 6)))[0]
    assert (first.component, first.verdict, first.seeds) == ("attention", "helps", 5)
    assert first.estimate.startswith("\u22121.")
    assert first.sentence.endswith("attention helps.")
    assert first.bound == ""


def test_other_metrics_are_a_row_for_each_variant(made):
    titles, rows = explored(*made())
    assert titles == ["SSIM", "NIQE", "Error of the mean luminance (grey levels)"]
    assert [name for name, _ in rows][:2] == ["without attention", "without local discriminator"]
    assert all(len(cells) == 3 for _, cells in rows)


def test_a_failure_without_a_message_says_so(made):
    _, broken = breaks(*made(ends={("no_attention", 1): ("FAILED", "lost", None)}))
    assert broken == [("without attention", "1", "failed (lost)", "no message")]


def test_trials_that_have_no_score_show_a_dash(made):
    readings, _ = made(ends={("baseline", 1): ("PLANNED", None, None)})
    assert trials(readings)[0] == ("full model", "1", "planned", "\u2013", "\u2013", f"{1:032x}")


def test_labels_follow_the_plan(made):
    readings, _ = made()
    assert list(labels(readings).items())[:2] == [("baseline", "full model"), ("no_attention", "without attention")]


def test_how_trials_ended_stands_beside_every_variant(made):
    ends = {("no_attention", 1): ("DIVERGED", "", "x"), ("no_local_sfp", 3): ("RUNNING", None, None)}
    (group,) = groups(*made(ends=ends))
    ended = {row["name"]: row["completed"] for row in group.rows}
    assert ended["full model"] == "3 of 3"
    assert ended["without attention"] == "2 of 3, 1 diverged"
    assert ended["without local sfp"] == "2 of 3"
    assert ended["gain"] == ""
