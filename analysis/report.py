"""Write a study's report: `python -m analysis.report STUDY`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from analysis import listing, page
from analysis.errors import ReportError
from analysis.frames import load_curves
from analysis.ledger import Ledger, open_ledger
from analysis.pictures import median_trials, strips
from analysis.shown import labels
from analysis.tables import Readings, Tables, read, tables

__all__ = ["main", "write_report"]

STAGE = "fixed"


def write_report(study_folder: Path) -> Path:
    """Write `report/` in a study's folder, finished or not, and return the path of its `index.html`.

    Beside the page it holds `variants.csv`, `verdicts.csv`, `trials.csv`, `images.csv`, `events.csv` and `report.md`.
    From an unchanged ledger come the same bytes.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study_folder) as ledger:
        return _write(ledger)[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of the study named on the command line, and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="a study's folder, or its name under results/")
    chosen = parser.parse_args(arguments)
    try:
        with open_ledger(chosen.study) as ledger:
            path, readings, found = _write(ledger)
    except ReportError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        return 2
    listing.show(readings, found, path=path)
    return 0


def _write(ledger: Ledger) -> tuple[Path, Readings, Tables]:
    """Write every file of the report; each is whole at any moment."""
    readings = read(ledger, STAGE)
    found = tables(readings)
    drawn = {key: load_curves(ledger, metric=key) for key in page.drawn(ledger.study)}
    curves = {key: frame[frame["stage"] == STAGE] for key, frame in drawn.items()}
    chosen = median_trials(readings.images, ledger.study.primary)
    pictures = strips(ledger, chosen, labels=labels(readings))
    files = {
        "variants.csv": found.variants.to_csv(index=False),
        "verdicts.csv": found.verdicts.to_csv(index=False),
        "trials.csv": readings.trials.to_csv(index=False),
        "images.csv": readings.images.to_csv(index=False),
        "events.csv": readings.events.to_csv(index=False),
        "report.md": listing.markdown(readings, found),
        "index.html": page.render(readings, found, curves=curves, strips=pictures),
    }
    folder = ledger.folder / "report"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        _replace(folder / name, text)
    return folder / "index.html", readings, found


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
