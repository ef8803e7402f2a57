"""A study being run: what the searcher, the scheduler and the view share."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.schema import COMPLETED, CONFIRM, FAILED, FIXED, RUNNING
from platform.errors import away, nearly_full, unwritable
from platform.far_storage import fetch
from platform.ledger import Ledger
from platform.ledger_results import completed, lacked_memory, pictures, spent_s, value
from platform.looking import Looking
from platform.packing import AUTO, gpus
from platform.plan import Ahead, Cell, Conclude, Done, Look, Next, Suggest, Wait, left, plan
from platform.retention import Retention, delete
from platform.room import LEAST_B, reserve
from platform.search_run import SearchRun
from platform.spec import Study
from trials.arrival import content_digests
from trials.shipping import Parcel
from trials.storage import Storage, StorageError

__all__ = ["Job"]


@dataclass
class Job:
    """A study being run.

    Args:
        study: the checked spec.
        cells: of the plan so far, in the order of training; a search adds to them.
        ledger: the ledger, open for writing.
        storage: the folder that the workers share, for checkpoints and pictures; with `far` the study's own, into which
            pictures and generators are fetched.
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
    looks: Looking | None = None
    """The study's looks, if seeds are trained until all is decided."""
    shipped: Parcel | None = None
    """Files that go to the workers with each trial; None if they see them where they lie."""
    far: Storage | None = None
    """Where the workers' files go if that has an address."""
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
    _checkpoint_b: int = 0
    """The size of the largest checkpoint that was reported."""

    def __post_init__(self) -> None:
        self._note(self.cells)
        self.alone = lacked_memory(self.ledger)
        primary = self.study.spec.analysis.primary
        higher = {one.key: one.higher_is_better for one in self.study.trainer.METRICS}.get(primary)
        self._retention = Retention(self.study.spec.keep.checkpoints, higher_is_better=higher is not False)
        self._delete([worse for one in completed(self.ledger, primary) for worse in self._worse(*one)])

    def next(self, busy: Iterable[str] = ()) -> Next | Wait | Done:
        """Return what the plan says, after doing what the searches ask for before a trial can start.

        Args:
            busy: identities of trials that are on their way already.
        """
        while True:
            step = self._planned(busy, self.capacity())
            if isinstance(step, Next | Wait | Done):
                return step
            self._follow(step)

    def more(self, busy: Iterable[str]) -> float:
        """Return how many trials wait for nothing but room; infinity for those of a search, which are not made yet.

        None does while one that was handed out has not begun: it may lie where there is room already.

        Args:
            busy: as for `next`.
        """
        on_their_way = set(busy)
        if any(self.ledger.states.get(trial) != RUNNING for trial in on_their_way):
            return 0
        step = self._planned(on_their_way, len(on_their_way) + 1)
        if isinstance(step, Next):
            waiting = {one.trial for one in self._open if left(one, self.ledger.states)}
            return len(waiting - self.alone)
        return math.inf if isinstance(step, Suggest) else 0

    def _planned(self, busy: Iterable[str], at_once: int) -> Next | Ahead:
        """Ask the plan; nothing is done about its answer."""
        hours, known = self.study.spec.budget.hours, self.ledger.states
        self._open = [one for one in self._open if left(one, known) or known[one.trial] == RUNNING]
        return plan(
            self._open,
            {one.trial: known[one.trial] for one in self._open} | dict.fromkeys(busy, RUNNING),
            capacity=at_once,
            spent_s=spent_s(self.ledger, self.clock()) if hours else 0,
            budget_s=hours * 3600 if hours else None,
            halt=self.halt or self._no_room(at_once),
            alone=self.alone,
            ahead=self._ahead,
        )

    def _ahead(self) -> Ahead:
        """Return what the searches ask for, or the looks; a study has one of them at most."""
        asking = self.search or self.looks
        return Done() if asking is None else asking.ahead()

    def pending(self) -> bool:
        """Return whether a trial has still to be trained, after concluding the searches and looks that are over."""
        states = self.ledger.states
        while isinstance(step := self._ahead(), Conclude | Look):
            self._follow(step)
        if not isinstance(step, Done):
            return True
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
        self._weigh(message.get("checkpoint"))
        return ends

    @property
    def share(self) -> float:
        """The GPUs of a trial: as the spec has it, or the share that was found by measuring."""
        return gpus(self.study.spec.resources.gpu, self.ledger.get("packing"))

    def gpus(self, trial: str) -> float:
        """Return the GPUs of this trial: a whole device, without a cap, if its memory was too small beside others."""
        return max(1.0, self.share) if self.share and trial in self.alone else self.share

    def samples(self) -> list[Cell]:
        """Return the cells of which workers try a few steps before anything starts: of the full model, the first.

        Where a share of a GPU is to be found, of every variant: the full model is usually the largest, but a variant
        may have larger batches, say. What a search may suggest is not known yet.
        """
        if self.study.spec.resources.gpu != AUTO:
            return self.cells[:1]
        different: dict[str, Cell] = {}
        for cell in self.cells:
            if cell.stage == FIXED:
                different.setdefault(json.dumps(cell.settings, sort_keys=True), cell)
        return list(different.values())

    def untried(self) -> bool:
        """Whether workers have still to try `samples`: before the first trial, or since these are other ones."""
        if self.study.spec.resources.gpu != AUTO:
            return not self.ledger.started()
        return (self.ledger.get("packing") or {}).get("probed") != [cell.trial for cell in self.samples()]

    def task(self, cell: Cell) -> str:
        """Return what a worker needs to train the cell's trial, as JSON; see `trials.trainable`."""
        resume, trainer, data = self.ledger.resume(cell.trial), self.study.trainer, self.study.data
        if cell.stage == CONFIRM:
            data = trainer.confirming(data)
        return json.dumps(
            {
                "trial": cell.trial,
                "trainer": self.study.spec.trainer,
                "settings": cell.settings,
                "weights": content_digests(trainer.weights(trainer.Config.model_validate(cell.settings))),
                "data": data.model_dump(mode="json", by_alias=True),
                "digest": cell.data,
                "seed": cell.seed,
                "stream": cell.stream,
                "threads": max(1, int(self.study.spec.resources.cpu)),
                "gpu": self.gpus(cell.trial),
                "context_b": (self.ledger.get("packing") or {}).get("context_b"),
                "storage": self.far.address if self.far else str(self.storage),
                "folder": f"trials/{cell.trial}",
                "resume": resume.checkpoint if resume else None,
                "step": resume.step if resume else 0,
                "seconds": resume.seconds if resume else 0.0,
            }
        )

    def end(self, trial: str, state: str, *, kind: str | None = None, message: str | None = None) -> None:
        """Write that a trial ended. Too many that FAILED in a row end the study, before it burns the night."""
        if state == COMPLETED and self.far is not None:
            self._fetch(trial, self.far)  # before the mirror hears of the end, and looks for the files
        self.ledger.end(trial, state, self.clock(), kind=kind, message=message)
        if state == COMPLETED:
            self._delete(self._worse(trial, value(self.ledger, trial, self.study.spec.analysis.primary)))
        self.failed = self.failed + 1 if state == FAILED else 0
        most = self.study.spec.budget.failures
        if most is not None and self.failed >= most:
            said = (message or "").partition("\n")[0]
            self.halt = f"{self.failed} trials in a row FAILED, the last one: {said}; mend it, then add --retry failed"

    def _worse(self, trial: str, value: float) -> list[str]:
        """Return the trials whose checkpoints stay no longer, now that this one is completed."""
        variants = {cell.variant for cell in self._fills.get(trial, ())}
        return self._retention.add(trial, variants, value)

    def _delete(self, trials: Sequence[str]) -> None:
        """Delete the checkpoints of trials; where the storage does not answer they wait for the next start."""
        with suppress(StorageError):
            delete(self.far or self.storage, trials)

    def _fetch(self, trial: str, far: Storage) -> None:
        """Fetch what people look at; if that fails it is tried again before the report, and no other trial starts."""
        try:
            fetch(far, self.storage, pictures(self.ledger, trial))
        except StorageError as error:
            self.halt = away(str(error))

    def _no_room(self, at_once: int) -> str:
        """Return a sentence if a disk is nearly full, so that what runs can still end in order."""
        needed = {self.ledger.folder: LEAST_B} | {self.storage: reserve(self._checkpoint_b, at_once)}  # one or two
        for folder, least in needed.items():
            try:
                free = shutil.disk_usage(folder).free
            except OSError as error:  # a share that is mounted no more, say
                return unwritable(folder, error.strerror or type(error).__name__)
            if free < least:
                return nearly_full(folder, free, least)
        return ""

    def _weigh(self, checkpoint: str | None) -> None:
        """Learn how large checkpoints are; one that is gone already tells nothing."""
        if checkpoint:
            with suppress(OSError):
                self._checkpoint_b = max(self._checkpoint_b, (self.storage / checkpoint).stat().st_size)

    def _follow(self, step: Suggest | Conclude | Look) -> None:
        """Do what the searches or looks ask for."""
        if isinstance(step, Look):
            assert self.looks is not None  # who else would ask
            added = self.looks.follow(step)
        else:
            assert self.search is not None
            added = self.search.follow(step)
        self.cells += added
        self._note(added)

    def _note(self, cells: Iterable[Cell]) -> None:
        for cell in cells:
            self._fills.setdefault(cell.trial, []).append(cell)
            self._open.append(cell)
