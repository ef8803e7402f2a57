"""Before and after: for some evaluation images the input, what each variant makes of it, and the reference."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from analysis.ledger import Ledger, Metric
from analysis.wording import digits, number

__all__ = ["Picture", "Strip", "median_trials", "strips"]

IMAGES = 4
VARIANTS = 12
WIDTH_PX = 480
QUALITY = 82
BEFORE = ("input", "gain")
AFTER = ("normal",)
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


def strips(ledger: Ledger, trials: Mapping[str, str], labels: Mapping[str, str]) -> list[Strip]:
    """Return the pictures of at most 4 evaluation images, spread over the sets.

    Args:
        ledger: open.
        trials: variant -> the trial (identity) whose pictures speak for it.
        labels: variant -> its name for readers, in the order of the pictures; at most 12 are shown.
    """
    methods = _references(ledger)
    shown = [(labels[name], _trial(ledger, trials[name])) for name in labels if name in trials][:VARIANTS]
    columns = [
        *((NAMES[name], methods[name]) for name in BEFORE if name in methods),
        *shown,
        *((NAMES[name], methods[name]) for name in AFTER if name in methods),
    ]
    images = sorted({image for _, pictures in columns for image in pictures})
    places = sorted({round(place) for place in np.linspace(0, len(images) - 1, IMAGES)}) if images else []
    return [
        Strip(
            images[place],
            [_picture(ledger, label, *found[images[place]]) for label, found in columns if images[place] in found],
        )
        for place in places
    ]


Found = dict[str, tuple[str, str]]
"""Image (`set/image`) -> path below the storage folder, and its score as text."""


def _references(ledger: Ledger) -> dict[str, Found]:
    scores = ledger.frame(
        "SELECT method, \"set\" || '/' || image AS picture, metric, value FROM reference WHERE data = ?",
        [ledger.study.digest],
    )
    rows = ledger.connection.execute(
        "SELECT method, picture, path FROM reference_picture WHERE data = ?", [ledger.study.digest]
    )
    found: dict[str, Found] = {}
    for method, picture, path in rows.fetchall():
        of_picture = scores[(scores["method"] == method) & (scores["picture"] == picture)]
        found.setdefault(method, {})[picture] = path, _score(ledger, of_picture)
    return found


def _trial(ledger: Ledger, identity: str) -> Found:
    """Return the last pictures of a trial, with the scores at that very step."""
    row = ledger.connection.execute(
        "SELECT s.trial, s.step, s.pictures FROM step s JOIN trial t ON t.number = s.trial "
        "WHERE t.id = ? AND s.pictures <> '{}' ORDER BY s.step DESC LIMIT 1",
        [identity],
    ).fetchone()
    if row is None:
        return {}
    trial, step, pictures = row
    scores = ledger.frame(
        "SELECT \"set\" || '/' || image AS picture, metric, value FROM image WHERE trial = ? AND step = ?",
        [trial, step],
    )
    return {
        picture: (path, _score(ledger, scores[scores["picture"] == picture]))
        for picture, path in json.loads(pictures).items()
    }


def _score(ledger: Ledger, scores: pd.DataFrame) -> str:
    """Return the primary metric of an image, or the first one that it has, as text."""
    values = dict(zip(scores["metric"], scores["value"], strict=True))
    ranked = sorted(ledger.study.metrics, key=lambda metric: metric.key != ledger.study.primary)
    for metric in ranked:
        if metric.higher_is_better is not None and pd.notna(values.get(metric.key)):
            return _text(metric, values[metric.key])
    return ""


def _text(metric: Metric, value: Any) -> str:
    return f"{metric.name} {number(float(value), digits(abs(float(value))))} {metric.unit}".rstrip()


def _picture(ledger: Ledger, label: str, path: str, score: str) -> Picture:
    return Picture(label, score, _data_uri(ledger.study.storage / path))


def _data_uri(path: Path) -> str:
    """Return a picture as a small JPEG inside a URI, or nothing if it cannot be read."""
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return ""
    if picture.width > WIDTH_PX:
        height = max(1, round(picture.height * WIDTH_PX / picture.width))
        picture = picture.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
