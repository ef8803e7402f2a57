"""Where the checkpoints and pictures of a study lie: as asked, else where they lie already, else beside its ledger."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tempfile
import uuid
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from platform import far_storage
from platform.errors import SweepError, away
from platform.ledger import Ledger
from platform.status_driver import holder
from trials.storage import Storage, StorageError, is_address

__all__ = ["check_moved", "claim", "far", "near"]

MARKS = "owner"
"""The folder in a study's part of a storage where a file, named as the ledger's mark, tells whose it is.

It holds the ledger's folder, so that of a study and its copy one alone has the storage.
"""


def far(ledger: Ledger, asked: str) -> Storage | None:
    """Return the storage that the study has so far, if that has an address and no other was asked for."""
    recorded = "" if asked else str(ledger.get("storage") or "")
    return far_storage.connect(recorded) if is_address(recorded) else None


def near(ledger: Ledger, asked: str) -> Path:
    """Return the folder for checkpoints and pictures: as asked, else where they lie already, else the study's own."""
    if asked:
        return Path(os.path.realpath(Path(asked, ledger.folder.name)))  # links in a circle fail when written to
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

    Whose it is tells a mark that the ledger holds, too, also in a results folder that was moved. The ledger's own
    folder needs none, but may bear that of a study which came there before.

    Raises:
        SweepError: if it bears the mark of another ledger, a study of the same name in another results folder, or is
            such a folder; if the study that this one is a copy of keeps its files there; or if what the ledger names
            is there no more: of a disk, say, that is not mounted.
        OSError: if a folder cannot be written to.
    """
    own = storage == ledger.folder
    place = storage.address if isinstance(storage, Storage) else storage
    mark = str(ledger.get("mark") or "")
    if isinstance(storage, Path) and not own and _study(storage) is not None:
        raise SweepError(
            f"--storage: {place} is the results folder of another study of this name; give another --storage"
        )
    try:
        found = _marks(storage)
        if not found and not own:
            _check_there(ledger, storage)
            if not mark:
                mark = uuid.uuid4().hex
                ledger.put({"mark": mark})
            _mark(storage, mark, ledger.folder)
            found = _marks(storage)
            if found != [mark]:  # others came at the same moment
                _unmark(storage, mark)
        elif found == [mark] and not own:
            _check_no_copy(ledger, storage, mark)
    except StorageError as error:
        raise SweepError(away(str(error))) from error
    others = [one for one in found if one != mark]
    if others:
        option = "--results" if own else "--storage"
        raise SweepError(
            f"{option}: {place} holds the files of a study of this name in another results folder; give another "
            f"{option} or name or, if that study is gone, delete {MARKS}/{others[0]} there"
        )


def _check_no_copy(ledger: Ledger, storage: Path | Storage, mark: str) -> None:
    """Refuse a storage where the study that this one is a copy of keeps its files; else let the mark name this one."""
    place = storage.address if isinstance(storage, Storage) else str(storage)
    there = _folder(storage, mark)
    if there == ledger.folder:
        return
    other = _study(there)
    if other and other.get("mark") == mark and other.get("storage") == place and not there.samefile(ledger.folder):
        raise SweepError(
            f"--storage: {place} holds the files of {there}, of which {ledger.folder} is a copy; go on with that, or "
            f"copy {place} into another folder, too, and give that folder as --storage"
        )
    with suppress(OSError, StorageError):  # a study that has nothing to do needs no room to say so
        _mark(storage, mark, ledger.folder)


def _study(folder: Path) -> dict[str, Any] | None:
    """Return the keys of the study whose ledger is in a folder, none of one that cannot be read.

    None if there is no ledger, or one that a command left which was killed before it held a spec.
    """
    path = folder / "ledger.db"
    if not os.path.exists(path):  # where Path's own raises, if a text is no path or not for this user to see
        return None
    open_now = path.with_name(f"{path.name}-wal").exists()  # if not, SQLite would make some, and leave them there
    options = "mode=ro" if open_now else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True)) as db:
            known = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'spec'").fetchone()
            if not (known and db.execute("SELECT 1 FROM spec").fetchone()) and holder(folder / "driver.lock") is None:
                return None
            return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM study")}
    except (sqlite3.Error, ValueError):
        return {}


def _check_there(ledger: Ledger, storage: Path | Storage) -> None:
    """Refuse a storage where the ledger has checkpoints, if nothing of any trial is there."""
    place = storage.address if isinstance(storage, Storage) else str(storage)
    if ledger.get("storage") != place or not ledger.has_checkpoints():
        return
    there = storage.names("trials") if isinstance(storage, Storage) else (storage / "trials").is_dir()
    if not there:
        raise SweepError(
            f"--storage: nothing of {ledger.folder.name} is left in {place}, where its checkpoints and pictures were; "
            "if that is not mounted, mount it; if it is gone, give another --storage"
        )


def _marks(storage: Path | Storage) -> list[str]:
    """Return the marks that a storage bears."""
    if isinstance(storage, Storage):
        names = [name.rpartition("/")[2] for name in storage.names(MARKS)]
    else:
        names = [path.name for path in (storage / MARKS).glob("*")]
    return sorted(name for name in names if re.fullmatch("[0-9a-f]{32}", name))  # others are half written


def _mark(storage: Path | Storage, mark: str, folder: Path) -> None:
    """Put a mark into a storage that names the ledger's folder."""
    if isinstance(storage, Storage):
        with tempfile.NamedTemporaryFile() as named:
            named.write(os.fsencode(folder))
            named.flush()
            storage.put({f"{MARKS}/{mark}": Path(named.name)})
    else:
        (storage / MARKS).mkdir(parents=True, exist_ok=True)
        path, aside = storage / MARKS / mark, storage / MARKS / f"{mark}.part"
        try:
            aside.write_bytes(os.fsencode(folder))
            os.replace(aside, path)
        except OSError as error:  # on a full disk, an empty mark would keep everybody out
            aside.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error


def _folder(storage: Path | Storage, mark: str) -> Path:
    """Return the folder that a mark names; of one by an earlier version, which names none, the mark's own name."""
    if not isinstance(storage, Storage):
        return Path(os.fsdecode((storage / MARKS / mark).read_bytes()) or mark)
    with tempfile.TemporaryDirectory() as fetched:
        storage.get({f"{MARKS}/{mark}": Path(fetched, mark)})
        return Path(os.fsdecode(Path(fetched, mark).read_bytes()) or mark)


def _unmark(storage: Path | Storage, mark: str) -> None:
    if isinstance(storage, Storage):
        storage.delete([f"{MARKS}/{mark}"])
    else:
        (storage / MARKS / mark).unlink(missing_ok=True)
