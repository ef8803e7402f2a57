"""What other studies know of a variant's search space: their trials, as a start for its search."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.errors import StudyError
from analysis.ledger import open_ledger
from analysis.schema import COMPLETED, DIVERGED, FAILED, STOPPED
from platform import search_space
from platform.errors import SweepError
from platform.spec import Study
from platform.tracks import Rules, Track, final, rules_of, tracks_of

__all__ = ["warm_start"]

FIRST = 1_000_000
"""The number of the first trial of another study among a search's observations: beyond every suggestion's own."""
_WORDS = {COMPLETED: "complete", STOPPED: "pruned", DIVERGED: "fail", FAILED: "fail"}
_TRIALS = """
SELECT number, settings, state FROM trial WHERE data = ? AND state IN (?, ?, ?, ?) ORDER BY number
"""


def warm_start(study: Study, results: Path, data: str) -> tuple[dict[str, list[Any]], list[str]]:
    """Return what the studies named by `search.start` observed of each variant's space, and a sentence on each.

    A trial counts if it was trained and scored on the same images, and the trainer would train the very same again but
    for the seed. Each is an observation of its own: several seeds are several values of one point.

    Args:
        study: the checked spec.
        results: the folder of studies.
        data: digest of the images of the search.

    Raises:
        SweepError: if there is no such study, or its ledger cannot be read.
    """
    rules = rules_of(study)
    found: dict[str, list[Any]] = {}
    said: list[str] = []
    if rules is None:
        return found, said
    tracks = [track for track in tracks_of(study, rules.search) if track.repeat == 0]
    for name in dict.fromkeys(rules.search.start):
        try:
            with open_ledger(results / name) as ledger:
                rows = _rows(ledger.connection, rules, data)
        except StudyError as error:
            raise SweepError(f"search.start: {error}") from None
        for track in tracks:
            observed = _observed(track, study, rules, rows, FIRST + len(found.get(track.variant.name, ())))
            found.setdefault(track.variant.name, []).extend(observed)
            said.append(f"{track.variant.name}: {len(observed)} of {len(rows)} trials of {name} are a start")
    return found, said


def _rows(db: sqlite3.Connection, rules: Rules, data: str) -> list[tuple[dict[str, Any], str, dict[int, list[float]]]]:
    """Return the settings, state and curve of each trial on these images that has ended."""
    found = []
    places = ", ".join("?" * len(rules.metrics))
    for number, settings, state in db.execute(_TRIALS, (data, *_WORDS)).fetchall():
        curve: dict[int, list[float]] = {}
        query = f"SELECT step, metric, value FROM report WHERE trial = ? AND metric IN ({places})"
        for step, metric, value in db.execute(query, (number, *rules.metrics)):
            point = curve.setdefault(step, [math.nan] * len(rules.metrics))
            point[list(rules.metrics).index(metric)] = math.nan if value is None else value
        found.append((json.loads(settings), state, curve))
    return found


def _observed(track: Track, study: Study, rules: Rules, rows: Sequence[Any], first: int) -> list[Any]:
    from platform.sampler_history import Observation

    count = len(rules.objectives)
    found: list[Any] = []
    for settings, state, curve in rows:
        params = search_space.placed(
            track.variant, track.parameters, settings, trainer=study.trainer, config=study.config
        )
        if isinstance(params, str) or not track.parameters:
            continue
        if not curve or not all(math.isfinite(one) for one in curve[max(curve)][:count]):
            continue  # it broke down before it had a value, or was scored by other metrics
        word, value, rungs = _WORDS[state], None, {}
        if word == "complete" and curve:
            value = final(curve, rules.at)[:count]
        elif word == "pruned" and curve:
            rungs = {max(curve): curve[max(curve)][:count]}
        found.append(Observation(first + len(found), params, word, value, rungs))  # type: ignore[arg-type]
    return found
