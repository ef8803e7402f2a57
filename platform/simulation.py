"""Studies without training: learning curves that are given, through the same plan, searcher, scheduler and ledger.

For trying a search out, for tests and for benchmarks. Only Ray Tune and the trainings are left out. Time is simulated:
a second for each step.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from analysis.schema import DIVERGED
from platform.acceptance import accept, all_cells, facts, fixed_cells, held
from platform.job import Job
from platform.ledger import Ledger
from platform.looking import Looking
from platform.search_run import search_run
from platform.spec import Study
from platform.warm_start import warm_start

__all__ = ["Curve", "KilledError", "simulate"]

Curve = Callable[[Mapping[str, Any], int], Mapping[int, Mapping[str, float]]]
"""Settings and seed -> step -> metrics. A curve that ends before the last step breaks down there: it DIVERGED."""

DIGEST = "simulated"
BEGIN = 1_790_000_000.0
"""Where the simulated clock starts, in seconds since 1970."""


class KilledError(Exception):
    """The simulated driver died."""


def simulate(
    study: Study,
    folder: Path,
    curve: Curve,
    *,
    capacity: int = 1,
    confirm_curve: Curve | None = None,
    reports: int | None = None,
    results: Path | None = None,
) -> Job:
    """Run a study to its end, or go on with one that was killed.

    Args:
        study: the checked spec; its images are listed, never read.
        folder: of the study; a disk in memory is many times as fast.
        curve: what a training would report.
        capacity: trials at a time.
        confirm_curve: the same on the images that confirm; by default they score alike.
        reports: after so many reports the driver dies, without a word.
        results: where the studies lie that are a start for the search, if any.

    Returns:
        The job, its ledger closed.

    Raises:
        KilledError: after `reports` reports.
    """
    from platform.scheduler import LedgerScheduler  # they load Ray
    from platform.searcher import PlanSearcher

    ledger, clock = Ledger(folder), _Clock()
    try:
        clock.now = float(ledger.get("simulated_until") or BEGIN)
        confirming = f"{DIGEST}-confirm" if getattr(study.data, "confirm", {}) else DIGEST
        digests, fixed = (DIGEST, confirming), fixed_cells(study, ledger, DIGEST)
        known = facts(study, ledger, storage=folder, digests=digests)
        if not held(study, ledger, known, fixed):
            accept(study, ledger, known, fixed, clock())
        ledger.recover()
        planned = all_cells(study, ledger, DIGEST)
        search = search_run(study, ledger, planned, digests=digests, clock=clock)
        if search is not None and results is not None:
            search.warm, _ = warm_start(study, results, DIGEST)
        looks = Looking(study, ledger, planned, clock) if study.spec.looks else None
        job = Job(study, planned, ledger, folder, lambda: capacity, search, clock, looks=looks)
        ledger.begin_driver({"simulated": True}, clock())
        searcher = PlanSearcher(job)
        _Trials(job, searcher, LedgerScheduler(searcher), clock, (curve, confirm_curve or curve), reports).run()
        ledger.put({"simulated_until": clock()})
        ledger.end_driver(clock())
        return job
    finally:
        ledger.close()


class _Clock:
    now = BEGIN

    def __call__(self) -> float:
        return self.now


class _Trials:
    """Hands the curves' points to the scheduler in the order of the simulated time, as Tune hands on reports."""

    def __init__(
        self,
        job: Job,
        searcher: Any,
        scheduler: Any,
        clock: _Clock,
        curves: tuple[Curve, Curve],
        reports: int | None,
    ) -> None:
        self.job, self.searcher, self.scheduler, self.clock = job, searcher, scheduler, clock
        self.curves, self.reports = curves, reports
        self.names = itertools.count()
        self.coming: list[tuple[float, int, str, dict[str, Any] | None]] = []
        """A heap of reports to come: when, in which order, of which trial; None ends it."""
        self.ended: set[str] = set()
        data = job.study.data
        self.images = [one[:2] for one in job.study.trainer.scenes(data)] if job.looks is not None else []
        """(set, image) of those that are scored, alike; none where nothing is decided by them."""

    def run(self) -> None:
        """Go on until nothing is left."""
        while True:
            self._start()
            if not self.coming:
                return
            self.clock.now, _, name, message = heapq.heappop(self.coming)
            if name in self.ended:
                continue
            if message is None or self._told(name, message) == "STOP":
                self.ended.add(name)
                self.searcher.on_trial_complete(name, {}, error=False)

    def _start(self) -> None:
        while True:
            name = str(next(self.names))
            asked = self.searcher.suggest(name)
            if not isinstance(asked, dict):
                return
            self._begin(name, json.loads(asked["task"]))

    def _begin(self, name: str, task: Mapping[str, Any]) -> None:
        self._told(name, {"began": {"node": "simulated"}})
        confirms = task["data"] != self.job.study.data.model_dump(mode="json", by_alias=True)
        points = self.curves[confirms](task["settings"], task["seed"])
        last, begun = int(task["settings"]["steps"]), self.clock()
        for step in sorted(points):
            if step > task["step"]:
                self._later(begun + step - task["step"], name, _message(step, points[step], task, self.images))
        end = begun + max(points, default=0) - task["step"]
        if max(points, default=0) < last:
            broken = {"state": DIVERGED, "kind": "", "message": "the curve ends here"}
            self._later(end, name, {"step": max(points, default=0), "outcome": broken})
        self._later(end, name, None)

    def _later(self, at: float, name: str, message: dict[str, Any] | None) -> None:
        heapq.heappush(self.coming, (at, next(self.names), name, message))

    def _told(self, name: str, message: Mapping[str, Any]) -> str:
        if "metrics" in message and self.reports is not None:
            if self.reports == 0:
                raise KilledError
            self.reports -= 1
        result = {"step": message.get("step", 0), "message": json.dumps(message)}
        return str(self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), result))


def _message(
    step: int, metrics: Mapping[str, float], task: Mapping[str, Any], images: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return a report as a worker sends it; see `trials.trainable`."""
    checkpoint = f"{task['folder']}/checkpoint-{step}.pt"
    return {
        "step": step,
        "seconds": float(step),
        "metrics": dict(metrics),
        "images": [{"set": name, "image": image, "metrics": dict(metrics)} for name, image in images],
        "checkpoint": checkpoint,
        "pictures": {},
        "events": [],
    }
