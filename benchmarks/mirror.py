"""How far the MLflow mirror lags behind short trials, and how fast it copies; beside Ray's own MLflowLoggerCallback.

    python benchmarks/mirror.py [--quick] [--trials N]

A study of 600 trials of one step, two at a time, with its mirror beside it: first into a SQLite store, then through
an MLflow server on PostgreSQL, both begun by the commands of docker-compose.yml (left out, and said so, where
PostgreSQL is not installed). `lag` is from a trial's end in the ledger to when the store first shows its run as ended,
looked at every 0.2 s. `alone` is the same study copied again by `python -m platform.mirror` into another store of
that kind, nothing else running; the rival then gives its callback the settings and scores of 100 of them, trial by
trial, from one process, as Ray Tune's driver would. Rates are between the first run that ended and the last: the start
counts for neither. The mirror's runs also bear tags, data set and artifacts, the rival's do not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.overhead import run_study  # noqa: E402
from platform.mirror import MLFLOW_SETTINGS  # noqa: E402

LOOK_S = 0.2
RIVAL_TRIALS = 100
HOST = "127.0.1.41"
ENDED = (
    "SELECT runs.run_uuid, tags.value FROM runs LEFT JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'trial' "
    "WHERE status <> 'RUNNING'"
)


@dataclass
class Watch:
    """Notes when a store first shows each run as ended, in seconds since 1970, while the block runs."""

    ended: Callable[[], dict[str, str]]
    """Run -> trial, '' of a run that names none."""
    seen: dict[str, float] = field(default_factory=dict)
    trials: dict[str, str] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._before = self.ended()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._note()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            self._note()

    def _note(self) -> None:
        now = time.time()
        for run, trial in self.ended().items():
            if run not in self._before:
                self.seen.setdefault(run, now)
                self.trials[trial] = run

    def rate(self) -> float:
        """Return the runs per second, from the first that ended to the last."""
        times = sorted(self.seen.values())
        return (len(times) - 1) / max(times[-1] - times[0], LOOK_S)


@dataclass(frozen=True)
class Store:
    """A place for runs: its address as `MLFLOW_TRACKING_URI`, and how to ask what has ended there."""

    uri: str
    ended: Callable[[], dict[str, str]]


def sqlite_store(path: Path) -> Store:
    """Return a SQLite store, made when the first run is."""

    def ended() -> dict[str, str]:
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as db:
                return {run: trial or "" for run, trial in db.execute(ENDED)}
        except sqlite3.OperationalError:  # not made yet
            return {}

    return Store(f"sqlite:///{path}", ended)


@contextmanager
def served() -> Iterator[Store | str]:
    """Start PostgreSQL and MLflow's server on it, as the Compose file does; or give the reason why not."""
    import pytest

    from tests.platform import postgres

    try:
        folder = postgres.laid_out("b")
    except pytest.skip.Exception as reason:
        yield str(reason)
        return
    native = postgres.services(folder, HOST, HOST)

    def ended() -> dict[str, str]:
        lines = postgres.query(native, ENDED).stdout.splitlines()
        return {run: trial for run, _, trial in (line.partition("|") for line in lines)}

    try:
        postgres.begin(native)
        native.await_health("postgres")
        native.start("mlflow")
        native.await_health("mlflow")
        yield Store(f"http://{native.variables['NATIVE_MLFLOW']}", ended)
    finally:
        native.stop()
        shutil.rmtree(folder, ignore_errors=True)


def callback(ledger: Path, store: Store, experiment: str) -> None:
    """Give Ray's callback every trial of a ledger: start, one result, end."""
    from types import SimpleNamespace

    from ray.air.integrations.mlflow import MLflowLoggerCallback

    with closing(sqlite3.connect(ledger)) as db:
        trials = db.execute("SELECT number, settings FROM trial ORDER BY number LIMIT ?", (RIVAL_TRIALS,)).fetchall()
        scores = {number: {} for number, _ in trials}  # type: dict[int, dict[str, float]]
        for number in scores:
            rows = db.execute("SELECT metric, value FROM report WHERE trial = ?", (number,))
            scores[number].update(rows)

    class Named(SimpleNamespace):
        __hash__ = object.__hash__

        def __str__(self) -> str:
            return f"rival {self.number}"

    one = MLflowLoggerCallback(tracking_uri=store.uri, experiment_name=experiment)
    one.setup()
    for number, settings in trials:
        trial = Named(number=number, config=json.loads(settings))
        one.log_trial_start(trial)
        one.log_trial_result(1, trial, {"training_iteration": 1, **scores[number]})
        one.log_trial_end(trial)


def measured(kind: str, trials: int, folder: Path, store: Store, other: Store) -> dict[str, float]:
    """Measure one kind of store: a study with its mirror into `store`, then its copy and the rival's into `other`."""
    with Watch(store.ended) as beside:
        ledger, _ = run_study(trials, folder, tracking={"uri": store.uri})
    over = dict(ledger.db.execute("SELECT id, ended FROM trial"))
    if not over.keys() <= beside.trials.keys():
        raise SystemExit(f"{kind}: {len(over.keys() - beside.trials.keys())} of {trials} trials are not in the store")
    lags = [beside.seen[beside.trials[trial]] - ended for trial, ended in over.items()]
    with Watch(other.ended) as alone:
        again = ["--uri", other.uri, "--experiment", "again"]
        subprocess.run([sys.executable, "-m", "platform.mirror", str(ledger.folder), *again], cwd=ROOT, check=True)
    with Watch(other.ended) as rival:
        callback(ledger.folder / "ledger.db", other, "rival")
    return {
        "trials": trials,
        "study_per_s": (trials - 1) / (max(over.values()) - min(over.values())),
        "lag_median_s": median(lags),
        "lag_95_s": quantiles(lags, n=20)[-1],
        "lag_most_s": max(lags),
        "alone_per_s": alone.rate(),
        "rival_per_s": rival.rate(),
    }


def main() -> None:
    """Measure both kinds of store, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 trials, SQLite alone")
    parser.add_argument("--trials", type=int, default=600)
    chosen = parser.parse_args()
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ |= {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    trials, found = 40 if chosen.quick else chosen.trials, {}
    print(f"{'':12}{'trials/s':>10}{'lag, median s':>15}{'95 %':>8}{'most':>8}{'alone/s':>10}{'rival/s':>10}")

    def shown(kind: str, one: dict[str, float]) -> None:
        found[kind] = {key: round(value, 2) for key, value in one.items()}
        widths = zip([10, 15, 8, 8, 10, 10], list(one.values())[1:], strict=True)
        print(f"{kind:12}" + "".join(f"{value:{width}.1f}" for width, value in widths), flush=True)

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="m") as name:  # short: the paths of Ray's sockets must be
        folder = Path(name)
        os.environ["RAY_TMPDIR"] = name
        stores = sqlite_store(folder / "one.db"), sqlite_store(folder / "other.db")
        shown("SQLite", measured("SQLite", trials, folder / "sqlite", *stores))
        if not chosen.quick:
            with served() as store:
                if isinstance(store, str):
                    print(f"PostgreSQL: not measured: {store}")
                else:
                    shown("PostgreSQL", measured("PostgreSQL", trials, folder / "postgresql", store, store))
    ratios = {kind: round(one["alone_per_s"] / one["rival_per_s"], 2) for kind, one in found.items()}
    print(json.dumps({"name": "mirror", "rival": "Ray's MLflowLoggerCallback", "ratio": ratios, **found}))


if __name__ == "__main__":
    main()
