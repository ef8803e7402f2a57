"""Seeds until decided: looking at complete cohorts, and planning the next seeds of what is open."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.schema import FIXED, PLANNED, RUNNING
from platform.ledger import Ledger
from platform.plan import Cell, Done, Look, Looked, Wait, cells, seeds_of
from platform.spec import Study

__all__ = ["JUDGED", "Looking"]

JUDGED = ("trainer", "data", "train", "components", "variants", "design", "seeds", "control", "analysis")
"""The sections of a spec on which a look rests."""


class Looking:
    """The looks of one study: what comes next, and what was found.

    Args:
        study: whose seeds are trained until all is decided.
        ledger: open for writing.
        planned: the cells of the plan so far.
        clock: returns the seconds since 1970.
    """

    def __init__(self, study: Study, ledger: Ledger, planned: Sequence[Cell], clock: Callable[[], float]) -> None:
        self.study, self.ledger, self.clock = study, ledger, clock
        self._cells = list(planned)

    def ahead(self) -> Look | Wait | Done:
        """Return what the plan has to do next, once every trial so far has been handed out."""
        states, looked = self.ledger.states, self.ledger.looked()
        if any(states[cell.trial] in (PLANNED, RUNNING) for cell in self._cells):
            return Wait()
        reached = max(seeds_of(self.study.spec, looked).values())
        return Done() if any(row.seeds == reached for row in looked) else Look(reached)

    def follow(self, step: Look) -> list[Cell]:
        """Look, record what is found, and return the cells that come of it."""
        spec, looked = self.study.spec, self.ledger.looked()
        found = self._look(step.seeds, looked)
        there = {(cell.variant, cell.seed) for cell in self._cells}
        planned = cells(self.study, self._cells[0].data, [*looked, *found])
        added = [cell for cell in planned if (cell.variant, cell.seed) not in there]
        self.ledger.look(found, added, self.clock())
        self._cells += added
        assert found or not spec.looks  # else the same look would come again
        return added

    def _look(self, seeds: int, looked: Sequence[Looked]) -> list[Looked]:
        import pandas as pd

        from analysis.ledger import open_ledger
        from analysis.looks import COLUMNS, look
        from analysis.tables import families, read

        with open_ledger(self.ledger.folder) as ledger:
            readings = read(ledger, FIXED)
        spec, metric = self.study.spec, readings.study.metric(readings.study.primary)
        earlier = pd.DataFrame([[getattr(row, name) for name in COLUMNS] for row in looked], columns=list(COLUMNS))
        judged = readings.judged
        tables = families(readings, judged[judged["seed"].isin(spec.seed_list[:seeds])], metric.key)
        found = [
            look(table, earlier, seeds=seeds, at=spec.looks, higher_is_better=metric.higher_is_better)
            for table in tables
        ]
        return [_looked(row) for table in found for row in table.to_dict("records")]


def _looked(row: Mapping[Any, Any]) -> Looked:
    difference, p, p_equivalent = (
        None if math.isnan(row[name]) else float(row[name]) for name in ("difference", "p", "p_equivalent")
    )
    return Looked(int(row["seeds"]), str(row["variant"]), difference, p, p_equivalent, str(row["verdict"]))
