"""What a sweep shows in the terminal while it runs: a live table, or lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from analysis.schema import CONFIRM, DIVERGED, FAILED, SEARCH, STOPPED
from platform.layout import SEPARATOR, Column, Picture
from platform.snapshot import Progress, Row, Running, Snapshot, snapshot, time_left_s
from platform.standing import Known, Standing
from platform.trainer import Metric

__all__ = ["clock", "live", "picture"]

TERMINAL_S = 1.0
LINES_S = 20.0
BROKEN = (STOPPED, DIVERGED, FAILED)
"""How a trial of a search ends without a full result."""


@contextmanager
def live(ledger: Path, *, title: str, metric: Metric, slots: int, console: Console) -> Iterator[None]:
    """Show the study's progress until the block ends.

    Args:
        ledger: the ledger's file; it is read, never written.
        title: the study's name.
        metric: the metric shown.
        slots: how many trials run at a time.
        console: where to.
    """
    started, stop = time.time(), threading.Event()
    known: Known = {}

    def look() -> Snapshot:
        return snapshot(ledger, metric.key, time.time(), known)

    def lines() -> None:
        said = ""
        while not stop.wait(LINES_S):
            line = summary(look(), time.time() - started, slots)
            if line != said:
                console.print(line, highlight=False)
            said = line

    def frames(display: Live) -> None:
        while not stop.wait(TERMINAL_S):
            display.update(picture(look(), title, metric, time.time() - started, slots), refresh=True)

    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as display:
            yield from _beside(threading.Thread(target=frames, args=(display,), daemon=True), stop)
    else:
        yield from _beside(threading.Thread(target=lines, daemon=True), stop)


def _beside(thread: threading.Thread, stop: threading.Event) -> Iterator[None]:
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def summary(now: Snapshot, elapsed_s: float, slots: int) -> str:
    """Return the progress as one line."""
    parts = _counts(now)
    if now.search is not None:
        parts = [now.stage, *parts, *(_told(one, now.search) for one in now.search.standings)]
    return SEPARATOR.join([*parts, *_times(now, elapsed_s, slots)])


def _counts(now: Snapshot) -> list[str]:
    """Return how many trials have ended, run, and went wrong."""
    most = "at most " if now.at_most else ""
    parts = [f"{now.ended} of {most}{now.trials} trials have a result", f"{len(now.running)} running"]
    return parts + [f"{now.counts[state]} {state}" for state in (FAILED, DIVERGED) if now.counts[state]]


def _times(now: Snapshot, elapsed_s: float, slots: int) -> list[str]:
    """Return how long the sweep has run, and how long it still will."""
    left = time_left_s(now, slots)
    return [
        f"{clock(elapsed_s)} so far",
        f"about {clock(left)} left" if left is not None else "time left not yet known",
    ]


def _told(one: Standing, search: Progress) -> str:
    """Return where a variant's search stands, as part of a line."""
    parts = [one.variant, _spent(one, search), _outcome(one)]
    if one.best:
        best = ", ".join(f"{search.titles[name]} {value:.3f}" for name, value in one.best.items())
        parts.append(f"best {best}" + (f", front of {one.front}" if len(one.best) > 1 else ""))
    if one.chosen:
        parts.append(f"confirmed {_confirmed(one)}" if one.confirmed.planned else _confirmed(one))
    return " ".join(part for part in parts if part)


def picture(now: Snapshot, title: str, metric: Metric, elapsed_s: float, slots: int) -> RenderableType:
    """Return the progress as a table of variants, the best marked, and the running trials, one a line.

    It fits into 60 characters: columns that find no place are left out, and named.
    """
    share = now.ended + sum(one.step / one.steps for one in now.running)
    search = now.search
    return Picture(
        title=f"{title} \u00b7 {now.stage}" if now.stage else title,
        done=share / max(1, now.trials),
        parts=[*_counts(now), *_times(now, elapsed_s, slots)],
        columns=_fixed(now, metric) if search is None else _searches(now, search, metric),
        running=[_running(one, several=search is not None and search.asked.repeats > 1) for one in now.running],
    )


def _fixed(now: Snapshot, metric: Metric) -> list[Column]:
    best = _best(metric.higher_is_better, [one.value for one in now.rows])
    return [
        Column("variant", [Text(row.variant) for row in now.rows], right=False),
        Column("trials", [Text(f"{row.ended}/{row.trials}") for row in now.rows], spare=1),
        Column(metric.title, [_marked(row.value, best) for row in now.rows]),
    ]


def _searches(now: Snapshot, search: Progress, metric: Metric) -> list[Column]:
    """Return the table of a study with a search: untuned, search, best so far of each objective, confirmed."""
    those, rows = search.standings, {row.variant: row for row in now.rows}
    there = [rows.get(one.variant, Row(one.variant, 0, 0, None)) for one in those]
    untuned = _best(metric.higher_is_better, [row.value for row in now.rows])
    before = [f"{row.ended}/{row.trials}" if row.trials else "" for row in there]
    columns = [
        Column("variant", [Text(one.variant) for one in those], right=False),
        Column(f"untuned {metric.title}",
                [_marked(row.value, untuned, text) for row, text in zip(there, before, strict=True)], spare=3),
        Column("search", [Text(_spent(one, search)) for one in those]),
    ]  # fmt: skip
    for state in BROKEN:
        if any(one.states.get(state) for one in those):
            columns.append(Column(state.lower(), [Text(str(one.states.get(state, 0))) for one in those], spare=5))
    for place, (name, title) in enumerate(search.titles.items()):
        best = _best(search.asked.objectives[name] == "max", [one.best.get(name) for one in those])
        cells = [_marked(one.best.get(name), best) for one in those]
        columns.append(Column(f"best {title}", cells, spare=2 if place else 0))
    if len(search.titles) > 1:
        columns.append(Column("front", [Text(str(one.front) if one.front else "") for one in those], spare=4))
    if search.asked.confirming:
        columns.append(Column(f"confirmed {metric.title}", [Text(_confirmed(one)) for one in those], spare=1))
    return columns


def _best(higher_is_better: bool | None, values: Iterable[float | None]) -> float | None:
    return (max if higher_is_better else min)((value for value in values if value is not None), default=None)


def _marked(value: float | None, best: float | None, before: str = "") -> Text:
    """Return a value, bold if it is the best, after some text."""
    shown = Text("" if value is None else f"{value:.3f}", style="bold" if value == best else "")
    return Text(" ").join([Text(before), shown]) if before else shown


def _spent(one: Standing, search: Progress) -> str:
    """Return what a variant's search has spent of its budget."""
    if not one.budget:
        return "nothing to search"
    unit = " steps" if search.asked.unit == "steps" else ""
    return f"{one.spent}/{one.budget}{unit}" + (" (ended)" if one.ended else "")


def _outcome(one: Standing) -> str:
    """Return how many of a search's trials came to no full result, in brackets; empty if none."""
    parts = [f"{one.states[state]} {state.lower()}" for state in BROKEN if one.states.get(state)]
    return f"({', '.join(parts)})" if parts else ""


def _confirmed(one: Standing) -> str:
    """Return how far the confirmation is and its mean so far; empty before something is chosen."""
    if not one.chosen:
        return ""
    if not one.confirmed.planned:
        return "nothing chosen"
    means = [f"{value:.3f}" for value in one.confirmed.values.values()]
    return " ".join([f"{one.confirmed.ended}/{one.confirmed.planned}", *means])


def _running(one: Running, *, several: bool) -> list[str]:
    """Return a trial that is being trained, in cells; `several` says whether its variant is searched several times."""
    repeat = f" repeat {one.repeat}" if several else ""
    place = {SEARCH: f"search {one.number}{repeat}", CONFIRM: f"confirm seed {one.seed}{repeat}"}
    where = place.get(one.stage, f"seed {one.seed}")
    return [one.variant, where, f"{100 * one.step // one.steps} %", "" if one.value is None else f"{one.value:.2f}"]


def clock(seconds: float) -> str:
    """Return a duration as people say it: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
