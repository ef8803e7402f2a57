"""Signals that end a study in order: SIGTERM and SIGHUP do as SIGINT does. Imports nothing that is slow."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["interruptible", "kept", "restored"]

ORDERLY = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what SIGINT does: raise KeyboardInterrupt or, while Tune runs, what its handler does.

    A signal that is ignored stays so: under `nohup` a study outlives its terminal.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        meets = signal.getsignal(signal.SIGINT)  # ignored where a shell put the study into the background
        (meets if callable(meets) else signal.default_int_handler)(signal.SIGINT, frame)

    with _handled(ORDERLY, interrupt):
        yield


@contextmanager
def kept(pressed: list[int]) -> Iterator[None]:
    """Note in `pressed` the signals that come in here, and raise KeyboardInterrupt, whatever handlers are put in place.

    For what swallows exceptions, or answers SIGTERM in a way of its own, as Ray does while it starts.
    """

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    try:
        with _handled((signal.SIGINT, *ORDERLY), note):
            yield
    except SystemExit:  # Ray's answer to SIGTERM
        raise KeyboardInterrupt from None


@contextmanager
def restored() -> Iterator[None]:
    """Let signals meet in the end what they meet now: Tune leaves SIGINT to itself when a run is over.

    Ray's shutdown even takes SIGTERM away below Python, which goes on naming the handler; so each is set in any case.
    """
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, *ORDERLY)}
    try:
        yield
    finally:
        for name, handler in before.items():
            if handler is not None:
                signal.signal(name, handler)


@contextmanager
def _handled(signals: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = {name: signal.signal(name, handler) for name in signals if signal.getsignal(name) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for name, old in before.items():
            signal.signal(name, old)
