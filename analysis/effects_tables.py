"""The effects of a study's components as a table: which of them its design declared for verdicts, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison import Contrast
from analysis.effects import (
    INTERACTION,
    MAIN,
    SHAPLEY,
    TOGETHER,
    attributions,
    credits_there,
    factorial_effects,
    seed_effects,
    variants_behind,
)
from analysis.factorial import defining_words, orders, orders_seed, runs_of_orders, spreads
from analysis.ledger import Study
from analysis.statistics import Floats

__all__ = ["COLUMNS", "Effects", "effects_of"]

COLUMNS = [
    "metric", "role", "estimand", "component", "aliases", "difference", "low", "high", "p", "p_adjusted",
    "p_equivalent", "p_equivalent_adjusted", "deviation", "effect", "sampling", "seeds", "images", "scenes", "n_failed",
    "verdict", "note", "why", "left_out",
]  # fmt: skip
OTHERS = {
    INTERACTION: "an interaction says nothing of one component alone",
    TOGETHER: "all components at once: no verdict on one",
}
"""Why there is no verdict where nobody would expect one; else another estimand of the design has it."""


@dataclass(frozen=True)
class Effects:
    """What a study's design says of its components.

    Args:
        study: its metrics, margins and design.
        runs: which components are there in each variant, as from `analysis.load_runs`.
        declared: the estimand that verdicts speak of: main effects of a factorial design, Shapley values of orders;
            empty where the study's comparisons of variants have the verdicts (leave-one-out, add-one-in).
    """

    study: Study
    runs: pd.DataFrame
    declared: str

    @property
    def drawn(self) -> list[tuple[str, ...]]:
        """The random orders that the design was made of; none for another design.

        Earlier ledgers hold the runs of orders that were drawn from 0 in every study.
        """
        design = self.study.design
        if not isinstance(design, dict) or "orders" not in design:
            return []
        names, seeds, there = tuple(self.runs.columns), (orders_seed(self.study.name), 0), set(self._sets)
        made = [orders(names, design["orders"], seed=seed) for seed in seeds]
        return next((one for one in made if there.issuperset(runs_of_orders(one))), made[0])

    @property
    def exact(self) -> bool:
        """Whether every combination of the components is there."""
        return len(self.runs) == 1 << len(self.runs.columns)

    @property
    def resolution(self) -> int | None:
        """Of a fraction of a factorial design (see `analysis.factorial`); None for any other design."""
        words = () if self.declared != MAIN else defining_words(tuple(self.runs.columns), self._sets)
        return min(map(len, words)) if words else None

    def over(self, estimand: str) -> str:
        """Return what an effect is an average over; nothing for one that is none."""
        if estimand == MAIN:
            rest = "all combinations of the other components" if self.exact else "the combinations that were trained"
            return f"on average over {rest}"
        if estimand != SHAPLEY:
            return ""
        many = "all orders" if self.exact else f"{len(self.drawn)} random orders"
        return f"on average over {many} of adding the components"

    @property
    def family(self) -> list[Contrast]:
        """The effects that verdicts speak of, with the component for the variant; none if `declared` is empty."""
        return [Contrast(str(name), "", str(name), present=True) for name in self.runs.columns if self.declared]

    def judged(self, images: pd.DataFrame, metric: str, *, verdicts: bool) -> pd.DataFrame:
        """Return the rows of the declared family, as `analysis.judge` has them, in the order of `family`.

        Args:
            images: scores as for `analysis.judge`, of one stage.
            metric: its key.
            verdicts: whether there are to be any; the metric's direction and margin are the study's.
        """
        if self.declared == MAIN:
            table = factorial_effects(images, self.runs, order=1, **self._options(metric, verdicts=verdicts))
        else:
            table = self._credits(images, metric, verdicts=verdicts)
            table = table[table["estimand"] == SHAPLEY].reset_index(drop=True)
        table = table.assign(variant=table["component"], compared_to="")
        return self._undirected(table) if verdicts and metric == self.study.primary else table

    def table(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return all that the design says of the primary metric: main effects, interactions, credits: `load_effects`.

        Args:
            images: as for `judged`.
        """
        metric, parts = self.study.primary, []
        if self.declared == MAIN:
            parts.append(factorial_effects(images, self.runs, **self._options(metric, verdicts=True)))
        if credits_there(self.runs, drawn=self.drawn):
            parts.append(self._credits(images, metric, verdicts=self.declared == SHAPLEY))
        if not parts:
            return pd.DataFrame(columns=COLUMNS)
        table = pd.concat(parts, ignore_index=True)
        primary = table["estimand"] == self.declared
        table = table.assign(metric=metric, role=np.where(primary, "primary", "exploratory"))
        table.loc[~primary, ["verdict", "note"]] = ""
        said = table["estimand"].map(OTHERS).fillna(f"exploratory: {self._instead()}")
        table["why"] = table["why"].mask(~primary & table["low"].notna(), said)
        return self._undirected(table)[COLUMNS]

    def by_seed(self, images: pd.DataFrame, metric: str) -> dict[str, Floats]:
        """Return the declared effect of each component in each seed that is complete in all variants."""
        return seed_effects(
            images, self.runs, estimand=self.declared, metric=metric, images_are=self.study.images, drawn=self.drawn
        )

    @property
    def behind(self) -> dict[tuple[str, str], list[str]]:
        """The variants that each effect of the table rests on, by estimand and component."""
        return variants_behind(self.runs, order=2 if self.declared == MAIN else 0, drawn=self.drawn)

    @property
    def spreads(self) -> dict[str, float]:
        """How each declared effect varies over seeds; see `analysis.factorial.spreads`."""
        return spreads(tuple(map(str, self.runs.columns)), self._sets, self.drawn)

    @property
    def _sets(self) -> Sequence[frozenset[str]]:
        return [frozenset(str(name) for name in self.runs.columns if row[name]) for _, row in self.runs.iterrows()]

    def _instead(self) -> str:
        if self.declared == MAIN and self.resolution == 3:
            return "an interval for itself, no verdict"
        verdicts = {MAIN: "the main effects have", SHAPLEY: "the Shapley values have"}
        return f"{verdicts.get(self.declared, 'the comparisons of variants have')} the verdicts of this design"

    def _undirected(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table with the reason why there is no verdict if the primary metric has no direction."""
        known = (table["estimand"] == self.declared) & table["low"].notna()
        if self.study.metric(self.study.primary).higher_is_better is not None:
            return table
        why = f"{self.study.primary} has no direction, so there is no verdict"
        return table.assign(why=table["why"].mask(known, why))

    def _credits(self, images: pd.DataFrame, metric: str, *, verdicts: bool) -> pd.DataFrame:
        return attributions(images, self.runs, drawn=self.drawn, **self._options(metric, verdicts=verdicts))

    def _options(self, metric: str, *, verdicts: bool) -> dict[str, Any]:
        study = self.study
        direction = study.metric(metric).higher_is_better if verdicts else None
        margin = study.matters.get(metric) if verdicts else None
        return {"metric": metric, "higher_is_better": direction, "margin": margin, "images_are": study.images}


def effects_of(study: Study, runs: pd.DataFrame) -> Effects | None:
    """Return what a study's design says of its components; None if it does not say which are there in each variant."""
    if runs.empty or runs.columns.empty:
        return None
    fractional = isinstance(study.design, dict) and "fractional" in study.design
    drawn = isinstance(study.design, dict) and "orders" in study.design
    return Effects(study, runs, MAIN if study.design == "factorial" or fractional else SHAPLEY if drawn else "")
