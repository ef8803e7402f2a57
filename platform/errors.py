"""What can go wrong before or beside a trial. A trial's own failure is a state in the ledger, not an exception."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "AddressError",
    "LedgerError",
    "Problem",
    "SpecError",
    "SweepError",
    "away",
    "full",
    "nearly_full",
    "shown",
    "unwritable",
]

MOST_TOLD = 50
"""Problems that a message lists; more are counted."""


class SweepError(Exception):
    """Root of the platform's errors; the message is one that a user can act on.

    SweepError
    |- SpecError     the spec is wrong: every problem at once
    |- AddressError  the address given as storage cannot be used
    `- LedgerError   the ledger cannot be used: locked, of another version, not a study's folder
    """


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a spec: `where` names the path and, if known, the line."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class SpecError(SweepError):
    """The spec is wrong. Holds every problem found."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        rest = len(problems) - MOST_TOLD
        more = [f"... and {rest} more: mend these first"] if rest > 0 else []
        super().__init__("\n  ".join([f"{source}: {count}", *map(str, problems[:MOST_TOLD]), *more]))


class AddressError(SweepError):
    """The address given as storage cannot be used."""


class LedgerError(SweepError):
    """The ledger cannot be used."""


def full(folder: Path | str, said: str) -> str:
    """Return the sentence about a folder that cannot be written to for want of room; `said` is the system's word."""
    if os.strerror(errno.EROFS) in said:
        return unwritable(folder, said)
    return f"the storage {folder} is full ({said}); make room, then the same command goes on"


def unwritable(path: Path | str, said: str) -> str:
    """Return the sentence about a file or folder that cannot be written to for another reason."""
    return f"{path} cannot be written to ({said}); mend that, then the same command goes on"


def away(said: str) -> str:
    """Return the sentence about a storage with an address that does not do what it is asked to, as it says itself."""
    return f"{said}; nothing is lost: once it works, the same command goes on"


def nearly_full(folder: Path, free: int, needed: int) -> str:
    """Return the sentence about a folder with too little room left for another trial to start, both in bytes."""
    left, least = f"{free / 2**20:.0f} MiB", f"{-(-needed // 2**20)} MiB"
    return (
        f"the storage {folder} is nearly full: {left} are free, and a trial starts with {least} or more; make room, "
        "then the same command goes on"
    )


def shown(value: Any) -> str:
    """Return a value as a message shows it: as JSON, of 60 characters at most."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
