"""EnlightenGAN as the platform knows it: the names of `platform.trainer.Trainer`. Imports no torch by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.canonical import anchored, canonical
from trials.config import Config, Data
from trials.memory import lacks_memory
from trials.progress import Report

__all__ = [
    "METRICS", "RESULTS_VERSION", "Config", "Data", "Metric",
    "anchored", "canonical", "check", "confirming", "digest", "files", "misfits", "moved", "provenance",
    "references", "scenes", "seconds", "train", "weights",
]  # fmt: skip

RESULTS_VERSION = "2"
"""Raised whenever equal settings, data and seeds begin to give other numbers; a golden test notices."""


@dataclass(frozen=True)
class Metric:
    """A quantity that an evaluation yields.

    Args:
        key: `group/name_unit`.
        title: as a table's head shows it, with the unit.
        higher_is_better: None where there is no direction.
        needs_reference: whether it exists only for images with a reference.
        about: what it tells of: `quality`, one of the known defects: `colour`, `detail`, `gradients`, `equilibrium`, or
            `cost`: what the trained generator takes.
        per_image: whether each image has a value; else the trial as a whole has one, at each report.
    """

    key: str
    title: str
    higher_is_better: bool | None
    needs_reference: bool
    about: str = "quality"
    per_image: bool = True


METRICS = (
    Metric("eval/psnr_db", "PSNR (dB)", True, True),
    Metric("eval/ssim", "SSIM", True, True),
    Metric("eval/niqe", "NIQE", False, False),
    Metric("eval/psnr_matched_db", "PSNR, brightness matched (dB)", True, True),
    Metric("eval/ssim_matched", "SSIM, brightness matched", True, True),
    Metric("eval/luminance_error_levels", "Error of the mean luminance (grey levels)", None, True),
    Metric("eval/niqe_flat_share", "Flat share of the image (NIQE's caution)", None, False),
    Metric("eval/loe", "Lightness order error", None, False),
    Metric("eval/contrast_levels", "Contrast, sd of the luminance (grey levels)", None, False),
    Metric("eval/clipped_share", "Share of clipped pixels", None, False),
    Metric("eval/ciede2000_chroma", "CIEDE2000, lightness apart", False, True, "colour"),
    Metric("eval/chroma_log2", "Chroma, log2 of the ratio", None, True, "colour"),
    Metric("eval/colour_angle_deg", "Colour angle (deg)", False, True, "colour"),
    Metric("eval/ciede2000", "CIEDE2000", False, True, "colour"),
    Metric("eval/input_ciede2000_chroma", "CIEDE2000 from the input, lightness apart", None, False, "colour"),
    Metric("eval/input_chroma_log2", "Chroma over the input's, log2", None, False, "colour"),
    Metric("eval/input_colour_angle_deg", "Colour angle from the input (deg)", None, False, "colour"),
    Metric("eval/input_ciede2000", "CIEDE2000 from the input", None, False, "colour"),
    Metric("eval/gmsd", "GMSD", False, True, "detail"),
    Metric("eval/high_frequency_log2", "Fine detail, log2 of the energy ratio", None, True, "detail"),
    Metric("eval/noise_levels", "Noise (grey levels)", None, False, "detail"),
    Metric("eval/hair_high_frequency_log2", "Fine detail in hair, log2", None, True, "detail"),
    Metric("eval/hair_gmsd", "GMSD in hair", False, True, "detail"),
    Metric("eval/input_high_frequency_log2", "Fine detail over the input's, log2", None, False, "detail"),
    Metric("health/gradient_spikes", "Gradient spikes so far", False, False, "gradients", False),
    Metric("health/gradient_spike_score", "Highest spike score so far", False, False, "gradients", False),
    Metric("health/gradients_nonfinite", "Gradient norms that were not finite", False, False, "gradients", False),
    Metric("health/gradient_norm_generator", "Gradient norm, generator", None, False, "gradients", False),
    Metric("health/gradient_norm_global", "Gradient norm, global discriminator", None, False, "gradients", False),
    Metric("health/gradient_norm_local", "Gradient norm, local discriminator", None, False, "gradients", False),
    Metric("health/margin_global", "Margin, global discriminator", None, False, "equilibrium", False),
    Metric("health/accuracy_global", "Accuracy, global discriminator", None, False, "equilibrium", False),
    Metric("health/loss_ratio_log2", "Discriminators' over generator's loss, log2", None, False, "equilibrium", False),
    Metric("health/duality_gap", "Duality gap, estimated", False, False, "equilibrium", False),
    Metric("health/margin_local", "Margin, local discriminator", None, False, "equilibrium", False),
    Metric("health/accuracy_local", "Accuracy, local discriminator", None, False, "equilibrium", False),
    Metric("cost/generator_parameters_m", "Parameters of the generator (M)", False, False, "cost", False),
    Metric("time/inference_ms", "Inference, 256 x 256 px (ms)", None, False, "cost", False),
)


def check(config: Config, data: Data) -> list[str]:
    """Return what is wrong with the data or files of weights, or with this configuration on them: `where: what`."""
    from trials.data import check

    return check(config, data) + _weights(config)


def misfits(config: Config, data: Data) -> list[str]:
    """Return what is wrong with this configuration on sound data, as `check`, from files of weights and image sizes."""
    from trials.data import misfits

    return misfits(config, data) + _weights(config)


def _weights(config: Config) -> list[str]:
    if config.init is None and (not config.compares_features or config.vgg.weights == "random"):
        return []
    from trials.steps import check_weights  # loads torch

    return check_weights(config)


def confirming(data: Data) -> Data:
    """Return the data of a confirmation: the same images to train on, scored on the sets of `confirm` as well.

    Without such sets they are the same data. The bundled photographs are scored only while no other set is.
    """
    if not data.confirm:
        return data
    return data.model_copy(update={"evaluate": {**data.evaluate, **data.confirm}, "confirm": {}})


def digest(data: Data) -> str:
    """Return a digest of every image that a trial trains or is scored on, 32 hexadecimal digits."""
    from trials.data import digest

    return digest(data)


def files(data: Data) -> list[Path]:
    """Return the files to train on and to score that lie in folders, and the tables of scenes."""
    from trials.places import files

    return files(data)


def weights(config: Config) -> list[Path]:
    """Return the files of weights that a training with these settings reads, and of the settings beside them."""
    from trials.places import weights

    return weights(config)


def moved(config: Config, data: Data, root: Path) -> tuple[Config, Data]:
    """Return settings and data whose files lie below `root` under their absolute paths; others are named as before."""
    from trials.places import moved

    return moved(config, data, root)


def provenance(data: Data) -> dict[str, Any]:
    """Return the data's source and sets, a caution if they are for trying only, and how images are measured."""
    from trials.data import provenance
    from trials.metrics import SETTINGS

    return {**provenance(data), "metric_settings": SETTINGS}


def scenes(data: Data) -> list[tuple[str, str, str]]:
    """Return which scene each image to be scored shows: (set, image, scene)."""
    from trials.data import scenes

    return scenes(data)


def references(data: Data, folder: Path, weights: Mapping[str, Path] | None = None) -> dict[str, Report]:
    """Score `input` (untouched), `gain` and `gamma` (brightening without learning), and each of these generators.

    See `trials.references.references`.
    """
    from trials.references import references

    return references(data, folder, weights or {})


def seconds(config: Config, data: Data, *, threads: int) -> float:
    """Estimate the seconds that one trial takes on this machine, from a few steps and one evaluation.

    Raises:
        MemoryError: if there is too little memory for a step.
    """
    from trials.train import seconds

    try:
        return seconds(config, data, threads=threads)
    except RuntimeError as error:
        if lacks_memory(error):
            raise MemoryError(str(error)) from error
        raise


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
