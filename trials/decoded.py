"""Images that are decoded once and shared among the trials of a machine, without copies: files mapped into memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trials import images
from trials.canonical import content
from trials.images import Pixels

__all__ = ["Decoded"]


class Decoded:
    """Decoded images in a folder, one file of numpy each; whoever asks first decodes.

    An image is known by its content, as in the digest of the data: a file of the same name, size and time may be
    another one. Where the folder cannot be written (a
    full disk), a warning says so and the images are decoded into memory.

    Args:
        folder: made if need be; None decodes into memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def read(self, path: Path) -> Pixels:
        """Return an image file's pixels as `trials.images.read` does; read-only.

        Raises:
            DataError: as `trials.images.read`.
        """
        return self.get(path, "", lambda: images.read(path))

    def get(self, source: Path, kind: str, make: Callable[[], Pixels]) -> Pixels:
        """Return what `make` makes of the file `source`; `kind` names what that is. Read-only."""
        if self._folder is None:
            return _fixed(make())
        try:
            key = repr((content(source), kind))
        except OSError:
            return _fixed(make())  # which says what is wrong
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
        if not path.exists():
            pixels = make()
            try:
                _write(path, pixels)
            except OSError as error:
                warnings.warn(f"{path}: images are decoded for each trial apart, since {error}", stacklevel=2)
                return _fixed(pixels)
        mapped: Pixels = np.load(path, mmap_mode="r")
        return mapped


def _fixed(pixels: Pixels) -> Pixels:
    """Make an array read-only, like one that is mapped."""
    pixels.flags.writeable = False
    return pixels


def _write(path: Path, pixels: Pixels) -> None:
    """Write aside, then rename: another trial sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, pixels)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
