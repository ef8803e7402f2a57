"""`--dry-run`: the design, the number of trials and the time they take; starts and writes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.schema import PLANNED, RUNNING
from platform.design import changes, inert, variants
from platform.errors import SweepError, shown
from platform.plan import Cell
from platform.snapshot import states
from platform.spec import Study
from platform.view import clock

__all__ = ["show"]


def show(study: Study, cells: Sequence[Cell], folder: Path, console: Console) -> None:
    """Print what the sweep would do, with an estimate of the time from a few training steps and one evaluation."""
    spec = study.spec
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for head in ("variant", "differs from", "by"):
        table.add_column(head, overflow="fold")
    without, named = {}, {variant.name: variant for variant in variants(spec)}
    for variant in named.values():
        compared = named[variant.compared_to] if variant.compared_to else variant
        by = [f"{path}: {shown(value)}" for path, value in changes(variant, compared, study.config).items()]
        table.add_row(
            variant.name, variant.compared_to or "", ", ".join(by) or ("other seeds" if variant.stream else "")
        )
        without[variant.name] = inert(study.trainer, study.config, variant.overrides)
    console.print(table)
    for paths in dict.fromkeys(tuple(paths) for paths in without.values() if paths):
        names = ", ".join(name for name, theirs in without.items() if tuple(theirs) == paths)
        console.print(f"without effect, too, in {names}: {', '.join(paths)}", markup=False, highlight=False)
    known = states(folder / "ledger.db")
    left = sum(known.get(cell.trial, PLANNED) in (PLANNED, RUNNING) for cell in cells)
    seeds = ", ".join(map(str, spec.seed_list[:12])) + (", ..." if len(spec.seed_list) > 12 else "")
    threads = max(1, int(spec.resources.cpu))
    try:
        one = study.trainer.seconds(study.config, study.data, threads=threads)
    except ValueError as error:
        raise SweepError(f"no trial can be trained: {error}") from None
    slots = max(1, int((os.cpu_count() or 1) // spec.resources.cpu))
    console.print(
        f"{len(cells)} trials (seeds {seeds}), {left} still to train\n"
        f"a trial takes about {clock(one)} here, so {clock(one * -(-left // slots))} with {slots} at a time\n"
        f"results go to {folder}",
        markup=False,
        highlight=False,
    )
