"""How far the mirror is: a small file for the terminal's view."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

__all__ = ["Progress", "behind"]

FILE = "mirror.json"
SQLITE = "sqlite:///"


@dataclass
class Progress:
    """How far the copy is, for the terminal's view alone: the truth is on the server."""

    uri: str
    experiment: str
    experiment_id: str = ""
    copied: int = 0
    """Ended trials that the server holds."""
    of: int = 0
    """Ended trials of the ledger."""
    at: float = 0.0
    """When this was written, in seconds since 1970."""
    error: str | None = None
    folder: str = ""
    """The study's, where this was written: a copy of the folder may be beside another store."""

    def write(self, folder: Path) -> None:
        """Write this into the study's folder; a reader sees the old file or the new one, never half of it."""
        self.at, self.folder = time.time(), str(folder.resolve())
        aside = folder / f".{FILE}"
        with suppress(OSError):  # on a full disk the copy goes on unseen
            aside.write_text(json.dumps(asdict(self), indent=2) + "\n")
            os.replace(aside, folder / FILE)


def behind(folder: Path) -> int | None:
    """Return how many ended trials the mirror has still to copy, by its own word; None if it has said nothing.

    Its word does not count if the SQLite store that it is about is gone, or if the folder was moved or copied since.
    """
    try:
        progress = json.loads((folder / FILE).read_text())
        uri = str(progress["uri"])
        if uri.startswith(SQLITE) and not Path(unquote(uri.removeprefix(SQLITE))).exists():
            return None
        if progress["folder"] != str(folder.resolve()):
            return None
        return max(0, int(progress["of"]) - int(progress["copied"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
