"""Files under an address that fsspec knows, as s3://BUCKET/FOLDER: put, fetched, listed and deleted, with patience.

fsspec is imported when an address is used, not before. Credentials come from where the store's package looks for them
(its environment variables and files), never from the address.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["Storage", "StorageError", "is_address", "is_checkpoint"]

PAUSES_S = (1.0, 4.0, 15.0)
"""How long is waited after each failure before the same is tried again."""
ANSWER_S = 10.0
"""How long a store may take for a file, beside a second for each of its MiB; a try of its own counts no retries."""
AT_ONCE = 8
"""How many files travel at a time, where the store can: an object store takes some 30 ms to answer."""
PART = ".part"
"""What a file's name ends in while it is being written."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class StorageError(OSError):
    """An address cannot be used, or does not do what it is asked to; the sentence names it."""


def is_address(place: str) -> bool:
    """Whether `place` begins with a scheme; else it is a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)", place) is not None


def is_checkpoint(name: str) -> bool:
    """Whether a file, by its name, is a checkpoint: one that only its trial needs."""
    return re.fullmatch(r"checkpoint-[^/]*\.pt", name.rpartition("/")[2]) is not None


class Storage:
    """The files below an address; each name is a path below it.

    Args:
        address: with a scheme and without credentials.
        pauses_s: see `PAUSES_S`; none: what fails once has failed.

    Raises:
        StorageError: if nothing can be reached under the address; as every method does.
    """

    def __init__(self, address: str, pauses_s: Collection[float] = PAUSES_S) -> None:
        self.address = address.rstrip("/")
        self._pauses_s = tuple(pauses_s)
        self._fs, self._root = self._connect()

    def put(self, files: Mapping[str, Path]) -> None:
        """Put files of this machine there under these names; whoever looks sees each whole, or the one before it."""

        def put(name: str) -> None:
            path = self._path(name)
            if self._fs.async_impl:  # object stores show a file when it is whole, and cannot rename one
                self._fs.put_file(str(files[name]), path, **self._patience(files[name].stat().st_size))
            else:
                aside = f"{path}.{uuid.uuid4().hex[:8]}{PART}"
                self._fs.put_file(str(files[name]), aside)
                self._fs.mv(aside, path)

        self._each("write", put, files)

    def get(self, files: Mapping[str, Path]) -> list[str]:
        """Fetch files by name to these places, each whole or not at all; return the names that are not there."""

        def get(name: str) -> bool:
            """Fetch a file; return whether it is there."""
            place = files[name]
            aside = place.with_name(f"{place.name}{PART}")
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                path = self._path(name)
                size = self._fs.info(path, **self._patience())["size"] if self._fs.async_impl else 0
                self._fs.get_file(path, str(aside), **self._patience(size))
                os.replace(aside, place)
            except FileNotFoundError:
                return False
            finally:
                aside.unlink(missing_ok=True)
            return True

        return [name for name, there in zip(files, self._each("read", get, files), strict=True) if not there]

    def names(self, folder: str) -> list[str]:
        """Return the names of all files below a folder; none if there is no such folder."""

        def names(folder: str) -> list[str]:
            self._fs.invalidate_cache()  # others write there, too
            try:
                return [str(path).removeprefix(f"{self._root}/") for path in self._found(folder)]
            except FileNotFoundError:
                return []

        return self._each("list", names, [folder])[0]

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; what is gone already is no matter."""

        def delete(name: str) -> None:
            try:
                self._fs.rm_file(self._path(name), **self._patience())
            except FileNotFoundError:
                return

        self._each("delete", delete, names)

    def _found(self, folder: str) -> Iterable[str]:
        found: Iterable[str] = self._fs.find(self._path(folder), **self._patience())
        return found

    def _patience(self, size_b: int = 0) -> dict[str, float]:
        """Return how long is waited for an answer, as an option of an object store's calls; others take none."""
        return {"timeout": ANSWER_S + size_b / 2**20} if self._fs.async_impl else {}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _connect(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        scheme = self.address.partition(":")[0]
        try:
            fs, root = url_to_fs(self.address, **({"auto_mkdir": True} if scheme in ("file", "local") else {}))
        except ImportError as error:
            missing = getattr(error.__cause__, "name", None) or error
            raise StorageError(
                f"{self.address}: {scheme}:// needs the package {missing}, which is not installed; install it, on "
                "every node"
            ) from error
        except Exception as error:  # each package has errors of its own
            raise StorageError(f"{self.address}: cannot be used ({_said(error)})") from error
        return fs, root.rstrip("/")

    def _each(self, verb: str, do: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Return what `do` returns for each item; the first failure that lasts is raised, and no more is begun."""
        pool = ThreadPoolExecutor(AT_ONCE if self._fs.async_impl else 1)
        try:
            return list(pool.map(lambda item: self._patiently(verb, do, item), items))
        finally:
            pool.shutdown(cancel_futures=True)

    def _patiently(self, verb: str, do: Callable[[_Item], _Result], item: _Item) -> _Result:
        for pause in self._pauses_s:
            try:
                return do(item)
            except Exception:  # each package has errors of its own; the last try below tells the reason
                time.sleep(pause)
        try:
            return do(item)
        except Exception as error:
            what = f"cannot {verb} {item} in the storage {self.address}" if item else f"cannot {verb} {self.address}"
            raise StorageError(f"{what} ({_said(error)})") from error


def _said(error: BaseException) -> str:
    """Return an error in one line."""
    first = " ".join(str(error).strip().partition("\n")[0].split())
    if isinstance(error, TimeoutError):
        first = first or "no answer in time"
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
