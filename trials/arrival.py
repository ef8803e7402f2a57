"""What a task names, on the machine that trains it: files sent along, and those that it should see. Any trainer's."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trials.canonical import content
from trials.images import listed
from trials.progress import DataError
from trials.shipping import Parcel, discard, unpack

__all__ = ["arrived", "content_digests"]

ADVICE = "put the driver's there or in a folder that all nodes see, or send them with --ship-data"

_known: dict[tuple[str, str, str], list[tuple[str, int, int]]] = {}
"""For each trainer, data and digest that this process found to agree: what the files were then."""


def arrived(task: Mapping[str, Any], shipped: Parcel | None, fetch: Callable[[Any], bytes]) -> tuple[Any, Any, Any]:
    """Return a task's trainer, settings and data, whose files are here and are those that it was planned with.

    Args:
        task: as `platform.job.Job.task` makes it.
        shipped: files sent along, which are unpacked here.
        fetch: returns the content of one of these; see `trials.shipping.unpack`.

    Raises:
        DataError: if a file is missing here, or another one is.
    """
    trainer = importlib.import_module(task["trainer"])
    config, data = trainer.Config.model_validate(task["settings"]), trainer.Data.model_validate(task["data"])
    if shipped is None:
        _require(trainer, config, data, task)
        return trainer, config, data
    here, images = trainer.moved(config, data, unpack(shipped, fetch))
    try:
        _require(trainer, here, images, task)
    except DataError:  # files of the right size and time, but damaged: as a power cut leaves them
        discard(shipped)
        here, images = trainer.moved(config, data, unpack(shipped, fetch))
        _require(trainer, here, images, task)
    return trainer, here, images


def _require(trainer: Any, config: Any, data: Any, task: Mapping[str, Any]) -> None:
    """Refuse files that are not those of the task."""
    _require_images(trainer, data, task["digest"])
    _require_weights(trainer.weights(config), task["weights"])


def content_digests(paths: Sequence[Path]) -> list[str]:
    """Return a digest of each file's content, for a task; empty for one that there is not."""
    return [content(path) if os.path.isfile(path) else "" for path in paths]


def _require_images(trainer: Any, data: Any, digest: str) -> None:
    """Refuse images that are not those of this digest.

    They are read once in a process; later, as long as the files have the names, sizes and times that they had, only
    these are looked at.

    Args:
        trainer: a module as `platform.trainer.Trainer` describes it.
        data: the trainer's.
        digest: of the images that the trial was planned with.

    Raises:
        DataError: if this machine does not see the images, or sees others.
    """
    key = trainer.__name__, data.model_dump_json(by_alias=True), digest
    node = socket.gethostname()
    try:
        files = trainer.files(data)
        now = [_looks(path) for path in files]
        if _known.get(key) == now:
            return
        seen = trainer.digest(data)
    except (DataError, OSError) as error:
        raise DataError(f"node {node} does not see the driver's images: {error}; {ADVICE}") from error
    if seen != digest:
        where = listed(sorted({str(path.parent) for path in files})) or "the packages installed"
        raise DataError(
            f"node {node}: expected the driver's images, of digest {digest}, but {where} gave {seen}; {ADVICE}"
        )
    _known[key] = now


def _require_weights(paths: Sequence[Path], digests: Sequence[str]) -> None:
    """Refuse files of weights whose contents are not of these digests; empty where the driver saw no file.

    Raises:
        DataError: if this machine does not see one, or sees another.
    """
    node = socket.gethostname()
    for path, digest in zip(paths, digests, strict=True):
        if not digest:
            continue  # an optional file; if not, the training says so
        try:
            seen = content(path)
        except OSError as error:
            what = f"the driver's weights: {path}: the file cannot be read ({error.strerror})"
            raise DataError(f"node {node} does not see {what}; {ADVICE}") from error
        if seen != digest:
            raise DataError(
                f"node {node}: expected the driver's weights, of digest {digest}, but {path} gave {seen}; {ADVICE}"
            )


def _looks(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
