"""Which files data and settings name, and the same data and settings where these files lie elsewhere. No torch."""

from __future__ import annotations

import os
from pathlib import Path

from trials import images
from trials.canonical import WORDS
from trials.config import Config, Data, EvaluationSet

__all__ = ["files", "moved", "weights"]


def files(data: Data) -> list[Path]:
    """Return the files to train on and to score that lie in folders, sorted, and the tables of scenes.

    The bundled photographs are not among them: they come with packages.

    Raises:
        DataError: if a folder cannot be used.
    """
    found: set[Path] = set()
    for folder in (data.low, data.normal):
        found.update(images.find(folder) if folder else ())
    for wanted in data.evaluate.values():
        found.update(images.find(wanted.low))
        found.update(images.find(wanted.normal) if wanted.normal else ())
        found.update([Path(wanted.scenes)] if wanted.scenes and _is_table(wanted.scenes) else ())
    return sorted(found)


def weights(config: Config) -> list[Path]:
    """Return the files of weights that a training with these settings reads, and of the settings beside the first."""
    beside = str(Path(config.init).with_suffix(".json")) if config.init else None  # which need not exist
    vgg = config.vgg.weights if config.compares_features else None
    return [Path(name) for name in (config.init, beside, vgg) if name is not None and name not in WORDS]


def moved(config: Config, data: Data, root: Path) -> tuple[Config, Data]:
    """Return settings and data that name the files below `root`, where their absolute paths go on, if they lie there.

    What does not lie there is named as before.
    """
    low, normal = _moved(data.low, root), _moved(data.normal, root)
    sets = {
        key: {name: _moved_set(wanted, root) for name, wanted in getattr(data, key).items()}
        for key in ("evaluate", "confirm")
    }
    init = config.init and str(_moved(Path(config.init), root))
    vgg = config.vgg
    if vgg.weights not in WORDS:
        vgg = vgg.model_copy(update={"weights": str(_moved(Path(vgg.weights), root))})
    return (
        config.model_copy(update={"init": init, "vgg": vgg}),
        data.model_copy(update={"low": low, "normal": normal, **sets}),
    )


def _moved_set(wanted: EvaluationSet, root: Path) -> EvaluationSet:
    scenes = str(_moved(Path(wanted.scenes), root)) if wanted.scenes and _is_table(wanted.scenes) else wanted.scenes
    low, normal = _moved(wanted.low, root), _moved(wanted.normal, root)
    return wanted.model_copy(update={"low": low, "normal": normal, "scenes": scenes})


def _moved(path: Path | None, root: Path) -> Path | None:
    if path is None:
        return None
    place = root / os.path.relpath(path, "/")
    return place if os.path.exists(place) else path


def _is_table(scenes: str) -> bool:
    return scenes.lower().endswith(".csv")
