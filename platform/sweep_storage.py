"""Where the checkpoints and pictures of a study lie: as asked, else where they lie already, else beside its ledger."""

from __future__ import annotations

import re
import tempfile
import uuid
from pathlib import Path

from platform import far_storage
from platform.errors import SweepError, away
from platform.ledger import Ledger
from trials.storage import Storage, StorageError, is_address

__all__ = ["check_moved", "claim", "far", "near"]

MARKS = "owner"
"""The folder in a study's part of a storage where an empty file, named as the ledger's mark, tells whose it is."""


def far(ledger: Ledger, asked: str) -> Storage | None:
    """Return the storage that the study has so far, if that has an address and no other was asked for."""
    recorded = "" if asked else str(ledger.get("storage") or "")
    return far_storage.connect(recorded) if is_address(recorded) else None


def near(ledger: Ledger, asked: str) -> Path:
    """Return the folder for checkpoints and pictures: as asked, else where they lie already, else the study's own."""
    if asked:
        return Path(asked, ledger.folder.name).resolve()
    recorded = ledger.get("storage")
    return Path(recorded) if recorded and recorded != ledger.get("folder") else ledger.folder  # which may be moved


def check_moved(ledger: Ledger, storage: Path) -> None:
    """Refuse another storage than the study's while its files lie in the old one, and none of them in the new.

    Raises:
        SweepError: naming both.
    """
    recorded = Path(str(ledger.get("storage") or storage))
    if ledger.get("storage") == ledger.get("folder"):
        recorded = ledger.folder  # the study's own, which may have been moved with it
    before = recorded / "trials"
    if recorded != storage and before.is_dir() and any(before.iterdir()) and not (storage / "trials").is_dir():
        raise SweepError(
            f"--storage: checkpoints and pictures of {ledger.folder.name} lie in {recorded}, and none in {storage}; "
            f"give --storage {recorded.parent}, or move them first"
        )


def claim(ledger: Ledger, storage: Path | Storage) -> None:
    """Mark a storage beyond the ledger's own folder as this study's.

    Whose it is tells a mark that the ledger holds, too, also in a results folder that was moved.

    Raises:
        SweepError: if it bears the mark of another ledger: a study of the same name, in another results folder.
        OSError: if a folder cannot be written to.
    """
    if storage == ledger.folder:
        return
    mark = ledger.get("mark")
    if mark is None:
        mark = uuid.uuid4().hex
        ledger.put({"mark": mark})
    try:
        found = _marks(storage)
        if not found:
            _mark(storage, mark)
    except StorageError as error:
        raise SweepError(away(str(error))) from error
    if found and mark not in found:
        place = storage.address if isinstance(storage, Storage) else storage
        raise SweepError(
            f"--storage: {place} holds the files of a study of this name in another results folder; give another "
            f"--storage or name or, if that study is gone, delete {MARKS}/{found[0]} there"
        )


def _marks(storage: Path | Storage) -> list[str]:
    """Return the marks that a storage bears."""
    if isinstance(storage, Storage):
        names = [name.rpartition("/")[2] for name in storage.names(MARKS)]
    else:
        names = [path.name for path in (storage / MARKS).glob("*")]
    return sorted(name for name in names if re.fullmatch("[0-9a-f]{32}", name))  # others are half written


def _mark(storage: Path | Storage, mark: str) -> None:
    if isinstance(storage, Storage):
        with tempfile.NamedTemporaryFile() as empty:
            storage.put({f"{MARKS}/{mark}": Path(empty.name)})
    else:
        (storage / MARKS).mkdir(parents=True, exist_ok=True)
        (storage / MARKS / mark).touch()
