"""Whether a process runs a study, or how the last one ended: read from the ledger and the lock beside it."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platform.mirror_ledger import lock_is_held

__all__ = [
    "DEAD",
    "ENDED",
    "INTERRUPTED",
    "RUNNING",
    "Driver",
    "Holder",
    "holder",
    "last_driver",
    "typed",
    "without_retry",
]

RUNNING, ENDED, INTERRUPTED, DEAD = "running", "ended", "interrupted", "dead"

_LAST = "SELECT number, host, pid, started, ended, record FROM driver ORDER BY number DESC LIMIT 1"
_CUT = "SELECT count(*) FROM attempt WHERE driver = ? AND outcome = 'interrupted'"
_LAST_SIGN = """
SELECT max(at) FROM (SELECT max(at) AS at FROM step UNION ALL SELECT max(started) FROM attempt
    UNION ALL SELECT max(ended) FROM attempt UNION ALL SELECT max(started) FROM driver)
"""


@dataclass(frozen=True)
class Holder:
    """The process that holds a study's lock, by its own word."""

    host: str
    pid: int


@dataclass(frozen=True)
class Driver:
    """A process that ran a study; times in seconds since 1970.

    Args:
        number: of the driver, from 1.
        state: `running`, `ended` in order, `interrupted` with trials cut short, or `dead` without a word.
        host: where.
        pid: its process.
        started: when.
        ended: when it ended; of a dead one when the ledger last heard of it, None while it runs.
        command: how to call it again, as a user would type it; empty if that was not recorded.
    """

    number: int
    state: Literal["running", "ended", "interrupted", "dead"]
    host: str
    pid: int
    started: float
    ended: float | None
    command: str


def last_driver(db: sqlite3.Connection, held_by: Holder | None) -> Driver | None:
    """Return the last process that ran the study whose ledger is open; None if none ever did."""
    row = db.execute(_LAST).fetchone()
    if row is None:
        return None
    number, host, pid, started, ended, record = row
    if ended is not None:
        (cut,) = db.execute(_CUT, (number,)).fetchone()
        state: Literal["running", "ended", "interrupted", "dead"] = "interrupted" if cut else "ended"
    elif held_by == Holder(host, pid):
        state = "running"
    else:
        state = "dead"
        (ended,) = db.execute(_LAST_SIGN).fetchone()
    return Driver(number, state, host, pid, started, ended, typed(json.loads(record).get("command") or []))


def holder(lock: Path) -> Holder | None:
    """Return who holds a study's lock; None if nobody does.

    To try the lock is to hold it for a blink, in which a driver that starts would be turned away. So it is tried only
    where it can be held: not if the process that it names was one of this machine and is no more.
    """
    try:
        found = re.match(r"process (\d+) on (\S+)", lock.read_text())
    except OSError:
        return None
    if found is None:
        return None
    named = Holder(found[2], int(found[1]))
    if named.host == socket.gethostname() and not _alive(named.pid):
        return None
    return named if lock_is_held(lock) else None


def typed(command: Sequence[str]) -> str:
    """Return a recorded command, [interpreter, path of the module, arguments ...], as a user would type it again."""
    if len(command) > 1 and Path(command[1]).name == "sweep.py":
        return shlex.join(["python", "-m", "platform.sweep", *without_retry(command[2:])])
    return shlex.join(command)


def without_retry(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a sweep that go on: what FAILED was planned again once, when it was asked for."""
    words = list(arguments)
    while "--retry" in words:
        at = words.index("--retry")
        del words[at : at + 2]
    return [word for word in words if not word.startswith("--retry=")]


def _alive(pid: int) -> bool:
    """Whether this machine has such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
