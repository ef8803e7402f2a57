"""How the report speaks of a search, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isfinite

import pandas as pd

from analysis.ledger import Search, Study
from analysis.schema import CONFIRM, ENDED, FAILED, FIXED, SEARCH
from analysis.search_tables import Rung
from analysis.tables import Readings
from analysis.wording import counted, digits, listed, number, unended

__all__ = ["asked", "budget", "compared", "gap", "gaps", "largest", "lost", "notices", "progress"]

KEPT = "as promised"
UNSEEN = "confirmed on new images"
MOST_NAMED = 3
"""So many values that are left out are named."""
CURSE = (
    "A promise is the best of several noisy values, so it flatters: of 20 settings tried with one seed each, whose "
    "true values spread by three quarters of the spread over seeds, the best promises 2.3 such spreads more than the "
    "mean where 0.9 are true (simulated)."
)
SCHEDULERS = {
    "none": "no trial is stopped early",
    "asha": "successive halving (ASHA) stopped trials early",
    "hyperband": "Hyperband stopped trials early",
    "median": "trials below the running median were stopped early",
}
SAMPLERS = {
    "tpe": "TPE",
    "gp": "a Gaussian process",
    "random": "random sampling",
    "quasi-random": "quasi-random points",
}


def progress(readings: Readings, search: Search, choices: pd.DataFrame) -> list[tuple[str, str]]:
    """Say how far each stage is, unless all is done."""
    plan, expected = readings.plan, readings.study.expected
    searches = sum(1 for name in readings.variants["name"] if name in search.parameters) * search.repeats
    open_ = ~plan["state"].isin(ENDED)
    failed = int(((plan["state"] == FAILED) & (plan["stage"] != SEARCH)).sum())
    if not open_.any() and not failed and len(choices) >= searches:
        return []
    parts = []
    for stage, name in ((FIXED, "the fixed stage"), (SEARCH, "the search"), (CONFIRM, "the confirmation")):
        own = plan["stage"] == stage
        total = max(expected.get(stage, 0), int(own.sum()))
        lost = int((plan["state"] == FAILED)[own].sum()) if stage != SEARCH else 0  # for a search a result, too
        if total:
            most = " at most" if stage == SEARCH and len(choices) < searches else ""
            parts.append(f"{int((own & ~open_).sum()) - lost} of {total:,} trials of {name}{most}")
    counts = {word: int((plan["state"] == state).sum()) for state, word in unended(plan["state"]).items()} | {
        "failed": failed
    }
    states = [f"{count} {word}" for word, count in counts.items() if count]
    heading = "Unfinished" if open_.any() or len(choices) < searches else "Incomplete"
    now = f"; {listed(states)}" if states else ""
    over = f"{len(choices)} of {searches} {'search is' if searches == 1 else 'searches are'} over"
    return [(heading, f"{listed(parts)} have a result{now}; {over}.")]


def notices(search: Search, rungs: Sequence[Rung], ended: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return cautions, why searches ended early, and where stopping early may mislead: (heading, sentence).

    Args:
        search: its cautions.
        rungs: what they foretell.
        ended: (variant, why its search ended early).
    """
    found = [("Search", sentence) for sentence in search.cautions]
    reasons = sorted(ended, key=lambda one: one[1])
    for why, several in groupby(reasons, key=lambda one: one[1]):
        found.append(("Ended early", f"{listed([name for name, _ in several])}: {why}."))
    return [*found, *_misled(rungs)]


def _misled(rungs: Sequence[Rung]) -> list[tuple[str, str]]:
    """Say once what holds at several rungs, and of several objectives; the numbers stand in the table of rungs."""
    steps: dict[tuple[str, str], list[str]] = {}
    for one in rungs:
        if one.found.warning:
            steps.setdefault((one.found.warning, one.name), []).append(f"{one.step:,}")
    names: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (warning, name), at in steps.items():
        names.setdefault((warning, tuple(at)), []).append(name)
    return [
        ("Early stopping", f"At step{'s' if len(at) > 1 else ''} {listed(list(at))}, {listed(several)}: {warning}.")
        for (warning, at), several in names.items()
    ]


def asked(search: Search, study: Study) -> str:
    """Say what was searched for, how, and with what budget."""
    aims = listed([f"{study.metric(key).name} ({'highest' if way == 'max' else 'lowest'})"
                   for key, way in search.objectives.items()])  # fmt: skip
    each = "" if len(search.seeds) == 1 else f", each trained with {len(search.seeds)} seeds"
    repeats = "" if search.repeats == 1 else f" {search.repeats} times, each with its own seed of the sampler"
    first = (
        f" The first {counted(search.first_points, 'suggestion')} of a search are the same for all variants."
        if search.first_points else ""
    )  # fmt: skip
    sampler = SAMPLERS.get(search.sampler, search.sampler)
    return (
        f"Every variant was searched for itself{repeats}, for {aims}: Optuna with {sampler}, "
        f"{counted(_count(search), _unit(search))}{each}; {SCHEDULERS.get(search.scheduler, search.scheduler)}.{first}"
    )


def budget(search: Search, spent: pd.DataFrame) -> str:
    """Say whether every variant that has something to search has spent the same."""
    searched = spent[spent["budget"].notna()]
    if searched.empty:
        return "No variant has anything to search."
    whole = counted(_count(search) * search.repeats, _unit(search))
    each = "" if search.repeats == 1 else f" ({_count(search):,} in each of {search.repeats} repeats)"
    some = f"each of the {len(searched)} variants that have" if len(searched) > 1 else "the one variant that has"
    who = "every variant" if len(searched) == len(spent) else f"{some} something to search"
    low, high = searched["used"].min(), searched["used"].max()
    if low == high:
        spends = "each has spent" if len(searched) > 1 else "it has spent"
        return (
            f"{'Equal budgets' if len(searched) > 1 else 'Budget'}: {whole} for {who}{each}, of which {spends} {low:,}."
        )
    return f"A budget of {whole} for {who}{each}; they have spent {low:,} to {high:,}."


def gaps(promised: pd.DataFrame, study: Study, search: Search) -> list[str]:
    """Say how far the promises were kept, and what that tells."""
    said, flattered = [], False
    for key, way in search.objectives.items():
        found = promised.loc[promised["metric"] == key, "gap"].dropna()
        if len(found):
            decimals, metric = digits(largest(promised, key)), study.metric(key)
            better = (found.mean() > 0) == (way == "max")
            word = gap(found.mean(), decimals, metric.unit, better=better)
            flattered = flattered or (word != KEPT and not better)
            over = f", on average of {len(found)} choices" if len(found) > 1 else ""
            said.append(f"{metric.name} was confirmed {word}{'' if word == KEPT else ' than promised'}{over}.")
    if study.confirm is None:
        return ["Nothing was confirmed, since the spec has no such section.", CURSE]
    if said and not study.confirm.sets:
        said.append("The images are the same: confirmed are the settings with other seeds, not on other images.")
    return [*said, *([CURSE] if flattered else []), *_tuned(promised, study, search)]


def lost(places: pd.DataFrame, study: Study, names: Mapping[str, str]) -> list[str]:
    """Say of each objective which trainings have no part in the means, since their value is infinite or missing."""
    said = []
    for key, part in places.groupby("metric", sort=False):
        named = [
            f"{names[row['variant']]}, {UNSEEN if row['quantity'] == 'unseen' else row['quantity']}, seed {row['seed']}"
            for row in part.head(MOST_NAMED).to_dict("records")
        ]
        more = f" and {len(part) - MOST_NAMED} more" if len(part) > MOST_NAMED else ""
        left = f"{counted(len(part), 'value')} {'is' if len(part) == 1 else 'are'} left out"
        said.append(f"{study.metric(str(key)).name}: {left}, infinite or missing: {'; '.join(named)}{more}.")
    return said


def _tuned(promised: pd.DataFrame, study: Study, search: Search) -> list[str]:
    """Say of each objective how often the settings found are better than the spec's own; nothing if none are known."""
    said = []
    for key, way in search.objectives.items():
        known = promised[(promised["metric"] == key) & promised["change"].notna()]
        rows, name = known[known["change low"].notna()], study.metric(key).name
        without = known[known["change low"].isna()]
        if len(without):
            few, how = counted(len(without), "choice"), without["change how"].iloc[0]
            said.append(f"Of {few} {name}, tuned against untuned, has no interval: {how}.")
        if rows.empty:
            continue
        up, down = int((rows["change low"] > 0).sum()), int((rows["change high"] < 0).sum())
        better, worse = (up, down) if way == "max" else (down, up)
        counts = {"better": better, "worse": worse, "not told from no change": len(rows) - up - down}
        parts = listed([f"{word} in {count}" for word, count in counts.items() if count])
        said.append(
            f"Tuned against untuned, on the images of the search, of {counted(len(rows), 'choice')} other than the "
            f"spec\u2019s own settings {name} is {parts} (95 % intervals, each for itself)."
        )
    return said


def compared(rungs: Sequence[Rung]) -> str:
    """Say how it was found what rungs foretell; nothing without rungs."""
    if not rungs:
        return ""
    free = [one.free for one in rungs]
    which = (
        "Only those that nothing could stop are compared." if all(free)
        else "Those that outlived a rung are alike there, which hides a correlation."
    )  # fmt: skip
    return (
        "Kendall\u2019s rank correlation of the value at the rung with that at the end, over the pairs of suggestions "
        "of the same search that ran to the end. The order foretells that at the end where the interval lies above 0, "
        "and tells little of it where the interval lies below 0.5: of two, the better one here is then the better one "
        f"at the end in less than three of four cases. {which}"
    )


def gap(value: float, decimals: int, unit: str, *, better: bool) -> str:
    """Return what was confirmed minus what was promised in words."""
    size = number(abs(value), decimals)
    if not isfinite(value):
        return "\u2013"
    if float(size) == 0:
        return KEPT
    return f"{size} {unit}".rstrip() + (" better" if better else " worse")


def largest(promised: pd.DataFrame, metric: str) -> float:
    """Return the largest magnitude among an objective's values, which says how many decimals suit them."""
    part = promised[promised["metric"] == metric]
    found = part[["untuned", "promised", "confirmed", "unseen"]].abs().max().max()
    return float(found) if pd.notna(found) else 0.0


def _unit(search: Search) -> str:
    return next(iter(search.budget)).removesuffix("s")


def _count(search: Search) -> int:
    return next(iter(search.budget.values()))
