"""Suggestions, each against Optuna's own storage or a calculation; then whole searches on synthetic curves."""

import json
import math
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from platform.sampler import KINDS, Address, distinct, suggest
from platform.sampler_history import History, Observation, Space
from platform.stopping import Decision, asha, decide, hyperband, rungs

PLAIN = {
    "sfp": FloatDistribution(0.1, 10, log=True),
    "blur": FloatDistribution(-1, 1),
    "patches": IntDistribution(1, 8),
    "patch_px": CategoricalDistribution([16, 24, 32]),
    "overlap": FloatDistribution(0, 1),
}
OF_PATCHES = ("patch_px", "overlap")
WITH_CONDITION = Space(PLAIN, lambda name, others: name not in OF_PATCHES or others["patches"] > 2)


def value(params):
    """A loss whose best settings are known: sfp 1, blur 0.5, patches 5, patch_px 24."""
    far = math.log10(params["sfp"]) ** 2 + (params["blur"] - 0.5) ** 2 + ((params["patches"] - 5) / 7) ** 2
    return far + 0.1 * (params.get("patch_px", 16) != 24)


def observed(count, *, objectives=1, states=("complete", "pruned", "fail", "running"), space=WITH_CONDITION, seed=0):
    """Observations of random settings in turn of each state, as numbers that both samplers and JSON keep."""
    found = []
    for number in range(count):
        params = suggest("random", History(space, ["min"]), Address(seed, "", 0, number))
        values = [value(params), -params["blur"], params["sfp"]][:objectives]
        state = states[number % len(states)]
        found.append(
            Observation(
                number,
                params,
                state,
                values if state == "complete" else None,
                {10: values, 30: [one + 0.1 for one in values]} if state == "pruned" else {},
            )
        )
    return found


def suggested(kind, observations, number, *, space=WITH_CONDITION, directions=("min",), seed=1, **options):
    return suggest(kind, History(space, directions, observations), Address(seed, "baseline", 0, number), **options)


# --- one suggestion ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "tpe", "gp"])
@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_suggestion_is_what_optuna_gives_over_a_study_in_its_own_storage(kind, objectives):
    states = ("complete", "complete", "pruned", "fail", "running")
    if objectives > 1:  # with which Optuna refuses stopped trials that have a value
        states = ("complete", "complete", "fail", "running")
    observations, address = observed(40, objectives=objectives, states=states), Address(7, "baseline", 0, 40)
    seed = address.derived(0)
    samplers = {
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False),
    }
    study = optuna.create_study(directions=["minimize", "maximize"][:objectives], sampler=samplers[kind]())
    for one in observations:
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[one.state.upper()],
                params=dict(one.params),
                distributions={name: PLAIN[name] for name in one.params},
                values=one.objectives,
                intermediate_values={30: one.rungs[30][0]} if one.rungs else {},
            )
        )
    trial = study.ask()
    expected = {
        "sfp": trial.suggest_float("sfp", 0.1, 10, log=True),
        "blur": trial.suggest_float("blur", -1, 1),
        "patches": trial.suggest_int("patches", 1, 8),
    }
    if expected["patches"] > 2:
        expected["patch_px"] = trial.suggest_categorical("patch_px", [16, 24, 32])
        expected["overlap"] = trial.suggest_float("overlap", 0, 1)
    history = History(WITH_CONDITION, ["min", "max"][:objectives], observations)
    assert suggest(kind, history, address) == expected


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of tpe, random, quasi-random, gp, got 'cma'"):
        suggested("cma", [], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_plain_and_survive_json(kind):
    params = suggested(kind, observed(40), 40, first=0)
    assert {type(one) for one in params.values()} <= {int, float}
    assert json.loads(json.dumps(params)) == params


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_of_the_address_changes_the_suggestion(kind):
    history = History(Space(PLAIN), ["min"], observed(16, states=("complete",), space=Space(PLAIN)))
    base = {"seed": 1, "variant": "a", "repeat": 0, "number": 20}
    others = [base | one for one in ({"seed": 2}, {"repeat": 1}, {"number": 21})]
    found = [suggest(kind, history, Address(**one)) for one in (base, base, *others)]
    assert found[0] == found[1]
    different = len({json.dumps(one) for one in found})
    assert different == 4 if kind != "gp" else different > 1  # GP's best point may well be the same twice
    same = suggest(kind, history, Address(**base | {"variant": "b"})) == found[0]
    assert same == (kind == "quasi-random")  # whose points are the same for all variants


def test_a_number_that_has_an_observation_is_refused():
    with pytest.raises(ValueError, match="suggestion 3: expected a number without an observation"):
        suggested("tpe", observed(4), 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_decides_which_parameters_there_are(kind):
    count = 12 if kind != "gp" else 5  # GP begins to model at 10, and may have one and the same opinion each time
    observations = observed(count, states=("complete",))
    found = [suggested(kind, observations, number) for number in range(count, count + 12)]
    assert all((name in one) == (one["patches"] > 2) for one in found for name in OF_PATCHES)
    assert {"patch_px" in one for one in found} == {True, False}


def test_the_process_and_its_hash_seed_play_no_part():
    program = (
        "import json, platform.sampler as s, platform.sampler_history as h\n"
        "from optuna.distributions import FloatDistribution as F, IntDistribution as I\n"
        "space = h.Space({'n': I(1, 4), **{f'x{i}': F(0, 1) for i in range(8)}},\n"
        "                lambda name, others: name == 'n' or int(name[1]) < 2 * others['n'])\n"
        "seen = []\n"
        "for number in range(24):\n"
        "    params = s.suggest('tpe', h.History(space, ['min'], seen), s.Address(1, 'v', 0, number))\n"
        "    seen.append(h.Observation(number, params, 'complete', [sum(params.values())]))\n"
        "print(json.dumps([one.params for one in seen]))\n"
    )
    root = Path(__file__).parents[2]
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


# --- what the samplers are told ------------------------------------------------------------------------------------


def told(observations, *, directions=("min",), space=WITH_CONDITION):
    return {trial.number: trial for trial in History(space, directions, observations).trials}


SOME = {"sfp": 1.0, "blur": 0.0, "patches": 1}


def test_a_stopped_trial_is_told_as_pruned_with_its_rung():
    (trial,) = told([Observation(4, SOME, "pruned", None, {10: [3.0], 30: [2.0]})]).values()
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert trial.values is None
    assert trial.intermediate_values == {30: 2.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_told_as_a_failure_without_a_number(bad):
    trials = told(
        [
            Observation(0, SOME, "complete", [bad, 1.0]),
            Observation(1, SOME, "pruned", None, {10: [1.0, 1.0], 30: [1.0, bad]}),
            Observation(2, SOME, "complete", None),
            Observation(3, SOME, "fail", [1.0, 1.0]),
        ],
        directions=["min", "min"],
    )
    assert {trial.state for trial in trials.values()} == {optuna.trial.TrialState.FAIL}
    assert all(trial.values is None and not trial.intermediate_values for trial in trials.values())


def test_a_wrong_count_of_objectives_is_refused():
    with pytest.raises(ValueError, match="trial 2: expected 2 objectives, got 1"):
        told([Observation(2, SOME, "complete", [1.0])], directions=["min", "max"])


def test_what_lies_outside_the_space_is_not_told_and_what_is_inactive_is_dropped():
    trials = told(
        [
            Observation(0, SOME | {"sfp": 11.0}, "complete", [1.0]),
            Observation(1, SOME | {"patches": 5, "patch_px": 48}, "complete", [1.0]),
            Observation(2, SOME | {"patch_px": 48, "other": 1}, "complete", [1.0]),
            Observation(3, {"sfp": 1.0, "blur": 0.0}, "complete", [1.0]),
        ],
        space=Space(PLAIN, lambda name, others: name not in OF_PATCHES or others.get("patches", 0) > 2),
    )
    assert {number: trial.params for number, trial in trials.items()} == {2: SOME, 3: {"sfp": 1.0, "blur": 0.0}}


def test_running_trials_push_the_next_one_away():
    space = Space({"x": FloatDistribution(0, 1)})
    seen = [Observation(n, {"x": n / 19}, "complete", [abs(n / 19 - 0.5)]) for n in range(20)]
    running = [Observation(n, {"x": 0.5}, "running") for n in range(20, 30)]

    def distance(observations):
        history = History(space, ["min"], observations)
        return np.mean([abs(suggest("tpe", history, Address(s, "", 0, 30))["x"] - 0.5) for s in range(30)])

    assert distance(seen + running) > 2 * distance(seen)


def test_stopped_trials_with_several_objectives_stand_by_rung_then_by_front():
    trials = told(
        [
            Observation(0, SOME, "pruned", None, {10: [9.0, 9.0]}),
            Observation(1, SOME, "pruned", None, {10: [1.0, 1.0]}),
            Observation(2, SOME, "pruned", None, {10: [5.0, 5.0], 30: [8.0, 8.0]}),
            Observation(3, SOME, "pruned", None, {10: [2.0, 0.5]}),
            Observation(4, SOME, "complete", [0.0, 0.0]),
        ],
        directions=["min", "min"],
    )
    violated = {number: sum(trial.constraints.values()) for number, trial in trials.items()}
    assert sorted(violated, key=violated.__getitem__) == [4, 2, 1, 3, 0]
    assert violated[4] == 0 < violated[2]


def test_the_sampler_learns_from_stopped_trials_with_several_objectives():
    space = Space({"x": FloatDistribution(0, 1)})
    seen = [Observation(n, {"x": 1 - n / 60}, "pruned", None, {10: [1 - n / 60, 2 - n / 60]}) for n in range(60)]
    history = History(space, ["min", "min"], seen)
    found = [suggest("tpe", history, Address(seed, "", 0, 60))["x"] for seed in range(30)]
    assert np.mean(found) < 0.2


# --- first and quasi-random points ---------------------------------------------------------------------------------


def test_first_points_are_the_same_for_every_variant_and_kind():
    names = list(PLAIN)
    less = {name: PLAIN[name] for name in names if name != "blur"}
    spaces = {"baseline": Space(PLAIN, union=names), "no_blur": Space(less, union=names)}
    for number in range(5):
        found = [
            suggest(kind, History(space, ["min"]), Address(3, variant, 1, number), first=5)
            for kind in KINDS
            for variant, space in spaces.items()
        ]
        assert all({"blur": found[0]["blur"], **one} == found[0] for one in found)
    afterwards = [suggest("tpe", History(spaces[v], ["min"]), Address(3, v, 1, 5), first=5) for v in spaces]
    assert {"blur": afterwards[0]["blur"], **afterwards[1]} != afterwards[0]


def test_quasi_random_points_fill_every_parameter_evenly():
    # each coordinate of 2^m points of a scrambled Sobol sequence has one in each interval of length 2^-m
    space = Space(
        {
            "x": FloatDistribution(0, 16),
            "log": FloatDistribution(1, 2**16, log=True),
            "n": IntDistribution(0, 15),
            "step": FloatDistribution(0, 1.5, step=0.1),
            "of": CategoricalDistribution(list("abcd")),
        }
    )
    points = [suggested("quasi-random", [], number, space=space) for number in range(16)]
    assert sorted(math.floor(one["x"]) for one in points) == list(range(16))
    assert sorted(math.floor(math.log2(one["log"])) for one in points) == list(range(16))
    assert sorted(one["n"] for one in points) == list(range(16))
    assert sorted(round(one["step"] * 10) for one in points) == list(range(16))
    assert sorted(one["of"] for one in points) == sorted("abcd" * 4)


def test_quasi_random_integers_keep_their_steps_bounds_and_logarithmic_shares():
    space = Space({"even": IntDistribution(2, 8, step=2), "log": IntDistribution(1, 8, log=True)})
    points = [suggested("quasi-random", [], number, space=space) for number in range(1024)]
    assert {one: [p["even"] for p in points].count(one) for one in (2, 4, 6, 8)} == dict.fromkeys((2, 4, 6, 8), 256)
    for one in range(1, 9):
        share = math.log((one + 0.5) / (one - 0.5)) / math.log(8.5 / 0.5)
        assert [p["log"] for p in points].count(one) == pytest.approx(1024 * share, abs=2)


# --- repeats -------------------------------------------------------------------------------------------------------


def test_a_repeat_is_asked_again_and_marked_when_there_is_nothing_else():
    space = Space({"of": CategoricalDistribution(list("abc"))})
    seen: list[Observation] = []
    for number in range(3):
        found = distinct("tpe", History(space, ["min"], seen), Address(1, "", 0, number), tries=50)
        assert found.repeats is None
        seen.append(Observation(number, found.params, "running" if number else "fail"))
    assert {one.params["of"] for one in seen} == set("abc")
    again = distinct("tpe", History(space, ["min"], seen), Address(1, "", 0, 3))
    assert again.params == seen[again.repeats].params
    assert again.params == suggest("tpe", History(space, ["min"], seen), Address(1, "", 0, 3))


def test_settings_that_differ_by_rounding_are_a_repeat():
    space = Space({"sfp": PLAIN["sfp"], "patches": PLAIN["patches"]})
    history = History(space, ["min"], [Observation(3, {"sfp": 10.0, "patches": 1}, "complete", [0.0])])
    assert history.first_with({"sfp": 9.999999999999998, "patches": 1}).number == 3
    assert history.first_with({"sfp": 9.9999, "patches": 1}) is None
    assert history.first_with({"sfp": 10.0, "patches": 2}) is None
    assert history.first_with({"sfp": 10.0}) is None


def test_a_sampler_that_insists_on_a_point_that_failed_does_not_get_the_search_stuck():
    # the loss falls towards x = 1, where every trial fails: of that GP learns nothing, and proposes it again and again
    space = Space({"x": FloatDistribution(0, 1)})
    seen = [Observation(n, {"x": n / 20}, "complete", [1 - n / 20]) for n in range(12)]
    for number in range(12, 16):
        found = distinct("gp", History(space, ["min"], seen), Address(1, "", 0, number), tries=1)
        assert found.repeats is None
        seen.append(Observation(number, found.params, "fail"))


def test_a_repeated_first_point_stays_as_it_is_for_every_variant():
    space, address = Space({"of": CategoricalDistribution(list("abc"))}), Address(1, "", 0, 2)
    point = suggest("quasi-random", History(space, ["min"]), address)
    history = History(space, ["min"], [Observation(1, point, "complete", [0.0])])
    for kind, first in (("tpe", 4), ("quasi-random", 0)):
        found = distinct(kind, history, address, first=first)
        assert (found.params, found.repeats) == (point, 1)
    assert distinct("tpe", history, address).repeats is None


# --- extending a history -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [1, 2])
def test_an_extended_history_suggests_what_a_rebuilt_one_does(objectives):
    directions = ["min", "max"][:objectives]
    end = observed(60, objectives=objectives)
    grown = History(WITH_CONDITION, directions)
    rng = random.Random(5)
    for count in range(8, 61, 4):
        now = [*end[: count - 4], *(Observation(one.number, one.params, "running") for one in end[count - 4 : count])]
        rng.shuffle(now)
        grown.update(now)
        address = Address(2, "v", 0, count)
        for kind in ("tpe", "random"):
            expected = suggest(kind, History(WITH_CONDITION, directions, now), address)
            assert suggest(kind, grown, address) == expected
        assert grown.trials == History(WITH_CONDITION, directions, sorted(now, key=lambda one: one.number)).trials


def test_an_update_forgets_what_is_no_longer_there_and_takes_what_changed():
    seen = observed(20, states=("complete",))
    history = History(WITH_CONDITION, ["min"], seen)
    changed = [*seen[:5], Observation(5, seen[5].params, "complete", [-9.0]), *seen[12:]]
    history.update(changed)
    assert [trial.number for trial in history.trials] == [*range(6), *range(12, 20)]
    assert history.trials[5].values == [-9.0]
    assert history.first_with(seen[5].params).number == 5
    assert history.first_with(seen[8].params) is None


# --- whole searches on synthetic curves ----------------------------------------------------------------------------

LAST = 90
RUNGS = rungs(10, 3, LAST, 10)


def curve(params, number):
    """The values at each evaluation of a training: noisy, and such that curves cross; some diverge."""
    rng = random.Random(number)
    level, start, speed = value(params), rng.uniform(0.5, 2), rng.uniform(20, 60)
    for step in range(10, LAST + 1, 10):
        bad = params["sfp"] > 8
        yield step, math.nan if bad else level + start * math.exp(-step / speed) + rng.gauss(0, 0.02)


def search(kind, trials, *, rule=None, killed=(), space=WITH_CONDITION, seed=1, first=4):
    """Search one trial at a time; at the numbers `killed` begin anew from the ledger, a list of JSON rows.

    Returns the rows and the steps trained.
    """
    ledger: list[str] = []
    recorded: dict[tuple[int, int], str] = {}
    history, curves, spent = History(space, ["min"]), {}, 0
    seen: list[Observation] = []
    for number in range(trials):
        if number in killed:
            seen = [Observation(n, *json.loads(row)[:3], rungs_of(row)) for n, row in enumerate(ledger)]
            curves = {n: rungs_of(row) for n, row in enumerate(ledger)}
            history = History(space, ["min"])
        history.update(seen)
        found = distinct(kind, history, Address(seed, "v", 0, number), first=first)
        if found.repeats is not None:  # answered from the ledger
            ledger.append(ledger[found.repeats])
            seen.append(Observation(number, *json.loads(ledger[-1])[:3], rungs_of(ledger[-1])))
            continue
        params, state = found.params, "complete"
        curves[number] = {}
        for step, loss in curve(params, number):
            curves[number][step], spent = [loss], spent + 10
            if not math.isfinite(loss):
                state = "fail"
                break
            what = Decision.CONTINUE if rule is None else decide(rule, curves, number, step, recorded)
            recorded[number, step] = what
            if what == Decision.STOP:
                state = "pruned"
                break
        ledger.append(json.dumps([params, state, [loss] if state == "complete" else None, curves[number]]))
        seen.append(Observation(number, *json.loads(ledger[-1])[:3], rungs_of(ledger[-1])))
    return ledger, spent


def rungs_of(row):
    return {int(step): values for step, values in json.loads(row)[3].items()}


def best(ledger):
    """The true value, without noise, of the settings that look best among the complete."""
    rows = [json.loads(row) for row in ledger]
    return value(min((row for row in rows if row[1] == "complete"), key=lambda row: row[2])[0])


ASHA = partial(asha, rungs=RUNGS, reduction=3, directions=["min"])


@pytest.mark.parametrize(("kind", "trials"), [("tpe", 60), ("random", 60), ("quasi-random", 60), ("gp", 22)])
def test_a_search_killed_at_five_points_gives_the_same_sequence(kind, trials):
    rule = ASHA if kind != "gp" else None  # GP learns from complete trials alone
    undisturbed, spent = search(kind, trials, rule=rule)
    killed = [trials * part // 6 for part in range(1, 6)]
    assert search(kind, trials, rule=rule, killed=killed) == (undisturbed, spent)
    assert search(kind, trials, rule=rule, seed=2)[0] != undisturbed
    assert len({json.dumps(json.loads(row)[0]) for row in undisturbed}) == trials  # none trained twice


@pytest.mark.parametrize(("rule", "share"), [(asha, 1 / 3), (hyperband, 1 / 2)])
def test_thousands_of_trials_with_early_stopping_find_the_same_best_at_a_part_of_the_cost(rule, share):
    full, at_full = search("quasi-random", 2000)
    ledger, spent = search(
        "quasi-random", 2000, rule=partial(rule, rungs=RUNGS, reduction=3, directions=["min"]), killed=[700]
    )
    assert {json.loads(row)[1] for row in ledger} == {"complete", "pruned", "fail"}
    assert [json.loads(row)[0] for row in ledger] == [json.loads(row)[0] for row in full]
    assert spent < share * at_full
    assert best(ledger) == best(full)


def test_tpe_comes_closer_than_random_in_as_many_trials():
    found = {kind: [best(search(kind, 60, seed=seed)[0]) for seed in range(8)] for kind in ("tpe", "random")}
    assert np.median(found["tpe"]) < np.median(found["random"]) / 2


@pytest.mark.parametrize("space", [Space(PLAIN), WITH_CONDITION], ids=["plain", "conditions"])
@pytest.mark.parametrize("objectives", [1, 2])
def test_looking_at_one_trial_of_each_kind_suggests_what_looking_at_all_does(space, objectives):
    history = History(space, ["min"] * objectives, observed(40, objectives=objectives, space=space))
    address = Address(3, "baseline", 0, 40)
    plain = optuna.samplers.TPESampler(
        seed=address.derived(0), n_startup_trials=10, multivariate=True, constant_liar=True, group=space != Space(PLAIN)
    )
    assert suggest("tpe", history, address) == history.ask(plain, 40)
