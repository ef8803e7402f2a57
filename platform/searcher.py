"""Ray Tune's searcher: asks the plan which trial is next, and writes into the ledger how each one ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from analysis.schema import COMPLETED, FAILED, PLANNED, STOPPED
from platform.errors import away, full
from platform.job import Job
from platform.ledger_results import losses
from platform.plan import Done, Wait

__all__ = ["PlanSearcher"]

LOSSES = 3
"""A trial whose worker is lost so many times in a row, with no checkpoint between, has FAILED."""


class PlanSearcher(Searcher):
    """Suggests what the plan says; holds no state of its own but which trials are on their way.

    Args:
        job: the study being run.
        demand: told, whenever no trial can start, how many wait for nothing but room; see `platform.demand`.
    """

    def __init__(self, job: Job, demand: Callable[[float], None] | None = None) -> None:
        super().__init__(metric="step", mode="max")
        self.job = job
        self.demand = demand
        self.trials: dict[str, str] = {}
        """Tune's name of each trial on its way -> its identity."""
        self.outcomes: dict[str, dict[str, str]] = {}
        """For each trial that told of a bad end: how."""
        self.stopped: set[str] = set()
        """The trials that the scheduler stopped and that Tune has not ended yet."""
        self.suggested = 0
        self.finished = False
        self._error: Exception | None = None
        """What went wrong when a trial's end was written: it ends the study."""

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's configuration, None to be asked again, or FINISHED.

        Raises:
            SweepError: if the ledger cannot be written to. Trials that run then go on from their last checkpoint when
                the study does.
        """
        if self._error is not None:
            raise self._error
        job = self.job
        step = job.next(self.trials.values())
        if self.demand is not None:
            self.demand(job.more(self.trials.values()) if isinstance(step, Wait) else 0)
        if isinstance(step, Wait):
            return None
        if isinstance(step, Done):
            job.reason = step.reason
            self.finished = True
            return Searcher.FINISHED
        self.trials[trial_id] = step.cell.trial
        self.suggested += 1
        cpu, gpu = job.study.spec.resources.cpu, job.gpus(step.cell.trial)
        return {"task": job.task(step.cell), "cpu": cpu, "gpu": gpu}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write how a trial ended; see `_end`. Tune would swallow an exception, then wait for ever."""
        try:
            self._end(trial_id, error=error)
        except Exception as wrong:  # which the next `suggest` raises
            self._error = wrong

    def _end(self, trial_id: str, *, error: bool) -> None:
        """Write how a trial ended. Its own exceptions come as an outcome; `error` means that its worker was lost.

        A trial that found the storage full, or not answering, is planned again, and no other starts: each would fare
        alike. One that lacked memory is planned again, alone; one whose checkpoint is damaged, from the one before.
        """
        trial, ledger, now = self.trials.pop(trial_id, None), self.job.ledger, self.job.clock()
        if trial is None:
            return
        outcome = self.outcomes.pop(trial, None)
        if trial in self.stopped:
            self.stopped.discard(trial)
            self.job.end(trial, STOPPED)
        elif outcome is not None and outcome["kind"] == "disk":
            ledger.release(trial, "disk", now)
            where = self.job.storage if self.job.far is None else "for temporary files, on a worker,"
            self.job.halt = full(where, outcome["message"].partition("\n")[0])
        elif outcome is not None and outcome["kind"] == "storage":
            ledger.release(trial, "storage", now)
            self.job.halt = away(outcome["message"].partition("\n")[0].partition(": ")[2])
        elif outcome is not None and outcome["kind"] == "checkpoint":
            ledger.forget_checkpoint(trial, now)
        elif outcome is not None and outcome["kind"] == "memory" and trial not in self.job.alone:
            self._begun(trial)
            self.job.alone.add(trial)
            ledger.release(trial, "memory", now)
        elif outcome is not None:
            self._begun(trial)
            self.job.end(trial, outcome["state"], kind=outcome["kind"] or None, message=outcome["message"])
        elif not error:
            self.job.end(trial, COMPLETED)
        else:
            self._begun(trial)
            ledger.release(trial, "lost", now)
            if losses(ledger, trial) >= LOSSES:
                what = f"its worker was lost {LOSSES} times in a row; see the logs of Ray"
                self.job.end(trial, FAILED, kind="lost", message=what)

    def _begun(self, trial: str) -> None:
        """Record the attempt of a worker that was lost or killed before it could say that it began."""
        if self.job.ledger.states[trial] == PLANNED:
            self.job.ledger.begin(trial, {}, self.job.clock())

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger holds everything, and a study is never restored from Tune's snapshots."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Keep Tune from pickling the ledger into its snapshots."""
        return {}
