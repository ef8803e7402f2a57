"""Files of torch: read without running any code that they bring along, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import re
import uuid
import warnings
from pathlib import Path
from typing import Any

import torch

__all__ = ["DamagedError", "read", "write"]


class DamagedError(ValueError):
    """A file is nothing that torch saved, or is damaged.

    Args:
        reason: the kind of error, a word.
        code: what code the file would need, if it holds more than data.
    """

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason)
        self.code = code


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what a file holds, its tensors on `device`, by torch's restricted unpickler: data alone.

    Raises:
        OSError: if the file is missing or cannot be read.
        DamagedError: if it is no file of torch, or damaged, or holds more than data.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about kinds of pickles, which are refused next
            return torch.load(path, map_location=device, weights_only=True)
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global|class|function) `?([\w.]+\.[\w.]+)", str(error))
        raise DamagedError(type(error).__name__, named[1] if named else None) from error
    except Exception as error:  # a damaged file makes the unpickler raise anything
        raise DamagedError(type(error).__name__) from error


def write(path: Path, content: object) -> None:
    """Save with torch, aside first: the path holds the old content or the new, never a part.

    Aside each writer has a file of its own: a trial may have two for a while, one on a node that was cut off.

    Raises:
        OSError: if the disk is full or the file cannot be written; what was written aside is removed.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with aside.open("wb") as file:
            _save(content, file, path)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _save(content: object, file: Any, path: Path) -> None:
    """Call `torch.save`, whose writer of archives hides an OSError behind an error of its own."""
    try:
        torch.save(content, file)
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error
