"""What of a study ran, runs, waits, failed, and why: `python -m platform.status [STUDY] [--trial ID] [--json]`.

STUDY is a folder or a name under results/; without it every study there has a line. The ledger alone is read, as it is
at one moment, also while a driver writes to it: nobody waits for this command, and it waits for nobody.

    --trial ID   one trial whole: the beginning of its identity, or VARIANT:SEED
    --json       the same as JSON, for scripts

Exit status of a study: 0 everything has a result; 1 something failed, or the budget ended it; 3 it is unfinished, or
runs; 2 there is no such study or trial, or its ledger cannot be read. Of a trial: 0 it has a result, 1 it FAILED, 3 it
has still to end. Of the list: 0, or 2 if there are no studies.

Times are seconds since 1970, durations seconds, sizes bytes; what there is not is null. The keys of a study:

    study, folder   its name; the folder of its ledger
    at              when this was read
    state           running | unfinished | budget (unfinished, and the budget is spent) | failed | done
    why             a sentence: why an unfinished study is not running; "" if there is nothing to say
    driver          the last process that ran it: number, state (running | ended | interrupted | dead), host, pid,
                    started, ended (of a dead one when it was last heard of), command (to call it again)
    held_by         who holds the study's lock: host, pid
    primary         the metric that `value` is of
    trials          trials of the plan in each state: PLANNED, RUNNING, COMPLETED, STOPPED, DIVERGED, FAILED. What a
                    dead driver left RUNNING is so here, too
    to_come         how many more places its searches will add to the plan, about
    unplanned       trials that were begun and are in no place of the plan any more
    variants        for each stage and variant: stage, variant, states (places in each state), value (fixed stage: mean
                    over the completed trials, each at its last evaluations)
    running         trial, places (each [stage, variant, repeat, number, seed]), step, steps, value, seconds, attempt,
                    node, device, last_sign
    time            spent, left (until all is done, with at_a_time trials at once), at_a_time, budget
    failed          trial, places, kind, message
    diverged        the same
    lost            trials with attempts lost with their worker: trial, places, attempts, nodes, last
    outcomes        attempts that brought no end to their trial: outcome (lost, interrupted, disk, storage) -> how many
    search          unit (of the budget), objectives, standings (of each variant: see `platform.standing.Standing`)
    mirror          uri, experiment, behind (ended trials that MLflow lacks), at, error
    disk            what (ledger, report, checkpoints, trials, references), path, bytes, whole (false: there are more)
    go_on           the command that goes on

Of a trial: study, trial, places, state, driver_runs, kind, message, traceback, seed, stream, data, settings, differs
(path -> [here, in the full model]), planned, started, ended, steps, primary, attempts (number, driver, started, ended,
resumed_step, outcome, record), reports (step, at, seconds, checkpoint, metrics), events (step, kind, subject, value,
text), decisions (step -> continue | stop). Of the list, for each study: study, state (or unreadable), why, driver,
trials (`study` is the name of its folder).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from analysis.errors import StudyError
from analysis.ledger import RESULTS
from analysis.printable import clean
from analysis.schema import FAILED, PLANNED, RUNNING
from platform.status_read import brief, read
from platform.status_study import Brief
from platform.status_terminal import console
from platform.status_trial import read_trial
from platform.status_trial_view import show_trial
from platform.status_view import show, show_list

__all__ = ["main"]

UNKNOWN = 2
UNFINISHED = 3
STATUS = {"done": 0, "failed": 1, "budget": 1, "running": UNFINISHED, "unfinished": UNFINISHED}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.study is None:
            return _list(arguments)
        return _study(arguments) if arguments.trial is None else _trial(arguments)
    except StudyError as error:
        sys.stderr.write(f"{clean(str(error))}\n")
        return UNKNOWN
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        return UNFINISHED


def _parser() -> argparse.ArgumentParser:
    about, _, more = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m platform.status",
        description=about.partition(":")[0] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", nargs="?", metavar="STUDY", help="a study's folder, or its name under results/")
    parser.add_argument("--trial", metavar="ID", help="show one trial: the beginning of its identity, or VARIANT:SEED")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _study(arguments: argparse.Namespace) -> int:
    found = read(arguments.study, time.time())
    if arguments.json:
        _print(found)
    else:
        show(console(), found, arguments.study)
    return STATUS[found.state]


def _trial(arguments: argparse.Namespace) -> int:
    found = read_trial(arguments.study, arguments.trial)
    if arguments.json:
        _print(found)
    else:
        show_trial(console(), found)
    return UNFINISHED if found.state in (PLANNED, RUNNING) else int(found.state == FAILED)


def _list(arguments: argparse.Namespace) -> int:
    if arguments.trial is not None:
        raise StudyError(f"--trial {arguments.trial}: expected a STUDY before it")
    folders = sorted(path.parent for path in RESULTS.glob("*/ledger.db"))
    if not folders:
        raise StudyError(f"there are no studies in {RESULTS}/; give the folder of one")
    studies = []
    for folder in folders:
        try:
            studies.append(brief(folder))
        except StudyError as error:
            studies.append(Brief(folder.name, "unreadable", str(error), None, {}))
    if arguments.json:
        _print(studies)
    else:
        show_list(console(), studies)
    return 0


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(_plain(value), indent=2) + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    """Return what JSON can hold: a dataclass as its fields by name, a tuple as a list."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    sys.exit(main())
