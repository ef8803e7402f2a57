"""Running a study's trials with Ray Tune: the one file that starts Ray."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platform.errors import SweepError
from platform.job import Job
from platform.plan import Cell
from platform.searcher import PlanSearcher
from platform.spec import Resources

__all__ = ["cluster", "fits", "interruptible", "probe", "run", "slots"]

ROOT = Path(__file__).resolve().parent.parent
BATCH = 1000
"""Trials for one Tuner. Tune keeps all it ever ran in memory, about 26 MB for 1,000; then a fresh one goes on."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join the Ray cluster at `address`, or start one of this machine's own; leave it at the end.

    Raises:
        SweepError: if nobody answers at the address.
    """
    import ray

    runtime = {"py_modules": [str(ROOT / "trials")]} if address else None  # a local worker finds it where we stand
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    logging.getLogger("ray").setLevel(logging.ERROR)  # what a user needs to know is in the ledger and in our words
    pressed: list[int] = []

    def note(number: int, frame: object) -> None:  # Ray may swallow what is raised while it starts
        pressed.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        ray.init(address or "local", runtime_env=runtime, log_to_driver=False, logging_level="error", **options)
    except ConnectionError as error:
        raise SweepError(f"--address {address}: no Ray cluster answers there ({error})") from None
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        if pressed:
            raise KeyboardInterrupt
        yield
    finally:
        ray.shutdown()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a study in order, as SIGINT does, which Tune meets itself.

    To be entered after Ray has started, which puts handlers of its own in place.
    """

    def interrupt(number: int, frame: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = {name: signal.signal(name, interrupt) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def fits(resources: Resources) -> int:
    """Return how many trials fit on the cluster as it is now."""
    import ray

    whole = ray.cluster_resources()
    counts = [whole.get("CPU", 0) // resources.cpu]
    if resources.gpu:
        counts.append(whole.get("GPU", 0) // resources.gpu)
    return int(min(counts))


def slots(resources: Resources) -> int:
    """Return how many trials are handed out at once: those that fit, and one if none does, since a node may come."""
    return max(1, fits(resources))


def probe(job: Job, cell: Cell) -> Callable[[], str]:
    """Let a worker try a few steps of a cell's trial; return what waits for it and says what went wrong, or ''.

    Most studies that are bound to fail do so here, in seconds and before the night.
    """
    import ray

    from trials.trainable import probe

    needs = job.study.spec.resources
    asked = ray.remote(probe).options(num_cpus=needs.cpu, num_gpus=needs.gpu, max_retries=0).remote(job.task(cell))

    def wait() -> str:
        try:
            return str(ray.get(asked))
        except ray.exceptions.RayError as error:
            return f"its worker died: {error}"

    return wait


def run(job: Job) -> bool:
    """Train whatever the plan asks for. Return whether it is done; else a signal interrupted it.

    Raises:
        SweepError: if the ledger cannot be written to.
    """
    from ray.tune import TuneError

    _environment(job.capacity())
    shared = job.storage / ".tune"
    shared.mkdir(parents=True, exist_ok=True)
    snapshots = Path(tempfile.mkdtemp(dir=shared))  # Tune insists on keeping some; nothing is ever read from them
    try:
        while True:
            searcher = PlanSearcher(job)
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

    from platform.scheduler import LedgerScheduler
    from trials.trainable import trainable

    resources = job.study.spec.resources
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpu, "gpu": resources.gpu}),
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


def _environment(capacity: int) -> None:
    """Set what Tune reads from the environment alone."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(capacity)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "86400"
    os.environ["TUNE_WARN_THRESHOLD_S"] = "10"
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
