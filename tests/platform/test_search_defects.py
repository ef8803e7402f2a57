"""What goes wrong where Ray Tune drives Optuna, one test each: none of it does here.

Ray's bridge tells a stopped trial as a complete one, leaves a trial with NaN running for ever, cannot start a search of
several objectives from known points, stops by one metric alone, lets two experiments share a study, cannot extend a
finished one, trains the same settings again and again, and takes the mean of what is left of a group of seeds.
"""

import json
import math

import pytest
from optuna.trial import TrialState

from analysis.schema import STOPPED
from platform.ledger import Ledger
from platform.simulation import KilledError
from tests.platform.simulated import curve, psnr, rows, run, states, study, suggestions

ASHA = {"asha": {"first_rung": 20, "reduction": 3}}
BOTH = {"eval/psnr_db": "max", "eval/niqe": "min"}


def history(found, folder, variant="baseline"):
    """Return a search as Optuna's samplers see it, rebuilt from the ledger."""
    from platform.acceptance import all_cells
    from platform.search_run import search_run

    ledger = Ledger(folder)
    try:
        cells = all_cells(found, ledger, "simulated")
        made = search_run(found, ledger, cells, digests=("simulated", "simulated"), clock=lambda: 0.0)
        return made._history(made.tracks[variant, 0])
    finally:
        ledger.close()


def test_a_stopped_trial_is_pruned_at_its_rung_never_complete_with_an_early_value(tmp_path):
    found = study(tmp_path, search={"scheduler": ASHA, "trials": 12})
    folder = run(found, tmp_path / "out")
    query = (
        "SELECT cell.number, max(step) FROM cell JOIN trial ON trial.number = cell.trial JOIN step USING (trial) "
        "WHERE stage = 'search' AND variant = 'baseline' AND state = ? GROUP BY 1"
    )
    stopped = dict(rows(folder, query, STOPPED))
    assert stopped
    for trial in history(found, folder).trials:
        if trial.number in stopped:
            assert trial.state == TrialState.PRUNED
            assert list(trial.intermediate_values) == [stopped[trial.number]]
        else:
            assert trial.state == TrialState.COMPLETE


def test_a_value_that_is_not_a_number_fails_and_the_search_goes_on(tmp_path):
    def broken(settings, seed):
        points = curve(settings, seed)
        bad = settings["local"]["patches"] == 3
        return {step: {**one, "eval/psnr_db": math.nan} for step, one in points.items()} if bad else points

    found = study(tmp_path)
    folder = run(found, tmp_path / "out", curve=broken)
    threes = [number for number, one in enumerate(suggestions(folder)) if one["local.patches"] == 3]
    assert threes
    for trial in history(found, folder).trials:
        assert trial.state == (TrialState.FAIL if trial.number in threes else TrialState.COMPLETE)
        assert all(math.isfinite(value) for value in trial.values or ())
    assert rows(folder, "SELECT number FROM choice WHERE variant = 'baseline'")[0][0] not in threes
    assert len(suggestions(folder)) == 9


def test_a_training_that_diverges_is_a_failed_observation(tmp_path):
    def diverging(settings, seed):
        points = curve(settings, seed)
        return points if settings["local"]["patches"] < 4 else {10: points[10]}

    folder = run(study(tmp_path), tmp_path / "out", curve=diverging)
    assert states(folder)["baseline", "DIVERGED"] >= 1
    assert sum(count for (name, _), count in states(folder).items() if name == "baseline") == 9


def test_a_search_of_several_objectives_starts_from_another_study(tmp_path):
    from platform.warm_start import warm_start

    several = {"objectives": BOTH, "trials": 8}
    earlier = run(study(tmp_path / "a", search=several, study="earlier"), tmp_path / "earlier")
    ((own, whole),) = rows(
        earlier, "SELECT count(DISTINCT iif(variant = 'baseline', trial, NULL)), count(DISTINCT trial) FROM cell"
    )
    found = study(tmp_path / "b", search={**several, "start": ["earlier"]})
    warm, said = warm_start(found, tmp_path, "simulated")
    assert said[0] == f"baseline: {own} of {whole} trials of earlier are a start"
    assert all(len(one.objectives) == 2 for one in warm["baseline"])
    alone = run(study(tmp_path / "c", search=several), tmp_path / "alone")
    after = run(found, tmp_path / "after", results=tmp_path)
    assert suggestions(alone)[0] == suggestions(after)[0]
    assert suggestions(alone)[3:] != suggestions(after)[3:]


def test_early_stopping_on_several_objectives_goes_by_fronts(tmp_path):
    folder = run(study(tmp_path, search={"objectives": BOTH, "scheduler": ASHA, "trials": 15}), tmp_path / "out")
    stopped = rows(
        folder,
        "SELECT cell.number FROM cell JOIN trial ON trial.number = cell.trial JOIN decision d ON d.trial = cell.trial "
        "WHERE stage = 'search' AND variant = 'baseline' AND rung = 20 AND what = 'stop'",
    )
    at_rung = {
        number: (low, high)
        for number, low, high in rows(
            folder,
            "SELECT cell.number, a.value, b.value FROM cell JOIN report a USING (trial) "
            "JOIN report b USING (trial, step) WHERE stage = 'search' AND variant = 'baseline' AND step = 20 "
            "AND a.metric = 'eval/psnr_db' AND b.metric = 'eval/niqe'",
        )
    }
    assert stopped
    for (number,) in stopped:  # some earlier trial was at least as good in both
        psnr_db, niqe = at_rung[number]
        assert any(other < number and high >= psnr_db and lower <= niqe for other, (high, lower) in at_rung.items())


def test_two_studies_share_nothing(tmp_path):
    space = {"local.patches": {"int": [1, 4]}, "loss.sfp_global": {"float": [0.1, 3]}}
    one = run(study(tmp_path / "a", search={"trials": 4}), tmp_path / "one")
    other = run(study(tmp_path / "b", search={"trials": 4, "space": space}, study="other"), tmp_path / "other")
    alone = run(study(tmp_path / "c", search={"trials": 4, "space": space}, study="other"), tmp_path / "alone")
    assert suggestions(other) == suggestions(alone)
    assert all(one.keys() == space.keys() for one in suggestions(other))
    assert all(len(one) == 3 for one in suggestions(one))


def test_a_finished_study_is_extended_by_the_same_command(tmp_path):
    folder = run(study(tmp_path, search={"trials": 4, "first_points": 2}), tmp_path / "out")
    before = suggestions(folder)
    attempts = rows(folder, "SELECT count(*) FROM attempt a JOIN cell c USING (trial) WHERE stage = 'search'")[0][0]
    run(study(tmp_path, search={"trials": 8, "first_points": 2}), folder)
    assert suggestions(folder)[:4] == before
    assert len(suggestions(folder)) == 8
    more = rows(folder, "SELECT count(*) FROM attempt a JOIN cell c USING (trial) WHERE stage = 'search'")[0][0]
    assert more - attempts == 3 * 4


@pytest.mark.parametrize("sampler", ["tpe", "random", "quasi-random", "gp"])
def test_nothing_is_trained_twice_and_a_small_space_is_done_when_all_of_it_was_tried(tmp_path, sampler):
    space = {"local.patches": {"int": [1, 3]}}
    found = study(tmp_path, search={"space": space, "trials": 10, "sampler": sampler, "first_points": 0})
    folder = run(found, tmp_path / "out")
    trained = rows(
        folder, "SELECT count(DISTINCT trial), count(*) FROM cell WHERE stage = 'search' AND variant = 'baseline'"
    )[0]
    assert trained[0] == 3
    assert rows(folder, "SELECT max(n) FROM (SELECT count(*) n FROM attempt GROUP BY trial)") == [(1,)]
    repeats = rows(folder, "SELECT number, same_as FROM suggestion WHERE variant = 'baseline' AND same_as IS NOT NULL")
    assert all(first < number for number, first in repeats)
    if trained[1] < 10:
        ended = json.loads(rows(folder, "SELECT value FROM study WHERE key = 'search'")[0][0])["ended"]
        assert ended["baseline"] == "all 3 settings of its space have been tried"


def test_seeds_stay_together_over_a_kill_and_one_that_fails_is_not_averaged_away(tmp_path):
    def fragile(settings, seed):
        points = curve(settings, seed)
        bad = seed == 2 and settings["local"]["patches"] == 3
        return {step: one for step, one in points.items() if step <= 30} if bad else points

    found = study(tmp_path, search={"trials": 27, "seeds": [1, 2, 3]}, confirm={"seeds": 2}, seeds=3)
    folder = tmp_path / "out"
    for reports in (100, 33, 71):
        with pytest.raises(KilledError):
            run(found, folder, curve=fragile, capacity=2, reports=reports)
    run(found, folder, curve=fragile, capacity=2)
    assert len(suggestions(folder)) == 9
    groups = rows(
        folder,
        "SELECT cell.number, group_concat(DISTINCT cell.seed), sum(state = 'DIVERGED') FROM cell "
        "JOIN trial ON trial.number = cell.trial WHERE stage = 'search' AND variant = 'baseline' GROUP BY 1",
    )
    assert {tuple(sorted(seeds.split(","))) for _, seeds, _ in groups} == {("1", "2", "3")}
    broken = {number for number, _, diverged in groups if diverged}
    assert broken
    for trial in history(found, folder).trials:
        assert trial.state == (TrialState.FAIL if trial.number in broken else TrialState.COMPLETE)
        if trial.number not in broken:
            weights = {"sfp_global": trial.params["loss.sfp_global"], "sfp_local": trial.params["loss.sfp_local"]}
            asked = {"loss": weights, "local": {"patches": trial.params["local.patches"]}}
            ends = [psnr(asked, seed) - 4 * (math.exp(-100 / 25) + math.exp(-90 / 25)) for seed in (1, 2, 3)]
            assert trial.value == pytest.approx(sum(ends) / 3)
