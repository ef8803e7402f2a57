"""Which settings can change a result, and which files they name: what a trial's identity is made of. Needs no torch."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from trials.config import Config

__all__ = ["FILES", "absolute", "anchored", "canonical", "content"]

FILES = ("init", "vgg.weights")
"""The settings that name a file, but for the words below."""
WORDS = ("imagenet", "random")


def anchored(path: str, value: Any, folder: Path) -> Any:
    """Return the value of the setting at a dotted path; the relative name of a file in it lies in `folder`."""
    named = path in FILES and isinstance(value, str) and value and value not in WORDS
    return absolute(value, folder) if named else value


def absolute(name: str, folder: Path) -> str:
    """Return the absolute name of a file or folder whose relative name lies in `folder`; `~` is the user's home."""
    try:
        return str((folder / Path(name).expanduser()).resolve())
    except (RuntimeError, ValueError):  # no such user, or a character that no path has: no such file, later
        return name


def canonical(config: Config) -> dict[str, Any]:
    """Return the settings that can change a result, without those that are inert under the others.

    Two configurations with equal canonical settings train to equal results from equal seeds. A file of weights is
    named by its content.
    """
    settings = config.model_dump(mode="json", by_alias=True)
    settings["init"] = _named(config.init)
    settings["generator"] = _canonical_generator(config)
    _drop_without_discriminators(config, settings)
    _drop_without_features(config, settings)
    optimiser = settings["optimiser"]
    if optimiser.get("discriminator_learning_rate") == optimiser["learning_rate"]:
        optimiser["discriminator_learning_rate"] = None
    if optimiser["period_steps"] is None or optimiser["period_steps"] >= config.steps:
        del optimiser["after"]
    if optimiser["period_steps"] == config.steps:
        optimiser["period_steps"] = None
    if config.optimiser.flat == 1 or config.optimiser.schedule == "constant":  # the learning rate never changes
        constant = ("schedule", "flat", "epoch_steps", "period_steps", "after")
        settings["optimiser"] = {name: value for name, value in optimiser.items() if name not in constant}
    if config.augment.darken == 0 or config.augment.darken_max == 1:
        settings["augment"]["darken"] = 0.0
        for name in ("darken_min", "darken_max"):
            del settings["augment"][name]
        settings["loss"].pop("sfp_target", None)  # the two targets are the same
    return settings


def _canonical_generator(config: Config) -> dict[str, Any]:
    generator = config.generator
    settings = generator.model_dump(mode="json")
    part = -(-config.batch // generator.norm_splits)
    settings["norm_splits"] = -(-config.batch // part)  # as many as torch.chunk makes
    attend = settings["attend"]
    if not generator.skips:
        del attend["skips"]
    if generator.attention == "constant":  # factors of 1 change nothing
        attend = {"input": attend["input"]}
    if generator.attention == "none" or not any(attend.values()):
        settings["attention"] = "none"
        del settings["attend"]
    else:
        settings["attend"] = attend
    if generator.norm != "batch":
        del settings["norm_splits"]
    return settings


def _drop_without_discriminators(config: Config, settings: dict[str, Any]) -> None:
    loss, local, stabilise = settings["loss"], settings["local"], settings["stabilise"]
    if not config.trains_global:
        settings["global"] = {"discriminator": False}
        del loss["global_adversarial"], loss["global_weight"]
    if not config.trains_local:
        del local["layers"], local["width"], loss["local_adversarial"], loss["local_weight"]
        local["discriminator"] = False
    if not config.cuts_patches:
        settings["local"] = {"discriminator": False}
    if local.get("patch_px") == config.crop_px:
        del settings["local"]["border"]  # there is one place
    if stabilise["r1"] == 0 or stabilise["r1_every"] > config.steps:
        stabilise["r1"] = 0.0
        del stabilise["r1_every"]
    if not (config.trains_global or config.trains_local):
        for name in ("r1", "r1_every", "spectral_norm", "pool"):
            stabilise.pop(name, None)
        del settings["optimiser"]["discriminator_learning_rate"], settings["watch"]["duality_gap_steps"]


def _drop_without_features(config: Config, settings: dict[str, Any]) -> None:
    if not config.compares_features:
        settings["vgg"] = None
        del settings["loss"]["sfp_target"]
        if not (config.trains_global or config.trains_local):
            del settings["loss"]["convention"]
        return
    settings["vgg"]["weights"] = _named(config.vgg.weights)
    if int(config.vgg.layer[4]) <= config.vgg.max_pools:
        settings["vgg"]["max_pools"] = int(config.vgg.layer[4]) - 1  # the layer lies before the last pool


def _named(name: str | None) -> str | None:
    """Return a digest of the file called so, so that its place makes no difference; else the name."""
    if name is None or name in WORDS or not os.path.isfile(name):  # which bears any text
        return name
    try:
        return f"sha256:{content(Path(name))}"
    except OSError:  # it cannot be read, which is said where it is looked at
        return name


def content(path: Path) -> str:
    """Return a digest of a file's content: the first 32 hexadecimal digits of its SHA-256.

    Raises:
        OSError: if it cannot be read.
    """
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 16)  # every image of a data set, in a process that trains on it again and again
def _digest(path: Path, size: int, changed_ns: int) -> str:
    """Return the digest of a file; `size` and `changed_ns` are part of what is remembered, so a change is noticed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
