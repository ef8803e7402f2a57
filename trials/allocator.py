"""How the C library keeps memory between the steps of a training."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# The parameters of glibc's mallopt(3), and the largest value that it takes for the second.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
LARGEST_MMAP_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for all that follows; where there is no glibc, do nothing.

    Each step asks for the same large tensors again. glibc would give them back to the system in between, whose fresh
    pages then cost up to a quarter of a step on a CPU. A thread's own arena (Ray Tune trains in a thread) cannot grow
    enough to keep them, so all threads share the main one. Peak memory stays as it was.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in (
            (TRIM_THRESHOLD, 1 << 30),
            (MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD),
            (ARENA_MAX, 1),
        ):
            mallopt(parameter, value)
