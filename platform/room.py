"""How much room on a disk a study needs to go on in order. Pure."""

from __future__ import annotations

__all__ = ["LEAST_B", "reserve"]

LEAST_B = 32 * 2**20
"""For the ledger, the report and pictures, and for the first checkpoint of a study, whose size nobody knows yet."""


def reserve(checkpoint_b: int, at_once: int) -> int:
    """Return the bytes that must be free in the storage for another trial to start.

    Every trial that runs writes its next checkpoint aside before it deletes the last but one; the one that starts
    leaves two more.

    Args:
        checkpoint_b: the size of the largest checkpoint that was reported; 0 before the first.
        at_once: how many trials run at a time.
    """
    return LEAST_B + (at_once + 2) * checkpoint_b
