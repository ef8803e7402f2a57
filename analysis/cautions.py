"""What must not be concluded from a number, said where it stands. Pure."""

from __future__ import annotations

from math import inf, nan

import pandas as pd

from analysis.failures import UNTOUCHED
from analysis.ledger import Study
from analysis.schema import BASELINE, COMPLETED
from analysis.wording import counted

__all__ = ["ALIGNMENT", "MARK", "NEAR", "NIQE", "alignment", "cautions", "marked", "spread"]

NIQE = "eval/niqe"
ALIGNMENT = 0.2
"""NIQE cuts an image into blocks of 96 x 96; leaving out 8 to 32 rows and columns moves it by 0.1 to 0.2."""
_MOVES = f"NIQE moves by 0.1 to {ALIGNMENT:g} when an image is only cut elsewhere"
NEAR = f"{_MOVES}: rows so near to each other are not told apart by it."
MARK = "\u2020"
WEIGHTS = "config/vgg.weights"


def cautions(
    study: Study, trials: pd.DataFrame, images: pd.DataFrame, references: pd.DataFrame
) -> list[tuple[str, str]]:
    """Return what limits every verdict of a study: (heading, sentence).

    Args:
        study: whose images they are.
        trials: as from `analysis.load_trials`, of the stage that is judged.
        images: their scores.
        references: those of methods that learn nothing, on the same images.
    """
    found = []
    if study.data.get("caution"):
        found.append(("For trying", str(study.data["caution"])))
    seeds = trials.loc[trials["state"] == COMPLETED, "seed"].nunique()
    if seeds == 1:
        found.append(
            ("One seed", "How much chance there is in a training cannot be told from one; nothing is decided.")
        )
    judged = images[images[study.primary].notna()] if study.primary in images else images
    if len(judged) and len(judged[["set", "image"]].drop_duplicates()) == 1:
        found.append(("One image", "All that is said holds of this image alone."))
    if _learned_nothing(study, images, references):
        text = (
            f"On average over seeds the full model is no better than the untouched input in "
            f"{study.metric(study.primary).name}: what a component does here says little of a model that has learned."
        )
        found.append(("Not learned", text))
    if WEIGHTS in trials and (trials[WEIGHTS] == "random").any():
        text = (
            "The feature losses compared random VGG features, not those learned on ImageNet: what is found of these "
            "losses is no evidence on the published ones."
        )
        found.append(("Random features", text))
    smallest = study.matters.get(NIQE, ALIGNMENT)
    if study.primary == NIQE and smallest < ALIGNMENT:
        found.append(("Small margin", f"{_MOVES}, and the declared margin of {smallest:g} is smaller than that."))
    return found


def _learned_nothing(study: Study, images: pd.DataFrame, references: pd.DataFrame) -> bool:
    """Return whether the full model's mean score is no better than that of its input, on the images that both have.

    A score that is infinite is none: one alone would decide.
    """
    if study.primary not in images or study.primary not in references:
        return False
    better = study.metric(study.primary).higher_is_better
    if better is None:
        return False
    where = ["set", "image"]
    ours, theirs = images[images["variant"] == BASELINE], references[references["method"] == UNTOUCHED]
    full, untouched = (
        frame.replace({study.primary: [inf, -inf]}, nan).groupby(where)[study.primary].mean()
        for frame in (ours, theirs)
    )
    gain = (full - untouched).dropna().mean()
    return bool(gain <= 0 if better else gain >= 0)


def alignment(difference: float, metric: str, verdict: str = "") -> str:
    """Say that a difference in NIQE lies within what a mere shift of the image would do; else nothing.

    Beside a verdict that tells it from zero, it says both.
    """
    if metric != NIQE or not abs(difference) <= ALIGNMENT:
        return ""
    if verdict in ("helps", "hurts"):
        return f"{_MOVES}: this difference is more than chance among seeds, but no larger than such a cut makes."
    return f"{_MOVES}: so small a difference says nothing."


def marked(text: str, difference: float, metric: str) -> str:
    """Return an estimate as text, with a mark after its first number if `alignment` has something to say of it."""
    first, space, rest = text.partition(" ")
    return f"{first}{MARK}{space}{rest}" if alignment(difference, metric) else text


def spread(trials: pd.DataFrame) -> str:
    """Say what a table of means cannot tell when there are too few seeds for a spread; else nothing."""
    seeds = trials.loc[trials["state"] == COMPLETED, "seed"].nunique()
    if not 0 < seeds < 3:
        return ""
    return f"{counted(seeds, 'seed')} alone: two rows may differ by chance as much as they do here."
