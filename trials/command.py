"""What the trainer's commands share: the device, and a bar of progress."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trials.progress import DataError

__all__ = ["Advance", "bar", "device_named", "output"]

Advance = Callable[[float], None]
"""Told which share of an item is done, 0 to 1."""


def output() -> Console:
    """Return where a command writes: standard output, lines as they are."""
    return Console(soft_wrap=True, highlight=False, markup=False)


def device_named(name: str | None) -> torch.device:
    """Return the device of this name; without a name the GPU if there is one.

    Raises:
        DataError: if there is none of this name.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with contextlib.suppress(RuntimeError, AssertionError):  # of unknown names, and of torch without CUDA
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type in ("cpu", "cuda"):
            return device
    raise DataError(f"--device {name}: expected cpu, cuda or cuda:N, but there is no such device here")


@contextlib.contextmanager
def bar(console: Console, total: int) -> Iterator[Callable[[str, int], Advance]]:
    """Show progress through `total` items with the time left until the block ends, if there is a terminal.

    Yields:
        To be called at the start of each item with its name and how many are done; returns what is to be told of it.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def begin(name: str, done: int) -> Advance:
            progress.update(task, completed=done, description=name)
            return lambda share: progress.update(task, completed=done + share)

        yield begin
