"""Write a study's report: `python -m analysis.report STUDY`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from analysis import listing, page
from analysis.basis import unchosen, waiting
from analysis.errors import ReportError
from analysis.frames import load_curves, load_events, load_images
from analysis.importance import importances
from analysis.ledger import Ledger, open_ledger
from analysis.pictures import median_trials, strips
from analysis.printable import clean, csv
from analysis.schema import CONFIRM, FIXED
from analysis.search_figures import search_pictures
from analysis.search_shown import SearchPart, search_part
from analysis.search_tables import SearchTables, search_tables
from analysis.shown import labels
from analysis.stages import verdict_stage
from analysis.tables import Readings, Tables, read, tables

__all__ = ["main", "write_report"]

STALE_S = 60.0
"""A draft of this age is nobody's any more."""


def write_report(study_folder: Path) -> Path:
    """Write `report/` in a study's folder, finished or not, and return the path of its `index.html`.

    Beside the page it holds `variants.csv`, `verdicts.csv`, `trials.csv`, `images.csv`, `events.csv` and `report.md`;
    after a search also `search.csv`, the suggestions, and `promised.csv`; its images are not in `images.csv`. From an
    unchanged ledger come the same bytes.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study_folder) as ledger:
        _write(ledger)
        return ledger.folder / "report" / "index.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of the study named on the command line, and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="a study's folder, or its name under results/")
    chosen = parser.parse_args(arguments)
    try:
        with open_ledger(chosen.study) as ledger:
            told = _write(ledger)
            path = ledger.folder / "report" / "index.html"
    except ReportError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(clean(str(error)), markup=False)
        return 2
    listing.show(told.readings, told.tables, path=path, search=told.search)
    return 0


def _write(ledger: Ledger) -> Told:
    """Write every file of the report; each is whole at any moment."""
    told, searched = _read(ledger)
    readings, found = told.readings, told.tables
    curves = {key: load_curves(ledger, metric=key, stage=readings.stage) for key in page.drawn(ledger.study)}
    chosen = median_trials(readings.images, ledger.study.primary)
    confirm = ledger.study.confirm if readings.stage == CONFIRM else None
    images = (confirm.digest, confirm.sets) if confirm else (None, ())
    pictures = strips(ledger, chosen, labels=labels(readings), digest=images[0], sets=images[1])
    scores = [load_images(ledger, stage=stage) for stage in (FIXED, CONFIRM)] if searched else [readings.images]
    files = {
        "variants.csv": csv(found.variants),
        "verdicts.csv": csv(found.verdicts),
        "trials.csv": csv(readings.plan),
        "images.csv": csv(pd.concat(scores)),
        "events.csv": csv(load_events(ledger)),
        "report.md": listing.markdown(readings, found, search=told.search),
        "index.html": page.render(readings, found, curves=curves, strips=pictures, search=told.search),
    }
    if searched:
        files["search.csv"] = csv(searched.searched.suggestions)
        files["promised.csv"] = csv(searched.promised)
    folder = ledger.folder / "report"
    folder.mkdir(exist_ok=True)
    for draft in folder.glob(".*.[0-9]*"):  # of writers that were killed
        if time.time() - draft.stat().st_mtime > STALE_S:
            draft.unlink(missing_ok=True)
    for name, text in files.items():
        _replace(folder / name, text)
    return told


@dataclass(frozen=True)
class Told:
    """What the report tells: of the stage that is judged, or shown until it can be, and of the search."""

    readings: Readings
    tables: Tables
    search: SearchPart | None


def _read(ledger: Ledger) -> tuple[Told, SearchTables | None]:
    """Read the ledger and compute all that is told, and the tables of the search."""
    study, stage = ledger.study, verdict_stage(ledger.study)
    readings = read(ledger, stage)
    if study.search is None:
        return Told(readings, tables(readings), None), None
    searched = search_tables(ledger, study.search, readings.variants["name"].tolist())
    choices = searched.searched.choices
    found = tables(readings, unchosen(choices))
    waits = waiting(study, readings.plan, choices)
    untuned = None
    if stage == CONFIRM:
        fixed = read(ledger, FIXED)
        untuned = fixed, tables(fixed)
    if waits and untuned:  # shown in place of what is not confirmed yet, but never judged
        readings, found, untuned = untuned[0], Tables(untuned[1].variants, found.verdicts), None
    part = search_part(
        searched, readings, waits=waits, untuned=untuned,
        mattered=importances(searched.searched, study.search),
        pictures=search_pictures(searched.searched, study, labels(readings)),
    )  # fmt: skip
    return Told(readings, found, part), searched


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)  # the disk is full, say
        raise


if __name__ == "__main__":
    sys.exit(main())
