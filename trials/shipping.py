"""Files sent to machines that do not see them: packed where they lie, unpacked once on each machine.

How their bytes travel is the callers' business: one says how to send them, the other how to fetch them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.progress import DataError

__all__ = ["Parcel", "Sent", "discard", "pack", "unpack"]


@dataclass(frozen=True)
class Sent:
    """A file on its way: its absolute path, size in bytes, time of change in ns, and what its bytes are fetched by."""

    path: str
    size: int
    changed_ns: int
    content: Any


@dataclass(frozen=True)
class Parcel:
    """Files on their way, and a digest of their paths, times and contents: 32 hexadecimal digits."""

    digest: str
    files: tuple[Sent, ...]


def pack(paths: Iterable[Path], send: Callable[[bytes], Any]) -> Parcel:
    """Send files; one at a time is in memory.

    Args:
        paths: of the files; each is sent once.
        send: takes a file's content and returns what it can be fetched by.

    Raises:
        DataError: if a file cannot be read.
    """
    total, sent = hashlib.sha256(), []
    for path in sorted({os.path.abspath(path) for path in paths}):
        try:
            content, changed_ns = Path(path).read_bytes(), os.stat(path).st_mtime_ns
        except OSError as error:
            raise DataError(f"{path}: the file cannot be read ({error.strerror})") from error
        total.update(repr((path, changed_ns, hashlib.sha256(content).digest())).encode())
        sent.append(Sent(path, len(content), changed_ns, send(content)))
    return Parcel(total.hexdigest()[:32], tuple(sent))


def unpack(parcel: Parcel, fetch: Callable[[Any], bytes], base: Path | None = None) -> Path:
    """Return the folder below which the parcel's files lie on this machine under their absolute paths.

    The first of its processes to ask writes them, aside, then renames; the others wait for it. Files that somebody
    has cleared away since are written again. The files keep their times, so that decoded images can be shared.

    Args:
        parcel: what was packed.
        fetch: takes what `send` returned and returns the file's content.
        base: the folder of parcels; by default one of this user's own in the machine's folder for temporary files.

    Raises:
        DataError: if others can write to that folder.
        OSError: if the files cannot be written.
    """
    base = _own(base or _parcels())
    folder = base / parcel.digest
    if _is_whole(folder, parcel):
        return folder
    with (base / f"{parcel.digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(folder, parcel):
            aside = base / f"{parcel.digest}.part"
            for stale in (aside, folder):
                shutil.rmtree(stale, ignore_errors=True)
            for one in parcel.files:
                _write(_below(aside, one), fetch(one.content), one.changed_ns)
            aside.mkdir(exist_ok=True)  # if there is no file
            os.replace(aside, folder)
    return folder


def discard(parcel: Parcel, base: Path | None = None) -> None:
    """Delete what was unpacked of a parcel on this machine; trials that read it keep the files that they have open."""
    shutil.rmtree((base or _parcels()) / parcel.digest, ignore_errors=True)


def _parcels() -> Path:
    return Path(tempfile.gettempdir(), f"ablation-files-{os.getuid()}")


def _own(base: Path) -> Path:
    """Make a folder that nobody else can write to, or say whose it is: others might put other files there."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = base.lstat()
    others_write = status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if base.is_symlink() or others_write:
        raise DataError(f"{base}: expected a folder that nobody but this user can write to, got another; remove it")
    return base


def _below(folder: Path, one: Sent) -> Path:
    return folder / os.path.relpath(one.path, "/")


def _is_whole(folder: Path, parcel: Parcel) -> bool:
    """Whether every file lies there with its size and time."""
    for one in parcel.files:
        try:
            status = _below(folder, one).stat()
        except OSError:
            return False
        if (status.st_size, status.st_mtime_ns) != (one.size, one.changed_ns):
            return False
    return folder.is_dir()


def _write(path: Path, content: bytes, changed_ns: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(changed_ns, changed_ns))
    except OSError as error:  # which names no file where there is no room
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
