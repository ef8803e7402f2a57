"""Whether something failed because a disk takes no more. Imports nothing of the trainer's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

__all__ = ["no_room", "out_of_reach"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""No space or inode on the device, a quota used up, a file larger than may be; a disk that takes nothing any more."""

AWAY = (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENETUNREACH)
"""What a network folder, or a disk, says that does not answer."""


def no_room(error: BaseException | None) -> OSError | None:
    """Return the error that says that a disk is full, this one or one that led to it; None if none says so."""
    return next((one for one in _chain(error) if one.errno in FULL), None)


def out_of_reach(error: BaseException | None, folder: Path) -> OSError | None:
    """Return the error that says that the disk of a folder does not answer, or that the folder is gone; else None."""
    gone = not folder.is_dir()
    return next((one for one in _chain(error) if one.errno in AWAY or (gone and one.errno == errno.ENOENT)), None)


def _chain(error: BaseException | None) -> Iterator[OSError]:
    """Yield this error, and those that led to it, as far as the system raised them."""
    seen: list[BaseException] = []
    while error is not None and not any(error is one for one in seen):
        if isinstance(error, OSError):
            yield error
        seen.append(error)
        error = error.__cause__ or error.__context__
