"""Whether a run on the server holds what the ledger has: pure functions, for what was lost or changed there by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import NamedTuple

from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from platform.mirror_content import SEARCHED, Wanted, milliseconds
from platform.mirror_ledger import Point
from platform.mirror_server import Run

__all__ = ["Due", "contradicts", "due", "outlived", "points_due", "shows"]

PASSING_TAGS = frozenset((
    "kind", "message", "report", "missing", "caution", "events", "references",
    "suggestion", "repeat", "rung", "chosen", "left_out", "scored_on",
))  # fmt: skip
"""Tags that a run can lose again; so can those of the search."""
LARGEST = 1.7976931348623157e308
"""What MLflow's SQL stores keep of an infinite value."""


class Due(NamedTuple):
    """A point as a server should have it; its value as text, since NaN equals nothing."""

    metric: str
    step: int
    at: int
    value: str


def due(metric: str, step: int, at: int, value: float | None) -> Due:
    """Return a point as it compares; `at` in milliseconds since 1970."""
    if value is None or isnan(value):
        return Due(metric, step, at, "nan")
    return Due(metric, step, at, repr(max(-LARGEST, min(LARGEST, float(value))) + 0.0))


def outlived(run: Run, tags: Mapping[str, str]) -> list[str]:
    """Return the tags that a run has and should have no more."""
    return [key for key in run.tags.keys() - tags.keys() if key in PASSING_TAGS or key.startswith(SEARCHED)]


def shows(run: Run, wanted: Wanted, last: Sequence[Point], data_set: str | None) -> bool:
    """Whether the run's name, tags, parameters, last values and input are those wanted; nothing else is looked at.

    Args:
        run: as it was found.
        wanted: as it should be.
        last: the points of its last settled step.
        data_set: the digest of its input, if it should have one by now.
    """
    return (
        run.name == wanted.name
        and all(
            run.tags.get(key, "")[:MAX_TAG_VAL_LENGTH] == value[:MAX_TAG_VAL_LENGTH]
            for key, value in wanted.tags.items()
        )
        and set(outlived(run, wanted.tags)) <= {"missing"}
        and all(run.params.get(key) == value[:MAX_PARAM_VAL_LENGTH] for key, value in wanted.params.items())
        and all(
            point.metric in run.metrics
            and due(point.metric, 0, 0, run.metrics[point.metric]) == due(point.metric, 0, 0, point.value)
            for point in last
        )
        and (data_set is None or data_set in run.data_sets)
    )


def contradicts(run: Run, wanted: Wanted, points: set[Due], held: set[Due]) -> bool:
    """Whether the run has what MLflow can never change: another value of a parameter, or a point the ledger lacks."""
    return bool(held - points) or any(
        run.params.get(key, value) not in (value, value[:MAX_PARAM_VAL_LENGTH]) for key, value in wanted.params.items()
    )


def points_due(points: Sequence[Point]) -> set[Due]:
    """Return the ledger's points as they compare."""
    return {due(one.metric, one.step, milliseconds(one.at), one.value) for one in points}
