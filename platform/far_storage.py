"""A storage that has an address, such as s3://BUCKET/FOLDER: refused early if it cannot be used, fetched from later.

Checkpoints stay there. What people look at, pictures and generators, is fetched into the study's own folder, where the
report and the mirror find it under the same names.
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from platform.errors import AddressError, SweepError
from trials.storage import Storage, StorageError

__all__ = ["below", "connect", "fetch"]

GENERATOR = ("generator.pt", "generator.json")
"""What a completed trial leaves beside its pictures."""
NO_PLACE = (FileNotFoundError, NotADirectoryError, FileExistsError, ValueError)
"""What says that the address is wrong; any other error, that what it names does not do what it should now."""


def below(address: str, study: str) -> str:
    """Return the address of a study's files; nothing is touched.

    Raises:
        AddressError: if `address` holds credentials, or is of a kind that cannot be used.
    """
    scheme, _, rest = address.partition("://")
    before, _, after = rest.rpartition("@")
    if ":" in before and scheme not in ("file", "local"):  # a secret may hold a slash
        shown = f"{scheme}://***@{re.split('[/?#]', after)[0]}"
        raise AddressError(
            f"--storage {shown}: expected an address without credentials, which would be recorded; leave them to the "
            "environment or the files of its package, on every node"
        )
    if "::" in address or "?" in address or "#" in address:
        raise AddressError(
            f"--storage {re.split('[?#]', address)[0]}: expected one plain address such as s3://BUCKET/FOLDER, but it "
            "is a chain or has options; leave these out"
        )
    if scheme == "memory":
        raise AddressError(f"--storage {address}: no other process sees what one has in its memory; give a folder")
    if scheme in ("file", "local") and not rest.startswith("/"):
        raise AddressError(f"--storage {address}: expected an absolute path, such as file:///mnt/storage")
    _require_scheme(address, scheme)
    return f"{address.rstrip('/')}/{study}"


def connect(address: str) -> Storage:
    """Return the storage at an address, after writing and deleting a small file there.

    Raises:
        AddressError: if there is no such place.
        SweepError: if that fails for another reason: the storage is down, say, or does not let this user in.
    """
    name = f".check-{uuid.uuid4().hex[:8]}"
    try:
        tried = Storage(address, pauses_s=())
        with tempfile.NamedTemporaryFile() as small:
            tried.put({name: Path(small.name)})
        tried.delete([name])
        return Storage(address)
    except StorageError as error:
        said = f"--storage: {error}; nothing was started"
        if isinstance(error.__cause__, NO_PLACE):
            raise AddressError(f"{said}: give the address of a bucket or folder that is there") from error
        raise SweepError(
            f"{said}: once it answers and takes files, with the credentials that its package finds, the same command "
            "goes on"
        ) from error


def fetch(storage: Storage, folder: Path, pictures: Mapping[str, Sequence[str]]) -> int:
    """Fetch what completed trials leave to be looked at, as far as it is not here; return how many files came.

    What the storage lacks is passed over: a trainer may leave no generator, and the mirror names missing pictures.

    Args:
        storage: where it is.
        folder: the study's own.
        pictures: each completed trial's, as paths below the storage; see `platform.ledger_results.pictures`.

    Raises:
        StorageError: if the storage does not give it.
    """
    names = [
        name
        for trial, paths in pictures.items()
        for name in (*paths, *(f"trials/{trial}/{file}" for file in GENERATOR))
        if not (folder / name).is_file()
    ]
    return len(names) - len(storage.get({name: folder / name for name in names}))


def _require_scheme(address: str, scheme: str) -> None:
    from fsspec import get_filesystem_class

    try:
        get_filesystem_class(scheme)
    except ValueError:
        raise AddressError(
            f"--storage {address}: there is no scheme {scheme}://; give a folder, or an address such as "
            "s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or sftp://HOST/FOLDER"
        ) from None
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or error
        raise AddressError(
            f"--storage {address}: {scheme}:// needs the package {missing}, which is not installed; install it, on "
            "every node"
        ) from None
