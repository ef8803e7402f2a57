"""Where a study's files are and how much room they take, and how far its copy in MLflow is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform.mirror_progress import FILE

__all__ = ["PATIENCE_S", "Kept", "Mirror", "kept", "mirror"]

PATIENCE_S = 1.0
"""How long files are counted; on a slow shared folder there may be too many."""


@dataclass(frozen=True)
class Kept:
    """Files of one kind.

    Args:
        what: `ledger`, `report`, `checkpoints`, `trials` (weights, pictures and decoded images) or `references`.
        path: the folder or file.
        bytes: how much they take; None if there is nothing to be seen.
        whole: whether all were counted before the time was up.
    """

    what: str
    path: str
    bytes: int | None
    whole: bool = True


@dataclass(frozen=True)
class Mirror:
    """How far the copy in MLflow is, by its own word.

    Args:
        uri: of the server or store.
        experiment: its name there.
        behind: ended trials of the ledger that it does not have.
        at: when it last said so, in seconds since 1970.
        error: why it could not copy at that time; None if it could.
    """

    uri: str
    experiment: str
    behind: int
    at: float
    error: str | None


def kept(
    folder: Path,
    storage: Path,
    checkpoints: Collection[str],
    clock: Callable[[], float] = time.monotonic,
    *,
    address: str = "",
) -> list[Kept]:
    """Count the files of a study.

    Args:
        folder: of the ledger and the report.
        storage: of pictures, and of checkpoints if it has no address.
        checkpoints: paths below the storage that the ledger names; most are deleted by and by.
        clock: returns seconds.
        address: of the storage, which is not asked: that may take minutes.
    """
    until = clock() + PATIENCE_S
    ledger = [folder / f"ledger.db{end}" for end in ("", "-wal", "-shm")]
    found = [Kept("ledger", str(ledger[0]), sum(path.stat().st_size for path in ledger if path.is_file()))]
    sizes, whole = _sizes(folder / "report", until, clock)
    page = folder / "report" / "index.html"
    found.append(Kept("report", str(page), sum(sizes.values()) if page.is_file() else None, whole))
    trials = storage / "trials"
    sizes, whole = _sizes(trials, until, clock)
    named = {str(storage / path) for path in checkpoints}
    held = sum(size for path, size in sizes.items() if path in named)
    seen = trials.is_dir()
    if address:
        found.append(Kept("checkpoints", f"{address}/trials", None))
    else:
        found.append(Kept("checkpoints", str(trials), held if seen else None, whole))
    found.append(Kept("trials", str(trials), sum(sizes.values()) - held if seen else None, whole))
    sizes, whole = _sizes(storage / "references", until, clock)
    if sizes:
        found.append(Kept("references", str(storage / "references"), sum(sizes.values()), whole))
    return found


def mirror(folder: Path, ended: int) -> Mirror | None:
    """Return how far the mirror of the study in `folder` is; None if it has said nothing yet.

    Args:
        folder: the study's.
        ended: how many trials of the ledger have ended.
    """
    try:
        said: dict[str, Any] = json.loads((folder / FILE).read_text())
        return Mirror(
            said["uri"], said["experiment"], max(0, ended - int(said["copied"])), float(said["at"]), said["error"]
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # no word of the mirror
        return None


def _sizes(folder: Path, until: float, clock: Callable[[], float]) -> tuple[dict[str, int], bool]:
    """Return the size in bytes of each file below a folder, and whether the time sufficed for all."""
    found: dict[str, int] = {}
    for path, size in _files(folder):
        if clock() > until:
            return found, False
        found[path] = size
    return found, True


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield each file's path and size; what is deleted while we look is left out."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            try:
                yield entry.path, entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
