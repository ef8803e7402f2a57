"""What a report's verdicts rest on once there was a search: which settings, images and observations. Pure."""

from __future__ import annotations

import pandas as pd

from analysis.comparison import REPEATS
from analysis.ledger import Confirm, Study
from analysis.schema import COMPLETED, CONFIRM
from analysis.tables import Readings
from analysis.wording import counted, listed

__all__ = ["BELOW", "basis", "unchosen", "waiting"]

BELOW = " Below, the untuned variants."


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
    each = f"{counted(len(confirm.seeds), 'seed')} that the search did not use"
    far = _far(readings)
    if readings.unit == "seed":
        return (
            f"For the settings found: each variant was searched once, and what was chosen {_is(far)} trained with "
            f"{each} and scored on {_where(confirm)}.{far} One observation is a seed. Another search might find other "
            f"settings; with search.repeats of {REPEATS} or more the verdicts would be on the components."
        )
    what = (
        f"was searched {search.repeats} times, and what each search chose {_is(far)} trained with {each} "
        f"and scored on {_where(confirm)}.{far} One observation is a repeat of the search, the mean over its seeds; "
        "pairs are seeds of repeats of the same number."
    )
    if search.repeats >= REPEATS:
        return f"On the components, each variant tuned for itself: each {what}"
    return (
        f"For the settings found: each variant {what} {search.repeats} repeats are too few for a verdict: with "
        f"search.repeats of {REPEATS} or more there would be verdicts on the components."
    )


def waiting(study: Study, plan: pd.DataFrame, choices: pd.DataFrame) -> str:
    """Say that verdicts wait for the confirmation, and how far it is; nothing once a confirming trial is completed."""
    confirming = plan[plan["stage"] == CONFIRM]
    if study.search is None or study.confirm is None or (confirming["state"] == COMPLETED).any():
        return ""
    total = len(study.search.parameters) * study.search.repeats
    found = int(choices["number"].notna().sum())
    if len(choices) == total and not found:
        return f"There are no verdicts: no search found settings that could be confirmed.{BELOW}"
    far = f"{len(choices)} of {counted(total, 'search')}" if total == 1 else f"{len(choices)} of {total} searches"
    return (
        f"The verdicts wait for the confirmation of the settings found: {far} finished, no confirming trial completed "
        f"yet.{BELOW}"
    )


def unchosen(choices: pd.DataFrame) -> dict[str, str]:
    """Return the variants of which no search found settings to confirm, with the first one's reason."""
    found = choices.groupby("variant", sort=False)["number"].count()
    none = choices[choices["variant"].isin(found.index[found == 0])].drop_duplicates("variant")
    return dict(zip(none["variant"], none["why"], strict=True))


def _far(readings: Readings) -> str:
    """Say how many confirming trials are completed, unless all are."""
    completed, total = int((readings.trials["state"] == COMPLETED).sum()), len(readings.trials)
    total = max(total, readings.study.expected.get(CONFIRM, 0))
    return "" if completed == total else f" So far {completed} of {counted(total, 'confirming trial')} are completed."


def _is(far: str) -> str:
    return "is" if far else "was"


def _where(confirm: Confirm) -> str:
    if not confirm.sets:
        return "the images of the search"
    return f"images that the search never saw ({listed(list(confirm.sets))})"
