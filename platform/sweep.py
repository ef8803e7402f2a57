"""`python -m platform.sweep ablation.yaml`: run a study, go on with it, extend it, or find that nothing is left to do.

Exit status: 0 every planned trial has a result; 1 some FAILED, or a budget or an error ended the study; 2 the spec is
wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.schema import FAILED, PLANNED, RUNNING
from platform import dry_run, references, snapshot
from platform.acceptance import accept, all_cells, facts, held
from platform.design import variants
from platform.errors import Problem, SpecError, SweepError, full
from platform.job import Job
from platform.ledger import Ledger
from platform.mirror_process import MirrorProcess
from platform.plan import Cell, cells
from platform.record import record
from platform.search_checks import check_fit
from platform.search_run import search_run
from platform.spec import Study
from platform.spec_checks import Finder, check_files
from platform.spec_file import read
from platform.trainer import Report
from platform.view import live
from platform.warm_start import warm_start
from trials.disk import no_room

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 130


@dataclass(frozen=True)
class _Sweep:
    """One call of the command: what was asked, and where it goes."""

    study: Study
    fixed: list[Cell]
    digests: tuple[str, str]
    """Of the images of the study, and of those that confirm; the same if these are."""
    weights: Mapping[str, str]
    """The trained models to compare with: name -> SHA-256 of the file."""
    ledger: Ledger
    storage: Path
    arguments: argparse.Namespace
    console: Console

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(argv)
    console = Console(soft_wrap=True)
    try:
        return _sweep(arguments, console)
    except SweepError as error:
        console.print(str(error), markup=False, highlight=False)
        return 2 if isinstance(error, SpecError) else 1
    except OSError as error:
        if not no_room(error):
            raise
        console.print(full(arguments.results.resolve(), str(error)), markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print(f"interrupted; to go on: {_command()}", markup=False, highlight=False)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m platform.sweep", description="Run the study that a spec asks for.")
    add = parser.add_argument
    add("spec", type=Path, metavar="SPEC", help="the study, such as ablation.yaml")
    add("--dry-run", action="store_true", help="show the design, its trials and the time they take; start nothing")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="override a setting of the spec; repeatable")
    add("--retry", choices=["failed"], help="train again what FAILED, from its last checkpoint")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="ledger and report (default: results)")
    add("--storage", type=Path, metavar="DIR", help="checkpoints and pictures, seen by all nodes (default: results)")
    add("--address", metavar="HOST:PORT", help="join this Ray cluster instead of starting one on this machine")
    return parser


def _sweep(arguments: argparse.Namespace, console: Console) -> int:
    if (arguments.address or "").startswith("ray://"):
        raise SweepError(
            f"--address {arguments.address}: the driver must be a node of the cluster (0 CPUs will do) or a submitted "
            "job, since Ray Client would run it elsewhere; give HOST:PORT of the head, or `auto`"
        )
    study = read(
        arguments.spec, arguments.set, recorded=lambda name: snapshot.models(arguments.results / name / "ledger.db")
    )
    folder = (arguments.results / study.spec.study).resolve()
    _check_start(study, arguments)
    digests = _digests(study, arguments.spec)
    fixed = cells(study, digests[0])
    if arguments.dry_run:
        _check_data(study, arguments.spec)
        dry_run.show(study, fixed, folder, console)
        return 0
    if not (folder / "ledger.db").exists():
        _check_data(study, arguments.spec)  # before anything is made
    weights = references.digests(study.spec.reference)
    ledger = Ledger(folder)
    try:
        storage = _storage(ledger, arguments, folder)
        sweep = _Sweep(study, fixed, digests, weights, ledger, storage, arguments, console)
        return _go_on(replace(sweep, weights=weights | _kept(sweep)))
    finally:
        ledger.close()


def _go_on(sweep: _Sweep) -> int:
    """Train what has no result yet, then report."""
    sweep.ledger.recover()
    if sweep.arguments.retry:
        _retry(sweep)
    _accept(sweep)
    study, ledger, name = sweep.study, sweep.ledger, sweep.study.spec.study
    planned = all_cells(study, ledger, sweep.digests[0])
    search = search_run(study, ledger, planned, digests=sweep.digests, clock=time.time)
    job = Job(study, planned, ledger, sweep.storage, lambda: 1, search)
    if not job.pending():
        failed, whole = len(_failed(job)), len({cell.trial for cell in job.cells})
        sweep.say(f"{name}: nothing to do, {f'{whole - failed} of' if failed else 'all'} {whole} trials have a result")
        wanted = _unscored(sweep)
        if wanted:
            sweep.say(
                f"scoring {', '.join(sorted({one for names in wanted.values() for one in names})) or 'the references'}"
            )
            _refer(sweep, _scored(sweep, wanted))
        news = _report(sweep)
        with MirrorProcess(ledger.folder, follow=False, console=sweep.console, news=news):
            pass
        return _status(sweep, job)
    _announce(sweep, job)
    ledger.begin_driver(record(ROOT, [sys.executable, *sys.argv]), time.time())
    with MirrorProcess(ledger.folder, follow=True, console=sweep.console):
        try:
            if not _train(sweep, job):
                sweep.say(f"interrupted; what is done is kept. To go on: {_command()}")
                return INTERRUPTED
            _report(sweep)
        finally:
            ledger.end_driver(time.time())
    return _status(sweep, job)


def _retry(sweep: _Sweep) -> None:
    """Plan what FAILED again."""
    failed = [trial for trial, state in sweep.ledger.states.items() if state == FAILED]
    sweep.ledger.retry(failed)
    sweep.say(f"{len(failed)} trials that FAILED are planned again")


def _announce(sweep: _Sweep, job: Job) -> None:
    """Say what is about to be trained."""
    study, ledger = sweep.study, sweep.ledger
    done = sum(ledger.states[trial] not in (PLANNED, RUNNING) for trial in {cell.trial for cell in job.cells})
    count, seeds = len(variants(study.spec)), len(study.spec.seed_list)
    sweep.say(
        f"{study.spec.study}: {count} variants x {seeds} seeds = {len(sweep.fixed)} trials"
        + (f", {done} of them have a result" if done and job.search is None else "")
    )
    if job.search is not None:
        for part in dry_run.search_plan(study):
            sweep.console.print(part, highlight=False)
        if done:
            sweep.say(f"{done} trials have a result already")
        job.search.warm, said = warm_start(study, sweep.arguments.results, sweep.digests[0])
        for text in said:
            sweep.say(text)


def _kept(sweep: _Sweep) -> dict[str, str]:
    """Return the models whose file is gone, but whose scores the ledger has: name -> SHA-256 of what the file was."""
    version, named = sweep.study.trainer.RESULTS_VERSION, sweep.study.spec.reference
    scored = sweep.ledger.scored(sweep.digests[0], version)
    found, problems = {}, []
    for name in (name for name in named if name not in sweep.weights):
        digest = scored.get(name)
        if digest is None:
            what = f"there is no file {named[name]}, and the scores recorded are of other images or another version"
            problems.append(Problem(f"reference.{name}", f"expected a file of weights, but {what}"))
        else:
            found[name] = digest
            sweep.say(f"{name}: the file {named[name]} is gone; its recorded scores are kept")
    if problems:
        raise SpecError(str(sweep.arguments.spec), problems)
    return found


def _train(sweep: _Sweep, job: Job) -> bool:
    """Run the trials; return whether that came to an end, else it was interrupted."""
    from platform import tune_run

    study, ledger = sweep.study, sweep.ledger
    metric = next(one for one in study.trainer.METRICS if one.key == study.spec.analysis.primary)
    needs = study.spec.resources
    with ThreadPoolExecutor(1) as beside:  # the references are scored while Ray starts
        scored = beside.submit(_scored, sweep, _unscored(sweep))
        with tune_run.cluster(sweep.arguments.address), tune_run.interruptible():
            if not sweep.arguments.address and not tune_run.fits(needs):
                what = (
                    f"a trial needs {needs.cpu:g} CPUs and {needs.gpu:g} GPUs, more than this machine has; ask for less"
                )
                raise SpecError(str(sweep.arguments.spec), [Problem("resources", what)])
            probed = None if ledger.started() else tune_run.probe(job, job.cells[0])
            _refer(sweep, scored.result())
            wrong = probed() if probed else ""
            if wrong:
                what = "a few steps of the first trial fail on a worker, so nothing was started"
                raise SweepError(f"{study.spec.study}: {what}: {wrong}")
            slots = tune_run.slots(needs)
            job.capacity = lambda: tune_run.slots(needs)
            ledger_file = ledger.folder / "ledger.db"
            with live(ledger_file, title=study.spec.study, metric=metric, slots=slots, console=sweep.console):
                return tune_run.run(job)


def _report(sweep: _Sweep) -> bool:
    """Write the report and show its summary, if the ledger has news since it was last written; return whether."""
    ledger, page = sweep.ledger, sweep.ledger.folder / "report" / "index.html"
    if ledger.get("reported") == ledger.change() and page.exists():
        sweep.say(f"report: {page}")
        return False
    from analysis import report

    if report.main([str(ledger.folder)]) == 0:
        ledger.put({"reported": ledger.change()})
    return True


def _accept(sweep: _Sweep) -> None:
    """Make the spec the one that holds, and record what it changes after the first trial."""
    study, ledger = sweep.study, sweep.ledger
    ledger.keep_models(sweep.weights)
    known = facts(study, ledger, storage=sweep.storage, digests=sweep.digests)
    if held(study, ledger, known, sweep.fixed):
        return
    if ledger.spec() is not None:
        _check_data(study, sweep.arguments.spec)
    for text in accept(study, ledger, known, sweep.fixed, time.time()):
        sweep.say(f"changed after the first trial, which the report records: {text}")


def _scenarios(sweep: _Sweep) -> dict[str, Any]:
    """Return the data whose images are scored, by their digest: the study's, and those that confirm."""
    return dict(zip(sweep.digests, (sweep.study.data, sweep.study.trainer.confirming(sweep.study.data)), strict=True))


def _unscored(sweep: _Sweep) -> dict[str, list[str]]:
    """Return the trained models that have still to be scored, by the digest of images; see `references.unscored`."""
    version = sweep.study.trainer.RESULTS_VERSION
    wanted = {one: references.unscored(sweep.ledger.scored(one, version), sweep.weights) for one in sweep.digests}
    return {digest: names for digest, names in wanted.items() if names is not None}


def _scored(sweep: _Sweep, wanted: Mapping[str, Sequence[str]]) -> dict[str, Mapping[str, Report]]:
    """Score what is wanted, or say what is wrong with it."""
    names = {name for several in wanted.values() for name in several}
    data = _scenarios(sweep)
    try:
        return {
            digest: references.score(
                sweep.study, data[digest], sweep.storage, several, confirms=digest != sweep.digests[0]
            )
            for digest, several in wanted.items()
        }
    except ValueError as error:
        files = sweep.study.spec.reference
        named = [name for name in names if files[name] in str(error)]
        where = f"reference.{max(named, key=lambda name: len(files[name]))}" if named else "data"
        raise SpecError(str(sweep.arguments.spec), [Problem(where, str(error))]) from None
    except OSError as error:
        if not no_room(error):
            raise
        raise SweepError(full(sweep.storage, str(error))) from None


def _refer(sweep: _Sweep, reports: Mapping[str, Mapping[str, Report]]) -> None:
    version = sweep.study.trainer.RESULTS_VERSION
    for digest, those in reports.items():
        sweep.ledger.refer(digest, those, version=version, weights=sweep.weights)


def _digests(study: Study, source: Path) -> tuple[str, str]:
    """Return the digests of the images of the study and of its confirmation, or say all that is wrong with them."""
    try:
        own = study.trainer.digest(study.data)
        confirms = study.spec.confirm is not None
        return own, study.trainer.digest(study.trainer.confirming(study.data)) if confirms else own
    except ValueError as error:
        _check_data(study, source)
        raise SpecError(str(source), [Problem("data", str(error))]) from None


def _check_start(study: Study, arguments: argparse.Namespace) -> None:
    """Refuse studies that are named as a start for the search and that there are not."""
    named = study.spec.search.start if study.spec.search else []
    missing = [name for name in named if not (arguments.results / name / "ledger.db").is_file()]
    if missing:
        what = f"expected the name of a study in {arguments.results}, but there is no {', '.join(missing)}"
        raise SpecError(str(arguments.spec), [Problem("search.start", what)])


def _check_data(study: Study, source: Path) -> None:
    """Refuse images and files of weights that cannot be used, each problem in a sentence."""
    problems: list[Problem] = []
    found = Finder(study.lines, problems)
    check_files(study, found)
    if not problems:
        check_fit(study, found)
    if problems:
        raise SpecError(str(source), problems)


def _storage(ledger: Ledger, arguments: argparse.Namespace, folder: Path) -> Path:
    """Return the folder for checkpoints and pictures: as asked, else where they lie already, else the study's own."""
    if arguments.storage:
        return Path(arguments.storage / folder.name).resolve()
    recorded = ledger.get("storage")
    return Path(recorded) if recorded and recorded != ledger.get("folder") else folder  # which may have been moved


def _status(sweep: _Sweep, job: Job) -> int:
    """Return the exit status, and say why it is not 0."""
    failed, whole = len(_failed(job)), len({cell.trial for cell in job.cells})
    if failed:
        sweep.say(f"{failed} of {whole} trials FAILED; the report and the ledger say why")
    if job.reason:
        sweep.say(job.reason)
    return 1 if failed or job.reason else 0


def _failed(job: Job) -> set[str]:
    return {cell.trial for cell in job.cells if job.ledger.states[cell.trial] == FAILED}


def _command() -> str:
    """Return the command as a user would type it again."""
    return shlex.join(["python", "-m", "platform.sweep", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
