"""A trainer that does nothing, so that what is measured is the platform. Satisfies `platform.trainer.Trainer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from trials.progress import ImageScore, Report
from trials.trainer import METRICS

__all__ = ["METRICS", "RESULTS_VERSION", "Config", "Data"]

RESULTS_VERSION = "1"


class Config(BaseModel):
    """Nothing but what the platform itself looks at."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = 1
    evaluate_every: int = 1
    images: int = 2
    setting: int = 0


class Data(BaseModel):
    """No images."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def anchored(path: str, value: Any, folder: Path) -> Any:
    """Return the value: no setting names a file."""
    return value


def canonical(config: Config) -> dict[str, Any]:
    """Return every setting: none is inert."""
    return config.model_dump()


def check(config: Config, data: Data) -> list[str]:
    """Return no problem."""
    return []


def misfits(config: Config, data: Data) -> list[str]:
    """Return no problem."""
    return []


def digest(data: Data) -> str:
    """Return a constant."""
    return "0" * 32


def files(data: Data) -> list[Path]:
    """Return none."""
    return []


def weights(config: Config) -> list[Path]:
    """Return none."""
    return []


def moved(config: Config, data: Data, root: Path) -> tuple[Config, Data]:
    """Return both as they are."""
    return config, data


def provenance(data: Data) -> dict[str, Any]:
    """Return a description of nothing."""
    return {"source": "none", "caution": None, "training": {"low": 0, "normal": 0}, "sets": {}}


def scenes(data: Data) -> list[tuple[str, str, str]]:
    """Return no scene."""
    return []


def references(data: Data, folder: Path, weights: Mapping[str, Path]) -> dict[str, Report]:
    """Return no reference."""
    return {}


def seconds(config: Config, data: Data, *, threads: int) -> float:
    """Return that it takes no time."""
    return 0.0


def train(config: Config, data: Data, **where: Any) -> Iterator[Report]:
    """Report made-up scores, one evaluation for each `evaluate_every` steps."""
    for step in range(config.evaluate_every, config.steps + 1, config.evaluate_every):
        value = (config.setting * 37 + where["seed"] * 11 + step) % 97 / 97
        metrics = {metric.key: value for metric in METRICS}
        scores = {metric.key: value for metric in METRICS if metric.per_image}
        images = [ImageScore("none", f"{n}", f"{n}", scores) for n in range(config.images)]
        yield Report(step, metrics, images)
