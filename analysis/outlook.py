"""How many seeds would decide at each margin that a study declared, and what these take. Pure.

A number of seeds decides if a true difference as large as the margin is then found, and a true difference of zero shown
to be below it, each with a probability of 80 %. How the difference varies from seed to seed is what the seeds so far
tell of it, and few of them tell it roughly: hence a range, a 90 % interval. With fewer than three seeds nothing is made
up: it is said what margins take that are so many standard deviations of one variant's score over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, nan, sqrt
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.comparison import LEVEL
from analysis.schema import DECIDED
from analysis.sequential import shares
from analysis.statistics import decides, deviation_range, seeds_needed

__all__ = [
    "ALL", "ASSUMED", "COMPONENT", "ENDS", "MOST", "Effort", "Reach", "few_orders", "outlook_table", "reach",
    "reached",
]  # fmt: skip

MOST = 1000
"""More seeds than this are not counted out."""
COMPONENT, ALL, ASSUMED = "component", "all", "assumed"
"""Kinds of rows: of one comparison; of all that are open, the most that one of them takes; of a spread assumed."""
ENDS = ("low", "high")
SDS = (0.5, 1.0, 2.0)
"""The margins, in standard deviations of one variant's score over seeds, that are told while none is known."""


@dataclass(frozen=True)
class Effort:
    """What one more seed of every variant takes; where searches are repeated, one more repeat.

    Args:
        trainings: of all variants together.
        hours: of one training; NaN while that is not known.
        at_once: how many trainings run at a time.
    """

    trainings: float
    hours: float
    at_once: int


@dataclass(frozen=True)
class Reach:
    """So many seeds decide, all in all; `beyond`: not even these, and more are not counted, or not declared."""

    seeds: int
    beyond: bool = False


def reach(ratio: float, *, level: float, after: int, looks: Sequence[int] = ()) -> Reach:
    """Return the first number of seeds above `after` that decides.

    Args:
        ratio: standard deviation over seeds of the paired difference, over the margin.
        level: of one test: the declared level over the number of comparisons declared together.
        after: so many seeds have not decided.
        looks: the numbers of seeds at which a study with seeds until decided is looked at, each with its share of the
            level; the last is the most that it may come to. None where the number of seeds is given.
    """
    if looks:
        parts = zip(looks, shares(looks, looks[-1]), strict=True)
        enough = (n for n, share in parts if n > after and decides(n, ratio, level=level * share))
        found = next(enough, None)
        return Reach(looks[-1], beyond=True) if found is None else Reach(found)
    if after >= MOST or not decides(MOST, ratio, level=level):
        return Reach(max(MOST, after), beyond=True)
    return Reach(max(seeds_needed(ratio, 1.0, level=level), after + 1))


def reached(row: Mapping[Any, Any], margin: float, *, level: float, looks: Sequence[int] = ()) -> tuple[Reach, Reach]:
    """Return the fewest and the most seeds that may be needed, by what the seeds so far tell of the spread (90 %).

    Args:
        row: of `judge`, with a finite `deviation`; what has no verdict (`role`) may be decided by the seeds there are.
        margin: in its unit.
        level: as for `reach`.
        looks: as for `reach`.
    """
    low, high = deviation_range(row["deviation"], seeds=row["seeds"])
    after = _last_look(row) if looks else row["seeds"]
    if row.get("role", "primary") != "primary":
        after = 0
    return (
        reach(low / margin, level=level, after=after, looks=looks),
        reach(high / margin, level=level, after=after, looks=looks),
    )


def outlook_table(
    verdicts: pd.DataFrame | None,
    matters: Mapping[str, float],
    sizes: Mapping[str, int],
    effort: Effort,
    *,
    looks: Sequence[int] = (),
    planned: int = 0,
    outstanding: float = nan,
    unknown: str = "nothing has been trained yet",
    spreads: Mapping[str, float] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return what it would take to decide, for each margin that was declared.

    Columns: `metric`, `margin` (in its unit); `kind`: `component`; `all`: the most that an open comparison takes; or
    `assumed`, where no comparison's spread is known: at a margin of so many standard deviations of one variant's score
    over seeds (`sds`), if runs of one seed have nothing in common. `component`, `variant`, `compared_to`, `deviation`
    as in the table of verdicts; `seeds`: complete so far; `seeds_low`, `seeds_high`: all in all; `beyond_low`,
    `beyond_high`: more than that, which is the most that was declared or counted. `trainings_*`, `hours_*` (summed) and
    `wall_hours_*` (`at_once` at a time) are those to come, of all variants. `why` explains what is missing, and says
    what is decided already, or will be by the seeds that are planned.

    Args:
        verdicts: as from `analysis.tables.verdict_table`; None if nothing is known.
        matters: metric -> the smallest difference that matters.
        sizes: variant of each declared comparison -> how many were declared together with it, itself included.
        effort: what one more seed takes.
        looks: as for `reach`.
        planned: seeds of every variant, while some of them have not ended (`Readings.planned`): what has a verdict so
            far takes these. 0 once they all have, or with looks.
        outstanding: trainings of these that have not ended (`Readings.outstanding`); NaN if that is not known.
        unknown: why nothing is known, if so.
        spreads: component -> how its effect varies over seeds, over how one variant's score does, if runs have nothing
            in common (`analysis.factorial.spreads`); of what is not named it is that of a difference of two runs.
    """
    rows: list[dict[str, Any]] = []
    for metric, margin in matters.items():
        there = {} if verdicts is None else _of_metric(verdicts, metric)
        own = [
            _component(there.get(name), name, margin, level=LEVEL / size, looks=looks, planned=planned, unknown=unknown)
            for name, size in sizes.items()
        ]
        known = [row for row in own if isfinite(row["seeds_low"])]
        more = [_together(own, planned)] if known else _assumed(own, sizes, spreads, looks) if own else []
        costed = [_costed(row, effort, planned, outstanding) for row in [*own, *more]]
        rows += [{"metric": metric, "margin": margin, **row} for row in costed]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(_COUNTS, "Int64"))


COLUMNS = [
    "metric", "margin", "kind", "component", "variant", "compared_to", "sds", "deviation", "seeds",
    *(f"{what}_{end}" for what in ("seeds", "beyond", "trainings", "hours", "wall_hours") for end in ENDS), "why",
]  # fmt: skip
_COUNTS = ["seeds", *(f"{what}_{end}" for what in ("seeds", "trainings") for end in ENDS)]
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("component", "variant", "compared_to", "why"), ""),
    **dict.fromkeys(("sds", "deviation", "seeds_low", "seeds_high"), nan),
    **dict.fromkeys(("beyond_low", "beyond_high", "waits"), False), "seeds": 0,
}  # fmt: skip


def _of_metric(verdicts: pd.DataFrame, metric: str) -> dict[str, dict[Any, Any]]:
    rows = verdicts[verdicts["metric"] == metric].to_dict("records")
    return {str(row["variant"]): row for row in rows}


def _component(
    row: Mapping[Any, Any] | None,
    name: str,
    margin: float,
    *,
    level: float,
    looks: Sequence[int],
    planned: int,
    unknown: str,
) -> dict[str, Any]:
    """Return the seeds that one comparison takes, or why they are not known."""
    found = {**_NOTHING, "kind": COMPONENT, "variant": name}
    if row is None:
        return {**found, "why": unknown}
    kept = ("component", "compared_to", "deviation", "seeds")
    found |= {key: row[key] for key in kept}
    if row["verdict"] in DECIDED and planned:
        why = f"{row['verdict']} so far, to be decided at the {planned} planned"
        return {**found, **_ends(Reach(row["seeds"]), Reach(row["seeds"])), "waits": True, "why": why}
    if row["verdict"] in DECIDED:
        return {**found, "seeds_low": row["seeds"], "seeds_high": row["seeds"], "why": f"decided: {row['verdict']}"}
    judged = row["verdict"] or row["role"] != "primary" or looks  # what waits for a look will be judged
    if not isfinite(row["deviation"]) or not judged or _aliased(row):
        return {**found, "why": row["why"] or "the spread over seeds is not known"}
    if few_orders(row, margin):
        return {**found, "why": few_orders(row, margin)}
    return found | _ends(*reached(row, margin, level=level, looks=looks))


def few_orders(row: Mapping[Any, Any], margin: float) -> str:
    """Return why no number of seeds decides where components' effects come from few random orders; else nothing.

    Args:
        row: of an effect (`sampling`), or of `judge`.
        margin: in its unit.
    """
    large = row.get("sampling", 0.0) >= margin
    return "the error of drawing orders alone is as large as the margin: more orders are needed" if large else ""


def _aliased(row: Mapping[Any, Any]) -> bool:
    """Return whether a row's effect cannot be told from others, so that no number of seeds decides."""
    aliases = row.get("aliases")
    return isinstance(aliases, str | list) and bool(aliases)


def _last_look(row: Mapping[Any, Any]) -> int:
    """Return the seeds at the last look, 0 before the first."""
    last = row.get("last_look", 0)
    return int(last) if isfinite(last) else 0


def _ends(low: Reach, high: Reach) -> dict[str, Any]:
    return {
        "seeds_low": low.seeds, "seeds_high": high.seeds, "beyond_low": low.beyond, "beyond_high": high.beyond,
    }  # fmt: skip


def _together(rows: Sequence[Mapping[str, Any]], planned: int) -> dict[str, Any]:
    """Return the most that an open comparison takes, of those whose spread is known; `waits` if one of them does."""
    known = [row for row in rows if isfinite(row["seeds_low"])]
    open_ = [row for row in known if not row["why"]]
    lacking = [row["component"] or row["variant"] for row in rows if not isfinite(row["seeds_low"])]
    whys = [f"not known of {', '.join(lacking)}"] if lacking else []
    waits = any(row["waits"] for row in known)
    found = {**_NOTHING, "kind": ALL, "seeds": min(row["seeds"] for row in open_ or known), "waits": waits}
    all_ = f"all {'that are known ' if lacking else ''}"
    if not open_ and waits:
        there, why = Reach(found["seeds"]), f"{all_}have a verdict so far, to be decided at the {planned} planned"
        return {**found, **_ends(there, there), "why": "; ".join([why, *whys])}
    if not open_:
        return {**found, "why": "; ".join([f"{all_}are decided", *whys])}
    most = [max((row[f"beyond_{end}"], row[f"seeds_{end}"]) for row in open_) for end in ENDS]
    low, high = (Reach(int(seeds), beyond) for beyond, seeds in most)
    return {**found, **_ends(low, high), "why": "; ".join(whys)}


def _assumed(
    rows: Sequence[Mapping[str, Any]], sizes: Mapping[str, int], spreads: Mapping[str, float], looks: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what margins take that are so many standard deviations of one variant's score over seeds.

    The most that a comparison takes; beside effects, each of many runs, a pair such as the placebo takes more.
    """
    there = min((int(row["seeds"]) for row in rows), default=0)
    after = max((int(row["seeds"]) for row in rows), default=0) if not looks else 0
    pairs = [name for name in sizes if spreads and name not in spreads]

    def most(names: Iterable[str], sds: float) -> Reach:
        took = [
            reach(spreads.get(name, sqrt(2)) / sds, level=LEVEL / sizes[name], after=after, looks=looks)
            for name in names
        ]
        return max(took, key=lambda one: (one.beyond, one.seeds))

    found = []
    for sds in SDS:
        one, effects = most(sizes, sds), most(spreads or sizes, sds)
        why = f"{effects.seeds} without {', '.join(pairs)}" if effects != one else ""
        found.append({**_NOTHING, "kind": ASSUMED, "sds": sds, "seeds": there, **_ends(one, one), "why": why})
    return found


def _costed(row: Mapping[str, Any], effort: Effort, planned: int, outstanding: float) -> dict[str, Any]:
    """Return a row with the trainings and hours to come; what `waits` takes no fewer seeds than are planned."""
    found = dict(row)
    awaited = outstanding if isfinite(outstanding) else (planned - row["seeds"]) * effort.trainings
    for end in ENDS:
        more = row[f"seeds_{end}"] - row["seeds"]
        trainings = max(0.0, more * effort.trainings) if isfinite(more) else nan
        if row["waits"]:
            found[f"seeds_{end}"] = max(row[f"seeds_{end}"], planned)
            trainings = max(trainings, awaited)
        found[f"trainings_{end}"] = round(trainings) if isfinite(trainings) else nan
        found[f"hours_{end}"] = trainings * effort.hours
        rounds = ceil(trainings / max(1, effort.at_once)) if isfinite(trainings) else nan
        found[f"wall_hours_{end}"] = rounds * effort.hours
    return found
