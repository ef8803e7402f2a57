"""One trial whole, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console

from analysis.printable import clean
from analysis.records import dated
from platform.status_terminal import lines, say, table
from platform.status_trial import Trial, named
from platform.view import clock

__all__ = ["show_trial"]

NARROW = 9
"""Characters of a column of numbers at least, the gap apart."""
FIRST = 48
"""Characters that the columns before the metrics take."""


def show_trial(to: Console, one: Trial) -> None:
    """Print a trial whole."""
    name = named(one.places[0]) if one.places else "not in the plan any more"
    state = "cut off" if one.state == "RUNNING" and not one.driver_runs else one.state
    say(to, f"{one.study}, {name}: {state}", "bold")
    others = [named(place) for place in one.places[1:]]
    reached = one.reports[-1].step if one.reports else 0
    lines(
        to,
        [
            ("identity", one.trial),
            ("also fills", ", ".join(others)),
            ("seed", f"{one.seed}" + (f", stream {one.stream}" if one.stream else "")),
            ("images", one.data),
            ("step", f"{reached} of {one.steps}" if one.steps else f"{reached}"),
            ("spent", clock(one.reports[-1].seconds) if one.reports else ""),
            ("planned", dated(one.planned)),
            ("started", dated(one.started) if one.started else ""),
            ("ended", dated(one.ended) if one.ended else ""),
            ("decided", ", ".join(f"{what} at {step}" for step, what in one.decisions.items())),
        ],
    )
    _settings(to, one)
    _attempts(to, one)
    _reports(to, one)
    _events(to, one)
    if one.message:
        to.print()
        say(to, f"{f'{one.kind}: ' if one.kind else ''}{one.message}", "bold")
    if one.traceback:
        say(to, one.traceback)


def _settings(to: Console, one: Trial) -> None:
    to.print()
    if not one.differs:
        say(to, "settings: the full model's")
        return
    made = table(("differs from the full model", "left"), ("here", "left"), ("full model", "left"))
    for path, values in one.differs.items():
        made.add_row(*(clean(text) for text in (path, *(json.dumps(value) for value in values))))
    to.print(made)


def _attempts(to: Console, one: Trial) -> None:
    if not one.attempts:
        return
    made = table(
        ("attempt", "right"), ("started", "left"), ("took", "right"), ("from step", "right"), ("outcome", "left"),
        ("node", "left"), ("device", "left"), ("process", "right"), ("driver", "right"),
    )  # fmt: skip
    for two in one.attempts:
        outcome = two.outcome or ("running" if one.driver_runs else "cut off")
        took = "" if two.ended is None else clock(two.ended - two.started)
        where = [str(two.record.get(key, "")) for key in ("node", "device", "pid")]
        row = [str(two.number), dated(two.started), took, str(two.resumed_step), outcome, *where, str(two.driver)]
        made.add_row(*map(clean, row))
    to.print()
    to.print(made)


def _reports(to: Console, one: Trial) -> None:
    """Print every report with as many metrics as fit, the primary one first, and the last one with all."""
    if not one.reports:
        return
    keys = list(dict.fromkeys(key for two in one.reports for key in two.metrics))
    first = [key for key in keys if key == one.primary]
    group = one.primary.partition("/")[0]
    keys = first + sorted((key for key in keys if key not in first), key=lambda key: key.partition("/")[0] != group)
    shown = _fitting(keys, to.width - FIRST)
    made = table(("step", "right"), ("reported", "left"), ("spent", "right"), *((key, "right") for key in shown),
                 ("checkpoint", "left"))  # fmt: skip
    for two in one.reports:
        values = [_number(two.metrics.get(key)) for key in shown]
        checkpoint = "yes" if two.checkpoint else ""
        made.add_row(str(two.step), dated(two.at), clock(two.seconds), *values, checkpoint)
    to.print()
    to.print(made)
    rest = {key: one.reports[-1].metrics.get(key) for key in keys if key not in shown}
    if rest:
        to.print()
        say(to, "the rest of the last report; --json has those of all", "bold")
        lines(to, _grouped(rest))
    last = next((two.checkpoint for two in reversed(one.reports) if two.checkpoint), None)
    if last:
        say(to, f"last checkpoint: {last}, below the storage folder")


def _fitting(keys: Sequence[str], width: int) -> list[str]:
    shown: list[str] = []
    for key in keys:
        width -= max(len(key), NARROW) + 2
        if shown and width < 0:
            break
        shown.append(key)
    return shown


def _grouped(values: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Return a line for each group of metrics: its name, then each metric of it with its value."""
    found: dict[str, list[str]] = {}
    for key, value in values.items():
        group, _, name = key.rpartition("/")
        found.setdefault(group, []).append(f"{name} {_number(value) or 'none'}")
    return [(group, ", ".join(parts)) for group, parts in found.items()]


def _events(to: Console, one: Trial) -> None:
    if not one.events:
        return
    made = table(("step", "right"), ("event", "left"), ("of", "left"), ("", "left"))
    for two in one.events:
        made.add_row(str(two.step), clean(two.kind), clean(two.subject), clean(two.text))
    to.print()
    to.print(made)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
