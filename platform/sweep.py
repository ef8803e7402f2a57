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

from rich.console import Console

from analysis.schema import FAILED, PLANNED, RUNNING
from platform import dry_run, references, snapshot
from platform.design import inert, variants
from platform.deviations import deviations
from platform.errors import Problem, SpecError, SweepError, full
from platform.job import Job
from platform.ledger import Ledger
from platform.mirror_process import MirrorProcess
from platform.plan import Cell, cells
from platform.record import record
from platform.spec import Study
from platform.spec_checks import Finder, check_files
from platform.spec_file import read
from platform.trainer import Report
from platform.view import live
from trials.disk import no_room

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 130
METRIC = ("key", "title", "higher_is_better", "needs_reference", "about", "per_image")
"""What the ledger keeps of a metric."""
_At = tuple[str, str, int]
"""A cell: stage, variant, seed."""


@dataclass(frozen=True)
class _Sweep:
    """One call of the command: what was asked, and where it goes."""

    study: Study
    cells: Sequence[Cell]
    digest: str
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
    digest = _digest(study, arguments.spec)
    planned = cells(study, digest)
    if arguments.dry_run:
        _check_data(study, arguments.spec)
        dry_run.show(study, planned, folder, console)
        return 0
    if not (folder / "ledger.db").exists():
        _check_data(study, arguments.spec)  # before anything is made
    weights = references.digests(study.spec.reference)
    ledger = Ledger(folder)
    try:
        storage = _storage(ledger, arguments, folder)
        sweep = _Sweep(study, planned, digest, weights, ledger, storage, arguments, console)
        return _go_on(replace(sweep, weights=weights | _kept(sweep)))
    finally:
        ledger.close()


def _go_on(sweep: _Sweep) -> int:
    """Train what has no result yet, then report."""
    _accept(sweep)
    states = sweep.ledger.states
    left = sum(states[cell.trial] in (PLANNED, RUNNING) for cell in sweep.cells)
    if not left:
        failed = sum(states[cell.trial] == FAILED for cell in sweep.cells)
        all_of = f"{len(sweep.cells) - failed} of {len(sweep.cells)}" if failed else f"all {len(sweep.cells)}"
        sweep.say(f"{sweep.study.spec.study}: nothing to do, {all_of} trials have a result")
        wanted = _unscored(sweep)
        if wanted is not None:
            sweep.say(f"scoring {', '.join(wanted) or 'the references'}")
            _refer(sweep, _scored(sweep, wanted))
        news = _report(sweep)
        with MirrorProcess(sweep.ledger.folder, follow=False, console=sweep.console, news=news):
            pass
        return _status(sweep, "")
    seeds, count = len(sweep.study.spec.seed_list), len(variants(sweep.study.spec))
    done = f", {len(sweep.cells) - left} of them have a result" if left < len(sweep.cells) else ""
    sweep.say(f"{sweep.study.spec.study}: {count} variants x {seeds} seeds = {len(sweep.cells)} trials{done}")
    sweep.ledger.begin_driver(record(ROOT, [sys.executable, *sys.argv]), time.time())
    with MirrorProcess(sweep.ledger.folder, follow=True, console=sweep.console):
        try:
            reason = _train(sweep)
            if reason is None:
                sweep.say(f"interrupted; what is done is kept. To go on: {_command()}")
                return INTERRUPTED
            _report(sweep)
        finally:
            sweep.ledger.end_driver(time.time())
    return _status(sweep, reason)


def _kept(sweep: _Sweep) -> dict[str, str]:
    """Return the models whose file is gone, but whose scores the ledger has: name -> SHA-256 of what the file was."""
    version, named = sweep.study.trainer.RESULTS_VERSION, sweep.study.spec.reference
    scored = sweep.ledger.scored(sweep.digest, version)
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


def _train(sweep: _Sweep) -> str | None:
    """Run the trials; return why some were left out (empty if none), or None after an interruption."""
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
            _refer(sweep, scored.result())
            slots = tune_run.slots(needs)
            job = Job(study, sweep.cells, ledger, sweep.storage, lambda: tune_run.slots(needs))
            ledger_file = ledger.folder / "ledger.db"
            with live(ledger_file, title=study.spec.study, metric=metric, slots=slots, console=sweep.console):
                finished = tune_run.run(job)
    return job.reason if finished else None


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
    before, resolved = ledger.spec(), study.resolved()
    planned = {(cell.stage, cell.variant, cell.seed): cell.trial for cell in sweep.cells}
    ledger.keep_models(sweep.weights)
    facts = {
        "folder": str(ledger.folder),
        "storage": str(sweep.storage),
        "metrics": [{key: getattr(metric, key) for key in METRIC} for metric in study.trainer.METRICS],
        "inert": {one.name: inert(study.trainer, study.config, one.overrides) for one in variants(study.spec)},
    }
    if before == resolved and ledger.cells() == planned and all(ledger.get(key) == facts[key] for key in facts):
        return
    if before is not None:
        _check_data(study, sweep.arguments.spec)
    changes = []
    if before and ledger.started():
        same_images, same_trials = ledger.get("digest") == sweep.digest, _same_trials(ledger.cells(), planned)
        changes = deviations(before, resolved, same_images=same_images, same_trials=same_trials)
    source = dict(study.trainer.provenance(study.data))
    measured = source.pop("metric_settings", {})
    now = time.time()
    ledger.put(
        {
            "name": study.spec.study,
            "trainer": study.spec.trainer,
            **facts,
            "digest": sweep.digest,
            "data": source,
            "metric_settings": measured,
        }
    )
    ledger.accept(resolved, variants(study.spec), sweep.cells, data=sweep.digest, now=now)
    ledger.show(study.trainer.scenes(study.data))
    ledger.deviate(changes, now)
    for text in changes:
        sweep.say(f"changed after the first trial, which the report records: {text}")


def _same_trials(held: Mapping[_At, str], planned: Mapping[_At, str]) -> bool:
    """Return whether every variant that was planned is still, and trains to what it did: no setting changed a result.

    Args:
        held: the trial of each cell, by stage, variant and seed, so far.
        planned: the same from now on; seeds may have come or gone, so long as some stayed.
    """
    both = held.keys() & planned.keys()
    stayed = {variant for _, variant, _ in held} == {variant for _, variant, _ in both}
    return stayed and all(held[at] == planned[at] for at in both)


def _unscored(sweep: _Sweep) -> list[str] | None:
    version = sweep.study.trainer.RESULTS_VERSION
    return references.unscored(sweep.ledger.scored(sweep.digest, version), sweep.weights)


def _scored(sweep: _Sweep, wanted: Sequence[str] | None) -> Mapping[str, Report]:
    """Score what is wanted, see `references.unscored`, or say what is wrong with it."""
    try:
        return {} if wanted is None else references.score(sweep.study, sweep.storage, wanted)
    except ValueError as error:
        files = sweep.study.spec.reference
        named = [name for name in wanted or () if files[name] in str(error)]
        where = f"reference.{max(named, key=lambda name: len(files[name]))}" if named else "data"
        raise SpecError(str(sweep.arguments.spec), [Problem(where, str(error))]) from None
    except OSError as error:
        if not no_room(error):
            raise
        raise SweepError(full(sweep.storage, str(error))) from None


def _refer(sweep: _Sweep, reports: Mapping[str, Report]) -> None:
    version = sweep.study.trainer.RESULTS_VERSION
    sweep.ledger.refer(sweep.digest, reports, version=version, weights=sweep.weights)


def _digest(study: Study, source: Path) -> str:
    """Return the digest of the images, or say everything that is wrong with them."""
    try:
        return study.trainer.digest(study.data)
    except ValueError as error:
        _check_data(study, source)
        raise SpecError(str(source), [Problem("data", str(error))]) from None


def _check_data(study: Study, source: Path) -> None:
    """Refuse images and files of weights that cannot be used, each problem in a sentence."""
    problems: list[Problem] = []
    check_files(study, Finder(study.lines, problems))
    if problems:
        raise SpecError(str(source), problems)


def _storage(ledger: Ledger, arguments: argparse.Namespace, folder: Path) -> Path:
    """Return the folder for checkpoints and pictures: as asked, else where they lie already, else the study's own."""
    if arguments.storage:
        return Path(arguments.storage / folder.name).resolve()
    recorded = ledger.get("storage")
    return Path(recorded) if recorded and recorded != ledger.get("folder") else folder  # which may have been moved


def _status(sweep: _Sweep, reason: str) -> int:
    """Return the exit status, and say why it is not 0."""
    failed = sum(sweep.ledger.states[cell.trial] == FAILED for cell in sweep.cells)
    if failed:
        sweep.say(f"{failed} of {len(sweep.cells)} trials FAILED; the report and the ledger say why")
    if reason:
        sweep.say(reason)
    return 1 if failed or reason else 0


def _command() -> str:
    """Return the command as a user would type it again."""
    return shlex.join(["python", "-m", "platform.sweep", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
