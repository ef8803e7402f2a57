"""How many training steps a search needs to come near the best, and what a suggestion costs beside plain Optuna.

    python benchmarks/search.py [--quick] [--recorded FOLDER] [--repeats N]

*Steps.* This trainer has trained every point of `GRID`: a study of `platform.sweep`, recorded on the first run into
`FOLDER` (results/recorded; some 12 minutes on two cores) and read from its ledger ever after. A search over the grid,
run by `platform.simulation` (the real plan, samplers, scheduler and ledger, no training), then proposes trained points
alone. Its trials' steps count in the order of its suggestions, stopped ones up to where they were stopped, until one
that ran to the end lies at a target. A trial's value is that which the search goes by: the mean over its last `LAST`
evaluations. Two targets: *within 5 %* of the best value, which on a scale in dB more points reach; and *within 5 % of
the gain*, the distance from the grid's median to its best. A search that misses a target with as many suggestions as
the grid has points is given the steps of the whole grid. A ratio is the geometric mean over repeats, each with a seed
of its own that all methods share (and with it their first points); its interval, 95 %, is Student's t on the log
ratios. `--quick` takes synthetic curves in place of recorded ones: its steps say nothing about this trainer.

*Cost.* Both learn what the last suggestion was worth, then suggest the next, in turns, over as many trials of the same
settings: ours as the sweep does it, from the ledger's states and curves in memory (`Track.observed`,
`History`, `distinct`), the rival as Optuna's manual does it (`study.tell`, `study.ask`), with its storage in
memory and the same TPE. The ratio is the median over turns, with its interval by order statistics.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import optuna  # noqa: E402
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from scipy import stats  # noqa: E402

from analysis.guard import guard  # noqa: E402
from analysis.schema import COMPLETED  # noqa: E402
from platform import simulation, spec_file, tracks  # noqa: E402
from platform.design import Variant  # noqa: E402
from platform.sampler import Address, distinct  # noqa: E402
from platform.sampler_history import History, Space  # noqa: E402
from platform.search_spec import Direction, Search  # noqa: E402
from platform.stopping import rungs  # noqa: E402

METRIC = "eval/psnr_db"
GRID: dict[str, list[Any]] = {
    "optimiser.learning_rate": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
    "loss.sfp_global": [0.1, 0.3, 1.0],
    "loss.sfp_local": [0.1, 0.3, 1.0],
    "local.patches": [1, 4],
    "local.patch_px": [16, 32],
}
STEPS, EVERY, LAST = 160, 20, 4
TRAIN: dict[str, Any] = {
    "steps": STEPS, "batch": 2, "crop_px": 48, "pairing": "independent", "evaluate_every": EVERY,
    "generator": {"width": 8}, "global": {"layers": 3, "width": 16},
    "local": {"layers": 2, "width": 16, "patches": 1, "patch_px": 32},
    "loss": {"sfp_global": 0.3, "sfp_local": 0.3}, "vgg": {"weights": "random", "layer": "relu1_1"},
    "optimiser": {"learning_rate": 1e-3, "flat": 0.3, "epoch_steps": 1}, "augment": {"darken": 0},
}  # fmt: skip
"""The full model: a demo still smaller, and a point of the grid."""
METHODS: dict[str, dict[str, Any]] = {
    "random": {"sampler": "random"},
    "TPE": {"sampler": "tpe"},
    "TPE + ASHA": {"sampler": "tpe", "scheduler": "asha"},
    "TPE + ASHA from half": {"sampler": "tpe", "scheduler": {"asha": {"first_rung": STEPS // 2}}},
}
"""ASHA as it comes has its first rung at the first evaluation."""
TARGETS = ("within 5 %", "within 5 % of the gain")

Point = tuple[Any, ...]
"""A value for each setting of the grid, in its order."""
Curve = Mapping[int, float]
"""step -> `METRIC`, of every evaluation that was reached."""


# --- curves --------------------------------------------------------------------------------------------------------


def points() -> list[Point]:
    """Return the grid's points."""
    return list(itertools.product(*GRID.values()))


def point_of(settings: Mapping[str, Any]) -> Point:
    """Return which point of the grid a trial's settings are."""

    def at(path: str) -> Any:
        node: Any = settings
        for part in path.split("."):
            node = node[part]
        return node

    return tuple(at(path) for path in GRID)


@dataclass(frozen=True)
class Landscape:
    """The curves of all points, and what there is to be found on them."""

    curves: Mapping[Point, Curve]

    def value(self, point: Point) -> float:
        """Return what a search takes a point to be worth; NaN if its training ended before the last step."""
        curve = self.curves[point]
        return statistics.fmean([curve[step] for step in sorted(curve)][-LAST:]) if STEPS in curve else math.nan

    def targets(self) -> dict[str, float]:
        """Return the value to reach, by the target's name."""
        values = [value for value in map(self.value, self.curves) if not math.isnan(value)]
        best, middle = max(values), statistics.median(values)
        return dict(zip(TARGETS, (best - 0.05 * abs(best), best - 0.05 * (best - middle)), strict=True))


def recorded(folder: Path) -> Landscape:
    """Return the recorded curves, after training those that `folder` lacks: the sweep repeats nothing."""
    full, spec = point_of(TRAIN), folder / "curves.yaml"
    named = {f"point{n:03}": dict(zip(GRID, one, strict=True)) for n, one in enumerate(points()) if one != full}
    study = {"study": "curves", "train": TRAIN, "design": "list", "variants": named, "seeds": [1]}
    folder.mkdir(parents=True, exist_ok=True)
    spec.write_text(json.dumps(study, indent=1))  # JSON is YAML
    storage, log = folder / "storage", folder / "recording.log"
    print(f"recorded curves: {folder}; what is missing is trained now, see {log}", flush=True)
    command = [sys.executable, "-m", "platform.sweep", str(spec), "--results", str(folder), "--storage", str(storage)]
    with log.open("w") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"the recording ended with exit status {done.returncode}; see {log}")
    for weights in (storage, folder / "mlartifacts"):  # some 3 GB, which nothing here looks at again
        shutil.rmtree(weights, ignore_errors=True)
    curves = _read(folder / "curves" / "ledger.db")
    if len(curves) < len(points()):
        raise SystemExit(f"{folder}: {len(points()) - len(curves)} of {len(points())} points have no curve")
    return Landscape(curves)


def _read(ledger: Path) -> Mapping[Point, Curve]:
    """Return the curves of the planned trials that ended; of those that diverged, up to the evaluation before."""
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as db:
        found: dict[Point, dict[int, float]] = {}
        query = (
            "SELECT t.settings, r.step, r.value FROM cell c JOIN trial t ON t.number = c.trial "
            "JOIN report r ON r.trial = t.number WHERE r.metric = ? "
            "AND (t.state = 'COMPLETED' OR t.state = 'DIVERGED' AND r.step < ?) ORDER BY t.number, r.step"
        )
        for settings, step, value in db.execute(query, [METRIC, STEPS]):
            point = point_of(json.loads(settings))
            found.setdefault(point, {})[step] = math.nan if value is None else value
        return found


def synthetic() -> Landscape:
    """Return made-up curves of a stated shape, for `--quick`.

    From 8 dB each rises to its own end, 8 + 8 exp(-d^2 / 8) dB, as 1 - exp(-step / 40); d is the distance from the best
    point, one unit for each step of the grid in each setting. Noise of 0.3 dB is added, drawn anew at each evaluation.
    """
    best = (2, 1, 1, 1, 0)
    curves = {}
    for place in itertools.product(*(range(len(values)) for values in GRID.values())):
        far = sum((one - two) ** 2 for one, two in zip(place, best, strict=True))
        rng = np.random.default_rng([*place])
        steps = np.arange(EVERY, STEPS + 1, EVERY)
        values = 8 + 8 * math.exp(-far / 8) * (1 - np.exp(-steps / 40)) + rng.normal(0, 0.3, len(steps))
        point = tuple(values[index] for values, index in zip(GRID.values(), place, strict=True))
        curves[point] = dict(zip(steps.tolist(), values.tolist(), strict=True))
    return Landscape(curves)


def described(landscape: Landscape) -> dict[str, Any]:
    """Print what there is to be found, and how well early values foretell late ones; return the figures."""
    final = dict(enumerate(map(landscape.value, landscape.curves)))
    whole = [value for value in final.values() if not math.isnan(value)]
    best, middle = max(whole), statistics.median(whole)
    print(
        f"{len(final)} points, {STEPS} steps each, {len(final) - len(whole)} diverged: "
        f"best {best:.2f} dB, median {middle:.2f}, worst {min(whole):.2f}"
    )
    figures: dict[str, Any] = {"points": len(final), "best_db": round(best, 3), "median_db": round(middle, 3)}
    for name, target in landscape.targets().items():
        there = sum(value >= target for value in whole)
        print(f"{name}: {target:.2f} dB or more, which {there} points reach")
        figures[f"points {name}"] = there
    for rung in rungs(EVERY, 3, STEPS, EVERY):
        early = {n: curve[rung] for n, curve in enumerate(landscape.curves.values()) if rung in curve}
        one = guard(early, final, higher_is_better=True, reduction=3)
        print(
            f"step {rung} against the end: Kendall's tau {one.tau:.2f} [{one.low:.2f}, {one.high:.2f}]"
            f"{'; ' if one.warning else ''}{one.warning}"
        )
        figures[f"tau_{rung}"] = round(one.tau, 3)
    return figures


# --- steps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """One new trial of a search: the steps that it was trained, and its value if it ran to the end, else NaN."""

    steps: int
    value: float


def searched(landscape: Landscape, method: Mapping[str, Any], seed: int, folder: Path) -> list[Tried]:
    """Search the grid until it is used up, without training; return the trials in the order of their suggestions."""
    search = {
        "trials": len(landscape.curves),
        "objectives": {METRIC: "max"},
        "space": {path: {"choice": values} for path, values in GRID.items()},
        "seed": seed,
        "seeds": [1],
        **method,
    }
    # A search begins with the full model's settings, which on the grid would be a hint, and is trained apart: off it.
    train = {**TRAIN, "local": {**TRAIN["local"], "patches": 2}}
    spec = {"study": "search", "train": train, "seeds": [2], "analysis": {"primary": METRIC, "at": LAST}}
    file = folder / "search.yaml"
    file.write_text(json.dumps({**spec, "search": search}))

    def curve(settings: Mapping[str, Any], seed: int) -> dict[int, dict[str, float]]:
        known = landscape.curves[point_of(settings)] if seed == 1 else {STEPS: 0.0}
        return {step: {METRIC: value} for step, value in known.items()}

    simulation.simulate(spec_file.read(file), folder, curve)
    return _tried(folder / "ledger.db")


def _tried(ledger: Path) -> list[Tried]:
    """Return the trials of a simulated search; settings suggested twice were trained once."""
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as db:
        ends = dict(db.execute("SELECT trial, max(step) FROM step GROUP BY trial"))
        curves: dict[int, list[float]] = {}
        for trial, value in db.execute("SELECT trial, value FROM report WHERE metric = ? ORDER BY step", [METRIC]):
            curves.setdefault(trial, []).append(math.nan if value is None else value)
        query = (
            "SELECT t.number, t.state FROM suggestion s JOIN trial t ON t.id = s.trial "
            "WHERE s.same_as IS NULL ORDER BY s.number"
        )
        return [
            Tried(ends[trial], statistics.fmean(curves[trial][-LAST:]) if state == COMPLETED else math.nan)
            for trial, state in db.execute(query)
        ]


def steps_to(trials: Sequence[Tried], target: float) -> int | None:
    """Return the steps trained until a trial reached the target, that trial's included; None if none did."""
    spent = 0
    for one in trials:
        spent += one.steps
        if one.value >= target:
            return spent
    return None


def compared(landscape: Landscape, repeats: int) -> dict[str, Any]:
    """Print the steps that each method needs, and their ratios to random search; return the figures."""
    whole, found = len(landscape.curves) * STEPS, {}
    trials, begun = 0, time.perf_counter()
    for method, settings in METHODS.items():
        for seed in range(repeats):
            # In memory where there is such a folder: the ledger waits for the disk at each report.
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            with tempfile.TemporaryDirectory(dir=memory, prefix="search") as folder:
                found[method, seed] = searched(landscape, settings, seed, Path(folder))
            trials += len(found[method, seed])
    seconds = time.perf_counter() - begun
    print(f"{trials} trials simulated in {seconds:.0f} s, {trials / seconds:.0f} a second")
    figures: dict[str, Any] = {"repeats": repeats, "simulated_trials_s": round(trials / seconds, 1)}
    print(f"{'':24}{'method':22}{'median steps':>14}{'missed':>8}{'ratio':>8}  95 %")
    for name, target in landscape.targets().items():
        needed = {}
        for method in METHODS:
            steps = [steps_to(found[method, seed], target) for seed in range(repeats)]
            needed[method] = [whole if one is None else one for one in steps]
            ratio, low, high = paired_ratio(needed[method], needed["random"])
            missed, middle = steps.count(None), statistics.median(needed[method])
            print(f"{name:24}{method:22}{middle:14.0f}{missed:8}{ratio:8.2f}  [{low:.2f}, {high:.2f}]")
            figures[f"{method}, {name}"] = {
                "median_steps": middle, "missed": missed, "ratio": round(ratio, 3),
                "low": round(low, 3), "high": round(high, 3),
            }  # fmt: skip
    return figures


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of ours / theirs, pair by pair, and its interval of 95 %: t on the log ratios."""
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    middle, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * error
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


# --- cost ----------------------------------------------------------------------------------------------------------

SPACE = {
    "sfp": FloatDistribution(0.1, 10, log=True),
    "rate": FloatDistribution(1e-5, 1e-2, log=True),
    "darken": FloatDistribution(0, 1),
    "patches": IntDistribution(1, 8),
    "patch_px": CategoricalDistribution([16, 24, 32]),
}
"""What the cost is measured with: two log ranges, a range, whole numbers and a choice."""
DIRECTIONS: tuple[Direction, ...] = ("max", "min")
WORDS = {"max": "maximize", "min": "minimize"}


def values_of(params: Mapping[str, Any], objectives: int) -> list[float]:
    """Return made-up objectives of some settings, two that are at odds."""
    far = math.log10(params["sfp"]) ** 2 + (math.log10(params["rate"]) + 3) ** 2 + (params["patches"] / 8 - 0.6) ** 2
    return [20 - far - (params["patch_px"] != 24), 4 + params["darken"] - 0.5 * math.log10(params["sfp"])][:objectives]


class Ours:
    """A search of the sweep, whose trials end as soon as they are suggested."""

    def __init__(self, known: Sequence[tuple[dict[str, Any], list[float]]], objectives: int) -> None:
        self.objectives, directions = objectives, DIRECTIONS[:objectives]
        names = [f"objective/{n}" for n in range(objectives)]
        self.rules = tracks.Rules(Search(), dict(zip(names, directions, strict=True)), names, [1], [], LAST)
        self.track = tracks.Track(Variant("baseline"), 0, [], {}, STEPS)
        self.states: dict[str, str] = {}
        self.trials = tracks.Trials(self.states, {}, {})
        for params, values in known:
            self._end(params, values)
        space = Space(SPACE, lambda name, others: True)  # as the sweep has it, which allows for conditions
        self.history = History(space, directions, self.track.observed(self.rules, self.trials))

    def turn(self) -> float:
        """Learn what the last suggestion was worth, and suggest the next; return the seconds of both."""
        begun = time.perf_counter()
        self.history.update(self.track.observed(self.rules, self.trials))
        params = distinct("tpe", self.history, Address(0, "baseline", 0, self.track.following)).params
        spent = time.perf_counter() - begun
        self._end(params, values_of(params, self.objectives))
        return spent

    def _end(self, params: Mapping[str, Any], values: Sequence[float]) -> None:
        trial = str(self.track.following)
        self.track.add(tracks.Entry(self.track.following, params, [trial]))
        self.states[trial] = COMPLETED
        self.trials.curves[trial] = dict.fromkeys(range(EVERY, STEPS + 1, EVERY), values)


class Plain:
    """Plain Optuna."""

    def __init__(self, known: Sequence[tuple[dict[str, Any], list[float]]], objectives: int) -> None:
        self.objectives = objectives
        sampler = optuna.samplers.TPESampler(seed=0, multivariate=True)
        words = [WORDS[one] for one in DIRECTIONS[:objectives]]
        self.study = optuna.create_study(directions=words, sampler=sampler)
        for params, values in known:
            self.study.add_trial(optuna.trial.create_trial(params=params, distributions=SPACE, values=values))
        self.last: tuple[optuna.Trial, list[float]] | None = None

    def turn(self) -> float:
        """Learn what the last suggestion was worth, and suggest the next; return the seconds of both."""
        begun = time.perf_counter()
        if self.last is not None:
            self.study.tell(*self.last)
        trial = self.study.ask()
        params = {name: _asked(trial, name, one) for name, one in SPACE.items()}
        spent = time.perf_counter() - begun
        self.last = trial, values_of(params, self.objectives)
        return spent


def _asked(trial: optuna.Trial, name: str, one: Any) -> Any:
    if isinstance(one, CategoricalDistribution):
        return trial.suggest_categorical(name, one.choices)
    suggest = trial.suggest_int if isinstance(one, IntDistribution) else trial.suggest_float
    return suggest(name, one.low, one.high, log=one.log)


def costs(turns: int) -> dict[str, Any]:
    """Print what a suggestion costs, by trials known and objectives; return the figures."""
    print(f"{'trials known':>12}{'objectives':>12}{'ours ms':>10}{'plain Optuna ms':>17}{'ratio':>8}  95 %")
    figures: dict[str, Any] = {}
    for objectives in (1, 2):
        for known in (100, 1_000, 10_000):
            history = [(params, values_of(params, objectives)) for params in _random(known)]
            pair = [kind(history, objectives) for kind in (Ours, Plain)]
            mine, theirs = _turns(pair, turns)
            middle, low, high = median_ratio(mine, theirs)
            ours, plain = (statistics.median(one) * 1e3 for one in (mine, theirs))
            print(
                f"{known:12}{objectives:12}{ours:10.2f}{plain:17.2f}{middle:8.2f}  [{low:.2f}, {high:.2f}]", flush=True
            )
            figures[f"{known}, {objectives}"] = {
                "ms": round(ours, 2), "plain_ms": round(plain, 2), "ratio": round(middle, 3),
                "low": round(low, 3), "high": round(high, 3),
            }  # fmt: skip
    return figures


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of ours / theirs, pair by pair, and its interval of 95 % or more: two of the ratios themselves.

    The median lies below the k-th smallest of n with the chance that a fair coin falls heads fewer than k times of n.
    """
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    cut = max(0, int(stats.binom.ppf(0.025, len(ratios), 0.5)) - 1)
    return statistics.median(ratios), ratios[cut], ratios[-1 - cut]


def _random(count: int) -> list[dict[str, Any]]:
    """Return random settings, from Optuna itself."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [study.ask(SPACE).params for _ in range(count)]


def _turns(pair: Sequence[Any], turns: int) -> list[list[float]]:
    """Return the seconds of each turn of each, after one that is not counted."""
    spent: list[list[float]] = [[] for _ in pair]
    for turn in range(turns + 1):
        for one, durations in zip(pair, spent, strict=True):
            seconds = one.turn()
            if turn:
                durations.append(seconds)
    return spent


def main() -> None:
    """Measure, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="synthetic curves, few repeats and turns: under a minute")
    parser.add_argument("--recorded", type=Path, default=ROOT / "results" / "recorded", metavar="FOLDER")
    parser.add_argument("--repeats", type=int, help="of each search (default: 50; with --quick 3)")
    chosen = parser.parse_args()
    if chosen.quick:
        print("SYNTHETIC curves: the steps below say nothing about this trainer")
    landscape = synthetic() if chosen.quick else recorded(chosen.recorded.resolve())
    figures: dict[str, Any] = {"curves": "synthetic" if chosen.quick else "recorded", **described(landscape)}
    figures["steps"] = compared(landscape, chosen.repeats or (3 if chosen.quick else 50))
    figures["cost"] = costs(6 if chosen.quick else 40)
    rival = "plain Optuna: study.ask, its storage in memory, the same TPE; 10,000 trials, one objective"
    print(json.dumps({"name": "search", "rival": rival, "ratio": figures["cost"]["10000, 1"]["ratio"], **figures}))


if __name__ == "__main__":
    main()
