"""What a training tells whoever runs it: one `Report` for each evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DataError", "DivergedError", "ImageScore", "Report", "TrainError"]


class TrainError(ValueError):
    """Root of the trainer's errors.

    TrainError
    |- DataError        an image, a folder or a weights file cannot be used
    `- DivergedError    the training broke down: a result, not a mistake
    """


class DataError(TrainError):
    """An image, a folder or a weights file cannot be used; the message says which, why, and what to do."""


class DivergedError(TrainError):
    """The training broke down (NaN, infinite). The message names the step and the quantity."""


@dataclass(frozen=True)
class ImageScore:
    """The metrics of one image: keys as in `trials.trainer.METRICS`. A metric that could not be computed is NaN."""

    set: str
    image: str
    scene: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Report:
    """The state of a training after `step` steps.

    Args:
        step: steps done, 1 to `Config.steps`.
        metrics: means over images (`eval/...`) and over the steps since the last report (`loss/...`, `time/...`).
        images: one score for each image evaluated.
        checkpoint: file name of a complete checkpoint in the trial's folder, from which training can go on.
        pictures: file names in the trial's folder of enhanced images, keyed `set/image`.
    """

    step: int
    metrics: dict[str, float]
    images: list[ImageScore] = field(default_factory=list)
    checkpoint: Path | None = None
    pictures: dict[str, Path] = field(default_factory=dict)
