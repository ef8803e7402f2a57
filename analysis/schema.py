"""The ledger: one SQLite file per study, the only truth about it. `platform.ledger` writes, `analysis.ledger` reads.

Times are seconds since 1970 (UTC). A metric that could not be computed is NULL. Each row has a natural key, so
writing it twice changes nothing.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "BASELINE",
    "COMPLETED",
    "CONFIRM",
    "CONTINUE",
    "DECIDED",
    "DIVERGED",
    "EARLIER",
    "ENDED",
    "FAILED",
    "FIXED",
    "PLANNED",
    "RUNNING",
    "SCHEMA",
    "SEARCH",
    "STAGES",
    "STATES",
    "STOP",
    "STOPPED",
    "TABLES",
    "VERSION",
    "complete",
    "files_folder",
    "searchable",
]

VERSION = 4
EARLIER = (1, 2, 3)
"""What can be read too, and becomes `VERSION` when it is written to. They lack tables of `LATER` and columns of `cell`;
version 1 lacks of each metric what it is about and whether each image has it."""

BASELINE = "baseline"

FIXED = "fixed"  # at the spec's settings
SEARCH = "search"
CONFIRM = "confirm"  # the settings that a search found, with fresh seeds and images
STAGES = (FIXED, SEARCH, CONFIRM)

DECIDED = ("helps", "hurts", "equivalent")
"""The verdicts that end the seeds of a comparison."""

PLANNED = "PLANNED"
RUNNING = "RUNNING"
COMPLETED = "COMPLETED"
STOPPED = "STOPPED"  # by the scheduler
DIVERGED = "DIVERGED"  # a result: counted, never repeated
FAILED = "FAILED"  # with a kind: memory, data, bug, lost
STATES = (PLANNED, RUNNING, COMPLETED, STOPPED, DIVERGED, FAILED)
ENDED = (COMPLETED, STOPPED, DIVERGED, FAILED)
"""A state that is not among them, one that is not known included, is no end."""

CONTINUE, STOP = "continue", "stop"  # what a scheduler decides

LATER = {
    "event": """(                             -- what happened in a training: spikes, collapses
    trial INTEGER NOT NULL,
    step INTEGER NOT NULL,                    -- at which it happened; the report that told of it may be a later one
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,                    -- what it happened to
    value REAL,
    text TEXT NOT NULL,
    PRIMARY KEY (trial, step, kind, subject)
) WITHOUT ROWID""",
    "scored": """(                            -- the methods that stand in reference and reference_picture, and how made
    method TEXT NOT NULL,
    data TEXT NOT NULL,
    version TEXT NOT NULL,                    -- the trainer's results version
    weights TEXT,                             -- SHA-256 of a trained model's file; NULL if the method learns nothing
    PRIMARY KEY (method, data)
) WITHOUT ROWID""",
    "suggestion": """(                        -- settings that a search tried: by variant, repeat and number, from 0
    variant TEXT NOT NULL,
    repeat INTEGER NOT NULL,                  -- of the variant's search, from 0
    number INTEGER NOT NULL,                  -- in that search; what is left out keeps its number
    at REAL NOT NULL,
    params TEXT NOT NULL,                     -- JSON: path -> value of each parameter that exists under the others
    trial TEXT,                               -- identity of its trial with the first seed; NULL if refused
    same_as INTEGER,                          -- number of the first suggestion with these settings; NULL if it is new
    refused TEXT,                             -- what the trainer says against these settings; NULL if nothing
    left_out TEXT,                            -- why it is no point of the search any more; NULL while it is
    PRIMARY KEY (variant, repeat, number)
) WITHOUT ROWID""",
    "look": """(                              -- what was found when a study with seeds until decided was looked at
    seeds INTEGER NOT NULL,                   -- of every variant in the comparison, all ended
    variant TEXT NOT NULL,                    -- of the comparison; of an effect the component
    at REAL NOT NULL,
    difference REAL,
    p REAL,                                   -- of these seeds alone, as if nobody had looked before
    p_equivalent REAL,
    verdict TEXT NOT NULL,                    -- helps, hurts or equivalent: decided; else undecided or ''
    PRIMARY KEY (seeds, variant)
) WITHOUT ROWID""",
    "taken_out": """(                         -- the components that a variant lacks
    variant TEXT NOT NULL,
    component TEXT NOT NULL,
    PRIMARY KEY (variant, component)
) WITHOUT ROWID""",
    "choice": """(                            -- what a search found, and goes on to be confirmed
    variant TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    number INTEGER,                           -- of the suggestion chosen; NULL if there is none
    why TEXT NOT NULL,                        -- a sentence
    at REAL NOT NULL,
    PRIMARY KEY (variant, repeat)
) WITHOUT ROWID""",
}
"""The tables that came after version 1: name -> definition."""

CELL = """(                                   -- the plan of the spec that holds: which trial fills which place
    stage TEXT NOT NULL,
    variant TEXT NOT NULL,
    repeat INTEGER NOT NULL,                  -- of the search, from 0; 0 in the fixed stage
    number INTEGER NOT NULL,                  -- of the suggestion; 0 but in the search
    seed INTEGER NOT NULL,
    trial INTEGER NOT NULL REFERENCES trial(number),
    PRIMARY KEY (stage, variant, repeat, number, seed)
) WITHOUT ROWID"""

SCHEMA = """
CREATE TABLE IF NOT EXISTS study (            -- one row for each key: name, schema, trainer, metrics, ... as JSON
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS spec (             -- every spec that this study was run with; the last one holds
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    resolved TEXT NOT NULL                    -- JSON
);

CREATE TABLE IF NOT EXISTS deviation (        -- what was changed after the first trial
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    spec INTEGER NOT NULL,
    text TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS driver (           -- every process that ran this study
    number INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    ended REAL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    record TEXT NOT NULL                      -- JSON: versions, git commit and dirty flag, command
);

CREATE TABLE IF NOT EXISTS variant (          -- of the spec that holds; baseline is number 0
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    component TEXT,                           -- the component it speaks of, if any
    compared_to TEXT,                         -- the variant it differs from by that component
    present INTEGER,                          -- 1: the component is in this variant, 0: it is taken out
    overrides TEXT NOT NULL                   -- JSON: path -> value
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS trial (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,                  -- the identity, 32 hexadecimal digits
    seed INTEGER NOT NULL,
    stream TEXT NOT NULL,                     -- '' or the name of the placebo's stream of seeds
    settings TEXT NOT NULL,                   -- JSON: the whole configuration
    data TEXT NOT NULL,                       -- digest of the images
    state TEXT NOT NULL,
    kind TEXT,                                -- of a failure
    message TEXT,                             -- of a failure or a divergence: a sentence, then the traceback
    planned REAL NOT NULL,
    started REAL,
    ended REAL
);

CREATE TABLE IF NOT EXISTS attempt (
    trial INTEGER NOT NULL REFERENCES trial(number),
    number INTEGER NOT NULL,
    driver INTEGER NOT NULL,
    started REAL NOT NULL,
    ended REAL,
    resumed_step INTEGER NOT NULL,            -- 0: from the start
    outcome TEXT,                             -- a state, or 'interrupted', 'lost', 'disk', 'storage', 'memory' or
                                              -- 'checkpoint'
    record TEXT,                              -- JSON: node, device, versions on the worker
    PRIMARY KEY (trial, number)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS step (             -- one row for each report of a trial
    trial INTEGER NOT NULL REFERENCES trial(number),
    step INTEGER NOT NULL,
    at REAL NOT NULL,
    seconds REAL NOT NULL,                    -- spent in training and evaluation up to here, all attempts together
    checkpoint TEXT,                          -- path below the storage folder, or NULL
    pictures TEXT NOT NULL,                   -- JSON: set/image -> path below the storage folder
    PRIMARY KEY (trial, step)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS report (
    trial INTEGER NOT NULL,
    step INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (trial, step, metric)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS image (            -- per-image scores of trials
    trial INTEGER NOT NULL,
    step INTEGER NOT NULL,
    "set" TEXT NOT NULL,
    image TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (trial, step, "set", image, metric)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS scene (            -- which scene each evaluation image shows
    "set" TEXT NOT NULL,
    image TEXT NOT NULL,
    scene TEXT NOT NULL,
    PRIMARY KEY ("set", image)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS reference (        -- scores beside the trials': input, gain, gamma, models trained elsewhere
    method TEXT NOT NULL,
    data TEXT NOT NULL,
    "set" TEXT NOT NULL,
    image TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (method, data, "set", image, metric)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS reference_picture (
    method TEXT NOT NULL,
    data TEXT NOT NULL,
    picture TEXT NOT NULL,                    -- set/image
    path TEXT NOT NULL,                       -- below the storage folder
    PRIMARY KEY (method, data, picture)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS decision (         -- of a scheduler, never computed again
    trial INTEGER NOT NULL,
    rung INTEGER NOT NULL,                    -- the step
    what TEXT NOT NULL,                       -- continue or stop
    at REAL NOT NULL,
    PRIMARY KEY (trial, rung)
) WITHOUT ROWID;
""" + "".join(f"CREATE TABLE IF NOT EXISTS {name} {columns};\n" for name, columns in [("cell", CELL), *LATER.items()])

TABLES = tuple(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", SCHEMA))
"""The names of all."""


def complete(connection: sqlite3.Connection) -> None:
    """Let a ledger of an earlier version, opened for reading, show the tables and columns that it lacks."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for name, columns in LATER.items():
        if name not in there:
            connection.execute(f"CREATE TEMP TABLE {name} {columns}")
    if "cell" in there and not searchable(connection):
        connection.execute(f"CREATE TEMP TABLE cell {CELL}")
        connection.execute("INSERT INTO temp.cell SELECT stage, variant, 0, 0, seed, trial FROM main.cell")


def searchable(connection: sqlite3.Connection) -> bool:
    """Whether the table `cell` has the columns that a search needs."""
    return "number" in {row[1] for row in connection.execute("PRAGMA table_info(cell)")}


def files_folder(facts: Mapping[str, Any], folder: Path) -> Path:
    """Return the folder below which a study's pictures and generators lie.

    That is its own, which may have been moved, unless they lie in another. From a storage that has an address the sweep
    fetches them into its own.

    Args:
        facts: the study's, with `storage`, a folder or an address, and `folder`, where the ledger lay.
        folder: of the ledger now.
    """
    storage = str(facts["storage"])
    return folder if "://" in storage or storage == facts.get("folder") else Path(storage)
