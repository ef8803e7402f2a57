"""A made-up study: a ledger and pictures as a driver leaves them, with scores whose truth is known."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis import schema

METRICS = [
    {"key": "eval/psnr_db", "title": "PSNR (dB)", "higher_is_better": True, "needs_reference": True},
    {"key": "eval/ssim", "title": "SSIM", "higher_is_better": True, "needs_reference": True},
    {"key": "eval/niqe", "title": "NIQE", "higher_is_better": False, "needs_reference": False},
    {"key": "eval/luminance_error_levels", "title": "Error of the mean luminance (grey levels)",
     "higher_is_better": None, "needs_reference": True},
]  # fmt: skip
DEFECTS = [
    ("eval/ciede2000_chroma", "CIEDE2000, lightness apart", False, True, "colour", True, 6.2, 0.5),
    ("eval/chroma_log2", "Chroma, log2 of the ratio", None, True, "colour", True, -0.4, 0.1),
    ("eval/colour_angle_deg", "Colour angle (deg)", False, True, "colour", True, 5.1, 0.4),
    ("eval/ciede2000", "CIEDE2000", False, True, "colour", True, 14.0, 0.9),
    ("eval/input_chroma_log2", "Chroma over the input's, log2", None, False, "colour", True, 0.3, 0.1),
    ("eval/gmsd", "GMSD", False, True, "detail", True, 0.112, 0.006),
    ("eval/high_frequency_log2", "Fine detail, log2 of the energy ratio", None, True, "detail", True, -0.8, 0.1),
    ("eval/noise_levels", "Noise (grey levels)", None, False, "detail", True, 3.1, 0.2),
    ("eval/hair_high_frequency_log2", "Fine detail in hair, log2", None, True, "detail", True, -1.1, 0.1),
    ("eval/hair_gmsd", "GMSD in hair", False, True, "detail", True, 0.14, 0.01),
    ("health/gradient_spikes", "Gradient spikes so far", False, False, "gradients", False, 1.0, 0.8),
    ("health/gradient_spike_score", "Highest spike score so far", False, False, "gradients", False, 5.2, 1.1),
    ("health/gradient_norm_generator", "Gradient norm, generator", None, False, "gradients", False, 0.8, 0.2),
    ("health/gradient_norm_global", "Gradient norm, global discriminator", None, False, "gradients", False, 2.1, 0.4),
    ("health/margin_global", "Margin, global discriminator", None, False, "equilibrium", False, 0.31, 0.05),
    ("health/accuracy_global", "Accuracy, global discriminator", None, False, "equilibrium", False, 0.81, 0.03),
    ("health/loss_ratio_log2", "Discriminators' over generator's loss, log2", None, False, "equilibrium", False,
     -0.6, 0.2),
    ("health/duality_gap", "Duality gap, estimated", False, False, "equilibrium", False, 0.42, 0.06),
]  # fmt: skip
"""Key, title, direction, whether it needs a reference, what it is about, whether images have it; mean and sd."""
MODEL = "official"
WEIGHTS = "ab12" * 16
REFERENCES = {
    "input": (9.2, 0.31, 5.2, -74.0),
    "gain": (17.4, 0.62, 4.4, -3.0),
    "gamma": (15.6, 0.58, 4.9, -12.0),
}
COMPONENTS = ("attention", "local_discriminator", "local_sfp", "global_sfp", "relativistic")
BEGIN = 1_790_000_000.0


@dataclass(frozen=True)
class Variant:
    """A variant, how far its true scores (PSNR, SSIM, NIQE, luminance) lie from the full model's, and what it lacks."""

    name: str
    effect: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    component: str | None = None
    compared_to: str | None = None
    present: int = 0
    out: tuple[str, ...] = ()


LEAVE_ONE_OUT = (
    Variant("baseline"),
    Variant("no_attention", (-1.6, -0.05, 0.35, 6.0), "attention", "baseline"),
    Variant("no_local_discriminator", (-0.2, -0.01, 0.5, 1.0), "local_discriminator", "baseline"),
    Variant("no_local_sfp", (0.02, 0.0, 0.05, 0.0), "local_sfp", "baseline"),
    Variant("no_global_sfp", (-3.4, -0.21, 1.1, 15.0), "global_sfp", "baseline"),
    Variant("no_relativistic", (0.9, 0.02, -0.2, -4.0), "relativistic", "baseline"),
)


def designed(runs: Iterable[Collection[str]], components: Sequence[str], worth: Any) -> tuple[Variant, ...]:
    """Return the variants of a design: `worth` gives each run's true PSNR, in dB, from the components in it."""
    full, found = worth(frozenset(components)), []
    for run in runs:
        out = tuple(name for name in components if name not in run)
        one = out[0] if len(out) == 1 else None
        effect = (worth(frozenset(run)) - full, 0.0, 0.0, 0.0)
        name, base = f"no_{'+'.join(out)}" if out else "baseline", "baseline" if one else None
        found.append(Variant(name, effect, one, base, 0, out))
    return tuple(found)


@dataclass(frozen=True)
class Plan:
    """What the made-up study holds.

    Args:
        variants: with their true effects.
        design: as the resolved spec has it.
        components: of the spec.
        seeds: of every variant.
        images: set -> image -> scene.
        unpaired: sets without references, so without PSNR and SSIM.
        ends: (variant, seed) -> (state, kind, message) of trials that are not completed.
        analysis: the spec's section.
        evaluations: of each trial, 100 steps apart.
        noise: sd over seeds of a trial's PSNR, dB.
        pictures: whether there are any.
        defects: whether the known defects were measured too.
        model: whether a trained model stands beside the trials.
        events: (variant, seed, step, kind, subject, value, text).
    """

    variants: Sequence[Variant] = LEAVE_ONE_OUT
    design: str | dict[str, int] = "leave-one-out"
    components: Sequence[str] = ()
    seeds: Sequence[int] = (1, 2, 3)
    images: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"photos": {"cat": "cat", "hall": "hall"}})
    unpaired: Sequence[str] = ()
    ends: Mapping[tuple[str, int], tuple[str, str | None, str | None]] = field(default_factory=dict)
    analysis: Mapping[str, Any] = field(
        default_factory=lambda: {
            "primary": "eval/psnr_db", "matters": {"eval/psnr_db": 0.5}, "images": "these", "at": 2
        }
    )  # fmt: skip
    evaluations: int = 4
    noise: float = 0.15
    pictures: bool = True
    defects: bool = False
    model: bool = False
    events: Sequence[tuple[str, int, int, str, str, float, str]] = ()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What the ledger says of the metrics."""
        keys = ("key", "title", "higher_is_better", "needs_reference", "about", "per_image")
        more = [dict(zip(keys, row[:6], strict=True)) for row in DEFECTS] if self.defects else []
        return [*METRICS, *more]


def write_study(folder: Path, plan: Plan = Plan()) -> Path:
    """Write the made-up study and return its folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    spec = {"study": folder.name, "analysis": dict(plan.analysis)}
    if plan.components:
        spec |= {"design": plan.design, "components": {name: {} for name in plan.components}}
    (folder / "spec.json").write_text(json.dumps(spec))
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(schema.SCHEMA)
        db.executemany("INSERT INTO study VALUES (?, ?)", _facts(folder, plan))
        db.execute("INSERT INTO spec VALUES (1, ?, ?)", (BEGIN, json.dumps(spec)))
        record = {"versions": {"python": "3.11.7", "torch": "2.15.0"}, "git": {"commit": "0123abc", "dirty": False}}
        db.execute("INSERT INTO driver VALUES (1, ?, NULL, 'host', 1, ?)", (BEGIN, json.dumps(record)))
        for number, one in enumerate(plan.variants):
            row = (one.name, number, one.component, one.compared_to, one.present, "{}")
            db.execute("INSERT INTO variant VALUES (?, ?, ?, ?, ?, ?)", row)
            db.executemany("INSERT INTO taken_out VALUES (?, ?)", [(one.name, name) for name in one.out])
        images = [(of_set, image) for of_set, group in plan.images.items() for image in group]
        levels = rng.normal(0, 2, len(images))
        numbers = {(one.name, seed): n for n, (seed, one) in enumerate(_order(plan), start=1)}
        for variant, seed, *event in plan.events:
            db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", (numbers[variant, seed], *event))
        for of_set, image in images:
            db.execute("INSERT INTO scene VALUES (?, ?, ?)", (of_set, image, plan.images[of_set][image]))
        _write_references(db, folder, plan, images, levels)
        for number, (seed, one) in enumerate(_order(plan), start=1):
            _write_trial(db, folder, plan, number, one, seed, images, levels, rng)
    db.close()
    return folder


def _order(plan: Plan) -> list[tuple[int, Variant]]:
    return [(seed, variant) for seed in plan.seeds for variant in plan.variants]


def _facts(folder: Path, plan: Plan) -> list[tuple[str, str]]:
    sets = {
        name: {"images": len(group), "paired": name not in plan.unpaired, "scenes": len(set(group.values()))}
        for name, group in plan.images.items()
    }
    data = {
        "source": "photos",
        "caution": "A few bundled photographs & a recipe: for trying, not for conclusions.",
        "training": {"low": 4, "normal": 4},
        "sets": sets,
    }
    facts = {
        "name": folder.name, "schema": schema.VERSION, "trainer": "trials.trainer", "metrics": plan.metrics,
        "inert": {"no_attention": ["generator.attend"]},
        "storage": str(folder.resolve() / "storage"), "data": data, "digest": "d1", "metric_settings": {"crop": 0},
    }  # fmt: skip
    return [(key, json.dumps(value)) for key, value in facts.items()]


def _scores(plan: Plan, of_set: str, values: Sequence[float]) -> list[tuple[str, float | None]]:
    return [
        (str(one["key"]), None if of_set in plan.unpaired and one["needs_reference"] else float(value))
        for one, value in zip(METRICS, values, strict=True)
    ]


def _of_images(plan: Plan, of_set: str, rng: Any) -> list[tuple[str, float | None]]:
    """Return what images have of the known defects."""
    return [
        (row[0], None if of_set in plan.unpaired and row[3] else float(rng.normal(row[6], row[7])))
        for row in (DEFECTS if plan.defects else ())
        if row[5]
    ]


def _write_references(db: Any, folder: Path, plan: Plan, images: Sequence[tuple[str, str]], levels: Any) -> None:
    known = [*REFERENCES, *([MODEL] if plan.model else [])]
    for method in known:
        db.execute("INSERT INTO scored VALUES (?, 'd1', '1', ?)", (method, WEIGHTS if method == MODEL else None))
        values = REFERENCES.get(method, (18.1, 0.68, 4.7, -9.0))
        for (of_set, image), level in zip(images, levels, strict=True):
            for key, value in _scores(plan, of_set, (values[0] + level, *values[1:])):
                db.execute("INSERT INTO reference VALUES (?, 'd1', ?, ?, ?, ?)", (method, of_set, image, key, value))
            for key, value in _of_images(plan, of_set, np.random.default_rng(len(method))):
                db.execute("INSERT INTO reference VALUES (?, 'd1', ?, ?, ?, ?)", (method, of_set, image, key, value))
    shades = {"input": 0.15, "gain": 0.8, "gamma": 0.7, "normal": 1.0} | ({MODEL: 0.9} if plan.model else {})
    for method, brightness in shades.items():
        for of_set, image in images:
            if plan.pictures:
                path = f"references/{method}/{of_set}/{image}.png"
                _write_picture(folder / "storage" / path, brightness)
                key = f"{of_set}/{image}"
                db.execute("INSERT INTO reference_picture VALUES (?, 'd1', ?, ?)", (method, key, path))


def _write_trial(
    db: Any, folder: Path, plan: Plan, number: int, variant: Variant, seed: int, images: Any, levels: Any, rng: Any
) -> None:
    state, kind, message = plan.ends.get((variant.name, seed), (schema.COMPLETED, None, None))
    name, begin = f"{number:032x}", BEGIN + 60 * number
    settings = json.dumps({"steps": 100 * plan.evaluations, "generator": {"width": 8}})
    began, ended = (None, None) if state == schema.PLANNED else (begin, begin + 50)
    row = (number, name, seed, "", settings, "d1", state, kind, message, BEGIN, began, ended)
    db.execute(f"INSERT INTO trial VALUES ({', '.join('?' * 12)})", row)
    db.execute("INSERT INTO cell VALUES ('fixed', ?, 0, 0, ?, ?)", (variant.name, seed, number))
    if state == schema.PLANNED:
        return
    record = json.dumps({"node": "host", "device": "cpu", "versions": {"torch": "2.15.0"}})
    db.execute("INSERT INTO attempt VALUES (?, 1, 1, ?, ?, 0, ?, ?)", (number, begin, ended, state, record))
    run, extra = rng.normal(0, plan.noise), np.random.default_rng(number)
    truth = np.array((15.0, 0.55, 4.2, -20.0)) + np.array(variant.effect)
    reached = plan.evaluations if state == schema.COMPLETED else max(plan.evaluations // 2, 1)
    for evaluation in range(1, reached + 1):
        step, rise = 100 * evaluation, -4 * np.exp(-2.5 * evaluation / plan.evaluations)
        scores = []
        for (of_set, image), level in zip(images, levels, strict=True):
            wobble = rng.normal(0, 0.1)
            drawn = np.array([rise + run + level + wobble, rise / 30 + run / 40, rng.normal(0, 0.1) - rise / 6, 0])
            values = (truth + drawn).tolist()
            found = [*_scores(plan, of_set, values), *_of_images(plan, of_set, extra)]
            scores += [(number, step, of_set, image, key, value) for key, value in found]
        db.executemany("INSERT INTO image VALUES (?, ?, ?, ?, ?, ?)", scores)
        pictures = {}
        if plan.pictures and evaluation == reached:
            pictures = {f"{s}/{i}": f"trials/{name}/{s}_{i}.png" for s, i in images}
            for path in pictures.values():
                _write_picture(folder / "storage" / path, 0.7 + 0.05 * variant.effect[0])
        times = (begin + 10 * evaluation, 12.5 * evaluation)
        db.execute("INSERT INTO step VALUES (?, ?, ?, ?, NULL, ?)", (number, step, *times, json.dumps(pictures)))
        for one in plan.metrics:
            found = [row[5] for row in scores if row[4] == one["key"] and row[5] is not None]
            if not one.get("per_image", True):
                found = [float(abs(extra.normal(row[6], row[7]))) for row in DEFECTS if row[0] == one["key"]]
            mean = float(np.mean(found)) if found else None
            db.execute("INSERT INTO report VALUES (?, ?, ?, ?)", (number, step, one["key"], mean))


def _write_picture(path: Path, brightness: float) -> None:
    y, x = np.mgrid[0:60, 0:90] / 90
    picture = np.stack([x, y, 1 - x], axis=-1) * brightness * 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)
