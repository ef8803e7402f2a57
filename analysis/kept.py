"""Where a file lies that a ledger names, if it is one of the study's: a ledger may come from anybody."""

from __future__ import annotations

from pathlib import Path

__all__ = ["kept"]


def kept(storage: Path, name: str, suffix: str) -> Path | None:
    """Return the path of a file in the storage folder; None if it lies elsewhere, is missing, or of another kind.

    What a link leads to is what counts.

    Args:
        storage: the folder of checkpoints and pictures.
        name: the file's path in it, as the ledger has it.
        suffix: how the file's name ends, such as `.png`.
    """
    try:
        path = (storage / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # which bears any text; a circle of links is a RuntimeError
        return None
    inside = path.is_relative_to(storage.resolve()) and path.is_file()
    return path if inside and path.suffix == suffix else None
