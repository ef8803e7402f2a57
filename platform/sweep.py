"""`python -m platform.sweep ablation.yaml`: run a study, go on with it, extend it, or find that nothing is left to do.

Exit status: 0 every planned trial has a result; 1 some FAILED, or a budget or an error ended the study; 2 the spec is
wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.printable import clean
from analysis.schema import FAILED, PLANNED, RUNNING
from platform import dry_run, far_storage, references, shipment, snapshot, sweep_storage
from platform.acceptance import accept, all_cells, facts, fixed_cells, held
from platform.design import variants
from platform.errors import AddressError, Problem, SpecError, SweepError, away, full, unwritable
from platform.job import Job
from platform.ledger import Ledger
from platform.ledger_references import keep_models, refer, scored
from platform.ledger_results import change, pictures
from platform.looking import Looking
from platform.mirror_process import MirrorProcess
from platform.packing import told
from platform.plan import Cell, cells
from platform.record import record
from platform.search_run import search_run
from platform.signals import interruptible
from platform.spec import Study
from platform.spec_file import read
from platform.status_driver import without_retry
from platform.sweep_checks import check_data, check_start, image_digests
from platform.trainer import Report
from platform.view import live
from platform.warm_start import warm_start
from trials.disk import no_room
from trials.storage import Storage, StorageError, is_address

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 130
MOST_PENDING = 1000
"""Each is a placement group in Ray, which is looked at several times a second."""


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
    """Of pictures, and of checkpoints unless these are far."""
    far: Storage | None
    """Where checkpoints lie, and pictures until they are fetched, if `--storage` has an address."""
    arguments: argparse.Namespace
    console: Console

    def say(self, text: str) -> None:
        self.console.print(clean(text), markup=False, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(argv)
    console = Console(soft_wrap=True, emoji=False)
    try:
        with interruptible():
            return _sweep(arguments, console)
    except SweepError as error:
        console.print(clean(str(error)), markup=False, highlight=False)
        return 2 if isinstance(error, SpecError | AddressError) else 1
    except OSError as error:
        said = _unwritten(error, arguments.results.absolute())
        if not said:
            raise
        console.print(said, markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print(f"interrupted; to go on: {_command()}", markup=False, highlight=False)
        return INTERRUPTED


def _unwritten(error: OSError, results: Path) -> str:
    """Return the sentence about a file or folder that cannot be written, if an error says that; else ''."""
    lacking = no_room(error)
    if lacking:
        return full(Path(lacking.filename).absolute().parent if lacking.filename else results, str(lacking))
    refused = error.filename and (
        isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError)
        or error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
    )
    return unwritable(Path(error.filename), error.strerror or type(error).__name__) if refused else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m platform.sweep", description="Run the study that a spec asks for.")
    add = parser.add_argument
    add("spec", type=Path, metavar="SPEC", help="the study, such as ablation.yaml")
    add("--dry-run", action="store_true", help="show the design, its trials and the time they take; start nothing")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="override a setting of the spec; repeatable")
    add("--retry", choices=["failed"], help="train again what FAILED, from its last checkpoint")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="ledger and report (default: results)")
    where = "checkpoints and pictures: a folder that all nodes see, or an address as s3://BUCKET/DIR (default: results)"
    add("--storage", metavar="DIR", help=where)
    add("--address", metavar="HOST:PORT", help="join this Ray cluster instead of starting one on this machine")
    add("--pending", type=_count, default=0, metavar="N", help="show a cluster that grows N trials waiting for room")
    add("--ship-data", action="store_true", help="send images and weights to the nodes, which need not see them")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_PENDING):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {MOST_PENDING}, got {text}")
    return int(text)


def _sweep(arguments: argparse.Namespace, console: Console) -> int:
    if (arguments.address or "").startswith("ray://"):
        raise SweepError(
            f"--address {arguments.address}: the driver must be a node of the cluster (0 CPUs will do) or a submitted "
            "job, since Ray Client would run it elsewhere; give HOST:PORT of the head, or `auto`"
        )
    if arguments.ship_data and not arguments.address:
        raise SweepError("--ship-data: expected with --address, the cluster to send files to; add it or leave this out")
    study = read(
        arguments.spec, arguments.set, recorded=lambda name: snapshot.models(arguments.results / name / "ledger.db")
    )
    folder = Path(os.path.realpath(arguments.results / study.spec.study))  # links in a circle fail when written to
    check_start(study, arguments.spec, arguments.results)
    asked = arguments.storage or ""
    address = far_storage.below(asked, study.spec.study) if is_address(asked) else ""
    digests = image_digests(study, arguments.spec)
    if arguments.dry_run:
        check_data(study, arguments.spec)
        dry_run.show(study, cells(study, digests[0]), folder, console)
        return 0
    if not (folder / "ledger.db").exists():
        check_data(study, arguments.spec)  # before anything is made
    weights = references.digests(study.spec.reference)
    far = far_storage.connect(address) if address else None
    ledger = Ledger(folder)
    try:
        far = far or sweep_storage.far(ledger, asked)
        storage = folder if far else sweep_storage.near(ledger, asked)
        if not far:
            sweep_storage.check_moved(ledger, storage)
        try:
            sweep_storage.claim(ledger, far or storage)
        except (SweepError, OSError) as error:
            if not isinstance(error.__cause__, StorageError):  # one that fails may bear the ledger's mark by now
                ledger.discard()
            raise
        fixed = fixed_cells(study, ledger, digests[0])
        sweep = _Sweep(study, fixed, digests, weights, ledger, storage, far, arguments, console)
        known = scored(ledger, digests[0], study.trainer.RESULTS_VERSION)
        kept = references.kept(study, known, weights, arguments.spec, sweep.say)
        return _go_on(replace(sweep, weights=weights | kept))
    finally:
        ledger.close()


def _go_on(sweep: _Sweep) -> int:
    """Train what has no result yet, then report."""
    sweep.ledger.recover()
    _accept(sweep)
    if sweep.arguments.retry:
        _retry(sweep)
    study, ledger, name = sweep.study, sweep.ledger, sweep.study.spec.study
    planned = all_cells(study, ledger, sweep.digests[0])
    search = search_run(study, ledger, planned, digests=sweep.digests, clock=time.time)
    looks = Looking(study, ledger, planned, time.time) if study.spec.looks else None
    job = Job(study, planned, ledger, sweep.storage, lambda: 1, search, looks=looks, far=sweep.far)
    if not job.pending():
        shutil.rmtree(sweep.storage / ".tune", ignore_errors=True)  # what a driver left that was killed at its very end
        failed, whole = len(_failed(job)), len({cell.trial for cell in job.cells})
        sweep.say(f"{name}: nothing to do, {f'{whole - failed} of' if failed else 'all'} {whole} trials have a result")
        wanted = _unscored(sweep)
        if wanted:
            sweep.say(
                f"scoring {', '.join(sorted({one for names in wanted.values() for one in names})) or 'the references'}"
            )
            _refer(sweep, references.score_all(study, _scenarios(sweep), sweep.storage, wanted, sweep.arguments.spec))
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
            ledger.end_driver(time.time(), job.reason)
    return _status(sweep, job)


def _retry(sweep: _Sweep) -> None:
    """Plan again what FAILED of the plan."""
    ledger = sweep.ledger
    planned = dict.fromkeys(cell.trial for cell in all_cells(sweep.study, ledger, sweep.digests[0]))
    failed = [trial for trial in planned if ledger.states[trial] == FAILED]
    if failed:
        ledger.retry(failed)
    many = "1 trial that FAILED is" if len(failed) == 1 else f"{len(failed)} trials that FAILED are"
    sweep.say(f"{many} planned again" if failed else "no trial has FAILED")


def _announce(sweep: _Sweep, job: Job) -> None:
    """Say what is about to be trained."""
    study, ledger = sweep.study, sweep.ledger
    done = sum(ledger.states[trial] not in (PLANNED, RUNNING) for trial in {cell.trial for cell in job.cells})
    count, seeds = len(variants(study.spec)), len(study.spec.seed_list)
    trials = f"{count} variants x {seeds} seeds = {len(sweep.fixed)} trials"
    if study.spec.looks:
        trials = f"{dry_run.looks_plan(study.spec)}; so far {len(sweep.fixed)} trials"
    sweep.say(
        f"{study.spec.study}: {trials}" + (f", {done} of them have a result" if done and job.search is None else "")
    )
    if job.search is not None:
        for part in dry_run.search_plan(study):
            sweep.console.print(part, highlight=False)
        if done:
            sweep.say(f"{done} trials have a result already")
        job.search.warm, said = warm_start(study, sweep.arguments.results, sweep.digests[0])
        for text in said:
            sweep.say(text)


def _train(sweep: _Sweep, job: Job) -> bool:
    """Run the trials; return whether that came to an end, else it was interrupted."""
    from platform import tune_run
    from platform.probing import probe

    study, ledger = sweep.study, sweep.ledger
    metric = next(one for one in study.trainer.METRICS if one.key == study.spec.analysis.primary)
    needs = study.spec.resources
    with ThreadPoolExecutor(1) as beside:  # the references are scored while Ray starts
        scores = beside.submit(
            references.score_all, study, _scenarios(sweep), sweep.storage, _unscored(sweep), sweep.arguments.spec
        )
        with tune_run.cluster(sweep.arguments.address):
            if not sweep.arguments.address and not tune_run.fits(job):
                what = (
                    f"a trial needs {needs.cpu:g} CPUs and {job.share:g} GPUs, more than this machine has; ask for less"
                )
                raise SpecError(str(sweep.arguments.spec), [Problem("resources", what)])
            if not tune_run.fits(job):
                sweep.say(f"no node has room for a trial of {needs.cpu:g} CPUs and {job.share:g} GPUs yet; waiting")
            if sweep.arguments.ship_data:
                job.shipped = shipment.ship(job)
            probed = probe(job) if job.untried() else None
            _refer(sweep, scores.result())
            wrong = probed() if probed else ""
            if wrong:
                what = "a few steps of the first trial fail on a worker, so nothing was started"
                raise SweepError(f"{study.spec.study}: {what}: {wrong}")
            if probed and ledger.get("packing"):
                sweep.say(told(ledger.get("packing")))
            slots = tune_run.slots(job)
            job.capacity = lambda: tune_run.slots(job)
            ledger_file = ledger.folder / "ledger.db"
            with live(ledger_file, title=study.spec.study, metric=metric, slots=slots, console=sweep.console):
                return tune_run.run(job, pending=sweep.arguments.pending)


def _report(sweep: _Sweep) -> bool:
    """Write the report and show its summary, if the ledger has news since it was last written; return whether."""
    ledger, page = sweep.ledger, sweep.ledger.folder / "report" / "index.html"
    came = _fetched(sweep)
    if not came and ledger.get("reported") == change(ledger) and page.exists():
        sweep.say(f"report: {page}")
        return False
    from analysis import report

    if report.main([str(ledger.folder)]) == 0:
        ledger.put({"reported": change(ledger)})
    return True


def _fetched(sweep: _Sweep) -> int:
    """Fetch what the report shows and is not here; return how many files came. Without them it is still a report."""
    if sweep.far is None:
        return 0
    try:
        return far_storage.fetch(sweep.far, sweep.storage, pictures(sweep.ledger))
    except StorageError as error:
        sweep.say(f"{away(str(error))}; the report lacks pictures until then")
        return 0


def _accept(sweep: _Sweep) -> None:
    """Make the spec the one that holds, and record what it changes after the first trial."""
    study, ledger = sweep.study, sweep.ledger
    keep_models(ledger, sweep.weights)
    place = sweep.far.address if sweep.far else sweep.storage
    known = facts(study, ledger, storage=place, digests=sweep.digests)
    if held(study, ledger, known, sweep.fixed):
        return
    if ledger.spec() is not None:
        check_data(study, sweep.arguments.spec)
    for text in accept(study, ledger, known, sweep.fixed, time.time()):
        sweep.say(f"changed after the first trial, which the report records: {text}")


def _scenarios(sweep: _Sweep) -> dict[str, Any]:
    """Return the data whose images are scored, by their digest: the study's, and those that confirm."""
    return dict(zip(sweep.digests, (sweep.study.data, sweep.study.trainer.confirming(sweep.study.data)), strict=True))


def _unscored(sweep: _Sweep) -> dict[str, list[str]]:
    """Return the trained models that have still to be scored, by the digest of images; see `references.unscored`."""
    version = sweep.study.trainer.RESULTS_VERSION
    wanted = {one: references.unscored(scored(sweep.ledger, one, version), sweep.weights) for one in sweep.digests}
    return {digest: names for digest, names in wanted.items() if names is not None}


def _refer(sweep: _Sweep, reports: Mapping[str, Mapping[str, Report]]) -> None:
    version = sweep.study.trainer.RESULTS_VERSION
    for digest, those in reports.items():
        refer(sweep.ledger, digest, those, version=version, weights=sweep.weights)


def _status(sweep: _Sweep, job: Job) -> int:
    """Return the exit status, and say why it is not 0."""
    failed, whole = len(_failed(job)), len({cell.trial for cell in job.cells})
    if failed:
        sweep.say(f"{failed} of {whole} trials FAILED; the report says why, and --retry failed trains them again")
    if job.reason:
        sweep.say(job.reason)
    return 1 if failed or job.reason else 0


def _failed(job: Job) -> set[str]:
    return {cell.trial for cell in job.cells if job.ledger.states[cell.trial] == FAILED}


def _command() -> str:
    """Return the command as a user would type it again."""
    return shlex.join(["python", "-m", "platform.sweep", *without_retry(sys.argv[1:])])


if __name__ == "__main__":
    sys.exit(main())
