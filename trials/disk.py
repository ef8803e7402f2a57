"""Whether something failed because a disk takes no more. Imports nothing of the trainer's."""

from __future__ import annotations

import errno

__all__ = ["no_room"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""No space or inode on the device, a quota used up, a file larger than may be; a disk that takes nothing any more."""


def no_room(error: BaseException | None) -> OSError | None:
    """Return the error that says that a disk is full, this one or one that led to it; None if none says so."""
    seen: list[BaseException] = []
    while error is not None and not any(error is one for one in seen):
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
