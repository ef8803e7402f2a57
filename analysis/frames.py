"""A study as pandas frames: trials, image scores, learning curves, events, references. A metric is a column.

The column is named by the metric's key. A metric that could not be computed is NaN.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from math import nan
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import schema
from analysis.ledger import Ledger, StudyLike, open_ledger
from analysis.looks import COLUMNS

__all__ = [
    "load_curves", "load_events", "load_images", "load_looks", "load_references", "load_runs", "load_trials",
    "load_variants",
]  # fmt: skip

CELLS = "cell c JOIN trial t ON t.number = c.trial LEFT JOIN variant v ON v.name = c.variant"
STAGE = "CASE c.stage WHEN 'fixed' THEN 0 WHEN 'search' THEN 1 ELSE 2 END"
IN_ORDER = f"ORDER BY {STAGE}, v.number, c.variant, c.repeat, c.number, c.seed"
PLACE = "t.id AS trial, c.variant, c.stage, c.seed, c.repeat, c.number"
"""A trial, and the place in the plan that it fills; `t.number AS row` joins it with what was recorded of it."""


def load_trials(study: StudyLike) -> pd.DataFrame:
    """Return a row for each place of the plan, in the order stage (as they follow), variant, repeat, number, seed.

    A trial that fills several places has a row for each.

    Columns: `trial` (the identity), `variant`, `stage`, `seed`, `repeat` (of the search that the place belongs to, or
    whose choice it confirms), `number` (of the suggestion; both 0 where there is no search), `state`, `kind` and
    `message` (of a failure or a divergence, its first line), `step` (the last one reported), `seconds` (spent on it),
    `started`, `ended` (seconds since 1970), `config/...` (its settings) and each metric at the last evaluation, for
    completed trials alone.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        trials = ledger.frame(
            f"""
            SELECT {PLACE}, t.state, t.kind,
                substr(t.message, 1, instr(t.message || char(10), char(10)) - 1) AS message, last.step,
                coalesce(last.seconds, spent.seconds) AS seconds, t.started, t.ended, t.settings, t.number AS row
            FROM {CELLS}
            LEFT JOIN (SELECT trial, max(step) AS step, max(seconds) AS seconds FROM step GROUP BY trial) last
                ON last.trial = t.number
            LEFT JOIN (SELECT trial, sum(ended - started) AS seconds FROM attempt GROUP BY trial) spent
                ON spent.trial = t.number
            {IN_ORDER}"""
        )
        finals = _wide(
            ledger,
            """
            SELECT r.trial AS row, r.metric, r.value FROM trial t
            JOIN report r ON r.trial = t.number AND r.step = (SELECT max(step) FROM step WHERE trial = t.number)
            WHERE t.state = ? ORDER BY r.trial""",
            [schema.COMPLETED],
            ledger.study.keys,
        )
    trials = trials.astype({"step": "Int64", "seconds": float, "started": float, "ended": float})
    settings = pd.json_normalize([json.loads(text) for text in trials.pop("settings")], sep=".").add_prefix("config/")
    return pd.concat([trials, settings], axis=1).merge(finals, how="left", on="row").drop(columns="row")


def load_images(
    study: StudyLike, *, at: int | Literal["final"] | None = None, stage: str | None = None
) -> pd.DataFrame:
    """Return a row for each completed trial and evaluation image, with the trial's scores on that image.

    Columns: `trial`, `variant`, `stage`, `seed`, `repeat`, `number`, `set`, `image`, `scene`, `step` (the last
    evaluation), `evaluations` (how many the score is the mean of) and each metric that images have. A score is NaN if
    the metric is missing at one of them.

    Args:
        study: a study's folder, or its name under `results`.
        at: the number of last evaluations to average; `final` for the last alone; by default as the study declared.
        stage: `fixed`, `search` or `confirm`; by default all.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        count = ledger.study.at if at is None else 1 if at == "final" else at
        wide = _wide(
            ledger,
            """
            WITH ranked AS (
                SELECT s.trial, s.step, row_number() OVER (PARTITION BY s.trial ORDER BY s.step DESC) AS back
                FROM step s JOIN trial t ON t.number = s.trial
                WHERE t.state = ? AND t.number IN (SELECT trial FROM cell WHERE stage = coalesce(?, stage))
            ), last AS (
                SELECT trial, step, count(*) OVER (PARTITION BY trial) AS evaluations FROM ranked WHERE back <= ?
            )
            SELECT l.trial AS row, i."set", i.image, max(l.step) AS step, l.evaluations, i.metric,
                CASE WHEN count(i.value) = l.evaluations THEN avg(i.value) END AS value
            FROM last l CROSS JOIN image i ON i.trial = l.trial AND i.step = l.step
            GROUP BY l.trial, i."set", i.image, i.metric ORDER BY l.trial, i."set", i.image, i.metric""",
            [schema.COMPLETED, stage, count],
            ledger.study.image_keys,
        )
        cells, scenes = _places(ledger, stage), _scenes(ledger)
    wide = wide.merge(scenes, how="left", on=["set", "image"])
    wide.insert(3, "scene", wide.pop("scene").fillna(wide["image"]))
    return cells.merge(wide, on="row").drop(columns="row")


def load_curves(study: StudyLike, *, metric: str | None = None, stage: str | None = None) -> pd.DataFrame:
    """Return a row for each planned trial and report, in the order of the steps.

    Columns: `trial`, `variant`, `stage`, `seed`, `repeat`, `number`, `step` and each metric reported, or `metric`
    alone.

    Args:
        study: a study's folder, or its name under `results`.
        metric: the only one to load.
        stage: `fixed`, `search` or `confirm`; by default all.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        reports = _wide(
            ledger,
            "SELECT trial AS row, step, metric, value FROM report WHERE metric = coalesce(?, metric) "
            "AND trial IN (SELECT trial FROM cell WHERE stage = coalesce(?, stage)) ORDER BY trial, step",
            [metric, stage],
            ledger.study.keys if metric is None else [metric],
        )
        cells = _places(ledger, stage)
    return cells.merge(reports, on="row").drop(columns="row")


def load_events(study: StudyLike) -> pd.DataFrame:
    """Return a row for each thing that happened in the training of a planned trial, in the order of the steps.

    Columns: `trial`, `variant`, `stage`, `seed`, `repeat`, `number`, `step` (at which it happened), `kind` (such as
    `spike`, `collapse`), `subject` (what it happened to), `value` (in the unit that `text` names) and `text`, a
    sentence.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        events = ledger.frame(
            f"""
            SELECT {PLACE}, e.step, e.kind, e.subject, e.value, e.text
            FROM {CELLS} JOIN event e ON e.trial = t.number {IN_ORDER}, e.step, e.kind, e.subject"""
        )
    return events.astype({"seed": int, "repeat": int, "number": int, "step": int, "value": float})


def load_references(study: StudyLike, *, digest: str | None = None) -> pd.DataFrame:
    """Return the scores of what the trials are compared with beside each other.

    Columns: `method`, `set`, `image`, `scene`, `weights` and each metric that images have. Methods without `weights`
    learn nothing; the others are trained models, and `weights` is the SHA-256 of their file.

    Args:
        study: a study's folder, or its name under `results`.
        digest: of the images; by default those of the spec's `data.evaluate`.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        images = ledger.study.digest if digest is None else digest
        query = 'SELECT method, "set", image, metric, value FROM reference WHERE data = ? ORDER BY method, "set", image'
        wide = _wide(ledger, query, [images], ledger.study.image_keys)
        wide = wide.merge(_scenes(ledger), how="left", on=["set", "image"])
        weights = dict(ledger.connection.execute("SELECT method, weights FROM scored WHERE data = ?", [images]))
    wide.insert(3, "scene", wide.pop("scene").fillna(wide["image"]))
    wide.insert(4, "weights", wide["method"].map(weights).astype(object))
    return wide


def load_variants(study: StudyLike) -> pd.DataFrame:
    """Return the variants of the plan, the full model first; columns as in the ledger's table `variant`.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        return ledger.frame("SELECT name, component, compared_to, present, overrides FROM variant ORDER BY number")


def load_runs(study: StudyLike) -> pd.DataFrame:
    """Return which components are there in each variant, as `analysis.factorial_effects` takes it.

    Returns:
        A row for each variant (the index), the full model first; a column for each component: 1 where it is there, 0
        where it was taken out. The placebo, which is the full model again, has no row. No rows where the ledger does
        not say: variants written by hand, or a ledger of an earlier version.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        names = [name for (name,) in ledger.connection.execute("SELECT name FROM variant ORDER BY number")]
        out = set(ledger.connection.execute("SELECT variant, component FROM taken_out"))
        components = ledger.study.components
    lacking = {variant for variant, _ in out}
    rows = {name: [int((name, one) not in out) for one in components] for name in names if name in lacking}
    if rows and schema.BASELINE in names:
        rows = {schema.BASELINE: [1] * len(components), **rows}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(components), dtype=int)


def load_looks(study: StudyLike) -> pd.DataFrame:
    """Return what the looks have found, where seeds are trained until all is decided; columns `analysis.looks.COLUMNS`.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        table = ledger.frame(f"SELECT {', '.join(COLUMNS)} FROM look ORDER BY seeds, variant")
    return table.astype(dict.fromkeys(("difference", "p", "p_equivalent"), float))


def _places(ledger: Ledger, stage: str | None) -> pd.DataFrame:
    """Return the places of one stage, or of all."""
    query = f"SELECT {PLACE}, t.number AS row FROM {CELLS} WHERE c.stage = coalesce(?, c.stage) {IN_ORDER}"
    return ledger.frame(query, [stage])


def _scenes(ledger: Ledger) -> pd.DataFrame:
    return ledger.frame('SELECT "set", image, scene FROM scene')


def _wide(ledger: Ledger, query: str, parameters: Sequence[Any], known: Sequence[str]) -> pd.DataFrame:
    """Return the rows of a query with a column for each metric: the known ones, then what else was reported.

    Args:
        ledger: open.
        query: its last columns are `metric` and `value`, its rows are in the order of the columns before.
        parameters: of the query.
        known: metrics.
    """
    cursor = ledger.connection.execute(query, parameters)
    names = [column[0] for column in cursor.description]
    keys: list[tuple[Any, ...]] = []
    found: dict[str, tuple[array[int], array[float]]] = defaultdict(lambda: (array("q"), array("d")))
    for key, rows in groupby(cursor, key=lambda row: row[:-2]):  # millions of rows, so none of them is kept
        for row in rows:
            places, values = found[row[-2]]
            places.append(len(keys))
            values.append(nan if row[-1] is None else row[-1])
        keys.append(key)
    wide = {metric: np.full(len(keys), nan) for metric in [*known, *sorted(found.keys() - set(known))]}
    for metric, (places, values) in found.items():
        wide[metric][places] = values
    return pd.concat([pd.DataFrame(keys, columns=names[:-2]), pd.DataFrame(wide)], axis=1)
