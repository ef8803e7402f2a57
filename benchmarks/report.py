"""The report of a ledger of 10,000 trials x 15 images, beside plain pandas on the same ledger; then from MLflow.

    python benchmarks/report.py [--quick] [--trials N] [--runs N]

The ledger is made up: a full model and 19 variants, every metric of the trainer, drawn with a known effect. Each row
is a process of its own, with its time from beginning to end, its processor's time and its peak of memory. `report`
writes every file of the report. `by hand` is the rival: `pandas.read_sql` of the scores joined with the plan, a
group-by over each trial's last evaluations, a pivot, and the means of the variants; no interval, no page. `folder` and
`server` are the report of a smaller study, from its folder and from an MLflow store that it was copied to: their
tables must be the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VARIANTS, IMAGES, EVALUATIONS = 20, 15, 4
VARIANT_NAMES = ["baseline", *(f"no_part_{number:02}" for number in range(1, VARIANTS))]
IMAGE_NAMES = [f"photo_{number:02}" for number in range(IMAGES)]
BEGIN = 1_790_000_000.0
MIB = 1024


def metrics() -> list[dict[str, Any]]:
    """Return the trainer's metrics, as a ledger has them."""
    from trials.trainer import METRICS

    keys = ("key", "title", "higher_is_better", "needs_reference", "about", "per_image")
    return [{key: getattr(one, key) for key in keys} for one in METRICS]


def write_ledger(folder: Path, trials: int) -> None:
    """Write a ledger of so many completed trials, seed by seed through all variants."""
    import numpy as np

    from analysis import schema

    rng, known = np.random.default_rng(7), metrics()
    of_images = [one["key"] for one in known if one["per_image"]]
    effects = np.concatenate([[0.0], rng.normal(0, 0.5, VARIANTS - 1)])
    levels = rng.normal(0, 1, (IMAGES, len(of_images)))
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as db:
        db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {schema.SCHEMA} BEGIN;")
        _write_study(db, folder, known, trials)
        for method in ("input", "gain", "gamma"):
            db.execute("INSERT INTO scored VALUES (?, 'd', '1', NULL)", (method,))
            rows = [(method, *row) for row in _rows(of_images, levels)]
            db.executemany("INSERT INTO reference VALUES (?, 'd', 'photos', ?, ?, ?)", rows)
        for number in range(1, trials + 1):
            seed, place = divmod(number - 1, VARIANTS)
            _write_trial(db, number, VARIANT_NAMES[place], seed)
            run = rng.normal(0, 0.4, len(of_images)) + effects[place]
            for step in range(100, 100 * EVALUATIONS + 1, 100):
                scores = 15 + levels + run + rng.normal(0, 0.3, levels.shape)
                rows = [(number, step, *row) for row in _rows(of_images, scores)]
                db.executemany("INSERT INTO image VALUES (?, ?, 'photos', ?, ?, ?)", rows)
                means = dict(zip(of_images, scores.mean(axis=0).tolist(), strict=True))
                reports = [(number, step, one["key"], means.get(one["key"], 1.0)) for one in known]
                db.executemany("INSERT INTO report VALUES (?, ?, ?, ?)", reports)
                at = BEGIN + 60 * number + step / 10
                db.execute("INSERT INTO step VALUES (?, ?, ?, ?, NULL, '{}')", (number, step, at, step / 10))
        db.execute("COMMIT")


def _rows(keys: list[str], scores: Any) -> list[tuple[str, str, float]]:
    """Return image, metric and value of scores, images x metrics."""
    return [
        (image, key, value)
        for image, values in zip(IMAGE_NAMES, scores.tolist(), strict=True)
        for key, value in zip(keys, values, strict=True)
    ]


def _write_study(db: sqlite3.Connection, folder: Path, known: list[dict[str, Any]], trials: int) -> None:
    from analysis import schema

    rules = {"primary": "eval/psnr_db", "matters": {"eval/psnr_db": 0.5}, "images": "sample", "at": EVALUATIONS}
    spec = {"study": folder.name, "analysis": rules, "components": {}}
    sets = {"photos": {"images": IMAGES, "paired": True, "scenes": IMAGES}}
    facts = {
        "name": folder.name, "schema": schema.VERSION, "trainer": "trials.trainer", "metrics": known, "inert": {},
        "storage": str(folder), "digest": "d", "metric_settings": {},
        "data": {"source": "made up", "caution": None, "training": {"low": 4, "normal": 4}, "sets": sets},
    }  # fmt: skip
    db.executemany("INSERT INTO study VALUES (?, ?)", [(key, json.dumps(value)) for key, value in facts.items()])
    db.execute("INSERT INTO spec VALUES (1, ?, ?)", (BEGIN, json.dumps(spec)))
    db.execute("INSERT INTO driver VALUES (1, ?, ?, 'host', 1, '{}')", (BEGIN, BEGIN + 60 * trials + 60))
    db.executemany("INSERT INTO scene VALUES ('photos', ?, ?)", [(image, image) for image in IMAGE_NAMES])
    for number, name in enumerate(VARIANT_NAMES):
        part = (name.removeprefix("no_"), "baseline", 0) if number else (None, None, None)
        db.execute("INSERT INTO variant VALUES (?, ?, ?, ?, ?, '{}')", (name, number, *part))
        if number:
            db.execute("INSERT INTO taken_out VALUES (?, ?)", (name, part[0]))


def _write_trial(db: sqlite3.Connection, number: int, variant: str, seed: int) -> None:
    began = BEGIN + 60 * number
    settings = json.dumps({"steps": 100 * EVALUATIONS, "generator": {"width": 8, "attention": "input"}})
    row = (number, f"{number:032x}", seed, "", settings, "d", "COMPLETED", None, None, BEGIN, began, began + 50)
    db.execute(f"INSERT INTO trial VALUES ({', '.join('?' * len(row))})", row)
    db.execute("INSERT INTO cell VALUES ('fixed', ?, 0, 0, ?, ?)", (variant, seed, number))
    db.execute("INSERT INTO attempt VALUES (?, 1, 1, ?, ?, 0, 'COMPLETED', '{}')", (number, began, began + 50))


def by_hand(folder: Path) -> None:
    """Compute the table of variants with plain pandas."""
    import pandas as pd

    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        scores = pd.read_sql(
            "SELECT c.variant, c.seed, i.trial, i.step, i.image, i.metric, i.value FROM image i "
            "JOIN cell c ON c.trial = i.trial JOIN trial t ON t.number = i.trial WHERE t.state = 'COMPLETED'",
            db,
        )
    steps = scores[["trial", "step"]].drop_duplicates().sort_values("step").groupby("trial").tail(EVALUATIONS)
    scores = scores.merge(steps, on=["trial", "step"])
    images = scores.groupby(["variant", "seed", "image", "metric"])["value"].mean().unstack("metric")
    images.to_csv(folder / "by_hand.csv")
    seeds = images.groupby(["variant", "seed"]).mean().groupby("variant")
    pd.concat([seeds.mean(), seeds.std().add_suffix(" sd")], axis=1).to_csv(folder / "by_hand_variants.csv")


def row(kind: str, folder: Path) -> None:
    """Do one row in this process."""
    if kind == "by hand":
        by_hand(folder)
        return
    from analysis.report import main

    server = ["--mlflow", f"sqlite:///{folder.parent / 'mlflow.db'}", "--experiment", folder.name]
    asked = server if kind == "server" else [str(folder)]
    if main([*asked, "--out", str(folder.parent / f"report {kind}")]):
        raise SystemExit(1)


def measured(kind: str, folder: Path) -> dict[str, float]:
    """Do one row in a process of its own; return its seconds, those of its processor, and its peak of memory in MiB."""
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--row", kind, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr[-2000:]}")
    return {"s": time.monotonic() - begun, **json.loads(done.stderr.splitlines()[-1])}


def same_files(one: Path, other: Path) -> bool:
    """Whether two reports are the same bytes, figures too."""
    found = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    )
    return next(found) == next(found)


def main() -> None:
    """Measure every row, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials, under a minute")
    parser.add_argument("--trials", type=int, help="in the ledger (10,000; quick: 600)")
    parser.add_argument("--runs", type=int, help="in MLflow (1,000; quick: 40)")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.row:
        row(chosen.row[0], Path(chosen.row[1]))
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        print(json.dumps({"cpu_s": cpu, "peak_mib": used.ru_maxrss / MIB}), file=sys.stderr)
        return
    trials, runs = chosen.trials or (600 if chosen.quick else 10_000), chosen.runs or (40 if chosen.quick else 1_000)
    with tempfile.TemporaryDirectory(prefix="report-") as place:
        large, small = Path(place) / "large", Path(place) / "small"
        write_ledger(large, trials)
        write_ledger(small, runs)
        copied = time.monotonic()
        copy = [sys.executable, "-m", "platform.mirror", str(small), "--uri", f"sqlite:///{Path(place) / 'mlflow.db'}"]
        subprocess.run(copy, cwd=ROOT, check=True)
        copied = time.monotonic() - copied
        plan = {"report": (large, trials), "by hand": (large, trials), "folder": (small, runs), "server": (small, runs)}
        print(f"{'':10}{'trials':>8}{'s':>9}{'cpu s':>9}{'peak MiB':>10}")
        found = {}
        for kind, (folder, count) in plan.items():
            found[kind] = one = measured(kind, folder)
            print(f"{kind:10}{count:8}{one['s']:9.1f}{one['cpu_s']:9.1f}{one['peak_mib']:10.0f}", flush=True)
        same = same_files(Path(place) / "report folder", Path(place) / "report server")
        size = (large / "ledger.db").stat().st_size / MIB**2
    figures = {
        "name": "report",
        "rival": "pandas.read_sql and group-by by hand, without intervals and page",
        "ratio": round(found["report"]["s"] / found["by hand"]["s"], 3),
        "cpu_ratio": round(found["report"]["cpu_s"] / found["by hand"]["cpu_s"], 3),
        "trials": trials,
        "images": IMAGES,
        "ledger_mib": round(size),
        **{f"{kind.replace(' ', '_')}_{key}": round(one[key], 1) for kind, one in found.items() for key in one},
        "runs": runs,
        "copied_to_mlflow_s": round(copied, 1),
        "equal_from_mlflow": same,
    }
    print(json.dumps(figures))
    if not same:
        raise SystemExit("the report from MLflow is not that from the folder")


if __name__ == "__main__":
    main()
