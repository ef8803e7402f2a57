"""Seeds until decided: what the looks at complete cohorts have found. Pure.

A p-value that is looked at again and again is no p-value any more. Each look may spend a share of the level
(`sequential.shares`) and decides by Holm's steps (`sequential.adjusted`), by the p-values of that look alone: what an
earlier look left open, no later one decides without new evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.comparison import BELOW, LEVEL, told
from analysis.schema import DECIDED
from analysis.sequential import adjusted, shares

__all__ = ["COLUMNS", "look", "verdicts"]

COLUMNS = ("seeds", "variant", "difference", "p", "p_equivalent", "verdict")
"""Of the looks so far: the seeds of the look, the variant of a comparison that it tested (the component where effects
are judged), what it found."""


def look(
    table: pd.DataFrame, earlier: pd.DataFrame, *, seeds: int, at: Sequence[int], higher_is_better: bool | None
) -> pd.DataFrame:
    """Look at the first seeds, all of whose trials have ended, and return what is found, in the columns `COLUMNS`.

    What an earlier look has decided is not tested again. What is decided rests on the p-values of these seeds.

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
    verdicts_now = told(_adjusted(table, both, at), higher_is_better).set_index("variant")["verdict"]
    return found.assign(verdict=found["variant"].map(verdicts_now))[list(COLUMNS)].reset_index(drop=True)


def verdicts(table: pd.DataFrame, found: pd.DataFrame, *, at: Sequence[int]) -> pd.DataFrame:
    """Return rows of `judge` with the p-values, verdicts and notes that hold over all looks.

    The verdict is the one that a look has recorded; where none has, the row is `undecided`, or has none before it was
    tested. Added columns: `look`, the seeds at which the row was decided, 0 while it is open; `last_look`, those at the
    last look taken, 0 before the first.

    Args:
        table: the declared family, of all data.
        found: of the looks so far; `COLUMNS`.
        at: as for `look`.
    """
    over = _adjusted(table, found, at)
    recorded = found[found["verdict"].isin(DECIDED)].set_index("variant")
    open_ = over["p_adjusted"].notna().map({True: "undecided", False: ""}).astype(object)
    verdict = over["variant"].map(recorded["verdict"].astype(object)).astype(object)
    verdict = verdict.where(verdict.notna(), open_)
    detected = (verdict == "equivalent") & (over["p_adjusted"] < LEVEL)
    when = over["variant"].map(recorded["seeds"]).fillna(0).astype(int)
    late = over["why"].mask(table["p"].notna() & over["p_adjusted"].isna(), _waits(found, at))
    return over.assign(
        verdict=verdict, note=over["note"].mask(detected, BELOW), look=when, last_look=_last(found), why=late
    )


def _adjusted(table: pd.DataFrame, found: pd.DataFrame, at: Sequence[int]) -> pd.DataFrame:
    """Return the table with the p-values adjusted over all looks: the least level that decides at any of them."""
    for column in ("p", "p_equivalent"):
        levels = _levels(found[found["variant"].isin(table["variant"])], column, at, declared=len(table))
        table = table.assign(**{f"{column}_adjusted": table["variant"].map(levels).astype(float)})
    return table


def _levels(found: pd.DataFrame, column: str, at: Sequence[int], *, declared: int) -> dict[str, float]:
    levels = dict[str, float]()
    for seeds, share in zip(at, shares(at, at[-1]), strict=True):
        rows = found[found["seeds"] == seeds]
        p = {str(name): float(one) for name, one in zip(rows["variant"], rows[column], strict=True) if pd.notna(one)}
        levels = adjusted(p, share=share, earlier=levels, declared=declared)
        # What a look has left open stays so until a later p decides, even if the family has shrunk since.
        stays = rows.loc[rows["verdict"] == "undecided", "variant"]
        levels |= {name: max(levels[name], LEVEL) for name in stays if name in levels}
    return levels


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
