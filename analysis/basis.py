"""What a report's verdicts rest on once there was a search: which settings, images and observations. Pure."""

from __future__ import annotations

import pandas as pd

from analysis.ledger import Confirm, Study
from analysis.schema import COMPLETED, CONFIRM
from analysis.stages import REPEATS
from analysis.tables import Readings
from analysis.wording import counted, listed

__all__ = ["basis", "unchosen", "waiting"]


def basis(readings: Readings) -> str:
    """Return what verdicts after a search compare, and what they take as one observation; nothing without a search."""
    search, confirm = readings.study.search, readings.study.confirm
    if search is None:
        return ""
    if readings.stage != CONFIRM or confirm is None:
        return (
            "Untuned: the variants are compared at the spec\u2019s settings, which may suit one of them better than "
            "another. No verdict rests on what the search found, since the spec confirms nothing."
        )
    where = _where(confirm)
    fresh = counted(len(confirm.seeds), "fresh seed")
    if readings.unit == "repeat":
        return (
            f"On the components, each variant tuned for itself: it was searched {search.repeats} times, and what each "
            f"search chose was trained again with {fresh} and scored on {where}. One observation is a repeat of the "
            "search, the mean over its seeds; pairs are repeats of the same number."
        )
    once = "once" if search.repeats == 1 else f"{search.repeats} times"
    mean = "" if search.repeats == 1 else ", the mean over the repeats"
    return (
        f"For the settings found: each variant was searched {once}, and what was chosen was trained again with {fresh} "
        f"and scored on {where}. One observation is a seed{mean}. Another search might find other settings; with "
        f"search.repeats of {REPEATS} or more the verdicts would be on the components."
    )


def waiting(study: Study, plan: pd.DataFrame, choices: pd.DataFrame) -> str:
    """Say that verdicts wait for the confirmation, and how far it is; nothing once a confirming trial is completed."""
    confirming = plan[plan["stage"] == CONFIRM]
    if study.search is None or study.confirm is None or (confirming["state"] == COMPLETED).any():
        return ""
    total = len(study.search.parameters) * study.search.repeats
    found = int(choices["number"].notna().sum())
    if len(choices) == total and not found:
        return "There are no verdicts: no search found settings that could be confirmed. Below, the untuned variants."
    far = f"{len(choices)} of {counted(total, 'search')}" if total == 1 else f"{len(choices)} of {total} searches"
    return (
        f"The verdicts wait for the confirmation of the settings found: {far} finished, no confirming trial completed "
        "yet. Below, the untuned variants."
    )


def unchosen(choices: pd.DataFrame) -> dict[str, str]:
    """Return the variants of which no search found settings to confirm, with the first one's reason."""
    found = choices.groupby("variant", sort=False)["number"].count()
    none = choices[choices["variant"].isin(found.index[found == 0])].drop_duplicates("variant")
    return dict(zip(none["variant"], none["why"], strict=True))


def _where(confirm: Confirm) -> str:
    if not confirm.sets:
        return "the images of the search"
    return f"images that the search never saw ({listed(list(confirm.sets))})"
