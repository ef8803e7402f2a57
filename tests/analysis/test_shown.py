import numpy as np
import pytest

from analysis import wording
from analysis.factorial import full
from analysis.ledger import open_ledger
from analysis.shown import (
    breaks,
    differed,
    events,
    explored,
    facts,
    groups,
    happened,
    labels,
    notices,
    settings,
    trials,
    verdicts,
)
from analysis.tables import read, tables
from tests.analysis.synthetic import LEAVE_ONE_OUT, Variant, designed


@pytest.fixture
def made(make_study):
    def make(name="study", **plan):
        with open_ledger(make_study(name, **plan)) as ledger:
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


def test_what_a_difference_is_holds_of_every_row(made):
    loss = "each variant less what it is compared with, so it is a loss where a component that is left out helps. "
    assert f"Difference: {loss}" in differed(made()[0])
    bare, extra = LEAVE_ONE_OUT[0], Variant("extra", (1.0, 0.0, 0.0, 0.0), "extra", "baseline", present=1)
    added = differed(made("added", variants=(bare, extra))[0])
    assert "Difference: each variant less what it is compared with. " in added
    assert f"Difference: {loss}" in differed(made("both", variants=(*LEAVE_ONE_OUT, extra))[0])
    two, placebo = ("attention", "local_sfp"), Variant("placebo", compared_to="baseline")
    crossed = designed(full(two).runs, two, lambda run: 15 + len(run))
    plan = {"design": "factorial", "components": two}
    alone = differed(made("alone", variants=crossed, **plan)[0])
    what = "Difference: with each component less without it, on average over all combinations of the other components"
    assert f"{what}. " in alone
    controlled = differed(made("controlled", variants=(*crossed, placebo), **plan)[0])
    assert f"{what}; of a control, the variant less what it is compared with. " in controlled


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


def test_a_state_that_is_not_known_is_no_end_and_is_counted_under_its_own_name(made):
    readings, _ = made(ends={("no_attention", 1): ("PAUSED", None, None), ("baseline", 2): ("PLANNED", None, None)})
    assert notices(readings)[0] == ("Unfinished", "16 of 18 trials have a result; 1 waiting and 1 PAUSED.")
    assert readings.interim.startswith("interim: 1 of 3 seeds have ended in every variant, 2 trials are outstanding;")


def test_verdicts_carry_numbers_and_words(made):
    first = verdicts(*made(seeds=range(1, 6)))[0]
    assert (first.component, first.verdict, first.seeds) == ("attention", "helps", 5)
    assert first.estimate.startswith("\u22121.")
    assert first.sentence.endswith("attention helps.")
    assert first.bound == ""


def test_other_metrics_are_a_row_each_with_a_column_for_each_variant(made):
    readings, found = made()
    names, rows = explored(readings, found)
    assert [title for title, _ in rows] == ["SSIM", "NIQE", "Error of the mean luminance (grey levels)"]
    assert names[:2] == ["without attention", "without local discriminator"]
    table = found.verdicts.set_index(["variant", "metric"])
    niqe = dict(rows)["NIQE"]
    assert len(niqe) == 5
    assert niqe[1] == wording.estimate(table.loc[("no_local_discriminator", "eval/niqe")], 2)


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


def test_what_happened_is_counted_by_trial_with_the_first_step_of_each(made):
    def spike(seed, step):
        return ("no_attention", seed, step, "spike", "global", 9.0, f"step {step}: high")

    events_of = [spike(1, 30), spike(1, 90), spike(3, 70), ("baseline", 2, 50, "collapse", "output", 0.1, "flat")]
    readings, _ = made(events=events_of, ends={("no_attention", 2): ("PLANNED", None, None)})
    kinds, found = happened(readings)
    assert kinds == ["Collapse", "Gradient spike"]
    assert dict(found)["without attention"] == ["none of 2", "2 of 2, at step 30 (30 to 70)"]
    assert dict(found)["full model"] == ["1 of 3, at step 50", "none of 3"]
    assert [(one.name, one.seed, one.step, one.text) for one in events(readings)] == [
        ("full model", "2", "50", "flat"),
        ("without attention", "1", "30", "high"),
        ("without attention", "1", "90", "high"),
        ("without attention", "3", "70", "high"),
    ]
    assert wording.events(readings.events, 17) == "Of 17 trials begun: collapse in 1, gradient spike in 2."


def test_settings_are_told_with_what_they_leave_without_effect(made):
    readings, _ = made()
    readings.variants.loc[1, "overrides"] = '{"generator.attention": "none", "batch": 2}'
    assert settings(readings) == [
        ("without attention", 'generator.attention: "none", batch: 2', "generator.attend"),
    ]
