"""Write a study's report: `python -m analysis.report STUDY`.

From an MLflow server: `--mlflow URI --experiment NAME [STUDY]`. Of several studies: their verdicts side by side.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from rich.console import Console

from analysis import listing, page
from analysis.basis import unchosen, waiting
from analysis.cost import cost_table
from analysis.cost_shown import cost_part
from analysis.effects_shown import EffectsPart, effects_part, effects_table
from analysis.errors import ReportError, StudyError
from analysis.exports import exports
from analysis.figures import collected
from analysis.frames import load_curves, load_events, load_images
from analysis.importance import importances
from analysis.ledger import Ledger, StudyLike, open_ledger
from analysis.outlook_shown import outlook_of
from analysis.parallel_figures import coordinates
from analysis.pictures import gallery, median_trials
from analysis.printable import clean, csv
from analysis.schema import CONFIRM, FIXED
from analysis.search_figures import search_pictures
from analysis.search_shown import SearchPart, search_part
from analysis.search_tables import SearchTables, search_tables
from analysis.several import named, side_by_side, sides
from analysis.shown import labels
from analysis.stages import verdict_stage
from analysis.tables import Readings, Tables, read, tables
from analysis.traces import traces

__all__ = ["command", "main", "write_report"]

FIGURES, TABLES = "figures", "tables"
"""The folders beside the page: of each of its figures as SVG and PNG, and of its tables for other programs."""
SOME = ("effects", "search", "promised", "tuned")
"""The tables that only the reports of some studies have."""
OWN = ("index.html", "studies.csv")
"""By one of these a folder is known that a report was written into."""
Bring = Callable[[Iterable[str]], None]
Source = tuple[Ledger, Bring, str]
STALE_S = 60.0
"""A draft of this age is nobody's any more."""


def write_report(study: StudyLike, out: Path | None = None, *, bring: Bring = lambda _: None) -> Path:
    """Write the report of a study, finished or not, and return the path of its `index.html`.

    Beside the page it holds `figures/`, `variants.csv`, `verdicts.csv`, `cost.csv`, `outlook.csv`, `trials.csv`,
    `images.csv`, `events.csv` and `report.md`; after a search also `search.csv`, the suggestions, `promised.csv` and
    `tuned.csv`; its images are not in `images.csv`. In `tables/` lie the same as Parquet, LaTeX of variants, verdicts,
    costs and outlook, and `trace.csv`: which trials each number rests on. From an unchanged ledger come the same bytes.

    Args:
        study: its folder, its name under `results`, or its open ledger.
        out: the folder to write; by default `report/` in the study's.
        bring: called with the identities of the trials whose pictures are about to be shown.

    Raises:
        StudyError: if there is no such study, its ledger cannot be read, or `out` holds something else.
    """
    with open_ledger(study) as ledger:
        folder = _folder(out) if out else ledger.folder / "report"
        _write(ledger, folder, bring)
        return folder / "index.html"


def command(arguments: Sequence[str] | None = None) -> int:
    """Do as `main`, and answer a file or folder that cannot be written with a sentence, too."""
    try:
        return main(arguments)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else "the report "
        _complain(f"{what}cannot be written ({error.strerror or type(error).__name__}); mend that, or choose another "
                  "folder with --out")  # fmt: skip
        return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of the study named on the command line, print its tables, and return the exit status.

    Raises:
        OSError: if a file or folder cannot be written.
    """
    chosen = _chosen(arguments)
    try:
        with ExitStack() as stack:
            found = [stack.enter_context(source) for source in _sources(chosen)]
            here = len(found) == 1 and not chosen.mlflow
            folder = _folder(chosen.out or Path("report")) if chosen.out or not here else found[0][0].folder / "report"
            if len(found) > 1:
                _write_several([one for one, _, _ in found], [place for _, _, place in found], folder)
                return 0
            told = _write(found[0][0], folder, found[0][1])
    except ReportError as error:
        _complain(str(error))
        return 2
    path = folder / "index.html"
    listing.show(told.readings, told.tables, path=path, search=told.search, effects=told.effects)
    return 0


def _complain(text: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(clean(text), markup=False)


def _chosen(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description="Write a study's report.")
    parser.add_argument("study", metavar="STUDY", nargs="*", help="a study's folder, or its name under results/; of "
                        "several the verdicts side by side; with --mlflow a study's name, or its run's id")  # fmt: skip
    parser.add_argument("--mlflow", metavar="URI", help="read from this MLflow server or store")
    parser.add_argument("--experiment", metavar="NAME", help="of MLflow; by default the study's name")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write (default: report/ in the study's "
                        "folder; from a server, or of several studies, report/ here)")  # fmt: skip
    chosen = parser.parse_args(arguments)
    if not chosen.study and not (chosen.mlflow and chosen.experiment):
        parser.error("expected a STUDY, or --mlflow URI --experiment NAME")
    if chosen.experiment and not chosen.mlflow:
        parser.error(f"--experiment {chosen.experiment}: expected --mlflow URI beside it")
    return chosen


def _sources(chosen: argparse.Namespace) -> Iterator[AbstractContextManager[Source]]:
    """Yield each study's open ledger, what fetches the pictures of its trials, and where it was read."""
    if not chosen.mlflow:
        yield from (_local(study) for study in chosen.study)
        return
    for study in chosen.study or [None]:
        yield _remote(chosen.mlflow, chosen.experiment or study, study)


@contextmanager
def _local(study: str) -> Iterator[Source]:
    with open_ledger(study) as ledger:
        yield ledger, lambda _: None, str(ledger.folder)


@contextmanager
def _remote(uri: str, experiment: str, study: str | None) -> Iterator[Source]:
    from analysis.mlflow_source import fetch_study

    with TemporaryDirectory(prefix="study-") as place:
        fetched = fetch_study(uri, place, experiment=experiment, study=study)
        with open_ledger(fetched.folder) as ledger:
            yield ledger, fetched.bring, f"run {fetched.parent.id}"


def _folder(out: Path) -> Path:
    """Return a folder that a report may be written into: what else is there could be overwritten."""
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or any((out / name).exists() for name in OWN))):
        raise StudyError(f"{out}: expected a new folder, or one with a report, but it holds something else")
    return out


def _write_several(ledgers: Sequence[Ledger], places: Sequence[str], folder: Path) -> None:
    """Write and print the verdicts of several studies, side by side."""
    found = sides(named(ledgers, places))
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / OWN[1], csv(side_by_side(found)).encode())
    told = listing.several(found)
    _replace(folder / "studies.md", told.encode())
    Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(f"{clean(told)}\n{folder / OWN[1]}")


def _write(ledger: Ledger, folder: Path, bring: Bring) -> Told:
    """Write every file of the report; each is whole at any moment."""
    with collected() as drawn:
        told, files = _files(ledger, bring)
    files |= {f"{FIGURES}/{name}": data for name, data in drawn.items()}
    places = [folder, folder / FIGURES, folder / TABLES]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for draft in (draft for place in places for draft in place.glob(".*.[0-9]*")):  # of writers that were killed
        if time.time() - draft.stat().st_mtime > STALE_S:
            draft.unlink(missing_ok=True)
    for name, data in files.items():
        _replace(folder / name, data)
    figures = [f"{FIGURES}/{path.name}" for kind in ("svg", "png") for path in (folder / FIGURES).glob(f"[!.]*.{kind}")]
    some = [name for one in SOME for name in (f"{one}.csv", f"{TABLES}/{one}.parquet", f"{TABLES}/{one}.tex")]
    for old in {*figures, *some} - files.keys():
        (folder / old).unlink(missing_ok=True)  # what the report has no more
    return told


def _files(ledger: Ledger, bring: Bring) -> tuple[Told, dict[str, bytes]]:
    """Return what the report tells, and its files by name, but for those of figures."""
    told, searched = _read(ledger)
    readings, found = told.readings, told.tables
    curves = {key: load_curves(ledger, metric=key, stage=readings.stage) for key in page.drawn(ledger.study)}
    confirm = ledger.study.confirm if readings.stage == CONFIRM else None
    images = (confirm.digest, confirm.sets) if confirm else (None, ())
    bring(median_trials(readings.images, ledger.study.primary).values())
    pictures = gallery(ledger, readings.images, labels=labels(readings), digest=images[0], sets=images[1])
    scores = [load_images(ledger, stage=stage) for stage in (FIXED, CONFIRM)] if searched else [readings.images]
    costed = cost_table(readings, found)
    cost = cost_part(readings, costed)
    ahead, outlook = outlook_of(readings, found)
    frames = {
        "variants": found.variants,
        "verdicts": found.verdicts,
        "cost": costed,
        "outlook": ahead,
        "trials": readings.plan,
        "images": pd.concat(scores),
        "events": load_events(ledger),
    }
    if readings.effects:
        frames["effects"] = told.effects_table
    if searched:
        frames |= {"search": searched.searched.suggestions, "promised": searched.promised, "tuned": searched.tuned}
    texts = {f"{name}.csv": csv(frame) for name, frame in frames.items()}
    texts["report.md"] = listing.markdown(
        readings, found, search=told.search, effects=told.effects, cost=cost, outlook=outlook
    )
    texts["index.html"] = page.render(
        readings, found, curves=curves, gallery=pictures, search=told.search, effects=told.effects, cost=cost,
        outlook=outlook,
    )  # fmt: skip
    trace = traces(readings, found, effects=frames.get("effects"), search=searched)
    texts[f"{TABLES}/trace.csv"] = csv(trace)
    files = {name: text.encode() for name, text in texts.items()}
    exported = exports(readings, found, frames, cost, outlook, effects=told.effects, search=told.search)
    return told, files | {f"{TABLES}/{name}": data for name, data in exported.items()}


@dataclass(frozen=True)
class Told:
    """What the report tells: of the stage that is judged, or shown until it can be, of the search, and of effects."""

    readings: Readings
    tables: Tables
    search: SearchPart | None
    effects: EffectsPart | None
    effects_table: pd.DataFrame


def _read(ledger: Ledger) -> tuple[Told, SearchTables | None]:
    """Read the ledger and compute all that is told, and the tables of the search."""
    study, stage = ledger.study, verdict_stage(ledger.study)
    readings = read(ledger, stage)
    effects = effects_table(readings)
    if study.search is None:
        return Told(readings, tables(readings), None, effects_part(readings, effects), effects), None
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
    names = labels(readings)
    part = search_part(
        searched, readings, waits=waits, untuned=untuned,
        mattered=importances(searched.searched, study.search),
        pictures=[one for draw in (search_pictures, coordinates) for one in draw(searched.searched, study, names)],
    )  # fmt: skip
    told = None if waits else effects_part(readings, effects)
    return Told(readings, found, part, told, effects), searched


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)  # the disk is full, say
        raise


if __name__ == "__main__":
    sys.exit(command())
