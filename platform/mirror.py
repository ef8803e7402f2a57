"""Makes an MLflow server equal to a study's ledger: `python -m platform.mirror STUDY [--follow]`.

A process of its own. A server that is slow or dead makes the copy late and nothing else. The command brings any
server to the ledger's state, from nothing, too: it asks the server for all that its runs hold, and mends what was
lost, deleted or changed there (`mirror_runs` says how). With `--follow`, as beside a sweep, it copies what is new, and
looks at every run's mark at the beginning, after each error and at the end: enough for outages and restored backups.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shlex
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform.errors import LedgerError, SweepError
from platform.mirror_ledger import Ledger
from platform.mirror_progress import Progress, behind

if TYPE_CHECKING:
    from platform.mirror_runs import Mirror

__all__ = ["behind", "main"]

POLL_S = 0.5
LONGEST_PAUSE_S = 5.0
"""Between two attempts at a server that does not answer."""
PATIENCE_S = 20.0
"""How long a server may stay away after the driver has ended."""
MLFLOW_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # a slower server is one that does not answer
    "PGCONNECT_TIMEOUT": "10",  # PostgreSQL's own: without it, as long as the system tries, some two minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # `_follow` tries again, and looks first at what has arrived
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


@dataclass
class _Copying:
    """What one run of this command has in hand."""

    folder: Path
    ledger: Ledger
    shown: Progress
    command: str
    """What copies the study again."""
    follows: bool = False
    """Whether it goes on, so that it says when the server stays away and comes back."""
    stopped: bool = False
    _written: float = field(default=0.0)

    def progress(self, copied: int, of: int) -> None:
        self.shown.copied, self.shown.of = copied, of
        if time.monotonic() - self._written >= POLL_S:
            self._written = time.monotonic()
            self.shown.write(self.folder)

    def stop(self, *_: Any) -> None:
        self.stopped = True

    def sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopped and time.monotonic() < until:
            time.sleep(min(POLL_S, seconds))

    def copy(self, mirror: Mirror) -> bool:
        """Make one pass; return whether it got to its end. Its error, if any, is shown and never raised."""
        before = self.shown.error
        try:
            if before:
                mirror.forget()
            mirror.copy()
            self.shown.error = None
        except Exception as error:  # even a defect of the mirror must not end the following of a study
            self.shown.error = _sentence(error, self)
        self.shown.experiment_id = mirror.experiment_id or self.shown.experiment_id
        self.shown.write(self.folder)
        if self.follows and bool(before) != bool(self.shown.error):
            back = f"MLflow at {self.shown.uri} takes {self.folder.name} again: {_standing(self)}."
            _say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.shown.error or back}")
        return not self.stopped and self.shown.error is None


def main(argv: Sequence[str] | None = None) -> int:
    """Copy a study to MLflow; return 0 if the server then equals the ledger, otherwise 1 after a sentence."""
    arguments = _parser().parse_args(argv)
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        folder = _study_folder(arguments.study)
        ledger = Ledger(folder)
        tracking = ledger.facts().spec.get("tracking") or {}
        uri = arguments.uri or tracking.get("uri") or _default_store(folder.parent)
        experiment = arguments.experiment or tracking.get("experiment") or ledger.facts().name
        asked = [f"--{key}={getattr(arguments, key)}" for key in ("uri", "experiment") if getattr(arguments, key)]
        command = _without_password(shlex.join(["python", "-m", "platform.mirror", str(folder), *asked]))
        copying = _Copying(folder, ledger, Progress(_without_password(uri), experiment), command, arguments.follow)
        with _signals(copying), _alone(copying, wait=arguments.follow):
            done = _run(copying, uri, follow=arguments.follow)
    except (SweepError, sqlite3.Error) as error:
        _say(str(error) if isinstance(error, SweepError) else f"the ledger cannot be read: {error}")
        return 1
    except OSError as error:  # a full disk, most likely
        _say(f"{arguments.study}: the mirror cannot write there: {error.strerror or error}; make room, then repeat it")
        return 1
    if not done:
        _say(copying.shown.error or _unfinished(copying))
    return 0 if done else 1


def _say(sentence: str) -> None:
    """Say a sentence; beside a sweep it goes to mirror.log."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _run(copying: _Copying, uri: str, *, follow: bool) -> bool:
    """Copy once, or until the driver has ended; return whether the server then equals the ledger."""
    if follow:
        os.nice(19)  # the trials beside it come first; Ray runs them at 15
    from platform.mirror_runs import Mirror  # MLflow takes seconds to import

    mirror = Mirror(
        ledger=copying.ledger,
        folder=copying.folder,
        uri=uri,
        experiment=copying.shown.experiment,
        progress=copying.progress,
        stopping=lambda: copying.stopped,
        thorough=not follow,
    )
    return _follow(copying, mirror) if follow else copying.copy(mirror)


def _follow(copying: _Copying, mirror: Mirror) -> bool:
    """Copy whenever there is news until no driver runs, then once more against what the server really holds."""
    pause, seen, ended, took = POLL_S, -1, 0.0, 0.0
    while not copying.stopped:
        over, change = not copying.ledger.driver_runs(), copying.ledger.change()
        ended = (ended or time.monotonic()) if over else 0.0
        if over:
            mirror.forget()
        if over or change != seen or copying.shown.error:
            begun = time.monotonic()
            copied = copying.copy(mirror)
            took = time.monotonic() - begun
            if copied:
                pause, seen = POLL_S, change
                if over:
                    return True
            else:
                pause = min(2 * pause, LONGEST_PAUSE_S)
        if ended and time.monotonic() - ended > PATIENCE_S:
            break
        rest = time.monotonic() + (0.0 if over else took)  # while trials run, the machine is theirs half of the time
        while time.monotonic() < rest and not copying.stopped and copying.ledger.driver_runs():
            copying.sleep(POLL_S)
        copying.sleep(max(pause, 10 * mirror.look_s))
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m platform.mirror", description="Copy a study's ledger to MLflow.")
    parser.add_argument("study", help="the study's folder, or its name below results/")
    parser.add_argument("--uri", help="MLflow server or store (default: the spec's, or mlflow.db beside the folder)")
    parser.add_argument("--experiment", help="name of the experiment (default: the spec's, or the study's name)")
    parser.add_argument("--follow", action="store_true", help="go on until the study's driver has ended")
    return parser


def _default_store(results: Path) -> str:
    """Return the address of `mlflow.db` in the results folder.

    A new one is begun in SQLite's WAL mode, which MLflow keeps: it copies a trial 1.5 times as fast, and whoever
    looks at the runs does not hold the copy up.
    """
    path = results / "mlflow.db"
    if not path.exists():
        with closing(sqlite3.connect(path)) as store:
            store.execute("PRAGMA journal_mode = WAL")
    return f"sqlite:///{path}"


def _study_folder(study: str) -> Path:
    """Return the absolute folder of a study, given that or its name."""
    places = (Path(study), Path("results") / study)
    return next((place for place in places if (place / "ledger.db").is_file()), places[0]).resolve()


@contextmanager
def _alone(copying: _Copying, *, wait: bool) -> Iterator[None]:
    """Hold the lock that only one mirror of a study can hold: two would make each run twice."""
    with (copying.folder / "mirror.lock").open("a") as file:
        while not copying.stopped:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    raise LedgerError(
                        f"{copying.folder}: another process is copying this study to MLflow; wait until it is done"
                    ) from None
            copying.sleep(POLL_S)
        yield


@contextmanager
def _signals(copying: _Copying) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the copying after the call that is under way."""
    before = {number: signal.signal(number, copying.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sentence(error: BaseException, copying: _Copying) -> str:
    """Return who failed, why, that nothing is lost and what to do."""
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    reason = _without_password(" ".join(str(cause).split()))[:300] or type(cause).__name__
    taken = f"MLflow at {copying.shown.uri} did not take {copying.folder.name}: {reason}"
    return f"{taken} ({_standing(copying)}). {_repeat(copying)}"


def _standing(copying: _Copying) -> str:
    """Return how far the copy is, in words."""
    left = max(0, copying.shown.of - copying.shown.copied)
    return f"{left} of {copying.shown.of} ended trials behind" if left else f"{copying.shown.of} ended trials copied"


def _unfinished(copying: _Copying) -> str:
    left = copying.shown.of - copying.shown.copied
    return f"The mirror of {copying.folder.name} was stopped, {left} ended trials short. {_repeat(copying)}"


def _repeat(copying: _Copying) -> str:
    return f"Nothing is lost, the ledger holds it all; to copy it: {copying.command}"


def _without_password(text: str) -> str:
    return re.sub(r"(://[^:/@\s]+):[^/\s]*@", r"\1:***@", text)


if __name__ == "__main__":
    sys.exit(main())
