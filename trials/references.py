"""What a trial is compared with: methods that learn nothing, and generators that are trained already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from trials import images
from trials.config import Data
from trials.data import EvaluationImage, load_evaluation, load_training
from trials.images import Pixels
from trials.metrics import mean_luminance, mean_scores, scaled, score
from trials.progress import DataError, DivergedError, ImageScore, Report

__all__ = ["gamma", "references", "training_gain"]

GAMMA = 0.5


def references(data: Data, folder: Path, weights: Mapping[str, Path]) -> dict[str, Report]:
    """Score methods that learn nothing, and trained generators, on every evaluation image.

    Args:
        data: the training images set the gain; the evaluation images are scored.
        folder: pictures are written to METHOD/SET/NAME.png in it.
        weights: files of generators by the names that their reports shall have; see `trials.weights`.

    Returns:
        `input`, the untouched image; `gain`, its values times one number for all images (see `training_gain`);
        `gamma`, its square root; each of the generators; and `normal`, which has no scores, but the references'
        pictures. Paths are relative to `folder`.

    Raises:
        DataError: if a folder or a file cannot be used, the low-light training images are black, or the output of a
            generator is not finite.
    """
    gain = training_gain(data)
    scored = load_evaluation(data)
    methods: dict[str, Callable[[Pixels], Pixels]] = {
        "input": lambda image: image,
        "gain": lambda image: scaled(image, gain),
        "gamma": gamma,
        **{name: _trained(path) for name, path in weights.items()},
    }
    reports = {name: _report(name, method, scored, folder=folder) for name, method in methods.items()}
    targets = {_key(image): image.normal for image in scored if image.normal is not None}
    return reports | {"normal": Report(0, {}, pictures=_written("normal", targets, folder))}


def training_gain(data: Data) -> float:
    """Return mean luminance of the normal-light training images / that of the low-light ones, in 8-bit values.

    Means over images, each image having the same weight. Blind to the images that are scored.

    Raises:
        DataError: if a folder or a file cannot be used, or the low-light images are black.
    """
    training = load_training(data)
    low = float(np.mean([mean_luminance(image) for image in training.low]))
    if low == 0:
        raise DataError("the low-light training images are black: expected photographs with some light")
    return float(np.mean([mean_luminance(image) for image in training.normal])) / low


def gamma(image: Pixels) -> Pixels:
    """Return 255 (x / 255)^0.5, rounded, for each 8-bit value x."""
    levels = np.round(255 * (np.arange(256) / 255) ** GAMMA).astype(np.uint8)
    return levels[image]


def _trained(weights: Path) -> Callable[[Pixels], Pixels]:
    """Return what the generator in a file makes of an image."""
    from trials.enhance import enhance  # loads torch
    from trials.train import device
    from trials.weights import load

    generator = load(weights, device())

    def enhanced(image: Pixels) -> Pixels:
        try:
            return enhance(generator, image)
        except DivergedError as error:
            raise DataError(f"{weights}: {error}; expected the weights of a generator that works") from error

    return enhanced


def _report(name: str, method: Callable[[Pixels], Pixels], scored: list[EvaluationImage], *, folder: Path) -> Report:
    outputs = {_key(image): method(image.low) for image in scored}
    scores = [
        ImageScore(image.set, image.name, image.scene, score(outputs[_key(image)], image.normal, image.low, image.hair))
        for image in scored
    ]
    return Report(0, mean_scores(scores), scores, pictures=_written(name, outputs, folder))


def _key(image: EvaluationImage) -> str:
    return f"{image.set}/{image.name}"


def _written(method: str, outputs: dict[str, Pixels], folder: Path) -> dict[str, Path]:
    """Write each picture, and return their paths relative to `folder`."""
    paths = {key: Path(method, f"{key}.png") for key in outputs}
    for key, image in outputs.items():
        images.write(folder / paths[key], image)
    return paths
