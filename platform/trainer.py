"""The protocol through which the platform knows a trainer. `trials.trainer` is the one that is used by default.

A trainer is a module with these names. Importing it must import no deep-learning library: a spec is checked
before anything is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import BaseModel

__all__ = ["Event", "ImageScore", "Metric", "Report", "Trainer", "load"]


class Metric(Protocol):
    """A quantity that an evaluation yields."""

    @property
    def key(self) -> str:
        """`group/name_unit`, such as `eval/psnr_db`."""

    @property
    def title(self) -> str:
        """As a table's head shows it, with the unit."""

    @property
    def higher_is_better(self) -> bool | None:
        """The direction; None for a quantity that has none."""

    @property
    def needs_reference(self) -> bool:
        """Whether it exists only for images with a reference."""

    @property
    def about(self) -> str:
        """What it tells of: `quality`, a known defect: `colour`, `detail`, `gradients`, `equilibrium`, or `cost`.

        The report's table of defects shows the first few metrics of each, in the order of `METRICS`; that of costs sets
        each of the latter against what a component buys. What a clock told has the group `time/`.
        """

    @property
    def per_image(self) -> bool:
        """Whether each image has a value; else the trial as a whole has one, at each report.

        Of the latter, `health/gradient_norm_NETWORK` and `health/margin_NETWORK` are drawn as curves where they exist.
        """


class ImageScore(Protocol):
    """The metrics of one image."""

    set: str
    image: str
    scene: str
    metrics: dict[str, float]


class Event(Protocol):
    """Something that happened in a training and that a mean would hide."""

    @property
    def step(self) -> int:
        """At which it happened."""

    @property
    def kind(self) -> str:
        """`spike`, `collapse`, `nonfinite`: one word."""

    @property
    def subject(self) -> str:
        """What it happened to: a network, named as in the keys of its metrics, or `output`."""

    @property
    def value(self) -> float:
        """How much, in the unit that `text` names."""

    @property
    def text(self) -> str:
        """A sentence."""


class Report(Protocol):
    """The state of a training after `step` steps.

    The last one before a DivergedError has metrics and events alone.
    """

    step: int
    metrics: dict[str, float]
    images: list[Any]
    checkpoint: Path | None
    pictures: dict[str, Path]
    events: list[Any]


class Trainer(Protocol):
    """What the platform needs of a trainer.

    Its configuration has `steps`, the length of a training, and `evaluate_every`, the steps between two reports.
    """

    Config: type[BaseModel]
    Data: type[BaseModel]
    METRICS: Sequence[Metric]
    RESULTS_VERSION: str

    def anchored(self, path: str, value: Any, folder: Path) -> Any:
        """Return the value of the setting at a dotted path; where it is a relative file name, that lies in `folder`."""

    def canonical(self, config: Any) -> dict[str, Any]:
        """Return the settings that can change a result; equal settings, equal results."""

    def check(self, config: Any, data: Any) -> list[str]:
        """Return what is wrong with the data, or with this configuration on them: `where: what` each."""

    def misfits(self, config: Any, data: Any) -> list[str]:
        """Return what is wrong with this configuration on sound data, as `check` does: asked of every variant.

        So it has to be quick: it reads no images, but their sizes and files of weights.

        Raises:
            ValueError: if the data are not sound; `check` says why.
        """

    def confirming(self, data: Any) -> Any:
        """Return the data of a confirmation: the same images to train on, scored on the sets of `confirm` as well."""

    def digest(self, data: Any) -> str:
        """Return a digest of every image that a trial trains or is scored on."""

    def files(self, data: Any) -> list[Path]:
        """Return the files that a trial trains or is scored on, as far as they lie in folders that the data name.

        Raises:
            trials.progress.DataError: if a folder cannot be used.
        """

    def weights(self, config: Any) -> list[Path]:
        """Return the files that settings name and a training reads: the same number, whether or not they exist."""

    def moved(self, config: Any, data: Any, root: Path) -> tuple[Any, Any]:
        """Return settings and data whose absolute paths go on below `root`; what does not lie there stays as it is."""

    def provenance(self, data: Any) -> dict[str, Any]:
        """Return where results come from, for the report.

        `source`; `caution`, a text if the data are for trying only; `training`, {low, normal: number of images};
        `sets`, {name: {images, paired, scenes}}; `metric_settings`, how images are measured.
        """

    def scenes(self, data: Any) -> list[tuple[str, str, str]]:
        """Return which scene each image to be scored shows: (set, image, scene)."""

    def references(self, data: Any, folder: Path, weights: Mapping[str, Path]) -> Mapping[str, Report]:
        """Score what is compared with beside the full model; pictures go to `folder`/NAME.

        Methods that learn nothing, such as the untouched input, and each of `weights`: name -> the file of a trained
        model. A report's images may be none where there are pictures alone, as of the references.

        Raises:
            trials.progress.DataError: if an image or a file of weights cannot be used.
        """

    def seconds(self, config: Any, data: Any, *, threads: int) -> float:
        """Estimate the seconds that one trial takes on this machine, from a few steps and one evaluation.

        With what a trial's end alone needs, too: what this takes of a GPU's memory is taken for what a trial takes.
        """

    def train(
        self,
        config: Any,
        data: Any,
        *,
        seed: int,
        stream: str,
        folder: Path,
        resume: Path | None,
        threads: int,
    ) -> Iterator[Report]:
        """Train, and yield a report at each evaluation.

        Raises:
            trials.progress.DivergedError: if the training breaks down.
        """


def load(name: str) -> Trainer:
    """Import the trainer called `name`, a module such as `trials.trainer`."""
    return cast(Trainer, importlib.import_module(name))
