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

__all__ = ["ImageScore", "Metric", "Report", "Trainer", "load"]


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


class ImageScore(Protocol):
    """The metrics of one image."""

    set: str
    image: str
    scene: str
    metrics: dict[str, float]


class Report(Protocol):
    """The state of a training after `step` steps."""

    step: int
    metrics: dict[str, float]
    images: list[Any]
    checkpoint: Path | None
    pictures: dict[str, Path]


class Trainer(Protocol):
    """What the platform needs of a trainer."""

    Config: type[BaseModel]
    Data: type[BaseModel]
    METRICS: Sequence[Metric]
    RESULTS_VERSION: str

    def canonical(self, config: Any) -> dict[str, Any]:
        """Return the settings that can change a result; equal settings, equal results."""

    def check(self, config: Any, data: Any) -> list[str]:
        """Return what is wrong with the data, or with this configuration on them: `where: what` each."""

    def digest(self, data: Any) -> str:
        """Return a digest of every image that a trial trains or is scored on."""

    def provenance(self, data: Any) -> dict[str, Any]:
        """Return where results come from, for the report.

        `source`; `caution`, a text if the data are for trying only; `training`, {low, normal: number of images};
        `sets`, {name: {images, paired, scenes}}; `metric_settings`, how images are measured.
        """

    def scenes(self, data: Any) -> list[tuple[str, str, str]]:
        """Return which scene each image to be scored shows: (set, image, scene)."""

    def references(self, data: Any, folder: Path) -> Mapping[str, Report]:
        """Score methods that learn nothing, such as the untouched input; their pictures go to `folder`/NAME."""

    def seconds(self, config: Any, data: Any, *, threads: int) -> float:
        """Estimate the seconds that one trial takes on this machine, from a few steps and one evaluation."""

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
