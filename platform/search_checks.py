"""What is wrong with `search:` and `confirm:`, said in sentences before anything starts, and what to be wary of.

`platform.search_space_checks` looks at the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from platform import design, stopping
from platform.search_space import space_of
from platform.search_space_checks import SPACE, Searched, check_space
from platform.search_spec import Confirm, Hyperband, Search, confirm_seeds, objectives_of, search_seeds
from platform.spec import Study
from platform.spec_checks import Finder, nearest

__all__ = ["cautions", "check_search"]


def check_search(search: Search | None, confirm: Confirm | None, study: Study, found: Finder) -> None:
    """Record all that is wrong with a search and its confirmation.

    Args:
        search: as it could be read; what could not is recorded already, and is not blamed again.
        confirm: the same.
        study: all else that the spec says.
        found: collects the problems.
    """
    if search is None:
        if confirm is not None and not found.told("search"):
            found.add(("confirm",), "confirm belongs to a search, but there is no `search`; add one, or remove it")
        return
    searched = check_space(search, study, found)
    _check_budget(search, study, searched, found)
    _check_rungs(search, searched, found)
    _check_objectives(search, confirm, study, found)
    _check_seeds(search, confirm, study, found)
    if study.spec.study in search.start:
        found.add(("search", "start"), f"{study.spec.study} is this study; its own trials are used anyway: remove it")


def cautions(search: Search | None, confirm: Confirm | None, study: Study) -> list[str]:
    """Return what a user should know of a sound search before it starts: sentences for the plan and the report."""
    if search is None:
        return []
    said = []
    for variant in design.variants(study.spec):
        parameters, left_out = space_of(variant, search.space, trainer=study.trainer, config=study.config)
        if not parameters:
            why = "; ".join(f"{path}: {reason}" for path, reason in left_out.items())
            said.append(f"{variant.name} has nothing to search ({why}): it is trained as it stands")
    if search.sampler == "gp" and search.scheduler.rules is not None:
        said.append("sampler gp learns nothing from trials that are stopped early; use tpe, or scheduler none")
    if confirm is None:
        said.append("no `confirm`: what the search promises is the best of many, and nothing measures how much is luck")
    elif not getattr(study.data, "confirm", {}):
        if getattr(study.data, "source", None) == "photos":
            said.append(
                "confirm on the bundled photographs shows the mechanics only: they are those that the search saw"
            )
        else:
            said.append(
                "no set under data.confirm: confirming uses fresh seeds, but the images that the search saw, so the "
                "settings may suit these images alone"
            )
    return said


def _check_budget(search: Search, study: Study, searched: Sequence[Searched], found: Finder) -> None:
    """Record a budget that is none, is two, or has no room for one setting of every variant."""
    given = [name for name in ("trials", "steps") if getattr(search, name) is not None]
    if len(given) != 1 and not any(found.told("search", name) for name in ("trials", "steps")):
        came = "both" if given else "neither"
        found.add(("search",), f"expected `trials` or `steps`, the budget of every variant, got {came}")
    seeds = len(search_seeds(search, study.spec.seed_list))
    if search.trials is not None and search.trials < seeds:
        found.add(
            ("search", "trials"),
            f"too few for one setting of every variant: each is trained with {seeds} seeds (search.seeds), got "
            f"{search.trials} trials",
        )
    lengths = {one.variant.name: max(map(_steps, one.configs), default=0) for one in searched}
    longest = max(lengths, key=lengths.__getitem__, default=None)
    unread = found.told("train", "steps")
    if search.steps is not None and longest is not None and not unread and search.steps < lengths[longest] * seeds:
        each = f" with each of {seeds} seeds" if seeds > 1 else ""
        found.add(
            ("search", "steps"),
            f"too few for one setting of every variant: {longest} takes {lengths[longest]} steps (train.steps){each}, "
            f"got {search.steps}",
        )
    if search.steps is not None and "steps" in search.space:
        found.add(
            (*SPACE, "steps"), "a budget in steps needs trainings of one length; use search.trials, or remove this"
        )
    if search.total.gpu_hours is not None and not (study.spec.resources.gpu or found.told("resources", "gpu")):
        what = "a trial holds no GPU (resources.gpu), so this cap is never reached; use total.hours"
        found.add(("search", "total", "gpu_hours"), what)
    names = len(design.variants(study.spec))
    least = names * search.repeats * seeds
    if search.total.trials is not None and search.total.trials < least:
        factors = f"{names} variants x {search.repeats} repeats x {seeds} seeds"
        found.add(
            ("search", "total", "trials"),
            f"too few for one setting of every variant: expected {least} or more ({factors}), "
            f"got {search.total.trials}",
        )


def _steps(config: Any) -> int:
    return int(config.steps)


def _check_rungs(search: Search, searched: Sequence[Searched], found: Finder) -> None:
    """Record a first rung, or a bracket, that no trial reaches before its end or that is no evaluation."""
    rules = search.scheduler.rules
    if rules is None or found.told("train", "steps") or found.told("train", "evaluate_every"):
        return
    at = ("search", "scheduler", search.scheduler.kind)
    lengths: dict[tuple[int, int], str] = {}
    for one in searched:
        for config in one.configs:
            lengths.setdefault((_steps(config), int(config.evaluate_every)), one.variant.name)
    for (steps, every), name in lengths.items():
        first = rules.first_rung or every
        where = (*at, "first_rung") if rules.first_rung else at
        if first >= steps:
            found.add(
                where,
                f"expected a rung before the last step, which is {steps} (train.steps) in {name}, "
                f"got {first}{'' if rules.first_rung else ' (train.evaluate_every)'}",
            )
            return
        if first % every:
            near = [step for step in (first // every * every, -(-first // every) * every) if 0 < step < steps]
            found.add(
                where,
                f"expected an evaluation step, a multiple of {every} (train.evaluate_every), got {first}; "
                f"use {' or '.join(map(str, near))}",
            )
            return
        room = len(stopping.rungs(first, rules.reduction, steps, every)) + 1 if isinstance(rules, Hyperband) else 0
        if isinstance(rules, Hyperband) and (rules.brackets or 1) > room:
            found.add(
                (*at, "brackets"),
                f"expected at most the {room} brackets that {steps} steps have room for, from rung {first} by factors "
                f"of {rules.reduction}, got {rules.brackets}",
            )
            return


def _check_objectives(search: Search, confirm: Confirm | None, study: Study, found: Finder) -> None:
    """Record objectives that no evaluation yields or whose direction is wrong, and a choice that does not fit them."""
    at = ("search", "objectives")
    higher = {metric.key: metric.higher_is_better for metric in study.trainer.METRICS}
    for key, direction in search.objectives.items():
        better = higher.get(key)
        if better is not None and direction != ("max" if better else "min"):
            right, which = ("max", "higher") if better else ("min", "lower")
            found.add((*at, key), f"expected {right}, since {which} is better for {key}, got {direction}")
    for key in search.objectives:
        _check_measured(key, (*at, key), confirm, study, found)
    for key in search.choose.where:
        _check_measured(key, ("search", "choose", "where", key), confirm, study, found)
    if confirm is not None and not found.told("analysis", "primary"):
        _check_measured(study.spec.analysis.primary, ("analysis", "primary"), confirm, study, found)
    if not (found.told(*at) or found.told("analysis", "primary")):
        try:
            objectives = list(objectives_of(search, study.spec.analysis.primary, study.trainer.METRICS))
        except ValueError as error:
            found.add(("search",), str(error))
        else:
            _check_choice(search, objectives, found)


def _check_measured(key: str, at: tuple[str, ...], confirm: Confirm | None, study: Study, found: Finder) -> None:
    """Record a metric that does not exist, has no value for each image, or needs references where there are none."""
    metrics = {metric.key: metric for metric in study.trainer.METRICS}
    if key not in metrics:
        found.add(at, f"no such metric: {key}; {nearest(key, metrics)}")
        return
    if not metrics[key].per_image:
        found.add(at, f"{key} has one value for a whole trial, but a search compares images; name one of those")
    if not metrics[key].needs_reference:
        return
    for section in ("evaluate", *(["confirm"] if confirm else [])):
        sets = list(getattr(study.data, section, {}).values())
        if sets and not found.told("data", section) and not any(one.normal for one in sets):
            what = (
                f"{key} needs references, but no set under data.{section} has `normal`; add one, or use another metric"
            )
            found.add(at, what)


def _check_choice(search: Search, objectives: Sequence[str], found: Finder) -> None:
    """Record a rule of `choose` that speaks of what is no objective, or of not all of them."""
    choose, at = search.choose, ("search", "choose")
    if found.told(*at):
        return
    if choose.weights and (choose.best or choose.where):
        found.add(at, "expected `weights`, or `best` and `where`, got both; remove one")
    elif choose.where and not choose.best:
        found.add((*at, "where"), "expected `best` beside it, the objective whose best is taken within these limits")
    elif choose.best and not choose.where:
        what = "expected limits on other metrics beside it, `where: {metric: <= 4}`, got none; add one, or use `knee`"
        found.add((*at, "best"), what)
    if choose.best and choose.best not in objectives:
        found.add((*at, "best"), f"{choose.best} is no objective of this search; they are {', '.join(objectives)}")
    for key in (key for key in choose.weights if key not in objectives):
        found.add((*at, "weights", key), f"{key} is no objective of this search; they are {', '.join(objectives)}")
    missing = [key for key in objectives if key not in choose.weights]
    if choose.weights and missing:
        found.add((*at, "weights"), f"expected a weight for every objective, but {', '.join(missing)} has none")


def _check_seeds(search: Search, confirm: Confirm | None, study: Study, found: Finder) -> None:
    """Record more seeds than the study has, and confirming seeds or images that the search saw."""
    seeds = study.spec.seed_list
    if found.told("seeds") or found.told("search", "seeds"):
        seeds = []
    elif isinstance(search.seeds, int) and search.seeds > len(seeds):
        found.add(
            ("search", "seeds"),
            f"expected at most the {len(seeds)} seeds of the study, or a list of seeds, got {search.seeds}",
        )
    if confirm is None:
        return
    searched = search_seeds(search, seeds)
    seen = [str(seed) for seed in confirm_seeds(confirm, searched, seeds) if seed in searched]
    if seen:
        found.add(("confirm", "seeds"), f"the search trains with {', '.join(seen)} too; name fresh seeds, or how many")
    evaluated = getattr(study.data, "evaluate", {})
    searched_on = {getattr(one, "low", None): name for name, one in evaluated.items()}
    for name, one in getattr(study.data, "confirm", {}).items():
        if name in evaluated:
            found.add(("data", "confirm", name), f"data.evaluate has a set {name}, too; give this one another name")
        if one.low in searched_on:
            what = f"the images are those of data.evaluate.{searched_on[one.low]}, which the search sees; name others"
            found.add(("data", "confirm", name), what)
