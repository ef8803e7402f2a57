"""What stands beside the trials: methods that learn nothing, and trained models from the spec's `reference`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from platform.spec import Study
from platform.trainer import Report

__all__ = ["digests", "score", "unscored"]


def digests(reference: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each file of weights that exists, by the model's name."""
    found = {}
    for name, path in reference.items():
        if not Path(path).is_file():
            continue
        with Path(path).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def unscored(scored: Mapping[str, str | None], weights: Mapping[str, str]) -> list[str] | None:
    """Return the names of the trained models that have still to be scored; None if nothing has.

    The methods that learn nothing have no names here, and come with them: an empty list asks for them alone.

    Args:
        scored: as from `Ledger.scored`.
        weights: the models declared: name -> SHA-256 of the file.
    """
    models = [name for name, digest in weights.items() if scored.get(name) != digest]
    return models if models or None not in scored.values() else None


def score(
    study: Study, data: Any, storage: Path, models: Sequence[str], *, confirms: bool = False
) -> Mapping[str, Report]:
    """Score these models, and the methods that learn nothing; their pictures become paths in the storage.

    Args:
        study: whose models they are.
        data: the images.
        storage: the folder of checkpoints and pictures.
        models: names of `study.spec.reference`.
        confirms: whether the images are those that confirm, which have a folder of pictures of their own.

    Raises:
        ValueError: if an image or a file of weights cannot be used; the message names it.
    """
    files = {name: Path(study.spec.reference[name]) for name in models}
    folder = Path("references", "confirm") if confirms else Path("references")
    reports = study.trainer.references(data, storage / folder, files)
    for report in reports.values():
        report.pictures.update({name: folder / path for name, path in report.pictures.items()})
    return reports
