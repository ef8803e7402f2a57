"""Evaluation sets: which files belong together, and whether they can be scored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trials import images
from trials.config import EvaluationSet
from trials.decoded import Decoded
from trials.detail import Region
from trials.images import Pixels, listed
from trials.progress import DataError
from trials.scenes import scenes

__all__ = ["EvaluationImage", "Member", "capped", "members", "noting", "problems", "read"]

SMALLEST_PX = 16
"""The shortest side of an image that the generator can enhance: it halves four times."""
LONGEST_NAME_B = 237
"""Pictures are written as NAME.png, first aside as NAME.png.XXXXXXXX.part, and file systems take 255 bytes."""


@dataclass(frozen=True)
class EvaluationImage:
    """An image to be scored, 8-bit RGB (H, W, 3), and its reference of the same size, if there is one.

    `hair` is the part of it that shows hair, if that is known.
    """

    set: str
    name: str
    scene: str
    low: Pixels
    normal: Pixels | None
    hair: Region | None = None


@dataclass(frozen=True)
class Member:
    """The files of one evaluation image."""

    low: Path
    normal: Path | None
    scene: str

    @property
    def name(self) -> str:
        """The low-light file's name without its extension."""
        return self.low.stem


def members(wanted: EvaluationSet) -> list[Member]:
    """Return the images of a set, sorted by name; references without a low-light image are left out.

    Raises:
        DataError: if a folder cannot be used, a reference is missing, a name is taken twice, or a scene is unknown.
    """
    found, wrong = _match(wanted)
    if wrong:
        raise DataError(wrong[0])
    return found


def read(name: str, member: Member, decoded: Decoded | None = None) -> EvaluationImage:
    """Read one image of the set called `name`; `decoded` is where it is shared.

    Raises:
        DataError: if a file cannot be read, the image is too small, or its reference has another size.
    """
    decoded = decoded or Decoded()
    low = decoded.read(member.low)
    normal = None if member.normal is None else decoded.read(member.normal)
    wrong = _unfit(member, low.shape, None if normal is None else normal.shape)
    if wrong:
        raise DataError(wrong)
    return EvaluationImage(name, member.name, member.scene, low, normal)


def problems(name: str, wanted: EvaluationSet) -> list[str]:
    """Return what is wrong with the set called `name`: a sentence each. Reads every image."""
    wrong = []
    if not _is_plain(name):
        what = "expected at most 80 characters, no slash, and no dot at its begin"
        wrong = [f"a set's name is part of file names: {what}, got {name[:99]!r}"]
    found, unmatched = _match(wanted)
    broken: list[str] = []
    for member in found:
        with noting(broken):
            read(name, member)
        if len(os.fsencode(member.name)) > LONGEST_NAME_B:
            broken.append(
                f"{member.low}: expected a name of at most {LONGEST_NAME_B} bytes (extension apart), since its picture "
                "is written under it; give it a shorter one"
            )
    return wrong + unmatched + capped(broken)


@contextmanager
def noting(problems: list[str]) -> Iterator[None]:
    """Append the message of a DataError, instead of raising it."""
    try:
        yield
    except DataError as error:
        problems.append(str(error))


def capped(problems: list[str]) -> list[str]:
    """Return at most the first three problems, and a sentence that counts the others."""
    rest = len(problems) - 3
    return problems[:3] + ([f"{rest} more images have such problems"] if rest > 0 else [])


def _match(wanted: EvaluationSet) -> tuple[list[Member], list[str]]:
    """Return the members of a set, and what is wrong with its folders, names and scenes."""
    wrong: list[str] = []
    low: list[Path] = []
    normal: list[Path] = []
    scene_of: dict[Path, str] = {}
    with noting(wrong):
        low = images.find(wanted.low)
    with noting(wrong):
        normal = [] if wanted.normal is None else images.find(wanted.normal)
    with noting(wrong):
        scene_of = scenes(wanted.scenes, low)
    wrong += _taken_twice(low) + _taken_twice(normal)
    reference = {path.stem: path for path in normal}
    missing = [path.name for path in low if path.stem not in reference] if normal else []
    if missing:
        wrong.append(
            f"{wanted.normal}: expected a reference for every low-light image, under the same name (extension apart), "
            f"but there is none for {listed(missing)}"
        )
    found = [Member(path, reference.get(path.stem), scene_of.get(path, path.stem)) for path in low]
    return sorted(found, key=lambda member: member.name), wrong


def _taken_twice(paths: list[Path]) -> list[str]:
    counts = Counter(path.stem for path in paths)
    twice = [path.name for path in paths if counts[path.stem] > 1]
    return (
        [f"{paths[0].parent}: expected one file of each name (extension apart), got {listed(twice)}"] if twice else []
    )


def _unfit(member: Member, shape: tuple[int, ...], reference: tuple[int, ...] | None) -> str | None:
    """Return why an image of `shape` (H, W, 3) cannot be scored against a reference of shape `reference`."""
    height, width = shape[:2]
    if min(height, width) < SMALLEST_PX:
        return f"{member.low}: expected at least {SMALLEST_PX} x {SMALLEST_PX} px, got {width} x {height}"
    if reference is not None and reference != shape:
        return (
            f"{member.low}: expected the size of its reference {member.normal}, {reference[1]} x {reference[0]} px, "
            f"got {width} x {height}"
        )
    return None


def _is_plain(name: str) -> bool:
    return 0 < len(name) <= 80 and not name.startswith(".") and not set(name) & set("/\\\0")
