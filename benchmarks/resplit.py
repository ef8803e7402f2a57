"""Pseudo-A/A: how often real trainings of the very same model are told apart; beside usual mistakes.

    python benchmarks/resplit.py [--quick] [--results DIR] [--resplits N] [--seed N]

`python -m platform.sweep studies/placebo.yaml` trains the full model 48 times, 24 seeds in each of two streams, and
reports on the placebo; what is trained already is not trained again. All its trainings are of one model, so each
difference between groups of them is luck. They are split at random, without replacement, into a group that plays the
full model and one (or five) that play variants, 3, 5, 8 or 10 trainings each, paired in the order of the draw; 4,000
times, and the verdicts are counted, any of five in a family. Families of five need six groups. `p < 5 %` (Holm's in a
family) is what has the nominal rate; `helps` and `hurts` are those of them that are not within the margin. Everything
is computed for all resplits at once; on a sample of each row it is compared with what `analysis.compare` says, and a
difference ends the run.

*What this shows, and what not.* Over many pools the share is right on average: a part drawn at random out of
independent trainings is a study. But all resplits are of one pool, so they are no independent studies, and Wilson's
interval tells only what more resplits of this pool could change. Drawing trainings with replacement would not tell the
rest: one training would play on both sides. So there stands beside it where the share of `p < 5 %` lies, as many
resplits each, for 95 % of made-up pools of as many independent normal trainings, for which Student's t is exact. A
share outside says that the rule does not keep its 5 % with trainings like these, one inside that nothing speaks against
it. Since t knows neither the mean nor the spread of a pool, its shape alone is tried: tails, outliers, lumps. What a
draw removes is not: that trainings of one seed, or of one hour, are alike. The placebo study itself, which
nothing has drawn anew, would show that; it is one study.

The mistakes, on the same resplits: t over seeds x images as if each were a training; five t without Holm's correction;
each training scored by its best evaluation (no error by itself: both sides gain alike; calibration.py shows where it is
one); the best training of each group, different if by more than the margin; one training each, different if by more
than the margin, or by more than 0.05 NIQE.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import pandas as pd  # noqa: E402
from scipy import special  # noqa: E402

from analysis.comparison import LEVEL, compare  # noqa: E402
from analysis.frames import load_curves, load_trials  # noqa: E402
from analysis.ledger import QUALITY, open_ledger  # noqa: E402
from analysis.statistics import holm, wilson  # noqa: E402
from analysis.tables import load_judged  # noqa: E402

SPEC, STUDY = ROOT / "studies" / "placebo.yaml", "placebo"
QUICK = ("seeds=5", "train.steps=20", "train.evaluate_every=5")
SIZES, FAMILIES = (3, 5, 8, 10), (1, 5)
VERDICTS = ("helps", "hurts", "equivalent", "undecided")
POOLS, PROVEN = 400, 25
NIQE, ACCEPTABLE = "eval/niqe", 0.05
DETECTED, POOLED, UNCORRECTED = "p < 5 %", "t over seeds x images", "t without Holm's correction"

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Pool:
    """Trainings of one model.

    Args:
        scores: of each image on the primary metric, trainings x images.
        best: the best evaluation of each training, its mean over images.
        others: of each training, every other measure of quality that has a direction.
        metric: the primary metric.
        higher_is_better: its direction.
        margin: the smallest difference that matters, in its unit.
    """

    scores: Floats
    best: Floats
    others: dict[str, Floats]
    metric: str
    higher_is_better: bool
    margin: float


def load(folder: Path) -> Pool:
    """Return the completed trainings of a study in which all are of one model."""
    with open_ledger(folder) as ledger:
        study, images = ledger.study, load_judged(ledger)
        curves = load_curves(ledger, metric=study.primary, stage="fixed")
    direction = study.metric(study.primary).higher_is_better
    if direction is None or study.primary not in study.matters:
        raise SystemExit(f"{folder}: expected a primary metric with a direction and a margin, got {study.primary}")
    quality = [one.key for one in study.metrics if one.per_image and one.about == QUALITY and one.key in images]
    quality = [key for key in quality if study.metric(key).higher_is_better is not None]
    if images[quality].isna().any(axis=None):
        raise SystemExit(f"{folder}: expected a score of every image for each completed training, but some are missing")
    wide = images.pivot(index="trial", columns=["set", "image"], values=quality).astype(float)
    by_trial = curves.groupby("trial")[study.primary]
    best = (by_trial.max() if direction else by_trial.min()).reindex(wide.index)
    return Pool(
        scores=wide[study.primary].to_numpy(),
        best=best.to_numpy(dtype=float),
        others={key: wide[key].to_numpy().mean(axis=1) for key in quality if key != study.primary},
        metric=study.primary,
        higher_is_better=direction,
        margin=study.matters[study.primary],
    )


def split(trainings: int, groups: int, size: int, resplits: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return disjoint groups of trainings drawn at random, resplits x groups x size."""
    order = rng.permuted(np.tile(np.arange(trainings), (resplits, 1)), axis=1)
    return order[:, : groups * size].reshape(resplits, groups, size)


@dataclass(frozen=True)
class Judged:
    """What is said of each variant of each resplit, resplits x variants, with Holm's correction over the variants."""

    p: Floats
    verdicts: Texts


def judged(scores: Floats, *, margin: float, higher_is_better: bool) -> Judged:
    """Judge groups as `analysis.compare` does, for these images, all resplits at once.

    Args:
        scores: a training's mean over images, resplits x groups x size; the first group is the full model.
        margin: the smallest difference that matters.
        higher_is_better: the metric's direction.
    """
    d = scores[:, 1:] - scores[:, :1]
    mean, error, df = d.mean(axis=2), d.std(axis=2, ddof=1) / np.sqrt(d.shape[2]), d.shape[2] - 1
    room = margin - np.abs(mean)
    p = _adjusted(2 * special.stdtr(df, -np.abs(mean) / error))
    small = _adjusted(np.where(room > 0, special.stdtr(df, -room / error), 1.0))
    lost = np.where((mean < 0) == higher_is_better, "helps", "hurts")  # what it does without tells of the component
    return Judged(p, np.where(small < LEVEL, "equivalent", np.where(p < LEVEL, lost, "undecided")))


def _adjusted(p: Floats) -> Floats:
    return p if p.shape[1] == 1 else np.stack([holm(one) for one in p.tolist()])


def prove(pool: Pool, drawn: npt.NDArray[np.int64], found: Judged) -> int:
    """End the run if `analysis.compare` says anything else of the first resplits; return the number of comparisons."""
    resplits, groups, size = drawn[:PROVEN].shape
    images = [f"image {place}" for place in range(pool.scores.shape[1])]
    names = [f"group {place}" for place in range(groups)]
    places = pd.MultiIndex.from_product([names, range(size), images], names=["variant", "seed", "image"])
    for resplit in range(resplits):
        scores = pool.scores[drawn[resplit]].ravel()
        frame = pd.DataFrame({"set": "s", pool.metric: scores}, index=places).reset_index()
        table = compare(
            frame, baseline=names[0], metric=pool.metric, higher_is_better=pool.higher_is_better, margin=pool.margin
        )
        same = np.allclose(table["p_adjusted"], found.p[resplit], rtol=1e-7, atol=1e-12)
        if not same or table["verdict"].tolist() != found.verdicts[resplit].tolist():
            raise SystemExit(f"computed at once and by analysis.compare differ: {found} and {table}")
    return int(resplits * (groups - 1))


def mistakes(pool: Pool, drawn: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each common mistake whether it calls any variant of a resplit different."""
    of_training = pool.scores.mean(axis=1)
    cells = pool.scores[drawn].reshape(*drawn.shape[:2], -1)
    tops = of_training[drawn].max(axis=2) if pool.higher_is_better else of_training[drawn].min(axis=2)
    firsts = drawn[:, :, 0]
    called = {
        POOLED: _t(cells) < LEVEL,
        UNCORRECTED: _t(of_training[drawn]) < LEVEL,
        "t on each training's best evaluation": _t(pool.best[drawn]) < LEVEL,
        f"best training of each, by over {pool.margin:g}": np.abs(tops[:, 1:] - tops[:, :1]) > pool.margin,
        f"one training each, by over {pool.margin:g}": _apart(of_training[firsts]) > pool.margin,
        f"one training each, by over {ACCEPTABLE} NIQE": _apart(pool.others[NIQE][firsts]) > ACCEPTABLE,
    }
    return {name: one.any(axis=1) for name, one in called.items()}


def _apart(scores: Floats) -> Floats:
    return np.abs(scores[:, 1:] - scores[:, :1])


def _t(scores: Floats) -> Floats:
    """Return Student's p of what is paired, resplits x variants; scores: resplits x groups x what is paired."""
    d = scores[:, 1:] - scores[:, :1]
    count = d.shape[2]
    return 2 * special.stdtr(count - 1, -np.abs(d.mean(axis=2)) * np.sqrt(count) / d.std(axis=2, ddof=1))


def expected(trainings: int, groups: int, size: int, resplits: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return between which shares of resplits with a p < 5 % lie 95 % of pools of so many independent normal trainings.

    Holm's first step decides whether there is any.
    """
    shares = []
    for _ in range(POOLS):
        scores = rng.standard_normal(trainings)[split(trainings, groups, size, resplits, rng)]
        shares.append((_t(scores).min(axis=1) < LEVEL / (groups - 1)).mean())
    low, high = np.quantile(shares, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def measured(pool: Pool, size: int, variants: int, resplits: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the shares of resplits in which any variant is called so: by us, by mistake, and by other metrics."""
    drawn = split(len(pool.scores), 1 + variants, size, resplits, rng)
    found = judged(pool.scores.mean(axis=1)[drawn], margin=pool.margin, higher_is_better=pool.higher_is_better)
    said = {word: (found.verdicts == word).any(axis=1) for word in VERDICTS}
    said |= {"helps or hurts": said["helps"] | said["hurts"], DETECTED: (found.p < LEVEL).any(axis=1)}
    others = {key: (_adjusted(_t(one[drawn])) < LEVEL).any(axis=1) for key, one in pool.others.items()}
    wrong = mistakes(pool, drawn)
    return {
        "size": size,
        "variants": variants,
        "proven": prove(pool, drawn, found),
        "said": {name: share(one) for name, one in said.items()},
        "mistakes": {name: share(one) for name, one in wrong.items() if variants > 1 or name != UNCORRECTED},
        "others": {name: share(one) for name, one in others.items()},
        "expected": expected(len(pool.scores), 1 + variants, size, resplits, rng),
    }


def share(of_resplits: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the share of resplits, and Wilson's interval of it."""
    return float(of_resplits.mean()), *wilson(int(of_resplits.sum()), len(of_resplits))


def print_shares(rows: list[dict[str, Any]], part: str) -> None:
    """Print shares of resplits with Wilson's intervals: a line for each name, a column for each size and family."""
    print(f"{'':40}" + "".join(f"{heading(row):>22}" for row in rows))
    for name in dict.fromkeys(name for row in rows for name in row[part]):
        found = [row[part].get(name) for row in rows]
        texts = [f"{one[0]:.3f} ({one[1]:.3f}-{one[2]:.3f})" if one else "" for one in found]
        print(f"{name:40}" + "".join(f"{text:>22}" for text in texts))


def heading(row: dict[str, Any]) -> str:
    """Return what a column is of."""
    return f"{row['size']} each" + (", family of 5" if row["variants"] > 1 else "")


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its shares alone, to four decimals; Wilson's intervals follow from them."""
    parts = ("said", "mistakes", "others")
    return {**row, **{part: {name: round(one[0], 4) for name, one in row[part].items()} for part in parts}}


def outside(rows: list[dict[str, Any]]) -> list[str]:
    """Return the columns whose share of `p < 5 %` is not one that 95 % of normal pools give."""
    return [
        f"{heading(row)} ({row['said'][DETECTED][0]:.4f})"
        for row in rows
        if not row["expected"][0] <= row["said"][DETECTED][0] <= row["expected"][1]
    ]


def print_all(pool: Pool, images: pd.DataFrame, rows: list[dict[str, Any]], resplits: int) -> None:
    """Print what the study itself says, then the shares of its resplits."""
    of_training, proven = pool.scores.mean(axis=1), sum(row["proven"] for row in rows)
    print(f"{len(pool.scores)} trainings of one model, {pool.scores.shape[1]} images, {pool.metric}: mean")
    print(
        f"{of_training.mean():.2f}, sd {of_training.std(ddof=1):.2f}, margin {pool.margin:g}. The placebo study itself:"
    )
    for images_are in ("these", "sample"):
        (row,) = compare(
            images,
            metric=pool.metric,
            higher_is_better=pool.higher_is_better,
            margin=pool.margin,
            images_are=images_are,
        ).to_dict("records")
        numbers = (
            f"{row['difference']:+.2f} ({row['low']:.2f} to {row['high']:.2f}), p = {row['p']:.3f}: {row['verdict']}"
        )
        print(f"  images: {images_are:8}" + (f"none: {row['why']}" if np.isnan(row["low"]) else numbers))
    print(f"\n{resplits} resplits a column; {proven} comparisons, judged again by analysis.compare, are the same.")
    print("Share of resplits in which any variant is called so (Wilson, 95 %: of the resplitting alone)")
    print_shares(rows, "said")
    print(
        f"{f'{DETECTED}: 95 % of pools give':40}" + "".join("{:>14.3f}-{:.3f}  ".format(*r["expected"]) for r in rows)
    )
    print(f"{f'{DETECTED}: outside of these':40}  {'; '.join(outside(rows)) or 'none'} (of {len(rows)} columns)")
    print("\nThe mistakes: share of resplits in which any variant is called different")
    print_shares(rows, "mistakes")
    print(f"\nOther metrics of the same trainings: share of resplits with {DETECTED}")
    print_shares(rows, "others")


def train(results: Path, *, quick: bool) -> Path:
    """Train what is not trained yet, and return the study's folder."""
    asked = [text for one in (QUICK if quick else ()) for text in ("--set", one)]
    command = [sys.executable, "-m", "platform.sweep", str(SPEC), "--results", str(results), *asked]
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as ray:  # short: the paths of Ray's sockets must be
        environment = {**os.environ, "RAY_TMPDIR": ray, "RAY_AUTH_MODE": "disabled"}
        if status := subprocess.run(command, cwd=ROOT, env=environment).returncode:
            raise SystemExit(f"{SPEC.name}: the sweep ended with status {status}; its last lines say why")
    return results / STUDY


def main() -> None:
    """Train, split, count, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 trainings of 20 steps, 400 resplits: under a minute")
    parser.add_argument("--results", type=Path, help="where the study is, or will be (default: results; quick: none)")
    parser.add_argument("--resplits", type=int, help="default: 4000; with --quick 400")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    resplits, begun = chosen.resplits or (400 if chosen.quick else 4000), time.time()
    with tempfile.TemporaryDirectory(prefix="resplit-") as place:
        results = chosen.results or (Path(place) if chosen.quick else ROOT / "results")
        folder = train(results.resolve(), quick=chosen.quick)
        pool, images, planned = load(folder), load_judged(folder), len(load_trials(folder))
    trainings, plans = len(pool.scores), [(size, variants) for variants in FAMILIES for size in SIZES]
    fitting = [plan for plan in plans if plan[0] * (1 + plan[1]) <= trainings]
    if not fitting:
        raise SystemExit(f"{folder}: expected 6 completed trainings or more, got {trainings}")
    rng = np.random.default_rng(chosen.seed)
    rows = [measured(pool, *plan, resplits, rng) for plan in fitting]
    print(f"\n{trainings} of {planned} trainings are completed")
    print_all(pool, images, rows, resplits)
    left_out = [f"{1 + variants} groups of {size}" for size, variants in plans if (size, variants) not in fitting]
    print(f"\nLeft out, for want of trainings: {', '.join(left_out) or 'nothing'}")
    five = [row for row in rows if row["variants"] == 1 and row["size"] <= 5][-1]
    print(json.dumps({
        "name": "resplit", "rival": "t over seeds x images: how often it errs, over how often ours does (5 seeds)",
        "ratio": round(five["mistakes"][POOLED][0] / max(five["said"][DETECTED][0], 1 / resplits), 2),
        "trainings": trainings, "resplits": resplits, "seconds": round(time.time() - begun, 1),
        "outside": outside(rows), "rows": [rounded(row) for row in rows],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
