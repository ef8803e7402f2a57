"""Whole studies with a search, simulated: budgets, stages, determinism, and what a killed driver leaves."""

import math
import sqlite3

import numpy as np
import pytest

from platform.simulation import KilledError
from tests.platform.simulated import curve, everything, psnr, rows, run, states, study, suggestions
from trials import images

VARIANTS = ("baseline", "no_attention", "no_local_discriminator")
ASHA = {"asha": {"first_rung": 20, "reduction": 3}}


def test_every_variant_gets_the_same_budget_and_is_confirmed_with_fresh_seeds(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    assert states(folder, "fixed") == {(name, "COMPLETED"): 2 for name in VARIANTS}
    assert states(folder) == {(name, "COMPLETED"): 9 for name in VARIANTS}
    assert states(folder, "confirm") == {(name, "COMPLETED"): 3 for name in VARIANTS}
    assert {seed for (seed,) in rows(folder, "SELECT seed FROM cell WHERE stage = 'search'")} == {1}
    assert {seed for (seed,) in rows(folder, "SELECT seed FROM cell WHERE stage = 'confirm'")} == {2, 3, 4}


def test_the_first_points_are_the_specs_own_and_the_same_for_all_variants(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    first = [suggestions(folder, name)[:3] for name in VARIANTS]
    assert first[0] == first[1] == first[2]
    assert first[0][0] == {"loss.sfp_global": 0.3, "loss.sfp_local": 0.3, "local.patches": 2}
    assert suggestions(folder)[3:] != suggestions(folder, "no_attention")[3:]
    own = (
        "SELECT stage FROM cell WHERE trial = (SELECT trial FROM cell WHERE stage = 'search' AND variant = 'baseline' "
    )
    assert sorted(rows(folder, own + "AND number = 0)")) == [("fixed",), ("search",)]  # trained once


def test_what_a_search_chose_is_what_is_confirmed(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    for variant in VARIANTS:
        ((number, why),) = rows(folder, "SELECT number, why FROM choice WHERE variant = ?", variant)
        values = [value(one) for one in suggestions(folder, variant)]
        assert values[number] == max(values)
        assert why == "highest eval/psnr_db of 9 that ran to the end"
        query = "SELECT settings FROM cell JOIN trial ON trial.number = cell.trial WHERE stage = ? AND variant = ?"
        confirmed = set(rows(folder, query, "confirm", variant))
        assert confirmed == set(rows(folder, query + " AND cell.number = ?", "search", variant, number))


def test_a_budget_in_steps_lets_early_stopping_try_more(tmp_path):
    found = study(tmp_path, search={"trials": None, "steps": 900, "scheduler": ASHA})
    folder = run(found, tmp_path / "out")
    query = (
        "SELECT variant, count(*), sum((SELECT max(step) FROM step WHERE step.trial = cell.trial)) FROM cell "
        "WHERE stage = 'search' GROUP BY variant"
    )
    for _, tried, steps in rows(folder, query):
        assert tried > 9
        assert 800 < steps <= 900


def test_a_cap_on_all_searches_ends_them_with_equal_budgets(tmp_path):
    folder = run(study(tmp_path, search={"total": {"trials": 13}}), tmp_path / "out", capacity=2)
    assert states(folder) == {(name, "COMPLETED"): 4 for name in VARIANTS}
    assert states(folder, "confirm") == {(name, "COMPLETED"): 3 for name in VARIANTS}
    assert "search.total.trials" in rows(folder, "SELECT value FROM study WHERE key = 'search'")[0][0]


@pytest.mark.parametrize(("cap", "gpus", "least"), [({"hours": 0.5}, 0, 18), ({"gpu_hours": 0.5}, 2, 9)])
def test_a_cap_in_hours_ends_the_searches_after_whole_rounds(tmp_path, cap, gpus, least):
    found = study(tmp_path, search={"total": cap, "trials": 50}, resources={"gpu": gpus})
    folder = run(found, tmp_path / "out")  # a trial takes 100 s
    counts = states(folder)
    assert len(set(counts.values())) == 1
    assert (
        least <= sum(counts.values()) < least + 6
    )  # the spec's own settings were trained before: 3 trials for nothing


def test_the_searches_end_together_when_none_finds_anything_better(tmp_path):
    worse = lambda settings, seed: curve({**settings, "loss": {"sfp_global": 5, "sfp_local": 5}}, seed)  # noqa: E731
    folder = run(study(tmp_path, search={"trials": 50, "patience": 4}), tmp_path / "out", curve=worse)
    counts = states(folder)
    assert len(set(counts.values())) == 1
    assert 5 <= counts["baseline", "COMPLETED"] < 30
    assert "search.patience" in rows(folder, "SELECT value FROM study WHERE key = 'search'")[0][0]


def test_a_variant_with_nothing_to_search_is_confirmed_as_it_stands(tmp_path):
    fixed = {"generator.attention": "none", "loss.sfp_global": 0.4}
    found = study(
        tmp_path,
        components={"attention": fixed},
        search={"space": {"loss.sfp_global": {"float": [0.03, 3], "log": True}}},
    )
    folder = run(found, tmp_path / "out")
    assert ("no_attention", "COMPLETED") not in states(folder)
    assert states(folder, "confirm")["no_attention", "COMPLETED"] == 3
    assert rows(folder, "SELECT number FROM choice WHERE variant = 'no_attention'") == [(-1,)]


def test_repeats_have_suggestions_of_their_own_and_are_all_confirmed(tmp_path):
    folder = run(study(tmp_path, search={"repeats": 3}), tmp_path / "out")
    tried = [suggestions(folder, repeat=repeat) for repeat in range(3)]
    assert [len(one) for one in tried] == [9, 9, 9]
    assert tried[0][1:] != tried[1][1:] != tried[2][1:]
    assert states(folder, "confirm") == {(name, "COMPLETED"): 9 for name in VARIANTS}
    query = "SELECT repeat, group_concat(DISTINCT seed) FROM cell WHERE stage = ? GROUP BY repeat"
    assert rows(folder, query, "search") == [(0, "1"), (1, "1000004"), (2, "2000007")]  # repeats that share no luck
    assert rows(folder, query, "confirm") == [
        (0, "2,3,4"),
        (1, "1000005,1000006,1000007"),
        (2, "2000008,2000009,2000010"),
    ]


def test_confirming_trials_are_scored_on_images_of_their_own(tmp_path):
    sets = {"evaluate": {"seen": {"low": "seen"}}, "confirm": {"fresh": {"low": "fresh"}}}
    data = {"source": "folders", "low": "low", "normal": "normal", **sets}
    for name in ("low", "normal", "seen", "fresh"):
        images.write(tmp_path / name / "one.png", np.zeros((64, 64, 3), np.uint8))
    found = study(tmp_path, data=data, search={"objectives": {"eval/niqe": "min"}}, analysis={"primary": "eval/niqe"})
    folder = run(found, tmp_path / "out")
    digests = dict(rows(folder, "SELECT DISTINCT stage, data FROM cell JOIN trial ON trial.number = cell.trial"))
    assert digests["fixed"] == digests["search"] != digests["confirm"]


def value(params):
    """Return what the training of a suggestion with seed 1 ends at."""
    weights = {"sfp_global": params["loss.sfp_global"], "sfp_local": params["loss.sfp_local"]}
    return psnr({"loss": weights, "local": {"patches": params["local.patches"]}}, 1)


# --- the same again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random", "quasi-random", "gp"])
def test_one_at_a_time_a_search_is_the_same_again_and_after_five_kills(tmp_path, sampler):
    found = study(tmp_path, search={"sampler": sampler, "trials": 12, "scheduler": ASHA, "first_points": 3})
    first, again = (everything(run(found, tmp_path / name)) for name in ("first", "again"))
    assert first == again
    killed = tmp_path / "killed"
    for reports in (7, 65, 1, 48, 30):  # in the fixed stage, in the search, right after a start
        with pytest.raises(KilledError):
            run(found, killed, reports=reports)
    assert everything(run(found, killed)) == first


@pytest.mark.parametrize("scheduler", ["none", ASHA, {"hyperband": {"first_rung": 10, "reduction": 3}}, "median"])
def test_a_resumed_study_decides_as_an_undisturbed_one(tmp_path, scheduler):
    found = study(tmp_path, search={"trials": 12, "scheduler": scheduler})
    first = everything(run(found, tmp_path / "first"))
    killed = tmp_path / "killed"
    for reports in (61, 35, 17, 9, 41):
        with pytest.raises(KilledError):
            run(found, killed, reports=reports)
    assert everything(run(found, killed)) == first
    assert (len(first["decision"]) == 0) == (scheduler == "none")


def test_several_at_a_time_nothing_is_lost_and_nothing_trained_twice(tmp_path):
    found = study(tmp_path, search={"trials": 20, "scheduler": ASHA})
    folder = tmp_path / "out"
    for reports in (50, 111, 23, 77):
        with pytest.raises(KilledError):
            run(found, folder, capacity=5, reports=reports)
    run(found, folder, capacity=5)
    assert [sum(count for (name, _), count in states(folder).items() if name == variant) for variant in VARIANTS] == [
        20, 20, 20,
    ]  # fmt: skip
    assert rows(folder, "SELECT count(*) FROM trial WHERE state IN ('RUNNING', 'PLANNED')") == [(0,)]
    assert rows(folder, "SELECT count(*) FROM attempt WHERE ended IS NULL") == [(0,)]
    ended = "SELECT count(*) AS n FROM attempt WHERE outcome IN ('COMPLETED', 'STOPPED') GROUP BY trial"
    assert rows(folder, f"SELECT max(n) FROM ({ended})") == [(1,)]
    assert rows(folder, "SELECT count(*), count(DISTINCT trial) FROM suggestion WHERE same_as IS NULL")[0] == (60, 60)


def test_another_seed_of_the_search_gives_other_suggestions(tmp_path):
    one = run(study(tmp_path), tmp_path / "one")
    other = run(study(tmp_path, search={"seed": 1}), tmp_path / "other")
    assert suggestions(one)[0] == suggestions(other)[0]
    assert suggestions(one)[1:] != suggestions(other)[1:]


def test_a_finished_study_starts_nothing(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    before = everything(folder), rows(folder, "SELECT count(*) FROM attempt")
    run(study(tmp_path), folder)
    assert (everything(folder), rows(folder, "SELECT count(*) FROM attempt")) == before


def test_tpe_finds_better_settings_than_its_first_points(tmp_path):
    folder = run(study(tmp_path, search={"trials": 30, "first_points": 6}), tmp_path / "out")
    values = [
        value
        for (value,) in rows(
            folder,
            "SELECT value FROM cell JOIN report USING (trial) WHERE stage = 'search' AND variant = 'baseline' "
            "AND metric = 'eval/psnr_db' AND step = 100 ORDER BY cell.number",
        )
    ]
    assert max(values[6:]) > max(values[:6])
    assert math.isclose(max(values), 20, abs_tol=1.0)


# --- what several trials or searches share ---------------------------------------------------------------------------


def test_a_budget_in_steps_counts_what_the_seeds_of_a_stopped_suggestion_really_trained(tmp_path):
    found = study(tmp_path, search={"trials": None, "steps": 4000, "seeds": 2, "scheduler": ASHA}, confirm={"seeds": 1})
    folder = run(found, tmp_path / "out", capacity=4)
    query = (
        "SELECT variant, sum((SELECT max(step) FROM step WHERE step.trial = cell.trial)) FROM cell "
        "WHERE stage = 'search' GROUP BY variant"
    )
    assert all(3600 < steps <= 4000 for _, steps in rows(folder, query))


def test_a_cap_holds_for_budgets_in_steps_too(tmp_path):
    search = {"trials": None, "steps": 5000, "scheduler": ASHA, "total": {"trials": 30}}
    folder = run(study(tmp_path, search=search), tmp_path / "out", capacity=2)
    assert rows(folder, "SELECT count(*) FROM suggestion") == [(30,)]


def test_what_one_search_stopped_another_lets_go_on_if_it_is_good_there(tmp_path):
    components = {"fewer": {"local.patches": 1}}
    search = {"trials": 18, "scheduler": ASHA, "objectives": {"eval/psnr_db": "max"}}
    folder = run(study(tmp_path, components=components, search=search), tmp_path / "out", capacity=2)
    query = (
        "SELECT cell.number, state, value FROM cell JOIN trial ON trial.number = cell.trial JOIN report USING (trial) "
        "WHERE stage = 'search' AND variant = 'no_fewer' AND metric = 'eval/psnr_db' AND step = 20"
    )
    at_rung = rows(folder, query)
    best = max(at_rung, key=lambda row: row[2])
    assert best[1] == "COMPLETED"


def test_patience_is_asked_of_the_searches_that_go_on_alone(tmp_path):
    constant = lambda settings, seed: {step: {"eval/psnr_db": 1.0} for step in range(10, 101, 10)}  # noqa: E731
    small = {"loss.sfp_global": 0.2, "loss.sfp_local": 0.2}
    found = study(tmp_path, components={"sfp": small}, search={"trials": 60, "patience": 5})
    folder = run(found, tmp_path / "out", curve=constant)
    assert len(suggestions(folder)) < 15


def test_dead_time_after_a_kill_is_no_training(tmp_path):
    found = study(tmp_path, search={"trials": 9, "total": {"hours": 100}})
    folder = tmp_path / "out"
    with pytest.raises(KilledError):
        run(found, folder, reports=70)
    db = sqlite3.connect(folder / "ledger.db")
    with db:  # the machine was off for a month
        db.execute("INSERT OR REPLACE INTO study VALUES ('simulated_until', ?)", (str(1_790_000_000.0 + 30 * 86400),))
    db.close()
    run(found, folder)
    assert states(folder) == {(name, "COMPLETED"): 9 for name in VARIANTS}


def test_a_trial_that_another_stage_needs_is_never_stopped(tmp_path):
    def poor(settings, seed):  # the spec's own settings are the worst of all
        own = settings["loss"]["sfp_global"] == 0.3
        return {
            step: {"eval/psnr_db": -step if own else one["eval/psnr_db"]} for step, one in curve(settings, seed).items()
        }

    folder = run(study(tmp_path, search={"trials": 12, "scheduler": ASHA}), tmp_path / "out", curve=poor, capacity=3)
    assert states(folder, "fixed") == {(name, "COMPLETED"): 2 for name in VARIANTS}


def test_a_driver_that_dies_between_a_stop_and_its_end_does_not_train_on(tmp_path):
    found = study(tmp_path, search={"scheduler": ASHA})
    folder = run(found, tmp_path / "out")
    ((trial, step),) = rows(folder, "SELECT trial, rung FROM decision WHERE what = 'stop' LIMIT 1")
    db = sqlite3.connect(folder / "ledger.db")
    with db:  # as a driver leaves it that was killed right after the decision
        db.execute("UPDATE trial SET state = 'RUNNING', ended = NULL WHERE number = ?", (trial,))
        db.execute("UPDATE attempt SET ended = NULL, outcome = NULL WHERE trial = ?", (trial,))
    db.close()
    run(found, folder)
    assert rows(folder, "SELECT state FROM trial WHERE number = ?", trial) == [("STOPPED",)]
    assert rows(folder, "SELECT max(step), count(*) FROM step WHERE trial = ?", trial)[0][0] == step
    assert rows(folder, "SELECT count(*) FROM attempt WHERE trial = ?", trial) == [(1,)]
