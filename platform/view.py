"""What a sweep shows in the terminal while it runs: a live table, or lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.schema import DIVERGED, FAILED
from platform.snapshot import Snapshot, snapshot, time_left_s
from platform.trainer import Metric

__all__ = ["clock", "live", "picture"]

TERMINAL_S = 1.0
LINES_S = 20.0


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

    def look() -> Snapshot:
        return snapshot(ledger, metric.key, time.time())

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
    left = time_left_s(now, slots)
    parts = [f"{now.ended} of {now.trials} trials have a result", f"{len(now.running)} running"]
    parts += [f"{now.counts[state]} {state}" for state in (FAILED, DIVERGED) if now.counts[state]]
    parts.append(f"{clock(elapsed_s)} so far")
    parts.append(f"about {clock(left)} left" if left is not None else "time left not yet known")
    return " · ".join(parts)


def picture(now: Snapshot, title: str, metric: Metric, elapsed_s: float, slots: int) -> RenderableType:
    """Return the progress as a table of variants with their running trials, best variant marked."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for head, justify in (("variant", "left"), ("trials", "right"), (metric.title, "right"), ("running", "left")):
        table.add_column(head, justify="right" if justify == "right" else "left")
    best = (max if metric.higher_is_better else min)(
        (one.value for one in now.rows if one.value is not None), default=None
    )
    for row in now.rows:
        running = [one for one in now.running if one.variant == row.variant]
        shown = "" if row.value is None else f"{row.value:.3f}"
        table.add_row(
            row.variant,
            f"{row.ended}/{row.trials}",
            Text(shown, style="bold" if row.value == best else ""),
            "   ".join(f"seed {one.seed}  {100 * one.step // one.steps:3d} %" + _value(one.value) for one in running),
        )
    share = now.ended + sum(one.step / one.steps for one in now.running)
    heading = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(1, now.trials), completed=share, width=30)
    heading.add_row(Text(title, style="bold"), bar, Text(summary(now, elapsed_s, slots)))
    return Group(heading, Text(), table)


def _value(value: float | None) -> str:
    return "" if value is None else f"  {value:.2f}"


def clock(seconds: float) -> str:
    """Return a duration as people say it: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
