"""Ray Tune's searcher: asks the plan which trial is next, and writes into the ledger how each one ended."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from analysis.schema import COMPLETED, FAILED, PLANNED, STOPPED
from platform.errors import full
from platform.job import Job
from platform.plan import Done, Wait

__all__ = ["PlanSearcher"]

LOSSES = 3
"""A trial whose worker is lost so many times in a row, with no checkpoint between, has FAILED."""


class PlanSearcher(Searcher):
    """Suggests what the plan says; holds no state of its own but which trials are on their way."""

    def __init__(self, job: Job) -> None:
        super().__init__(metric="step", mode="max")
        self.job = job
        self.trials: dict[str, str] = {}
        """Tune's name of each trial on its way -> its identity."""
        self.outcomes: dict[str, dict[str, str]] = {}
        """For each trial that told of a bad end: how."""
        self.stopped: set[str] = set()
        """The trials that the scheduler stopped and that Tune has not ended yet."""
        self.suggested = 0
        self.finished = False

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's configuration, None to be asked again, or FINISHED."""
        job = self.job
        step = job.next(self.trials.values())
        if isinstance(step, Wait):
            return None
        if isinstance(step, Done):
            job.reason = step.reason
            self.finished = True
            return Searcher.FINISHED
        self.trials[trial_id] = step.cell.trial
        self.suggested += 1
        return {"task": job.task(step.cell)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write how a trial ended. Its own exceptions come as an outcome; `error` means that its worker was lost.

        A trial that found the storage full is planned again, and no other starts: each would fare alike. One that
        lacked memory is planned again, alone; one whose checkpoint is damaged, from the one before.
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
            self.job.halt = full(self.job.storage, outcome["message"].partition("\n")[0])
        elif outcome is not None and outcome["kind"] == "checkpoint":
            ledger.forget_checkpoint(trial, now)
        elif outcome is not None and outcome["kind"] == "memory" and trial not in self.job.alone:
            self.job.alone.add(trial)
            ledger.release(trial, "memory", now)
        elif outcome is not None:
            self.job.end(trial, outcome["state"], kind=outcome["kind"] or None, message=outcome["message"])
        elif not error:
            self.job.end(trial, COMPLETED)
        else:
            if ledger.states[trial] == PLANNED:  # the worker was lost before it could say that it began
                ledger.begin(trial, {}, now)
            ledger.release(trial, "lost", now)
            if ledger.losses(trial) >= LOSSES:
                what = f"its worker was lost {LOSSES} times in a row; see the logs of Ray"
                self.job.end(trial, FAILED, kind="lost", message=what)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger holds everything, and a study is never restored from Tune's snapshots."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Keep Tune from pickling the ledger into its snapshots."""
        return {}
