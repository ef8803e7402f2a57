"""Seeds until decided: what the looks at complete cohorts have found. Pure.

A p-value that is looked at again and again is no p-value any more. Each look may spend a share of the level
(`sequential.shares`), so p / share is one at each look by itself, and by Bonferroni's inequality the least of these
over the looks is one whenever the looking stops. Over components Holm's steps hold as ever.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.comparison import decided
from analysis.schema import DECIDED
from analysis.sequential import shares

__all__ = ["COLUMNS", "look", "spent", "verdicts"]

COLUMNS = ("seeds", "variant", "difference", "p", "p_equivalent", "verdict")
"""Of the looks so far: the seeds of the look, the variant of a comparison that it tested (the component where effects
are judged), what it found."""


def look(
    table: pd.DataFrame, earlier: pd.DataFrame, *, seeds: int, at: Sequence[int], higher_is_better: bool | None
) -> pd.DataFrame:
    """Look at the first seeds, all of whose trials have ended, and return what is found, in the columns `COLUMNS`.

    What an earlier look has decided is not tested again.

    Args:
        table: the declared family, judged by these seeds alone; rows of `judge`, or of effects with the component for
            the variant.
        earlier: what earlier looks found; `COLUMNS`.
        seeds: how many they are; one of `at`.
        at: the numbers of seeds of all looks that were declared, the last one the most that there may be.
        higher_is_better: the direction of the metric.
    """
    over = set(earlier.loc[earlier["verdict"].isin(DECIDED), "variant"])
    found = table.assign(seeds=seeds, verdict="")  # that of these seeds alone is none over all looks
    found = found[~found["variant"].isin(over)]
    both = pd.concat([earlier, found[list(COLUMNS)]], ignore_index=True)
    told = verdicts(table, both, at=at, higher_is_better=higher_is_better).set_index("variant")["verdict"]
    return found.assign(verdict=found["variant"].map(told))[list(COLUMNS)].reset_index(drop=True)


def spent(found: pd.DataFrame, at: Sequence[int]) -> pd.DataFrame:
    """Return for each variant the least of p / share over its looks, 1 at most: columns `p` and `p_equivalent`."""
    share = found["seeds"].map(dict(zip(at, shares(at, at[-1]), strict=True)))
    scaled = found[["p", "p_equivalent"]].astype(float).div(share, axis=0)
    return scaled.groupby(found["variant"], sort=False).min().clip(upper=1.0)


def verdicts(
    table: pd.DataFrame, found: pd.DataFrame, *, at: Sequence[int], higher_is_better: bool | None
) -> pd.DataFrame:
    """Return rows of `judge` with the p-values, verdicts and notes that hold over all looks.

    A verdict that a look has recorded is kept; where none has, the row is `undecided`. Added columns: `look`, the seeds
    at which the row was decided, 0 while it is open; `last_look`, those at the last look taken, 0 before the first.

    Args:
        table: the declared family, of all data.
        found: of the looks so far; `COLUMNS`.
        at: as for `look`.
        higher_is_better: as for `judge`.
    """
    p = spent(found, at).reindex(table["variant"])
    over = decided(table.assign(p=p["p"].to_numpy(), p_equivalent=p["p_equivalent"].to_numpy()), higher_is_better)
    recorded = found[found["verdict"].isin(DECIDED)].set_index("variant")
    verdict = (
        over["verdict"]
        .astype(object)
        .where(~over["variant"].isin(recorded.index), over["variant"].map(recorded["verdict"].astype(object)))
    )
    when = over["variant"].map(recorded["seeds"]).fillna(0).astype(int)
    late = over["why"].mask(table["p"].notna() & over["p"].isna(), _waits(found, at))
    failed = over["n_failed"].where(when == 0, (when - over["seeds"]).clip(lower=0))  # later seeds were never planned
    return over.assign(
        p=table["p"], p_equivalent=table["p_equivalent"], verdict=verdict, look=when, last_look=_last(found), why=late,
        n_failed=failed,
    )  # fmt: skip


def _last(found: pd.DataFrame) -> int:
    """Return the seeds at the last look taken, 0 before the first."""
    return 0 if found.empty else int(found["seeds"].max())


def _waits(found: pd.DataFrame, at: Sequence[int]) -> str:
    """Say which look a comparison waits for that has not been tested yet."""
    done = _last(found)
    ahead = next((seeds for seeds in at if seeds > done), None)
    if ahead is None:
        return f"the last look, at {done} seeds, had too few complete seeds of it, and there is no other"
    return f"it waits for the look at {ahead} seeds"
