"""A study being run: what the searcher, the scheduler and the view share."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.schema import COMPLETED, CONFIRM, FAILED, RUNNING
from platform.errors import nearly_full
from platform.ledger import Ledger
from platform.plan import Cell, Conclude, Done, Next, Suggest, Wait, left, plan
from platform.retention import Retention, delete
from platform.search_run import SearchRun
from platform.spec import Study

__all__ = ["Job"]

RESERVE_B = 256 * 2**20
"""With less free space in the storage no trial starts."""


@dataclass
class Job:
    """A study being run.

    Args:
        study: the checked spec.
        cells: of the plan so far, in the order of training; a search adds to them.
        ledger: the ledger, open for writing.
        storage: the folder that the workers share, for checkpoints and pictures.
        capacity: returns how many trials may run at once, now.
        search: the study's searches, if it has any.
        clock: returns the seconds since 1970.
    """

    study: Study
    cells: list[Cell]
    ledger: Ledger
    storage: Path
    capacity: Callable[[], int]
    search: SearchRun | None = None
    clock: Callable[[], float] = time.time
    reason: str = ""
    """Why no more trials start although some have no result; empty if there is no such reason."""
    halt: str = ""
    """Why none may start from now on: the storage is full, or too many failed. Empty if nothing speaks against it."""
    alone: set[str] = field(default_factory=set)
    """Trials for which the memory was too small beside others."""
    failed: int = 0
    """How many trials have FAILED in a row."""
    _fills: dict[str, list[Cell]] = field(default_factory=dict)
    _open: list[Cell] = field(default_factory=list)
    """Those whose trials have still to end, when last looked at."""

    def __post_init__(self) -> None:
        self._note(self.cells)
        self.alone = self.ledger.lacked_memory()
        primary = self.study.spec.analysis.primary
        higher = {one.key: one.higher_is_better for one in self.study.trainer.METRICS}.get(primary)
        self._retention = Retention(self.study.spec.keep.checkpoints, higher_is_better=higher is not False)
        for trial, value in self.ledger.completed(primary):
            self._tidy(trial, value)

    def next(self, busy: Iterable[str] = ()) -> Next | Wait | Done:
        """Return what the plan says, after doing what the searches ask for before a trial can start.

        Args:
            busy: identities of trials that are on their way already.
        """
        hours = self.study.spec.budget.hours
        while True:
            known = self.ledger.states
            self._open = [one for one in self._open if left(one, known) or known[one.trial] == RUNNING]
            states = {one.trial: known[one.trial] for one in self._open} | dict.fromkeys(busy, RUNNING)
            step = plan(
                self._open,
                states,
                capacity=self.capacity(),
                spent_s=self.ledger.spent_s(self.clock()) if hours else 0,
                budget_s=hours * 3600 if hours else None,
                halt=self.halt or self._no_room(),
                alone=self.alone,
                ahead=self.search.ahead if self.search else Done,
            )
            if isinstance(step, Next | Wait | Done):
                return step
            self._follow(step)

    def pending(self) -> bool:
        """Return whether a trial has still to be trained, after concluding the searches that are over."""
        states = self.ledger.states
        while self.search is not None:
            step = self.search.ahead()
            if not isinstance(step, Conclude):
                if not isinstance(step, Done):
                    return True
                break
            self._follow(step)
        return any(left(cell, states) or states[cell.trial] == RUNNING for cell in self.cells)

    def begin(self, trial: str, record: Mapping[str, Any]) -> None:
        """Write that an attempt at a trial begins."""
        self.ledger.begin(trial, record, self.clock())
        if self.search is not None:
            self.search.begin(trial)

    def report(self, trial: str, message: Mapping[str, Any]) -> bool:
        """Write a trial's report with the decision on it, and return whether the trial ends here."""
        known = self._fills.get(trial, [])
        what, ends = self.search.report(trial, message, known) if self.search else (None, False)
        self.ledger.report(trial, message, self.clock(), what)
        return ends

    def task(self, cell: Cell) -> str:
        """Return what a worker needs to train the cell's trial, as JSON; see `trials.trainable`."""
        resume, data = self.ledger.resume(cell.trial), self.study.data
        if cell.stage == CONFIRM:
            data = self.study.trainer.confirming(data)
        return json.dumps(
            {
                "trial": cell.trial,
                "trainer": self.study.spec.trainer,
                "settings": cell.settings,
                "data": data.model_dump(mode="json", by_alias=True),
                "seed": cell.seed,
                "stream": cell.stream,
                "threads": max(1, int(self.study.spec.resources.cpu)),
                "storage": str(self.storage),
                "folder": f"trials/{cell.trial}",
                "resume": resume.checkpoint if resume else None,
                "step": resume.step if resume else 0,
                "seconds": resume.seconds if resume else 0.0,
            }
        )

    def end(self, trial: str, state: str, *, kind: str | None = None, message: str | None = None) -> None:
        """Write that a trial ended. Too many that FAILED in a row end the study, before it burns the night."""
        self.ledger.end(trial, state, self.clock(), kind=kind, message=message)
        if state == COMPLETED:
            self._tidy(trial, self.ledger.value(trial, self.study.spec.analysis.primary))
        self.failed = self.failed + 1 if state == FAILED else 0
        most = self.study.spec.budget.failures
        if most is not None and self.failed >= most:
            said = (message or "").partition("\n")[0]
            self.halt = f"{self.failed} trials in a row FAILED, the last one: {said}; mend it, then add --retry failed"

    def _tidy(self, trial: str, value: float) -> None:
        """Delete the checkpoints that stay no longer, now that a trial is completed."""
        variants = {cell.variant for cell in self._fills.get(trial, ())}
        delete(self.storage, self._retention.add(trial, variants, value))

    def _no_room(self) -> str:
        """Return a sentence if the storage is nearly full, so that what runs can still end in order."""
        free = shutil.disk_usage(self.storage).free
        return nearly_full(self.storage, free) if free < RESERVE_B else ""

    def _follow(self, step: Suggest | Conclude) -> None:
        """Do what the searches ask for."""
        assert self.search is not None  # who else would ask
        added = self.search.follow(step)
        self.cells += added
        self._note(added)

    def _note(self, cells: Iterable[Cell]) -> None:
        for cell in cells:
            self._fills.setdefault(cell.trial, []).append(cell)
            self._open.append(cell)
