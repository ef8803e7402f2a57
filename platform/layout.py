"""Lays out what a terminal shows of a study, for the width that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

__all__ = ["SEPARATOR", "Column", "Picture"]

SEPARATOR = " \u00b7 "
GAP, BAR, LEAST_BAR = 2, 30, 10
"""Characters between two columns, and of the bar."""


@dataclass(frozen=True)
class Column:
    """A column: its head and cells, and when it is left out: 0 for never, else the higher the sooner."""

    head: str
    cells: Sequence[Text]
    spare: int = 0
    right: bool = True

    def width(self, *, whole: bool) -> int:
        """Return how many characters it takes; `whole` with its head in one line."""
        heads = [self.head] if whole else self.head.split()
        return max(cell_len(text) for text in (*heads, *(cell.plain for cell in self.cells)))


@dataclass(frozen=True)
class Picture:
    """What a terminal shows: a title and a bar, a line in parts, a table, and cells of each running trial."""

    title: str
    done: float
    parts: Sequence[str]
    columns: Sequence[Column]
    running: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay it out."""
        width = options.max_width
        heading, line = Table.grid(padding=(0, GAP)), SEPARATOR.join(self.parts)
        one_line = cell_len(self.title) + cell_len(line) + BAR + 2 * GAP <= width
        room = min(BAR, max(LEAST_BAR, width - cell_len(self.title) - GAP))
        bar = ProgressBar(total=1.0, completed=self.done, width=room)
        title = Text(self.title, style="bold", no_wrap=True, overflow="ellipsis")
        heading.add_row(title, bar, *([Text(line, no_wrap=True)] if one_line else []))
        yield heading
        if not one_line:
            yield from (Text(several, no_wrap=True, overflow="ellipsis") for several in _filled(self.parts, width))
        yield Text()
        columns, whole = _fitting(self.columns, width)
        yield _table(columns, whole=whole)
        gone = [one.head for one in self.columns if one not in columns]
        if gone:
            yield Text(f"in a wider terminal: {', '.join(gone)}", "dim")
        if self.running:
            yield Text()
            running = Table.grid(padding=(0, GAP))
            for place in range(len(self.running[0])):
                running.add_column(justify="right" if place > 1 else "left", no_wrap=True, overflow="ellipsis")
            for cells in self.running:
                running.add_row(*map(Text, cells))
            yield running


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """Return the parts of a line in lines that are as full as they can be, broken between parts alone."""
    lines = [""]
    for part in parts:
        longer = SEPARATOR.join([*([lines[-1]] if lines[-1] else []), part])
        if lines[-1] and cell_len(longer) > width:
            lines.append(part)
        else:
            lines[-1] = longer
    return lines


def _fitting(columns: Sequence[Column], width: int) -> tuple[list[Column], bool]:
    """Return the columns that find a place, and whether with their heads in one line."""
    kept = list(columns)
    while True:
        for whole in (True, False):
            if sum(one.width(whole=whole) + GAP for one in kept) - GAP <= width:
                return kept, whole
        spare = max(kept, key=lambda one: one.spare)
        if not spare.spare:
            return kept, False
        kept.remove(spare)


def _table(columns: Sequence[Column], *, whole: bool) -> Table:
    """Return the table; a number is never broken."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for one in columns:
        width = one.width(whole=whole)
        head = "\n".join(wrap(one.head, width, break_long_words=False, break_on_hyphens=False))
        table.add_column(head, justify="right" if one.right else "left", no_wrap=True, min_width=width * one.right,
                         vertical="top")  # fmt: skip
    for row in zip(*(one.cells for one in columns), strict=True):
        table.add_row(*row)
    return table
