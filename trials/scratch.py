"""Where a trial's files lie on the machine that trains it: in the storage itself, or in a copy of its own.

A storage with an address is no folder that a trainer could write to. The trainer then works in a folder of this
machine, own to the attempt, and what it changed there is carried over before each report is told: whatever the ledger
names lies in the storage.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trials.progress import CheckpointError
from trials.storage import PART, Storage, StorageError, is_address

__all__ = ["carried"]


@contextmanager
def carried(storage: str, folder: str, resume: str | None) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give a trial a place for its files.

    Args:
        storage: a folder that all nodes see, or an address.
        folder: the trial's, below the storage.
        resume: the checkpoint to go on from, below the storage.

    Yields:
        The folder of this machine that stands for the storage, and what carries changes over, to be called before each
        report is told and at the end.

    Raises:
        CheckpointError: if there is no such checkpoint under the address.
        StorageError: if the address does not do what it is asked to.
    """
    if not is_address(storage):
        yield Path(storage), lambda: None
        return
    with _scratch(Path(folder).parent) as root:
        copy = _Copy(Storage(storage), folder, root)
        copy.begin(resume)
        yield root, copy.carry


class _Copy:
    """A trial's folder on this machine, beside the one in the storage."""

    def __init__(self, storage: Storage, folder: str, root: Path) -> None:
        self._storage, self._folder, self._root = storage, folder, root
        self._known: dict[str, tuple[int, int]] = {}
        """Name -> size and time, of the files as they were when the storage last equalled them."""

    def begin(self, resume: str | None) -> None:
        """Fetch the checkpoint to go on from. Of the other files there are the names alone: they are empty.

        A trainer that deletes one of these, as it does with old checkpoints, deletes it in the storage.
        """
        names = self._storage.names(self._folder)
        cut_off = [name for name in names if name.endswith(PART)]
        self._storage.delete(cut_off)
        for name in {*names} - {*cut_off, resume}:
            place = self._root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        if resume is not None and self._storage.get({resume: self._root / resume}):
            raise CheckpointError(
                f"checkpoint {self._storage.address}/{resume} does not exist; start the training anew, or from "
                "another one"
            )
        self._known = self._now()

    def carry(self) -> None:
        """Make the storage equal to this folder: first put what is new, then delete what is gone."""
        now = self._now()
        self._storage.put({name: self._root / name for name, seen in now.items() if self._known.get(name) != seen})
        self._storage.delete(self._known.keys() - now.keys())
        self._known = now

    def _now(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in sorted((self._root / self._folder).rglob("*")):
            if path.is_file() and path.suffix != PART:
                status = path.stat()
                found[path.relative_to(self._root).as_posix()] = status.st_size, status.st_mtime_ns
        return found


@contextmanager
def _scratch(trials: Path) -> Iterator[Path]:
    """Yield a new folder of this machine's, deleted in the end; what killed processes left behind is deleted first.

    Decoded images, which all trials of the machine share, stay; a trainer finds them in `decoded` beside its folder,
    in `trials`.
    """
    base = Path(tempfile.gettempdir(), f"ablation-scratch-{os.getuid()}")
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise StorageError(f"{base}: expected a folder of this user's, but it is somebody else's; remove it")
    decoded = base / "decoded"
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nobody sweeps away what is not held yet
        _sweep(base)
        root = Path(tempfile.mkdtemp(dir=base, prefix="trial-"))
        held = (root / "lock").open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        (root / trials).mkdir()
        decoded.mkdir(exist_ok=True)
        (root / trials / "decoded").symlink_to(decoded)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
        held.close()


def _sweep(base: Path) -> None:
    """Delete the folders whose processes are gone: their locks are held by nobody."""
    for root in base.glob("trial-*"):
        try:
            with (root / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
        except BlockingIOError:
            continue
