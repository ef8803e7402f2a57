"""Before and after: for some evaluation images the input, what each variant makes of it, and the reference."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from analysis.kept import kept
from analysis.ledger import Ledger, Study
from analysis.wording import digits, number

__all__ = ["VARIANTS", "Picture", "Strip", "median_trials", "strips"]

IMAGES = 4
VARIANTS = 12
WIDTH_PX = 480
QUALITY = 82
BEFORE = ("input", "gain")
AFTER = ("normal",)
MODELS = 4
NAMES = {"normal": "normal light", "gain": "input, brightened", "input": "input"}


@dataclass(frozen=True)
class Picture:
    """A picture in the page. `source` is a data URI; nothing if the file cannot be read from here."""

    label: str
    score: str
    source: str


@dataclass(frozen=True)
class Strip:
    """The pictures of one evaluation image."""

    name: str
    pictures: list[Picture]


def median_trials(images: pd.DataFrame, metric: str) -> dict[str, str]:
    """Return for each variant the trial at the median seed by its mean score (the lower of two; ties by seed)."""
    means = images.groupby(["variant", "seed", "trial"])[metric].mean().dropna().reset_index()
    means = means.sort_values(["variant", metric, "seed"])
    place = means.groupby("variant").cumcount()
    middle = (means.groupby("variant")["seed"].transform("size") - 1) // 2
    chosen = means[place == middle]
    return dict(zip(chosen["variant"], chosen["trial"], strict=True))


def strips(
    ledger: Ledger,
    trials: Mapping[str, str],
    *,
    labels: Mapping[str, str],
    digest: str | None = None,
    sets: Sequence[str] = (),
) -> list[Strip]:
    """Return the pictures of at most 4 evaluation images, spread over the sets.

    Args:
        ledger: open.
        trials: variant -> the trial (identity) whose pictures speak for it.
        labels: variant -> its name for readers, in the order of the pictures; at most 12 are shown, and of trained
            models that the study is compared with at most 4.
        digest: of the images; by default those of the spec's `data.evaluate`.
        sets: the only sets of which images are shown; by default all.
    """
    digest = ledger.study.digest if digest is None else digest
    shown = [name for name in labels if name in trials][:VARIANTS]
    models = ledger.connection.execute(
        "SELECT method FROM scored WHERE data = ? AND weights IS NOT NULL ORDER BY method LIMIT ?",
        [digest, MODELS],
    ).fetchall()
    columns = [
        *(_reference(ledger, name, digest) for name in BEFORE),
        *(_trial(ledger, trials[name], labels[name]) for name in shown),
        *(_reference(ledger, name, digest) for (name,) in models),
        *(_reference(ledger, name, digest) for name in AFTER),
    ]
    images = sorted({image for column in columns for image in column.paths})
    images = [image for image in images if not sets or image.partition("/")[0] in sets]
    places = sorted({round(place) for place in np.linspace(0, len(images) - 1, IMAGES)}) if images else []
    return [Strip(image, _pictures(ledger.study, columns, image)) for image in (images[place] for place in places)]


@dataclass(frozen=True)
class _Column:
    """The pictures of one method or trial: image (`set/image`) -> path, and scores `picture`, `metric`, `value`."""

    label: str
    paths: dict[str, str]
    scores: pd.DataFrame


def _reference(ledger: Ledger, method: str, digest: str) -> _Column:
    paths = ledger.connection.execute(
        "SELECT picture, path FROM reference_picture WHERE data = ? AND method = ?", [digest, method]
    )
    scores = ledger.frame(
        "SELECT \"set\" || '/' || image AS picture, metric, value FROM reference WHERE data = ? AND method = ?",
        [digest, method],
    )
    return _Column(NAMES.get(method, method), dict(paths.fetchall()), scores)


def _trial(ledger: Ledger, identity: str, label: str) -> _Column:
    """Return the last pictures of a trial, with the scores at that very step."""
    found = ledger.connection.execute(
        "SELECT s.trial, s.step, s.pictures FROM step s JOIN trial t ON t.number = s.trial "
        "WHERE t.id = ? AND s.pictures <> '{}' ORDER BY s.step DESC LIMIT 1",
        [identity],
    ).fetchone()
    trial, step, pictures = found or (None, None, "{}")
    scores = ledger.frame(
        "SELECT \"set\" || '/' || image AS picture, metric, value FROM image WHERE trial = ? AND step = ?",
        [trial, step],
    )
    return _Column(label, json.loads(pictures), scores)


def _pictures(study: Study, columns: list[_Column], image: str) -> list[Picture]:
    return [
        Picture(
            column.label,
            _score(study, column.scores, image),
            _data_uri(kept(study.storage, column.paths[image], ".png")),
        )
        for column in columns
        if image in column.paths
    ]


def _score(study: Study, scores: pd.DataFrame, image: str) -> str:
    """Return the primary metric of an image, or the first one that it has, as text."""
    of_image = scores[scores["picture"] == image]
    values = dict(zip(of_image["metric"], of_image["value"].astype(float), strict=True))
    for metric in sorted(study.metrics, key=lambda metric: metric.key != study.primary):
        value = values.get(metric.key, nan)
        if metric.higher_is_better is not None and isfinite(value):
            return f"{metric.name} {number(value, digits(abs(value)))} {metric.unit}".rstrip()
    return ""


def _data_uri(path: Path | None) -> str:
    """Return a picture as a small JPEG inside a URI, or nothing if it cannot be read."""
    if path is None:
        return ""
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # as Pillow meets damaged files
        return ""
    if picture.width > WIDTH_PX:
        height = max(1, round(picture.height * WIDTH_PX / picture.width))
        picture = picture.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
