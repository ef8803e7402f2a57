"""A small ledger of a study with a search, written by SQL: what the search of two variants has come to."""

import json
import sqlite3

from analysis.schema import SCHEMA, VERSION

PSNR, NIQE = "eval/psnr_db", "eval/niqe"
METRICS = [
    {"key": PSNR, "title": "PSNR (dB)", "higher_is_better": True, "needs_reference": True},
    {"key": NIQE, "title": "NIQE", "higher_is_better": False, "needs_reference": False},
]
SEARCH = {
    "objectives": {PSNR: "max"},
    "sampler": "tpe",
    "scheduler": "none",
    "repeats": 1,
    "seeds": [1],
    "first_points": 2,
    "budget": {"trials": 4},
    "parameters": {"baseline": ["loss.sfp_global"], "no_x": ["loss.sfp_global"]},
    "left_out": {},
    "cautions": [],
    "ended": {},
}
CONFIRM = {"seeds": [2, 3], "sets": [], "digest": "e" * 32}


class SearchLedger:
    """Trials are numbered from 1; each has four steps of ten, and its values are those of its last evaluations."""

    def __init__(self, path, *, search=SEARCH, confirm=CONFIRM, expected=None, at=2):
        self.path, self.trials = path, 0
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript(SCHEMA)
        expected = {"fixed": 2, "search": 8, "confirm": 4} if expected is None else expected
        facts = {"name": "searched", "schema": VERSION, "storage": str(path.parent),
                 "data": {"source": "folders", "training": {}, "sets": {}}, "metrics": METRICS,
                 "search": search, "confirm": confirm, "expected": expected}  # fmt: skip
        self.add("study", *([key, json.dumps(value)] for key, value in facts.items()))
        self.add("spec", [1, 0, json.dumps({"study": "searched", "analysis": {"primary": PSNR, "at": at}})])
        self.add("driver", [1, 0.0, 10.0, "host", 1, "{}"])
        self.add("variant", *([name, place, None, None, None, "{}"] for place, name in enumerate(("baseline", "no_x"))))

    def add(self, table, *rows):
        for row in rows:
            self.db.execute(f'INSERT OR REPLACE INTO "{table}" VALUES ({", ".join("?" * len(row))})', row)

    def trial(self, stage, variant, state="COMPLETED", *, repeat=0, number=0, seed=1, psnr=(), niqe=(), settings=None):
        """Add a trial, with an evaluation for each value, ten steps apart."""
        self.trials += 1
        this, ended = self.trials, None if state in ("PLANNED", "RUNNING") else 100.0 + self.trials
        config = json.dumps(settings or {"steps": 40})
        self.add("trial", [this, f"{this:032x}", seed, "", config, "d", state, None, None, 0.0, 50.0, ended])
        if state != "PLANNED":
            self.add("attempt", [this, 1, 1, 50.0, ended, 0, None, "{}"])
        for place in range(max(len(psnr), len(niqe))):
            step = 10 * (place + 1)
            self.add("step", [this, step, 50.0 + step, step / 10, None, "{}"])
            self.add("report", *([this, step, name, values[place]] for name, values in ((PSNR, psnr), (NIQE, niqe))
                                 if values))  # fmt: skip
        self.fill(this, stage, variant, repeat=repeat, number=number, seed=seed)
        return this

    def fill(self, trial, stage, variant, *, repeat=0, number=0, seed=1):
        self.add("cell", [stage, variant, repeat, number, seed, trial])

    def suggest(self, variant, number, *, repeat=0, trial=None, params=None, refused=None, left_out=None):
        identity = None if trial is None else f"{trial:032x}"
        found = json.dumps({"loss.sfp_global": 1.5} if params is None else params)
        self.add("suggestion", [variant, repeat, number, 0.0, found, identity, None, refused, left_out])

    def choose(self, variant, number, *, repeat=0, why="highest eval/psnr_db of 2"):
        self.add("choice", [variant, repeat, number, why, 0.0])

    def score(self, trial, step, images, *, metric=PSNR):
        """Add scores of images, (set, image) -> value."""
        self.add("image", *([trial, step, *image, metric, value] for image, value in images.items()))
