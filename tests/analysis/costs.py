"""Costs in a made-up study's ledger, as a trainer reports them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

METRICS = [
    {"key": "cost/generator_parameters_m", "title": "Parameters of the generator (M)", "higher_is_better": False},
    {"key": "time/inference_ms", "title": "Inference, 256 x 256 px (ms)", "higher_is_better": None},
]


def add_costs(folder: Path, of: Callable[[str, int], tuple[float, float, float]], **facts: object) -> Path:
    """Let each trial have taken so many M parameters, milliseconds and seconds of training, by variant and seed.

    `facts` are keys of the study that are set beside.
    """
    with sqlite3.connect(folder / "ledger.db") as db:
        (known,) = db.execute("SELECT value FROM study WHERE key = 'metrics'").fetchone()
        more = [{**one, "needs_reference": False, "about": "cost", "per_image": False} for one in METRICS]
        facts = {"metrics": json.loads(known) + more, **facts}
        db.executemany("INSERT OR REPLACE INTO study VALUES (?, ?)", [(k, json.dumps(v)) for k, v in facts.items()])
        cells = db.execute(
            "SELECT c.trial, c.variant, c.seed, max(step) FROM cell c JOIN step USING (trial) GROUP BY 1"
        )
        for trial, variant, seed, step in cells.fetchall():
            parameters, inference, seconds = of(variant, seed)
            rows = zip((one["key"] for one in METRICS), (parameters, inference), strict=True)
            db.executemany("INSERT INTO report VALUES (?, ?, ?, ?)", [(trial, step, *row) for row in rows])
            db.execute("UPDATE step SET seconds = ? * step / ? WHERE trial = ?", [seconds, step, trial])
    db.close()
    return folder
