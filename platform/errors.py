"""What can go wrong before or beside a trial. A trial's own failure is a state in the ledger, not an exception."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LedgerError", "Problem", "SpecError", "SweepError", "full", "nearly_full", "shown"]

MOST_TOLD = 50
"""Problems that a message lists; more are counted."""


class SweepError(Exception):
    """Root of the platform's errors; the message is one that a user can act on.

    SweepError
    |- SpecError     the spec is wrong: every problem at once
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


class LedgerError(SweepError):
    """The ledger cannot be used."""


def full(folder: Path, said: str) -> str:
    """Return the sentence about a folder that cannot be written to for want of room; `said` is the system's word."""
    return f"the storage {folder} is full ({said}); make room, then the same command goes on"


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
