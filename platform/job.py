"""A study being run: what the searcher, the scheduler and the view share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from platform.ledger import Ledger
from platform.plan import Cell
from platform.spec import Study

__all__ = ["Job"]


@dataclass
class Job:
    """A study being run.

    Args:
        study: the checked spec.
        cells: its design's cells in the order of training.
        ledger: the ledger, open for writing.
        storage: the folder that the workers share, for checkpoints and pictures.
        capacity: returns how many trials may run at once, now.
    """

    study: Study
    cells: Sequence[Cell]
    ledger: Ledger
    storage: Path
    capacity: Callable[[], int]
    reason: str = ""
    """Why no more trials start although some have no result; empty if there is no such reason."""
    halt: str = ""
    """Why none may start from now on: the storage is full. Empty while nothing speaks against it."""

    def task(self, cell: Cell) -> str:
        """Return what a worker needs to train the cell's trial, as JSON; see `trials.trainable`."""
        resume = self.ledger.resume(cell.trial)
        return json.dumps(
            {
                "trial": cell.trial,
                "trainer": self.study.spec.trainer,
                "settings": cell.settings,
                "data": self.study.data.model_dump(mode="json", by_alias=True),
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
