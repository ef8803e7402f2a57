"""How the report speaks of a search, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import isfinite

import pandas as pd

from analysis.ledger import Search, Study
from analysis.schema import CONFIRM, FAILED, FIXED, PLANNED, RUNNING, SEARCH
from analysis.search_tables import Rung
from analysis.tables import Readings
from analysis.wording import counted, digits, listed, number

__all__ = ["MATTERED", "asked", "budget", "compared", "gap", "gaps", "largest", "notices", "progress"]

MATTERED = (
    "The share of the first objective\u2019s variance over the space that each parameter explains, of those that "
    "always exist (Optuna\u2019s fANOVA, over the complete suggestions)."
)
_OPEN = {RUNNING: "running", PLANNED: "waiting"}
CURSE = (
    "A promise is the best of several noisy values, so it flatters: of 20 settings tried with one seed each, whose "
    "true values spread by 0.3 dB under 0.4 dB of seed noise, the best promises 0.93 dB above the mean where 0.34 "
    "dB are true (simulated)."
)
SCHEDULERS = {
    "none": "no trial was stopped early",
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
    open_ = plan["state"].isin([PLANNED, RUNNING])
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
    counts = {word: int((plan["state"] == state).sum()) for state, word in _OPEN.items()} | {"failed": failed}
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
    steps: dict[str, list[str]] = {}
    for one in rungs:
        if one.found.warning:
            steps.setdefault(one.found.warning, []).append(f"{one.step:,}")
    for warning, at in steps.items():
        found.append(("Early stopping", f"At step {listed(list(dict.fromkeys(at)))}: {warning}."))
    return found


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
    whole = counted(_count(search) * search.repeats, _unit(search))
    if searched.empty:
        return "No variant has anything to search."
    each = "" if search.repeats == 1 else f" ({_count(search):,} in each of {search.repeats} repeats)"
    low, high = searched["used"].min(), searched["used"].max()
    spends = f"each has spent {low:,}" if low == high else f"they have spent {low:,} to {high:,}"
    return f"Equal budgets: {whole} for every variant{each}, of which {spends}."


def gaps(promised: pd.DataFrame, study: Study, search: Search) -> list[str]:
    """Say how far the promises were kept, and what that tells."""
    said = []
    for key, way in search.objectives.items():
        found = promised.loc[promised["metric"] == key, "gap"].dropna()
        if len(found):
            decimals, metric = digits(largest(promised, key)), study.metric(key)
            word = gap(found.mean(), decimals, metric.unit, better=(found.mean() > 0) == (way == "max"))
            over = f", on average of {len(found)} choices" if len(found) > 1 else ""
            said.append(f"{metric.name} was confirmed {word}{'' if word == 'as promised' else ' than promised'}{over}.")
    if study.confirm is None:
        return ["Nothing was confirmed, since the spec has no such section.", CURSE]
    if not study.confirm.sets:
        said.append("The images are the same: confirmed are the settings with fresh seeds, not on fresh images.")
    return [*said, CURSE]


def compared(rungs: Sequence[Rung]) -> str:
    """Say how it was found what rungs foretell; nothing without rungs."""
    if not rungs:
        return ""
    free = [one.free for one in rungs]
    which = (
        "Only trials that nothing could stop are compared." if all(free)
        else "Trials that outlived a rung are alike there, which hides a correlation."
    )  # fmt: skip
    return (
        "Kendall\u2019s rank correlation of the value at the rung with that at the end, over the trials of all "
        f"variants that ran to the end, after each variant\u2019s mean was taken off both. {which}"
    )


def gap(value: float, decimals: int, unit: str, *, better: bool) -> str:
    """Return what was confirmed minus what was promised in words."""
    size = number(abs(value), decimals)
    if not isfinite(value):
        return "\u2013"
    if float(size) == 0:
        return "as promised"
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
