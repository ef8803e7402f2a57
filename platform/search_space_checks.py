"""What is wrong with `search.space`, said in sentences before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from platform import design
from platform.design import Variant
from platform.errors import shown
from platform.search_space import Parameter, active, combinations, contains, ordered, point, probes, settings, space_of
from platform.search_spec import Distribution, Search
from platform.spec import Study
from platform.spec_checks import Finder, field_paths, nearest, sentence

__all__ = ["SPACE", "Searched", "check_fit", "check_space"]

SPACE = ("search", "space")


@dataclass(frozen=True)
class Searched:
    """What one variant searches: its parameters, why the others are left out, and the trainings that may come of it."""

    variant: Variant
    parameters: list[Parameter]
    left_out: dict[str, str]
    configs: list[Any]
    refused: list[tuple[dict[str, Any], str]]
    """What the trainer refuses, a value for every parameter each, with its sentence."""


def check_space(search: Search, study: Study, found: Finder) -> list[Searched]:
    """Record all that is wrong with a space, alone and in each variant; return what the sound variants search of it.

    Args:
        search: as it could be read.
        study: all else that the spec says.
        found: collects the problems.
    """
    space = _sound_space(search, study, found)
    searched = [_searched(variant, space, study) for variant in _sound_variants(study)]
    if not found.told("train"):
        _check_reach(space, searched, found)
        _check_points(searched, study, found)
    return searched


def check_fit(study: Study, found: Finder) -> None:
    """Record the values of a sound search that fit the images or files of weights of no training, once each.

    Each end of a range, its middle, and each choice is tried in every variant that searches the setting, beside the
    settings that the variant has without a search. The images are sound, which is checked elsewhere.
    """
    said: set[str] = set()
    search = study.spec.search
    for variant in design.variants(study.spec) if search is not None else ():
        space = {} if search is None else search.space
        parameters, _ = space_of(variant, space, trainer=study.trainer, config=study.config)
        for parameter in parameters:
            for value in probes(parameter):
                overrides = {**variant.overrides, parameter.path: value}
                if _refusals(study, overrides):
                    continue  # it exists only beside others
                config = design.configured(study.trainer.Config, study.config, overrides)
                for what in study.trainer.misfits(config, study.data):
                    if what not in said:
                        said.add(what)
                        at = (*SPACE, parameter.path)
                        found.add(at, f"with {shown(value)} {variant.name} cannot be trained: {what}")


def _sound_variants(study: Study) -> Iterator[Variant]:
    """Yield the variants that can be configured; what is wrong with the others is recorded elsewhere."""
    valid = set(field_paths(study.trainer.Config))
    for variant in design.variants(study.spec):
        if variant.overrides.keys() <= valid and not _refusals(study, variant.overrides):
            yield variant


def _refusals(study: Study, overrides: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the trainer says against the full model with these overrides: (dotted path or empty, sentence)."""
    try:
        design.configured(study.trainer.Config, study.config, overrides)
    except ValidationError as error:
        return [(".".join(map(str, one["loc"])), sentence(one, study.trainer.Config)) for one in error.errors()]
    return []


def _sound_space(search: Search, study: Study, found: Finder) -> dict[str, Distribution]:
    """Return the part of the space that can be searched, after recording what is wrong with the rest."""
    if not search.space and not found.told(*SPACE):
        found.add(SPACE, "expected at least one setting to search, got none")
    valid = field_paths(study.trainer.Config)
    for path in (path for path in search.space if path not in valid):
        found.add((*SPACE, path), f"no such setting of the trainer; {nearest(path, valid)}")
    space = {path: one for path, one in search.space.items() if path in valid}
    space = {path: one for path, one in space.items() if _values_fit(path, one, study, found)}
    parameters = {one.path: one for one in ordered(_without_conditions(space))}
    for path, one in space.items():
        for other, values in one.when.items():
            what = _condition_fault(other, values, valid, parameters, study)
            if what:
                found.add((*SPACE, path, "when", other), what)
    left = space
    while circle := _circle(left):
        chain = ", which exists when ".join(circle)
        found.add((*SPACE, circle[0], "when"), f"conditions in a circle: {chain} has a value; remove one of them")
        left = {path: one for path, one in left.items() if path not in circle}
    unsound = {path for path in space if found.told(*SPACE, path)}
    while True:  # nor can be searched what depends on those
        more = {path for path, one in space.items() if one.when.keys() & unsound} - unsound
        if not more:
            return {path: one for path, one in space.items() if path not in unsound}
        unsound |= more


def _without_conditions(space: Mapping[str, Distribution]) -> dict[str, Distribution]:
    return {path: one.model_copy(update={"when": {}}) for path, one in space.items()}


def _values_fit(path: str, one: Distribution, study: Study, found: Finder) -> bool:
    """Whether the setting takes both ends of its range, or each of its choices; records those that it does not."""
    parameter = ordered(_without_conditions({path: one}))[0]
    fits = True
    for value in probes(parameter):
        for where, what in _refusals(study, {path: value}):
            if where == path or where.startswith(f"{path}."):
                hint = "; use `int: [low, high]`" if one.kind == "float" and "whole number" in what else ""
                found.add((*SPACE, path), f"{what}{hint}")
                fits = False
        if not fits and one.kind != "choice":
            return False
    return fits


def _condition_fault(
    path: str, values: Sequence[Any], valid: Sequence[str], parameters: Mapping[str, Parameter], study: Study
) -> str:
    """Return what is wrong with a condition on the setting at `path`, or nothing."""
    if path not in valid:
        return f"no such setting of the trainer; {nearest(path, valid)}"
    if path not in parameters:
        faults = [what for value in values for where, what in _refusals(study, {path: value}) if where == path]
        return faults[0] if faults else ""
    parameter = parameters[path]
    if parameter.kind == "float" and parameter.step is None:
        return f"{path} is a continuous range, which hardly ever has one given value; make it a choice, or give a step"
    never = [value for value in values if not contains(parameter, value)]
    return f"{path} is searched, but never has the value {shown(never[0])}" if never else ""


def _circle(space: Mapping[str, Distribution]) -> list[str]:
    """Return settings whose conditions form a circle, the first one repeated at the end; empty if there is none."""
    left = dict(space)
    while ready := [path for path, one in left.items() if not one.when.keys() & left.keys()]:
        left = {path: one for path, one in left.items() if path not in ready}
    trail = list(left)[:1]
    while trail and trail[-1] not in trail[:-1]:  # each that is left has a condition on another that is left
        trail.append(next(path for path in left[trail[-1]].when if path in left))
    return trail[trail.index(trail[-1]) :] if trail else []


def _searched(variant: Variant, space: Mapping[str, Distribution], study: Study) -> Searched:
    parameters, left_out = space_of(variant, space, trainer=study.trainer, config=study.config)
    points = {point(active(parameters, values)): values for values in combinations(parameters)}
    configs, refused = [], []
    for values in points.values():
        overrides = settings(variant, parameters, values)
        try:
            configs.append(design.configured(study.trainer.Config, study.config, overrides))
        except ValidationError as error:
            refused += [(values, sentence(one, study.trainer.Config)) for one in error.errors()]
    return Searched(variant, parameters, left_out, configs, refused)


def _check_reach(space: Iterable[str], searched: Sequence[Searched], found: Finder) -> None:
    """Record the settings that every variant leaves out."""
    for path in space:
        if searched and all(path in one.left_out for one in searched):
            names = {reason: [one.variant.name for one in searched if one.left_out[path] == reason] for reason in
                     dict.fromkeys(one.left_out[path] for one in searched)}  # fmt: skip
            why = "; ".join(f"{', '.join(theirs)}: {reason}" for reason, theirs in names.items())
            found.add((*SPACE, path), f"no variant searches it ({why}); remove it")


def _check_points(searched: Sequence[Searched], study: Study, found: Finder) -> None:
    """Record, once for each kind, the points that the trainer refuses, and the settings that are to blame."""
    said = set()
    for one in searched:
        for values, what in one.refused:
            if _kind(what) in said:
                continue
            said.add(_kind(what))
            guilty = _guilty(one, values, what, study)
            named = " and ".join(f"{path} {shown(value)}" for path, value in guilty.items())
            advice = "narrow it" if len(guilty) == 1 else "narrow one of them, or give it a `when`"
            at = (*SPACE, list(guilty)[-1])
            found.add(at, f"the trainer refuses {named} in {one.variant.name}: {what}; {advice}")


def _kind(what: str) -> str:
    """Return a sentence without its numbers."""
    return re.sub(r"\d+(\.\d+)?", "#", what)


def _guilty(one: Searched, values: Mapping[str, Any], what: str, study: Study) -> dict[str, Any]:
    """Return the active parameters, with their values, of which a change alone would avert a refusal; else all."""
    chosen = active(one.parameters, values)
    guilty = {}
    for parameter in (parameter for parameter in one.parameters if parameter.path in chosen):
        for value in probes(parameter):
            other = settings(one.variant, one.parameters, {**values, parameter.path: value})
            if _kind(what) not in {_kind(said) for _, said in _refusals(study, other)}:
                guilty[parameter.path] = chosen[parameter.path]
    return guilty or chosen
