"""What a training tells whoever runs it: one `Report` for each evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CheckpointError", "DataError", "DivergedError", "Event", "ImageScore", "Report", "TrainError"]


class TrainError(ValueError):
    """Root of the trainer's errors.

    TrainError
    |- ConfigError      the settings of a training are wrong (trials.config_file)
    |- CheckpointError  a checkpoint is missing or damaged, so the training cannot go on from it
    |- DataError        an image, a folder or a weights file cannot be used
    `- DivergedError    the training broke down: a result, not a mistake
    """


class CheckpointError(TrainError):
    """A checkpoint is missing or damaged; the training can go on from an earlier one, or begin anew."""


class DataError(TrainError):
    """An image, a folder or a weights file cannot be used; the message says which, why, and what to do."""


class DivergedError(TrainError):
    """The training broke down (NaN, infinite, collapsed). The message names the step and the quantity.

    Args:
        message: a sentence.
        events: what led to it, if that is to be recorded.
    """

    def __init__(self, message: str, events: list[Event] | None = None) -> None:
        super().__init__(message)
        self.events = events or []


@dataclass(frozen=True)
class ImageScore:
    """The metrics of one image: keys as in `trials.trainer.METRICS`. A metric that could not be computed is NaN."""

    set: str
    image: str
    scene: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Event:
    """Something that happened in a training and that a mean would hide.

    Args:
        step: the step at which it happened.
        kind: `spike` or `drop` of a network's gradient norm, `nonfinite` (a gradient or a loss), or `collapse` of the
            output.
        subject: what it happened to: a network, `losses`, `output`.
        value: how much, in the unit that `text` names.
        text: a sentence.
    """

    step: int
    kind: str
    subject: str
    value: float
    text: str


@dataclass(frozen=True)
class Report:
    """The state of a training after `step` steps.

    Args:
        step: steps done, 1 to `Config.steps`.
        metrics: means over images (`eval/...`) and over the steps since the last report (`loss/...`, `health/...`,
            `time/...`).
        images: one score for each image evaluated; none in the last report of a training that breaks down.
        checkpoint: file name of a complete checkpoint in the trial's folder, from which training can go on.
        pictures: file names in the trial's folder of enhanced images, keyed `set/image`.
        events: what happened since the last report, in the order of the steps.
    """

    step: int
    metrics: dict[str, float]
    images: list[ImageScore] = field(default_factory=list)
    checkpoint: Path | None = None
    pictures: dict[str, Path] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
