"""Before and after: for some evaluation images the input, what each variant makes of it, and the reference."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from analysis.kept import kept
from analysis.ledger import Ledger, Study
from analysis.wording import digits, number

__all__ = ["VARIANTS", "Gallery", "Picture", "Strip", "chosen", "gallery", "median_trials", "spreads"]

IMAGES = 4
VARIANTS = 12
WIDTHS_PX = (640, 480, 360, 240, 160)
"""The widest that fits the budget is taken, so that the page stays small enough to be sent to somebody."""
BUDGET_BYTES = 3_500_000
"""For all pictures together, as the page holds them."""
QUALITY = 82
BEFORE = ("input", "gain")
AFTER = ("normal",)
MODELS = 4
NAMES = {"normal": "normal light", "gain": "input, brightened", "input": "input"}


@dataclass(frozen=True)
class Picture:
    """A picture in the page. `source` is a data URI; nothing if the file cannot be read from here.

    `made` says which training it comes from, of a picture that comes from one. Sizes are in pixels, as shown.
    """

    label: str
    score: str
    source: str
    made: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Strip:
    """The pictures of one evaluation image, and why it was chosen: (mark, reason) for each reason."""

    name: str
    marks: list[tuple[str, str]]
    pictures: list[Picture]

    @property
    def before(self) -> Picture | None:
        """What the slider shows on its left; None if there is nothing to compare."""
        return self.pictures[0] if self.pictures and self.pictures[0].source and self.after else None

    @property
    def after(self) -> list[tuple[int, Picture]]:
        """What the slider can show on its right, each with its place in the strip."""
        return [(place, one) for place, one in enumerate(self.pictures) if place and one.source]


@dataclass(frozen=True)
class Gallery:
    """The pictures of the page, and a sentence on their size."""

    strips: list[Strip]
    note: str = ""


def median_trials(images: pd.DataFrame, metric: str) -> dict[str, str]:
    """Return for each variant the trial at the median seed by its mean score (the lower of two; ties by seed)."""
    means = images.groupby(["variant", "seed", "trial"])[metric].mean().reset_index()
    means = means[np.isfinite(means[metric].to_numpy(float))]
    means = means.sort_values(["variant", metric, "seed"])
    place = means.groupby("variant").cumcount()
    middle = (means.groupby("variant")["seed"].transform("size") - 1) // 2
    chosen = means[place == middle]
    return dict(zip(chosen["variant"], chosen["trial"], strict=True))


def spreads(images: pd.DataFrame, metric: str) -> dict[str, tuple[float, str, str]]:
    """Return for each image (`set/image`) how far the variants lie apart: the range, and the lowest and highest.

    A variant's score is the mean over its seeds' finite ones. An image on which fewer than two have one is left out.

    Args:
        images: a row for each trial and image.
        metric: of the scores.
    """
    picture = images["set"] + "/" + images["image"]
    finite = images[metric].astype(float).where(lambda scores: np.isfinite(scores))
    means = finite.groupby([picture, images["variant"]]).mean().dropna()
    found = {}
    for name, scores in means.groupby(level=0):
        own = scores.droplevel(0)
        if len(own) > 1:
            found[str(name)] = (float(own.max() - own.min()), str(own.idxmin()), str(own.idxmax()))
    return found


def chosen(images: Sequence[str], apart: Mapping[str, float], *, study: str) -> dict[str, list[str]]:
    """Choose at most 4 images: the one on which the variants differ most, and one of each set at random.

    The choice at random is a function of the study's name and the set's, so that nobody picks what looks good.

    Args:
        images: `set/image`.
        apart: image -> how far the variants lie apart there, of those where that is known; ties by name.
        study: its name.

    Returns:
        Image -> why it was chosen: `random`, `apart` or both; those at random first, in the order of the sets.
    """
    sets: dict[str, list[str]] = {}
    for image in sorted(images):
        sets.setdefault(image.partition("/")[0], []).append(image)
    found: dict[str, list[str]] = {}
    for name, own in list(sets.items())[: IMAGES - 1]:
        digest = hashlib.sha256(f"{study}/{name}".encode()).digest()
        found[own[int.from_bytes(digest[:8], "big") % len(own)]] = ["random"]
    known = [image for image in sorted(images) if apart.get(image, 0.0) > 0]
    if known:
        found.setdefault(max(known, key=lambda image: apart[image]), []).append("apart")
    return found


def gallery(
    ledger: Ledger,
    images: pd.DataFrame,
    *,
    labels: Mapping[str, str],
    digest: str | None = None,
    sets: Sequence[str] = (),
) -> Gallery:
    """Return the pictures of at most 4 evaluation images (see `chosen`), each variant at its median seed.

    Args:
        ledger: open.
        images: the scores of the trials, by which median seeds and images are chosen.
        labels: variant -> its name for readers, in the order of the pictures; at most 12 are shown, and of trained
            models that the study is compared with at most 4.
        digest: of the images; by default those of the spec's `data.evaluate`.
        sets: the only sets of which images are shown; by default all.
    """
    study = ledger.study
    digest = study.digest if digest is None else digest
    trials = median_trials(images, study.primary)
    shown = [name for name in labels if name in trials][:VARIANTS]
    models = ledger.connection.execute(
        "SELECT method FROM scored WHERE data = ? AND weights IS NOT NULL ORDER BY method LIMIT ?",
        [digest, MODELS],
    ).fetchall()
    seeds = images.groupby(["variant", "trial"])["seed"].first().to_dict()
    counts = images.groupby("variant")["trial"].nunique().to_dict()
    columns = [
        *(_reference(ledger, name, digest) for name in BEFORE),
        *(_trial(ledger, trials[name], labels[name], _made(seeds[name, trials[name]], counts[name])) for name in shown),
        *(_reference(ledger, name, digest) for (name,) in models),
        *(_reference(ledger, name, digest) for name in AFTER),
    ]
    found = sorted({image for column in columns for image in column.paths})
    found = [image for image in found if not sets or image.partition("/")[0] in sets]
    apart = spreads(images, study.primary)
    chose = chosen(found, {image: reach for image, (reach, _, _) in apart.items()}, study=study.name)
    drafts = [_draft(study, columns, image) for image in chose]
    width, sources = _sources([one for draft in drafts for one in draft])
    strips, place = [], iter(sources)
    for (image, why), draft in zip(chose.items(), drafts, strict=True):
        pictures = [replace(one.picture, **next(place)) for one in draft]
        strips.append(Strip(image, [_mark(study, one, apart.get(image), labels) for one in why], pictures))
    return Gallery(strips, _size_note(width) if any(one.image for draft in drafts for one in draft) else "")


@dataclass(frozen=True)
class _Column:
    """The pictures of one method or trial: image (`set/image`) -> path, and scores `picture`, `metric`, `value`."""

    label: str
    paths: dict[str, str]
    scores: pd.DataFrame
    made: str = ""


def _reference(ledger: Ledger, method: str, digest: str) -> _Column:
    paths = ledger.connection.execute(
        "SELECT picture, path FROM reference_picture WHERE data = ? AND method = ?", [digest, method]
    )
    scores = ledger.frame(
        "SELECT \"set\" || '/' || image AS picture, metric, value FROM reference WHERE data = ? AND method = ?",
        [digest, method],
    )
    return _Column(NAMES.get(method, method), dict(paths.fetchall()), scores)


def _trial(ledger: Ledger, identity: str, label: str, made: str) -> _Column:
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
    return _Column(label, json.loads(pictures), scores, made)


@dataclass(frozen=True)
class _Draft:
    """A picture that has no size yet."""

    picture: Picture
    image: Image.Image | None


def _draft(study: Study, columns: list[_Column], image: str) -> list[_Draft]:
    return [
        _Draft(
            Picture(column.label, _score(study, column.scores, image), "", column.made),
            _opened(kept(study.storage, column.paths[image], ".png")),
        )
        for column in columns
        if image in column.paths
    ]


def _made(seed: int, trials: int) -> str:
    return f"seed {seed}, " + ("the only one" if trials == 1 else f"the median of {trials}")


def _mark(study: Study, why: str, apart: tuple[float, str, str] | None, labels: Mapping[str, str]) -> tuple[str, str]:
    """Return a reason in one or two words, and in a sentence."""
    if why == "random":
        return "Random image", "chosen by a seed from the study\u2019s name."
    metric = study.metric(study.primary)
    reach, lowest, highest = apart or (nan, "", "")
    ends = f"from {labels.get(lowest, lowest)} (lowest) to {labels.get(highest, highest)} (highest)"
    amount = f"{number(reach, digits(reach))} {metric.unit}".rstrip() + " on average over seeds"
    return "Largest difference", f"where the variants lie farthest apart in {metric.name}: {amount}, {ends}."


def _score(study: Study, scores: pd.DataFrame, image: str) -> str:
    """Return the primary metric of an image, or the first one that it has, as text."""
    of_image = scores[scores["picture"] == image]
    values = dict(zip(of_image["metric"], of_image["value"].astype(float), strict=True))
    for metric in sorted(study.metrics, key=lambda metric: metric.key != study.primary):
        value = values.get(metric.key, nan)
        if metric.higher_is_better is not None and isfinite(value):
            return f"{metric.name} {number(value, digits(abs(value)))} {metric.unit}".rstrip()
    return ""


def _opened(path: Path | None) -> Image.Image | None:
    """Return a picture at most as wide as any is shown, or None if it cannot be read."""
    if path is None:
        return None
    try:
        with Image.open(path) as file:
            return _narrowed(file.convert("RGB"), WIDTHS_PX[0])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # as Pillow meets damaged files
        return None


def _narrowed(picture: Image.Image, width: int) -> Image.Image:
    if picture.width <= width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _sources(drafts: Sequence[_Draft]) -> tuple[int, list[dict[str, Any]]]:
    """Return the width at which all pictures fit the budget, and source and size of each there."""
    found: list[dict[str, Any]] = []
    for width in WIDTHS_PX:
        found = [_source(one.image, width) for one in drafts]
        if sum(len(one.get("source", "")) for one in found) <= BUDGET_BYTES:
            break
    return width, found


def _source(image: Image.Image | None, width: int) -> dict[str, Any]:
    """Return a picture as a JPEG inside a URI with its size; nothing of one that cannot be read."""
    if image is None:
        return {}
    picture, jpeg = _narrowed(image, width), io.BytesIO()
    picture.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    source = "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
    return {"source": source, "width": picture.width, "height": picture.height}


def _size_note(width: int) -> str:
    why = "" if width == WIDTHS_PX[0] else ", narrower than usual because there are so many"
    return f"Shown as JPEG, at most {width} pixels wide{why}; scores are of the whole pictures."
