"""Running a study's trials with Ray Tune: the one file that starts Ray."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platform import ray_alive
from platform.demand import Demand
from platform.errors import SweepError
from platform.job import Job
from platform.packing import fitting
from platform.room import LEAST_B
from platform.searcher import PlanSearcher
from platform.signals import kept, restored

__all__ = ["cluster", "fits", "run", "slots"]

ROOT = Path(__file__).resolve().parent.parent
CONNECT_S = 5.0
"""How long the cluster's head may take to answer."""
BATCH = 1000
"""Trials for one Tuner. Tune keeps all it ever ran in memory, about 26 MB for 1,000; then a fresh one goes on."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join the Ray cluster at `address`, or start one of this machine's own; leave it at the end.

    Raises:
        SweepError: if nobody answers at the address, or Ray does not start, or has no room for its own files.
    """
    import ray

    if address:
        _check_answer(address)
    else:
        _check_room()
    runtime = {"py_modules": [str(ROOT / "trials")]} if address else None  # a local worker finds it where we stand
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    logging.getLogger("ray").setLevel(logging.ERROR)  # what a user needs to know is in the ledger and in our words
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)  # snapshots nobody reads
    pressed: list[int] = []
    try:
        with kept(pressed):
            ray.init(address or "local", runtime_env=runtime, log_to_driver=False, logging_level="error", **options)
    except ConnectionError as error:
        raise SweepError(
            f"--address {address}: no Ray cluster lets us in there ({error}); if it asks for a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH here, too"
        ) from None
    except Exception as error:  # Ray raises bare ones, as when its node dies meanwhile
        said = str(error).partition("\n")[0].rstrip(".")
        raise SweepError(f"Ray did not start ({said}); nothing is lost, the same command goes on") from error
    try:
        if pressed:
            raise KeyboardInterrupt
        yield
    finally:
        with restored():
            ray.shutdown()


def _check_answer(address: str) -> None:
    """Refuse an address where nobody listens, for which Ray would wait for minutes without a word."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        return  # `auto`
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise SweepError(
            f"--address {address}: nobody answers there ({error}); is the cluster's head running?"
        ) from None


def _check_room() -> None:
    """Refuse to start Ray where its logs and sockets have no room, which it tells in ways that nobody understands."""
    place = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    if free < LEAST_B:
        raise SweepError(
            f"{place}, where Ray keeps files while it runs, has {free / 2**20:.0f} MiB free, and {LEAST_B // 2**20} "
            "are needed; make room, or set RAY_TMPDIR to a folder with more, then the same command goes on"
        )


def fits(job: Job) -> int:
    """Return how many trials fit on the cluster as it is now.

    Raises:
        SweepError: if the driver's node of it has died.
    """
    import ray

    ray_alive.check()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return fitting(nodes, cpu=job.study.spec.resources.cpu, gpu=job.share)


def slots(job: Job) -> int:
    """Return how many trials are handed out at once: those that fit, and one if none does, since a node may come."""
    return max(1, fits(job))


def run(job: Job, *, pending: int = 0) -> bool:
    """Train whatever the plan asks for. Return whether it is done; else a signal interrupted it.

    Args:
        job: the study.
        pending: room is asked for so many trials more than fit, of a cluster that grows by itself.

    Raises:
        SweepError: if the ledger cannot be written to.
    """
    from ray.tune import TuneError

    _environment()
    cpu = job.study.spec.resources.cpu
    demand = Demand(pending, lambda: {"CPU": cpu, "GPU": job.share}) if pending else None
    shared = job.storage / ".tune"
    shutil.rmtree(shared, ignore_errors=True)  # what killed drivers left
    shared.mkdir(parents=True, exist_ok=True)
    snapshots = Path(tempfile.mkdtemp(dir=shared))  # Tune insists on keeping some; nothing is ever read from them
    try:
        while True:
            searcher = PlanSearcher(job, demand)
            with restored():
                _tuner(job, searcher, snapshots).fit()
            if searcher.finished or searcher.suggested < BATCH:
                return searcher.finished
    except TuneError as error:  # in which Tune wraps what searcher and scheduler raise
        if isinstance(error.__context__, SweepError):
            raise error.__context__ from None
        raise
    finally:
        shutil.rmtree(snapshots, ignore_errors=True)


def _tuner(job: Job, searcher: PlanSearcher, snapshots: Path) -> Any:
    from ray import tune

    from platform.memory_monitor import expect_kills
    from platform.scheduler import LedgerScheduler
    from trials.trainable import needs, trainable

    expect_kills()
    shipped = tune.with_parameters(trainable, shipped=job.shipped)
    return tune.Tuner(
        tune.with_resources(shipped, needs),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=LedgerScheduler(searcher),
            num_samples=BATCH,
            reuse_actors=True,  # a fresh worker for each trial costs seconds
            trial_name_creator=lambda trial: str(trial.trial_id),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=str(time.time_ns()),
            storage_path=str(snapshots),
            failure_config=tune.FailureConfig(max_failures=0),  # the plan alone repeats a trial
            verbose=0,
        ),
    )


def _environment() -> None:
    """Set what Tune reads from the environment alone, and once for a Tuner.

    The plan alone says how many trials are on their way: Tune would let one start after another, or, told how many fit,
    hold to that when nodes come.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(BATCH)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "86400"
    os.environ["TUNE_WARN_THRESHOLD_S"] = "10"
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
