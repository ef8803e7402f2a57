"""EnlightenGAN as the platform knows it: the names of `platform.trainer.Trainer`. Imports no torch by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.config import Config, Data, canonical
from trials.progress import Report

__all__ = [
    "METRICS", "RESULTS_VERSION", "Config", "Data", "Metric",
    "canonical", "check", "digest", "provenance", "references", "scenes", "seconds", "train",
]  # fmt: skip

RESULTS_VERSION = "1"
"""Raised whenever equal settings, data and seeds begin to give other numbers; a golden test notices."""


@dataclass(frozen=True)
class Metric:
    """A quantity that an evaluation yields for each image. `higher_is_better` is None where there is no direction."""

    key: str
    title: str
    higher_is_better: bool | None
    needs_reference: bool


METRICS = (
    Metric("eval/psnr_db", "PSNR (dB)", True, True),
    Metric("eval/ssim", "SSIM", True, True),
    Metric("eval/niqe", "NIQE", False, False),
    Metric("eval/psnr_matched_db", "PSNR, brightness matched (dB)", True, True),
    Metric("eval/ssim_matched", "SSIM, brightness matched", True, True),
    Metric("eval/luminance_error_levels", "Error of the mean luminance (grey levels)", None, True),
    Metric("eval/niqe_flat_share", "Flat share of the image (NIQE's caution)", None, False),
)


def check(config: Config, data: Data) -> list[str]:
    """Return what is wrong with the data, or with this configuration on them: `where: what` each."""
    from trials.data import check

    weights, problems = config.vgg.weights, check(config, data)
    if config.compares_features and weights not in ("imagenet", "random") and not Path(weights).is_file():
        problems.append(f"train.vgg.weights: expected imagenet, random or a file of weights, but there is no {weights}")
    return problems


def digest(data: Data) -> str:
    """Return a digest of every image that a trial trains or is scored on, 32 hexadecimal digits."""
    from trials.data import digest

    return digest(data)


def provenance(data: Data) -> dict[str, Any]:
    """Return the data's source and sets, a caution if they are for trying only, and how images are measured."""
    from trials.data import provenance
    from trials.metrics import SETTINGS

    return {**provenance(data), "metric_settings": SETTINGS}


def scenes(data: Data) -> list[tuple[str, str, str]]:
    """Return which scene each image to be scored shows: (set, image, scene)."""
    from trials.data import scenes

    return scenes(data)


def references(data: Data, folder: Path) -> dict[str, Report]:
    """Score `input` (untouched), `gain` and `gamma` (brightening without learning) on every evaluation image."""
    from trials.references import references

    return references(data, folder)


def seconds(config: Config, data: Data, *, threads: int) -> float:
    """Estimate the seconds that one trial takes on this machine, from a few steps and one evaluation."""
    from trials.train import seconds

    return seconds(config, data, threads=threads)


def train(
    config: Config,
    data: Data,
    *,
    seed: int,
    stream: str = "",
    folder: Path,
    resume: Path | None = None,
    threads: int = 1,
) -> Iterator[Report]:
    """Train with so many CPU threads, and yield a report at each evaluation. See `trials.train.train`."""
    import torch

    from trials.train import train

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # a worker that trained before may hold memory that a neighbour needs
    return train(config, data, seed=seed, stream=stream, folder=folder, resume=resume)
