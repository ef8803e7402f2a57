"""What the searches of a study tried, as pandas frames: suggestions, choices, and values at rungs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.ledger import Ledger, StudyLike, open_ledger
from analysis.schema import COMPLETED, CONTINUE, DIVERGED, FAILED, FIXED, PLANNED, RUNNING, SEARCH, STOPPED
from analysis.statistics import Floats

__all__ = ["PARAMS", "PLACE", "Searched", "best_front", "finite", "load_suggestions", "read_search", "worth"]

PARAMS = "params/"
PLACE = ["variant", "repeat", "number"]
STATES = {FAILED: "failed", DIVERGED: "diverged", STOPPED: "stopped", RUNNING: "running", PLANNED: "waiting"}
"""What a suggestion is if one of its trials is so, the first that holds; `complete` if none is."""


@dataclass(frozen=True)
class Searched:
    """What a ledger says about the searches.

    Args:
        suggestions: as from `load_suggestions`.
        choices: `variant`, `repeat`, `number` (NA: nothing was chosen; -1: nothing to search), `why`, `settings`
            (JSON; missing if nothing was found) and `own` (whether these are the spec's own settings).
        rungs: a row for each trial of a search, rung, and objective: `variant`, `repeat`, `number`, `trial` (its
            number), `state`, `what` (decided on it there; missing if nothing), `free` (whether nothing was ever decided
            on it), `rung`, `metric`, `value` there and `final` (the trial's own value at the end; NaN unless complete).
            A rung is where some trial was let go on: elsewhere trials are stopped only because a sibling's fate
            decided.
    """

    suggestions: pd.DataFrame
    choices: pd.DataFrame
    rungs: pd.DataFrame


def load_suggestions(study: StudyLike) -> pd.DataFrame:
    """Return a row for each suggestion of every search, in the order variant, repeat, number.

    Columns: `variant`, `repeat`, `number` (from 0), `trial` (the identity of its trial with the first seed), `state`
    (`complete`, `stopped`, `diverged`, `failed`, `running`, `waiting`, `refused` by the trainer, or `left out` since
    the search was changed), each objective (the mean of its trials' last evaluations, as many as the study declared;
    NaN unless complete), `rung` (the step at which it was stopped), `steps` and `seconds` (trained for it, none for a
    repeat), `same_as` (for a repeat, the number of the suggestion whose trials answered it), `chosen` (to be
    confirmed), `front` (whether none of the same search is better in every objective; a repeat is none of its own),
    `refused` and `left_out` (why), and `params/...`: the settings.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        objectives = list(ledger.study.search.objectives) if ledger.study.search else []
        found = ledger.frame(
            """
            SELECT s.variant, s.repeat, s.number, s.trial, s.params, s.same_as, s.refused, s.left_out,
                coalesce(c.number = s.number, 0) AS chosen
            FROM suggestion s LEFT JOIN variant v ON v.name = s.variant
            LEFT JOIN choice c ON c.variant = s.variant AND c.repeat = s.repeat
            ORDER BY v.number IS NULL, v.number, s.variant, s.repeat, s.number"""
        )
        found = found.merge(_trials(ledger, objectives), how="left", on=PLACE)
    found = found.astype({"same_as": "Int64", "chosen": bool})
    trained = found[["steps", "seconds"]].fillna(0).mask(found["same_as"].notna(), 0)
    found = found.assign(steps=trained["steps"].astype("Int64"), seconds=trained["seconds"].astype(float))
    found["state"] = found["state"].fillna("waiting").mask(found["refused"].notna(), "refused")
    found["state"] = found["state"].mask(found["left_out"].notna(), "left out")
    found["front"] = _on_front(found, ledger)
    settings = pd.DataFrame([json.loads(text) for text in found["params"]], index=found.index).add_prefix(PARAMS)
    order = [*PLACE, "trial", "state", *objectives, "rung", "steps", "seconds", "same_as", "chosen", "front"]
    return pd.concat([found[[*order, "refused", "left_out"]], settings], axis=1)


def read_search(ledger: Ledger) -> Searched:
    """Read what the searches of a study tried and chose."""
    choices = ledger.frame(
        """
        SELECT c.variant, c.repeat, c.number, c.why, s.params AS settings, coalesce(c.number, 0) = -1 OR EXISTS (
            SELECT 1 FROM trial t JOIN cell f ON f.stage = ? AND f.variant = c.variant
            JOIN trial u ON u.number = f.trial
            WHERE t.id = s.trial AND t.settings = u.settings
        ) AS own
        FROM choice c LEFT JOIN variant v ON v.name = c.variant
        LEFT JOIN suggestion s ON s.variant = c.variant AND s.repeat = c.repeat AND s.number = c.number
        ORDER BY v.number IS NULL, v.number, c.variant, c.repeat""",
        [FIXED],
    )
    return Searched(load_suggestions(ledger), choices.astype({"number": "Int64", "own": bool}), _rungs(ledger))


def worth(ledger: Ledger, stage: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Return what each completed place of a stage is worth: the mean of its trial's last evaluations.

    As many as the study declared; NaN if the metric is missing at one of them. What images have is the mean over all
    images that a trial was scored on.

    Returns:
        Columns `variant`, `repeat`, `number`, `seed`, `trial` (its number) and each of `metrics`.
    """
    scores = ledger.frame(
        f"""
        WITH ranked AS (
            SELECT s.trial, s.step, row_number() OVER (PARTITION BY s.trial ORDER BY s.step DESC) AS back
            FROM step s JOIN trial t ON t.number = s.trial
            WHERE t.state = ? AND t.number IN (SELECT trial FROM cell WHERE stage = ?)
        ), last AS (
            SELECT trial, step, count(*) OVER (PARTITION BY trial) AS evaluations FROM ranked WHERE back <= ?
        )
        SELECT l.trial, r.metric, CASE WHEN count(r.value) = l.evaluations THEN avg(r.value) END AS value
        FROM last l CROSS JOIN report r ON r.trial = l.trial AND r.step = l.step
        WHERE r.metric IN ({_marks(metrics)}) GROUP BY l.trial, r.metric""",
        [COMPLETED, stage, ledger.study.at, *metrics],
    )
    wide = scores.astype({"value": float}).pivot(index="trial", columns="metric", values="value")
    places = ledger.frame("SELECT variant, repeat, number, seed, trial FROM cell WHERE stage = ?", [stage])
    return places.merge(wide.reindex(columns=list(metrics)).reset_index(), on="trial")


def finite(rows: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """Return suggestions, or places, with NaN for each objective that is not finite: it has no mean and no axis."""
    values = rows[list(objectives)].astype(float)
    return rows.assign(**values.where(np.isfinite(values)))


def best_front(points: Floats, higher_is_better: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """Return which points no other one dominates, (n,): is better in one objective and in none worse.

    Args:
        points: values, (n, m). A point with a value that is not finite is on no front.
        higher_is_better: the direction of each of the m objectives.
    """
    losses = points * np.where(higher_is_better, -1.0, 1.0)
    finite = np.isfinite(losses).all(axis=1)
    beaten = [bool(((losses[finite] <= one).all(axis=1) & (losses[finite] < one).any(axis=1)).any()) for one in losses]
    return np.asarray(finite & ~np.array(beaten, dtype=bool))


def _trials(ledger: Ledger, objectives: Sequence[str]) -> pd.DataFrame:
    """Return for each suggestion that has trials `state`, each objective, `rung`, `steps` and `seconds`."""
    trials = ledger.frame(
        """
        SELECT c.variant, c.repeat, c.number, t.number AS trial, t.state FROM cell c JOIN trial t ON t.number = c.trial
        WHERE c.stage = ?
        UNION  -- what is left out has no place in the plan any more
        SELECT s.variant, s.repeat, s.number, t.number, t.state FROM suggestion s JOIN trial t ON t.id = s.trial
        WHERE s.left_out IS NOT NULL""",
        [SEARCH],
    )
    spent = ledger.frame("SELECT trial, max(step) AS steps, max(seconds) AS seconds FROM step GROUP BY trial")
    stops = ledger.frame("SELECT trial, max(rung) AS rung FROM decision WHERE what = 'stop' GROUP BY trial")
    values = worth(ledger, SEARCH, objectives).drop_duplicates([*PLACE, "trial"]).drop(columns="seed")
    trials = trials.merge(spent, how="left", on="trial").merge(stops, how="left", on="trial")
    trials = trials.merge(values, how="left", on=[*PLACE, "trial"])
    order = list(STATES)
    trials["worst"] = [order.index(state) if state in order else len(order) for state in trials["state"]]
    numbers = ["rung", "steps", "seconds", *objectives]
    trials = trials.astype(dict.fromkeys(numbers, float))
    groups = trials.groupby(PLACE, sort=False)
    found = groups.agg(worst=("worst", "min"), rung=("rung", "min"), steps=("steps", "sum"), seconds=("seconds", "sum"))
    holes = trials[list(objectives)].isna().groupby([trials[key] for key in PLACE], sort=False).any()
    found[list(objectives)] = groups[list(objectives)].mean().mask(holes)
    found["state"] = [STATES[order[worst]] if worst < len(order) else "complete" for worst in found["worst"]]
    found["rung"] = found["rung"].where(found["state"] == "stopped")
    return found.drop(columns="worst").astype({"rung": "Int64", "steps": "Int64"}).reset_index()


def _on_front(found: pd.DataFrame, ledger: Ledger) -> pd.Series[bool]:
    """Say of each suggestion whether it is on the front of its search."""
    on = pd.Series(data=False, index=found.index)
    objectives = ledger.study.search.objectives if ledger.study.search else {}
    new = found[(found["state"] == "complete") & found["same_as"].isna()]
    for _, part in new.groupby(["variant", "repeat"]):
        directions = [one == "max" for one in objectives.values()]
        on[part.index] = best_front(part[list(objectives)].to_numpy(dtype=float), directions)
    return on


def _rungs(ledger: Ledger) -> pd.DataFrame:
    objectives = list(ledger.study.search.objectives) if ledger.study.search else []
    found = ledger.frame(
        f"""
        SELECT c.variant, c.repeat, c.number, t.number AS trial, t.state, d.what,
            NOT EXISTS (SELECT 1 FROM decision o WHERE o.trial = t.number) AS free, r.step AS rung, r.metric, r.value
        FROM cell c JOIN trial t ON t.number = c.trial LEFT JOIN variant v ON v.name = c.variant
        JOIN report r ON r.trial = t.number
        LEFT JOIN decision d ON d.trial = t.number AND d.rung = r.step
        WHERE c.stage = ? AND r.step IN (SELECT rung FROM decision WHERE what = ?)
            AND r.metric IN ({_marks(objectives)})
        ORDER BY v.number, c.variant, c.repeat, c.number, c.seed, r.step, r.metric""",
        [SEARCH, CONTINUE, *objectives],
    )
    ends = worth(ledger, SEARCH, objectives).drop_duplicates("trial")[["trial", *objectives]]
    ends = ends.melt("trial", var_name="metric", value_name="final")
    found = found.merge(ends, how="left", on=["trial", "metric"])
    return found.astype({"free": bool, "value": float, "final": float, "rung": int})


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
