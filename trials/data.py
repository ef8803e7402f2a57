"""The images of a study: loading, checking and identifying them. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials import images, photos, sets
from trials.config import Config, Data
from trials.decoded import Decoded
from trials.images import Pixels, listed
from trials.progress import DataError
from trials.sets import EvaluationImage

__all__ = [
    "EvaluationImage", "TrainingImages", "check", "digest", "load_evaluation", "load_training", "misfits", "provenance",
    "scenes",
]  # fmt: skip


@dataclass(frozen=True)
class TrainingImages:
    """Images to train on, 8-bit RGB (H, W, 3), of any size."""

    low: list[Pixels]
    normal: list[Pixels]


def load_training(data: Data, decoded: Decoded | None = None) -> TrainingImages:
    """Read the images to train on, each list sorted by file name; `decoded` is where they are shared.

    Each of the bundled photographs is in both lists. The list `normal` is shifted by one, so that `pairing: fixed`
    never makes a pair of a photograph and itself.

    Raises:
        DataError: if a folder or a file cannot be used.
    """
    decoded = decoded or Decoded()
    if data.source == "photos":
        low, normal = zip(*(_photo(name, decoded) for name in photos.TRAINING), strict=True)
        return TrainingImages(list(low), [*normal[1:], normal[0]])
    files = {role: images.find(folder) for role, folder in _training_folders(data).items()}
    return TrainingImages(**{role: [decoded.read(path) for path in paths] for role, paths in files.items()})


def load_evaluation(data: Data, decoded: Decoded | None = None) -> list[EvaluationImage]:
    """Read the images to be scored, sorted by set, then by name. The sets of `confirm` are not among them.

    They are shared as those of `load_training`.

    Raises:
        DataError: if a folder or a file cannot be used.
    """
    decoded = decoded or Decoded()
    if _scores_photos(data):
        return [
            EvaluationImage("photos", name, name, *_photo(name, decoded), photos.HAIR.get(name))
            for name in sorted(photos.EVALUATION)
        ]
    return [
        sets.read(name, member, decoded)
        for name, wanted in sorted(data.evaluate.items())
        for member in sets.members(wanted)
    ]


def _photo(name: str, decoded: Decoded) -> tuple[Pixels, Pixels]:
    """Return a bundled photograph as in low light, and as it is."""
    file, kind = photos.file(name), f"darkened {photos.RECIPE_VERSION}"
    return decoded.get(file, kind, lambda: photos.darkened(name)), decoded.read(file)


def digest(data: Data) -> str:
    """Return a digest of the names and contents of all images to train on or to score: 32 hexadecimal digits.

    Where the folders lie makes no difference; neither do scenes, nor the sets of `confirm`.

    Raises:
        DataError: if a folder or a file cannot be used.
    """
    total = hashlib.sha256()
    for role, path in _files(data):
        total.update(json.dumps([role, path.name, _content(path)]).encode())
    return total.hexdigest()[:32]


def provenance(data: Data) -> dict[str, Any]:
    """Return where the images come from, how many there are, and a caution if they are for trying only.

    Returns:
        `source`; `caution`, a sentence or None; `training`, the number of images for each of low and normal; `sets`,
        for each set to be scored its numbers of `images` and `scenes`, and whether it is `paired`.

    Raises:
        DataError: if a folder cannot be used.
    """
    if data.source == "photos":
        training = dict.fromkeys(("low", "normal"), len(photos.TRAINING))
    else:
        training = {role: len(images.find(folder)) for role, folder in _training_folders(data).items()}
    if _scores_photos(data):
        count = len(photos.EVALUATION)
        scored = {"photos": {"images": count, "paired": True, "scenes": count}}
    else:
        scored = {}
        for name, wanted in sorted(data.evaluate.items()):
            found = sets.members(wanted)
            shown = len({member.scene for member in found})
            scored[name] = {"images": len(found), "paired": wanted.normal is not None, "scenes": shown}
    return {"source": data.source, "caution": _caution(data), "training": training, "sets": scored}


def scenes(data: Data) -> list[tuple[str, str, str]]:
    """Return which scene each image to be scored shows: (set, image, scene).

    Raises:
        DataError: if a folder cannot be used.
    """
    if _scores_photos(data):
        return [("photos", name, name) for name in photos.EVALUATION]
    return [(name, one.name, one.scene) for name, wanted in data.evaluate.items() for one in sets.members(wanted)]


def check(config: Config, data: Data) -> list[str]:
    """Return what is wrong with the data, or with this configuration on them: a sentence each. Reads every image."""
    if data.source == "photos":
        problems = _unfit_photos(data, config.crop_px)
    else:
        problems = [
            f"data.{role}: {problem}"
            for role, folder in _training_folders(data).items()
            for problem in _unfit_folder(folder, config.crop_px)
        ]
    for kind, wanted_sets in (("evaluate", data.evaluate), ("confirm", data.confirm)):
        for name, wanted in sorted(wanted_sets.items()):
            problems += [f"data.{kind}.{name}: {problem}" for problem in sets.problems(name, wanted)]
    searched = {wanted.low.resolve(): name for name, wanted in data.evaluate.items()}
    for name, wanted in sorted(data.confirm.items()):
        if other := searched.get(wanted.low.resolve()):
            problems.append(
                f"data.confirm.{name}: expected images that the search never sees, but {wanted.low} is also "
                f"data.evaluate.{other}"
            )
    return problems if problems else _seen(data)


def _seen(data: Data) -> list[str]:
    """Return which images to confirm on are trained or scored on before, by their contents; the data are sound."""
    known = {_content(path): path for _, path in _files(data)} if data.confirm else {}
    found = [
        (name, member.low, known[_content(member.low)])
        for name, wanted in sorted(data.confirm.items())
        for member in sets.members(wanted)
        if _content(member.low) in known
    ]
    return [
        f"data.confirm.{name}: expected images that the search never sees, but {path} has the content of {other}"
        for name, path, other in found[:3]
    ]


def _content(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror})") from error


def misfits(config: Config, data: Data) -> list[str]:
    """Return which images are too small for this configuration: `where: what` each. Reads no more than sizes.

    Raises:
        DataError: if a folder or a file cannot be used.
    """
    if data.source == "photos":
        training = {"the bundled photographs": [photos.file(name) for name in photos.TRAINING]}
    else:
        training = {f"data.{role}: {folder}": images.find(folder) for role, folder in _training_folders(data).items()}
    problems = []
    for where, paths in training.items():
        problems += _too_small(where, {path.name: images.size(path) for path in paths}, config.crop_px)
    smallest = (1 << config.generator.depth) + 1
    scored = [] if config.generator.norm != "instance" else [path for role, path in _files(data) if role[:5] == "score"]
    for path in scored:
        height, width = images.size(path)
        if max(height, width) < smallest:
            problems.append(
                f"data.evaluate: {path}: expected a side of {smallest} px or more, since generator.norm is instance "
                f"and generator.depth {config.generator.depth}, got {width} x {height}"
            )
    return problems


def _unfit_photos(data: Data, crop_px: int) -> list[str]:
    problems: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for name in photos.TRAINING:
        with sets.noting(problems):
            shapes[name] = photos.load(name).shape
    for name in photos.EVALUATION if _scores_photos(data) else ():
        with sets.noting(problems):
            photos.load(name)
    return problems + _too_small("the bundled photographs", shapes, crop_px)


def _unfit_folder(folder: Path, crop_px: int) -> list[str]:
    """Return what is wrong with a folder of training images."""
    problems: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        paths = images.find(folder)
    except DataError as error:
        return [str(error)]
    for path in paths:
        with sets.noting(problems):
            shapes[path.name] = images.read(path).shape
    return sets.capped(problems) + _too_small(str(folder), shapes, crop_px)


def _too_small(where: str, shapes: dict[str, tuple[int, ...]], crop_px: int) -> list[str]:
    small = [f"{name} ({shape[1]} x {shape[0]})" for name, shape in shapes.items() if min(shape[:2]) < crop_px]
    if not small:
        return []
    return [
        f"{where}: {len(small)} of {len(shapes)} training images are smaller than crop_px = {crop_px}: "
        f"{listed(small)}; lower crop_px or take them out"
    ]


def _training_folders(data: Data) -> dict[str, Path]:
    folders = {"low": data.low, "normal": data.normal}
    return {role: folder for role, folder in folders.items() if folder is not None}


def _scores_photos(data: Data) -> bool:
    return data.source == "photos" and not data.evaluate


def _files(data: Data) -> Iterator[tuple[str, Path]]:
    """Yield each image file of training and evaluation, and what it is used for."""
    if data.source == "photos":
        yield from ((f"train/photos-{photos.RECIPE_VERSION}", photos.file(name)) for name in photos.TRAINING)
    for role, folder in _training_folders(data).items():
        yield from ((f"train/{role}", path) for path in images.find(folder))
    if _scores_photos(data):
        yield from ((f"score/photos-{photos.RECIPE_VERSION}", photos.file(name)) for name in photos.EVALUATION)
    for name, wanted in sorted(data.evaluate.items()):
        for member in sets.members(wanted):
            yield f"score/{name}/low", member.low
            if member.normal is not None:
                yield f"score/{name}/normal", member.normal


def _caution(data: Data) -> str | None:
    if data.source != "photos":
        return None
    scored = f" and scored on {len(photos.EVALUATION)}" if _scores_photos(data) else ""
    return (
        f"For trying only: trained on {len(photos.TRAINING)} bundled photographs{scored}, darkened by a recipe "
        f"({photos.RECIPE}); the figures hold for these photographs and this recipe, not for real low light."
    )
