"""What components do, from factorial designs and from orders of components: each effect is a linear contrast. Pure.

Every effect is that of a component's *presence*: above zero, it raises the metric. Which of them is meant is said by
`ESTIMANDS`: leaving a component out of the full model, adding it to the bare one, and its means over combinations or
orders of the others answer different questions, and differ where components interact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison import EMPTY, LEVEL, decided, few_scenes, few_units, margin_checked, numbers
from analysis.cube import Cube, cube_of, left_out, observed, units
from analysis.errors import DesignError
from analysis.factorial import (
    FEWEST_ORDERS,
    Run,
    aliases,
    defining_words,
    effect_weights,
    full,
    named,
    runs_of_orders,
    shapley_weights,
    steps_of_order,
)
from analysis.linear import Runs, contrast, replicates, sampled
from analysis.statistics import Estimate, Floats, Images

__all__ = [
    "ADDED", "ESTIMANDS", "INTERACTION", "LACKING", "LEFT_OUT", "MAIN", "SHAPLEY", "TOGETHER", "attributions",
    "credits_there", "factorial_effects", "seed_effects", "variants_behind",
]  # fmt: skip

MAIN, INTERACTION, SHAPLEY = "main effect", "interaction", "Shapley value"
LEFT_OUT, ADDED, TOGETHER = "leave-one-out", "add-one-in", "together"
ESTIMANDS = {
    MAIN: "what it changes, on average over all combinations of the other components",
    INTERACTION: "half of what the effect of one changes by when the other is there, on average over the rest",
    SHAPLEY: "what it adds to those that are there already, on average over all orders of adding the components",
    LEFT_OUT: "what the full model loses without it",
    ADDED: "what it adds to the bare model",
    TOGETHER: "what all components together add to the bare model",
}
"""What each effect is, of `it`, the component. The Shapley values of all components add up to `together`."""
LACKING = "the design has no variant with"
"""Begins why an effect is none of this design."""

_COLUMNS = ["estimand", "component", "aliases", "present", *EMPTY, "sampling"]


@dataclass(frozen=True)
class _Asked:
    """An effect: the weights of runs, or of each of several random draws, whose mean is meant."""

    estimand: str
    component: str
    draws: Sequence[Mapping[Run, Any]]
    aliases: Sequence[str] = ()


def factorial_effects(
    images: pd.DataFrame,
    components: pd.DataFrame,
    *,
    metric: str,
    higher_is_better: bool | None,
    margin: float | None = None,
    images_are: Images = "these",
    order: int = 2,
) -> pd.DataFrame:
    """Return main effects and interactions of a full or regular fractional factorial, with intervals and verdicts.

    Trainings that are missing are left out one by one: a variant's mean is that of its own seeds (`analysis.linear`).
    Main effects are one family of Holm's adjustment, interactions another. Where a main effect cannot be told from
    an interaction of two (resolution III), there is no verdict.

    Args:
        images: scores as for `analysis.judge`, of one stage.
        components: a row for each variant of the design (the index), a column for each component: 1 where it is there,
            0 where it was taken out. Variants in `images` that are not in it do not take part.
        metric: the column to estimate effects on.
        higher_is_better: as for `analysis.judge`.
        margin: as for `analysis.judge`.
        images_are: as for `analysis.judge`.
        order: of how many components interactions are given at most.

    Returns:
        A row for each effect: `estimand` (a key of `ESTIMANDS`), `component` (`a`, or `a x b`), `aliases` (other
        effects of up to `order` components, or two, that it cannot be told from), `present` (true: an effect is that of
        the presence), the columns of `analysis.judge` from `difference` on, and `sampling`, which is 0 here. `seeds`
        is the number of seeds with a complete training of any variant of the contrast (3 or more of each variant are
        needed for an interval), `n_failed` the number of its trainings that are missing.
        Interactions have no verdict.

    Raises:
        StatisticsError: as `analysis.judge`.
        DesignError: if the variants are no full or regular fractional factorial with the full model in it.
    """
    names, variants = _design(components)
    words = defining_words(names, list(variants))
    asked, seen = [], set[Run]()
    for effect in (run for run in reversed(full(names).runs) if 0 < len(run) <= max(order, 1)):
        others = aliases(effect, words, order=max(order, 2))
        if effect not in seen:
            estimand, weights = MAIN if len(effect) == 1 else INTERACTION, effect_weights(effect, list(variants))
            asked.append(_Asked(estimand, named(effect, names), [weights], [named(other, names) for other in others]))
        seen |= {effect, *others}
    rows = _rows(images, variants, asked, metric=metric, margin=margin, images_are=images_are)
    mains, interactions = rows[rows["estimand"] == MAIN], rows[rows["estimand"] == INTERACTION]
    confused = mains["aliases"].map(len) > 0
    told = decided(mains, higher_is_better)
    told.loc[confused, ["verdict", "note"]] = ""
    told["why"] = told["why"].mask(
        confused & told["low"].notna(), "may be " + told["aliases"].map(" or ".join) + " as well: for screening alone"
    )
    rest = decided(interactions, None)
    rest["why"] = rest["why"].where(rest["low"].isna(), "an interaction says nothing of one component alone")
    table = pd.concat([told, rest], ignore_index=True) if len(rest) else told.reset_index(drop=True)
    return table.assign(aliases=table["aliases"].map(", ".join))


def attributions(
    images: pd.DataFrame,
    components: pd.DataFrame,
    *,
    metric: str,
    higher_is_better: bool | None,
    margin: float | None = None,
    images_are: Images = "these",
    drawn: Sequence[Sequence[str]] = (),
) -> pd.DataFrame:
    """Return what each component is credited with: left out, added alone, and its Shapley value, as far as runs allow.

    Each estimand is a family of its own for Holm's adjustment. Shapley values are exact where every combination is
    among the variants, else they are means over `drawn` orders; they add up to `together` in either case, also where
    trainings are missing. With drawn orders their intervals carry the error of drawing as a part of its own; from
    fewer than `FEWEST_ORDERS` it is not told well enough for a verdict.

    Args:
        images: as for `factorial_effects`.
        components: as for `factorial_effects`; any set of variants.
        metric: as for `factorial_effects`.
        higher_is_better: as for `factorial_effects`.
        margin: as for `factorial_effects`.
        images_are: as for `factorial_effects`.
        drawn: random orders of the components (`analysis.factorial.orders`) whose beginnings are all variants.

    Returns:
        As `factorial_effects`; `sampling` is the half-width, 95 %, of the error that drawing orders makes, in the
        metric's unit (0 where all orders are in). `together`, last, has an interval but no verdict.

    Raises:
        StatisticsError: as `analysis.judge`.
        DesignError: if a variant is there twice, an order is none of the components, a beginning of one is no
            variant, or the variants allow no effect at all.
    """
    names, variants = _design(components)
    asked = _credits(names, variants, drawn)
    if not asked:
        raise DesignError(
            "expected variants that differ by one component (the full model without it, or the bare one with it), or "
            f"all {2 ** len(names)} combinations of the components"
        )
    rows = _rows(images, variants, asked, metric=metric, margin=margin, images_are=images_are)
    few, parts = "", []
    if len(variants) < 2 ** len(names) and len(drawn) < FEWEST_ORDERS:
        few = f"{len(drawn)} random orders, {FEWEST_ORDERS} are needed for a verdict"
    for estimand in dict.fromkeys(rows["estimand"]):
        part = decided(rows[rows["estimand"] == estimand], None if estimand == TOGETHER else higher_is_better)
        if estimand == TOGETHER:
            part["why"] = part["why"].where(part["low"].isna(), "all components at once: no verdict on one")
        if estimand == SHAPLEY and few:
            part[["verdict", "note"]] = ""
            part["why"] = part["why"].where(part["low"].isna(), few)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    return table.assign(aliases=table["aliases"].map(", ".join))


def credits_there(components: pd.DataFrame, *, drawn: Sequence[Sequence[str]] = ()) -> bool:
    """Return whether the variants allow any of what `attributions` gives; its arguments are the same.

    Raises:
        DesignError: as `attributions`.
    """
    names, variants = _design(components)
    return bool(_credits(names, variants, drawn))


def variants_behind(
    components: pd.DataFrame, *, order: int = 0, drawn: Sequence[Sequence[str]] = ()
) -> dict[tuple[str, str], list[str]]:
    """Return the variants that each effect rests on: (estimand, component) -> those of the design that have a weight.

    Args:
        components: as for `attributions`.
        order: of how many components main effects and interactions are asked for at most, which rest on all variants.
        drawn: as for `attributions`.

    Raises:
        DesignError: as `attributions`.
    """
    names, variants = _design(components)
    contrasts = [run for run in full(names).runs if 0 < len(run) <= order] if order else []
    found = {(MAIN if len(run) == 1 else INTERACTION, named(run, names)): list(variants.values()) for run in contrasts}
    for one in _credits(names, variants, drawn):
        there = dict.fromkeys(run for draw in one.draws for run in draw)
        found[one.estimand, one.component] = [variants[run] for run in there if run in variants]
    return found


def seed_effects(
    images: pd.DataFrame,
    components: pd.DataFrame,
    *,
    estimand: str,
    metric: str,
    images_are: Images = "these",
    drawn: Sequence[Sequence[str]] = (),
) -> dict[str, Floats]:
    """Return for each component its effect in each seed (or repeat) that is complete in all variants it rests on.

    Where no training is missing, the mean over seeds is the estimate.

    Args:
        images: as for `attributions`.
        components: as for `attributions`.
        estimand: `main effect` or `Shapley value`.
        metric: the column to estimate effects on.
        images_are: as for `attributions`.
        drawn: as for `attributions`.

    Raises:
        StatisticsError: as `analysis.judge`.
        DesignError: as `attributions`.
    """
    names, variants = _design(components)
    if estimand == MAIN:
        asked = [_Asked(MAIN, name, [effect_weights(frozenset({name}), list(variants))]) for name in names]
    else:
        asked = [one for one in _shapley(names, variants, drawn) if one.estimand == SHAPLEY]
    runs = _runs(cube_of(images[images["variant"].isin(components.index)], metric), list(variants.values()), images_are)
    means = pd.Series(runs.scores.mean(axis=1) if runs.scores.size else [], index=[runs.variants, runs.seeds])
    table = means.unstack(0).reindex(columns=list(variants.values())) if len(means) else pd.DataFrame()
    found = {}
    for one in asked if len(table) else ():
        weights = _mean([{variants[run]: float(weight) for run, weight in draw.items()} for draw in one.draws])
        found[one.component] = (table[list(weights)].dropna() * pd.Series(weights)).sum(axis=1).to_numpy()
    return found


def _design(components: pd.DataFrame) -> tuple[tuple[str, ...], dict[Run, str]]:
    """Return the names of the components, and the variant of each run."""
    names = tuple(map(str, components.columns))
    if components.empty or not components.isin([0, 1]).all(axis=None):
        raise DesignError(
            "expected for each variant and component a 1 where it is there, or a 0 where it was taken out"
        )
    variants: dict[Run, str] = {}
    for variant, row in zip(components.index, components.to_numpy(dtype=int), strict=True):
        run = frozenset(name for name, there in zip(names, row, strict=True) if there)
        if run in variants:
            raise DesignError(f"{variants[run]} and {variant} have the same components; leave one of them out")
        variants[run] = str(variant)
    return names, variants


def _credits(names: Sequence[str], variants: Mapping[Run, str], drawn: Sequence[Sequence[str]]) -> list[_Asked]:
    return _left_out_and_added(names, variants) + _shapley(names, variants, drawn)


def _left_out_and_added(names: Sequence[str], variants: Mapping[Run, str]) -> list[_Asked]:
    whole, bare = frozenset(names), frozenset[str]()
    asked = []
    for estimand, pairs in (
        (LEFT_OUT, {name: (whole, whole - {name}) for name in names}),
        (ADDED, {name: (frozenset({name}), bare) for name in names}),
    ):
        if any(one in variants and other in variants for one, other in pairs.values()):
            asked += [_Asked(estimand, name, [{one: 1, other: -1}]) for name, (one, other) in pairs.items()]
    return asked


def _shapley(names: Sequence[str], variants: Mapping[Run, str], drawn: Sequence[Sequence[str]]) -> list[_Asked]:
    together = _Asked(TOGETHER, "all", [{frozenset(names): 1, frozenset(): -1}])
    if len(variants) == 2 ** len(names):
        return [*(_Asked(SHAPLEY, name, [shapley_weights(name, names)]) for name in names), together]
    if not drawn:
        return [together] if {frozenset(names), frozenset()} <= set(variants) else []
    wrong = [order for order in drawn if sorted(order) != sorted(names)]
    if wrong:
        raise DesignError(f"expected orders of {', '.join(names)}, got {', '.join(wrong[0])}")
    lacking = [run for run in runs_of_orders(drawn) if run not in variants]
    if lacking:
        first = named(lacking[0], names) or "none of the components"
        raise DesignError(f"the orders need {len(lacking)} more variant(s), the first with {first}")
    if len(drawn) < 2:
        raise DesignError("expected 2 orders or more, to tell the error of drawing them, got 1")
    steps = [steps_of_order(order) for order in drawn]
    return [*(_Asked(SHAPLEY, name, [one[name] for one in steps]) for name in names), together]


def _rows(
    images: pd.DataFrame,
    variants: Mapping[Run, str],
    asked: Sequence[_Asked],
    *,
    metric: str,
    margin: float | None,
    images_are: Images,
) -> pd.DataFrame:
    margin_checked(margin)
    taking_part = images[images["variant"].isin(list(variants.values()))] if "variant" in images else images
    cube = cube_of(taking_part, metric)
    runs = _runs(cube, list(variants.values()), images_are)
    rows = [_row(cube, runs, one, variants, margin=margin, images_are=images_are) for one in asked]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _runs(cube: Cube, variants: Sequence[str], images_are: Images) -> Runs:
    """Return the complete trainings (or repeats of a search, each the mean of its complete seeds)."""
    names, seeds, scores = list[str](), list[object](), []
    for name in variants:
        complete = cube.scores[name].dropna() if name in cube.scores and cube.images else None
        if complete is None or complete.empty:
            continue
        scores.append(units(observed(complete), cube, images_are))
        seeds += complete.index.get_level_values("observation").unique().sort_values().tolist()
        names += [name] * len(scores[-1])
    return Runs(names, seeds, np.concatenate(scores) if scores else np.empty((0, len(cube.images))))


def _row(
    cube: Cube, runs: Runs, asked: _Asked, variants: Mapping[Run, str], *, margin: float | None, images_are: Images
) -> dict[str, Any]:
    """Return the numbers of one effect, and why some are missing."""
    row = {**EMPTY, "estimand": asked.estimand, "component": asked.component, "aliases": list(asked.aliases)}
    scenes = len(set(cube.scenes))
    row |= {"present": True, "sampling": 0.0, "images": len(cube.images), "scenes": scenes}
    unknown = [run for draw in asked.draws for run in draw if run not in variants]
    if unknown:
        only = f"{named(unknown[0], sorted(unknown[0]))} alone" if unknown[0] else "none of the components"
        return {**row, "why": f"{LACKING} {only}"}
    draws = [{variants[run]: float(weight) for run, weight in draw.items()} for draw in asked.draws]
    mean = _mean(draws)
    there = dict.fromkeys(name for draw in draws for name in draw)  # also those whose weights cancel in the mean
    counts = {name: runs.variants.count(name) for name in there}
    seeds = len({seed for seed, name in zip(runs.seeds, runs.variants, strict=True) if name in there})
    row |= {"seeds": seeds, "n_failed": len(counts) * len(cube.seeds) - sum(counts.values())}
    row["left_out"] = left_out(cube, list(there))
    absent = [name for name, count in counts.items() if not count]
    if absent:
        nothing = f"no image has a finite {cube.metric}"
        return {**row, "why": f"no complete training of {' and of '.join(absent)}" if cube.images else nothing}
    means = {name: runs.scores[[one == name for one in runs.variants]].mean() for name in mean}
    row["difference"] = float(sum(weight * means[name] for name, weight in mean.items()))
    few = few_units(seeds, cube.unit) or (few_scenes(scenes) if images_are == "sample" else "")
    lacking = ((name, few_units(count, cube.unit)) for name, count in counts.items())
    few = few or next((f"{name} has {why}" for name, why in lacking if why), "")
    if few:
        return {**row, "why": few}
    estimate = _estimate(runs, draws, cube, images_are)
    row |= {"difference": estimate.difference, "sampling": _alone(estimate).half_width(LEVEL)}
    return {**row, **numbers(estimate, replicates(runs, mean), margin=margin, unit=cube.unit)}


def _mean(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean weight of each variant, without those that cancel."""
    names = dict.fromkeys(name for draw in draws for name in draw)
    mean = {name: sum(draw.get(name, 0.0) for draw in draws) / len(draws) for name in names}
    return {name: weight for name, weight in mean.items() if weight}


def _estimate(runs: Runs, draws: Sequence[Mapping[str, float]], cube: Cube, images_are: Images) -> Estimate:
    """Return the estimate; what rounding alone makes of equal scores is no difference and no spread."""
    found = contrast(runs, draws[0], images=images_are)
    if len(draws) > 1:
        found = sampled(runs, draws, images=images_are)
    variance = found.seeds[0] if found.seeds[0] > cube.rounding**2 else 0.0
    difference = found.difference if abs(found.difference) > cube.rounding else 0.0
    return replace(found, difference=difference, seeds=(variance, found.seeds[1]))


def _alone(estimate: Estimate) -> Estimate:
    """Return the estimate if drawing orders were its only error."""
    return replace(estimate, seeds=(0.0, np.inf), images=(0.0, np.inf))
