"""Photographs that come inside scikit-image and scikit-learn, for trying without data of one's own.

Licences and photographers are named in NOTICE.md. No figure from so few photographs says anything about others.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np

from trials import images
from trials.detail import Region
from trials.images import Pixels
from trials.lowlight import darken
from trials.progress import DataError

__all__ = ["EVALUATION", "HAIR", "RECIPE", "RECIPE_VERSION", "TRAINING", "darkened", "file", "load"]

TRAINING = ("astronaut", "rocket", "coffee", "flower")
EVALUATION = ("chelsea", "china")

HAIR = {
    # The cat's whiskers: a dozen bright hairs, one or two pixels wide, before a smooth breast; above right the muzzle.
    "chelsea": Region(top=208, left=0, height=92, width=200),
}
"""Where a photograph shows fine hair."""

FACTOR, SHOT, READ = 0.1, 0.002, 0.002
RECIPE = f"linear light x {FACTOR:g}, Poisson-Gaussian noise a = b = {SHOT:g}, 8 bit"
RECIPE_VERSION = "1"
"""Raised whenever `darkened` begins to give other pixels; it is part of the data's digest."""

FILES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
}
DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


def file(name: str) -> Path:
    """Return where the photograph called `name` lies, without importing the package that it comes with.

    Raises:
        DataError: if the package is not installed, or comes without the photograph.
    """
    package, inside = FILES[name]
    distribution = DISTRIBUTIONS[package]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"photograph {name}: expected in the package {distribution}, which is not installed")
    path = Path(spec.submodule_search_locations[0], inside)
    if not path.is_file():
        raise DataError(
            f"photograph {name}: expected at {path}, but this version of {distribution} comes without it; "
            "install the tested version (constraints.txt), or name folders of your own"
        )
    return path


def load(name: str) -> Pixels:
    """Return a photograph as it is: uint8, RGB, (H, W, 3).

    Raises:
        DataError: as `file`, or if the file cannot be read.
    """
    return images.read(file(name))


def darkened(name: str) -> Pixels:
    """Return a photograph as in low light: always the same pixels, whatever else is drawn.

    Raises:
        DataError: as `load`.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return darken(load(name), factor=FACTOR, shot=SHOT, read=READ, rng=np.random.default_rng(seed))
