"""Under which versions, on which devices and with which deviations a study's results were made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from analysis.ledger import Ledger, damaged

__all__ = ["Records", "dated", "read_records"]

OWN = frozenset({"node", "host", "pid", "command"})
"""What may differ between attempts without a word."""


@dataclass(frozen=True)
class Records:
    """What is told beside the results.

    Args:
        as_of: when the ledger last changed, seconds since 1970.
        made_with: (what, value); where trials differ, each value with its number of trials.
        mixed: the names of what differs.
        deviations: (when, what was changed after the first trial).
        at_once: the most trainings that ran at the same time; 1 before the first.
    """

    as_of: float
    made_with: list[tuple[str, str]]
    mixed: list[str]
    deviations: list[tuple[float, str]]
    at_once: int = 1


def read_records(ledger: Ledger) -> Records:
    """Read them from the attempts at the planned trials; a driver that trained nothing leaves no mark here."""
    attempts = ledger.connection.execute(
        """
        SELECT a.record, d.record, count(DISTINCT a.trial) FROM attempt a JOIN driver d ON d.number = a.driver
        WHERE a.trial IN (SELECT trial FROM cell) GROUP BY a.record, d.record ORDER BY min(a.started), a.record"""
    )
    counts: dict[str, dict[str, int]] = {}
    for worker, driver, trials in attempts.fetchall():
        for name, value in {**_record(ledger, driver), **_record(ledger, worker or "{}")}.items():
            values = counts.setdefault(name, {})
            values[value] = values.get(value, 0) + trials
    deviations = ledger.connection.execute("SELECT at, text FROM deviation ORDER BY number").fetchall()
    return Records(
        as_of=_as_of(ledger),
        made_with=[(name, _told(values)) for name, values in counts.items()],
        mixed=[name for name, values in counts.items() if len(values) > 1],
        deviations=deviations,
        at_once=_at_once(ledger),
    )


def dated(seconds: float) -> str:
    """Return a time as text, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _at_once(ledger: Ledger) -> int:
    """Return the most attempts that overlapped; one that ends as another starts made room for it."""
    spans = ledger.connection.execute("SELECT started, ended FROM attempt WHERE ended IS NOT NULL").fetchall()
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return max(accumulate(change for _, change in changes), default=1)


def _as_of(ledger: Ledger) -> float:
    query = "SELECT max(at) FROM (SELECT at FROM step UNION ALL SELECT coalesce(ended, started, planned) FROM trial"
    (found,) = ledger.connection.execute(f"{query} UNION ALL SELECT at FROM deviation)").fetchone()
    return float(found or 0)


def _record(ledger: Ledger, text: str) -> dict[str, str]:
    record = json.loads(text)
    if not isinstance(record, Mapping):
        raise damaged(ledger.folder / "ledger.db", f"expected the record of a driver or an attempt, got {text[:40]!r}")
    return _flat(record)


def _flat(record: Mapping[str, Any]) -> dict[str, str]:
    """Return a record as text by name; the sections of a record leave no trace in the names."""
    flat: dict[str, str] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value)
        elif name not in OWN:
            flat[name.replace("_", " ")] = _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not recorded" if value is None else str(value)


def _told(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return _joined(f"{value} ({count} trial{'' if count == 1 else 's'})" for value, count in values.items())


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
