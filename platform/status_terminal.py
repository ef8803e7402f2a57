"""How the status is put on a terminal: lines and tables of texts that may hold anything."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.printable import clean

__all__ = ["cell", "console", "count", "lines", "say", "table"]

PIPE_COLUMNS = 200


def console() -> Console:
    """Return the terminal; what is piped is not broken to its width."""
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = PIPE_COLUMNS
    return made


def say(to: Console, text: str, style: str = "") -> None:
    """Print a text as it is, whatever it holds: a message may bring the codes that drive a terminal."""
    to.print(Text(clean(text), style=style), soft_wrap=True)


def table(*heads: tuple[str, str]) -> Table:
    """Return an empty table with these heads, each with `left` or `right`."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for head, justify in heads:
        right = justify == "right"
        made.add_column(clean(head), justify="right" if right else "left", overflow="fold", no_wrap=right)
    return made


def lines(to: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Print labelled lines; those without text are left out."""
    shown = [(label, text) for label, text in pairs if text]
    width = max((len(label) for label, _ in shown), default=0)
    for label, text in shown:
        to.print(Text.assemble((f"{label:<{width}}  ", "dim"), clean(text)), soft_wrap=True)


def cell(text: str) -> Text:
    """Return a text as a table's cell."""
    return Text(clean(text))


def count(number: int, noun: str) -> str:
    """Return a number of things: `1 trial`, `2 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
