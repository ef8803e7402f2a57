"""What stands beside the trials: methods that learn nothing, and trained models from the spec's `reference`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from platform.errors import Problem, SpecError, SweepError, full
from platform.spec import Study
from platform.trainer import Report
from trials.disk import no_room

__all__ = ["digests", "kept", "score_all", "unscored"]


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
        scored: as from `platform.ledger_references.scored`.
        weights: the models declared: name -> SHA-256 of the file.
    """
    models = [name for name, digest in weights.items() if scored.get(name) != digest]
    return models if models or None not in scored.values() else None


def kept(
    study: Study,
    known: Mapping[str, str | None],
    weights: Mapping[str, str],
    source: Path,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Return the models whose file is gone, but whose scores the ledger has: name -> SHA-256 of what the file was.

    Args:
        study: whose `reference` declares the models.
        known: the methods that were scored, as from `platform.ledger_references.scored`.
        weights: the models whose file is there.
        source: the spec's file, for what is said of it.
        say: told of each.

    Raises:
        SpecError: if a model has neither file nor scores.
    """
    found, problems = {}, []
    for name, path in study.spec.reference.items():
        if name in weights:
            continue
        digest = known.get(name)
        if digest is None:
            what = f"there is no file {path}, and the scores recorded are of other images or another version"
            problems.append(Problem(f"reference.{name}", f"expected a file of weights, but {what}"))
        else:
            found[name] = digest
            say(f"{name}: the file {path} is gone; its recorded scores are kept")
    if problems:
        raise SpecError(str(source), problems)
    return found


def score_all(
    study: Study, data: Mapping[str, Any], storage: Path, wanted: Mapping[str, Sequence[str]], source: Path
) -> dict[str, Mapping[str, Report]]:
    """Score what is wanted on each set of images; the pictures become paths in the storage.

    Args:
        study: whose models they are.
        data: the study's images, then those that confirm, by their digest.
        storage: the folder of checkpoints and pictures.
        wanted: for each digest names of `study.spec.reference`; the methods that learn nothing come with them.
        source: the spec's file, for what is said of it.

    Raises:
        SpecError: if an image or a file of weights cannot be used.
        SweepError: if there is no room for the pictures.
    """
    own = next(iter(data))
    try:
        return {
            digest: _score(study, data[digest], storage, names, confirms=digest != own)
            for digest, names in wanted.items()
        }
    except ValueError as error:
        files = study.spec.reference
        named = [name for names in wanted.values() for name in names if files[name] in str(error)]
        where = f"reference.{max(named, key=lambda name: len(files[name]))}" if named else "data"
        raise SpecError(str(source), [Problem(where, str(error))]) from None
    except OSError as error:
        if not no_room(error):
            raise
        raise SweepError(full(storage, str(error))) from None


def _score(study: Study, data: Any, storage: Path, models: Sequence[str], *, confirms: bool) -> Mapping[str, Report]:
    """Score these models, and the methods that learn nothing; those that confirm have a folder of their own."""
    files = {name: Path(study.spec.reference[name]) for name in models}
    folder = Path("references", "confirm") if confirms else Path("references")
    reports = study.trainer.references(data, storage / folder, files)
    for report in reports.values():
        report.pictures.update({name: folder / path for name, path in report.pictures.items()})
    return reports
