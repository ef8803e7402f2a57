"""What is wrong with a spec, said in sentences: where, what was expected, what came, what to do."""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from analysis.schema import BASELINE
from platform import design
from platform.errors import Problem, shown
from platform.spec import Spec, Study
from platform.trainer import Trainer

__all__ = [
    "Finder", "check_analysis", "check_files", "check_looks", "check_overrides", "check_reference", "check_size",
    "check_tracking", "field_paths", "nearest",
]  # fmt: skip

MOST_TRIALS = 100_000
"""Of one study, at the spec's settings or to confirm: what one ledger is made for, ten times."""
SERVERS = ("http://", "https://", "postgresql", "mysql", "mssql", "databricks")
"""How addresses of MLflow servers and of databases behind a server begin."""


class Finder:
    """Collects problems, each with the line of its path in the file."""

    def __init__(self, lines: Mapping[tuple[str, ...], int], problems: list[Problem]) -> None:
        self.lines = lines
        self.problems = problems
        self._places: set[tuple[str, ...]] = set()
        """Where there is a problem."""
        self._unread: set[tuple[str, ...]] = set()
        """Where a default stands in for what could not be read, or for what an unknown key was meant to be."""

    def add(self, path: Sequence[str], what: str) -> None:
        """Record a problem at `path`; its line is that of the innermost part that stands in the file."""
        parts = tuple(path)
        self._places.add(parts)
        line = next((self.lines[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in self.lines), None)
        where = ".".join(parts) or "spec"
        problem = Problem(f"line {line}, {where}" if line else where, what)
        if problem not in self.problems:
            self.problems.append(problem)

    def told(self, *path: str) -> bool:
        """Whether a problem is recorded at a path or below it, or what stands there could not be read.

        What depends on it is then not looked at, since it would be judged by a default that nobody asked for.
        """
        below = any(one[: len(path)] == path for one in self._places)
        return below or any(path[: len(one)] == one for one in self._unread)

    def validated(self, model: type[BaseModel], raw: Any, path: tuple[str, ...], fallback: dict[str, Any]) -> Any:
        """Return `raw` as `model`, or what is sound of it after recording what is wrong, so that checks can go on."""
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            faults = error.errors()
        for one in faults:
            at = (*path, *(str(part) for part in one["loc"] if not _is_union_branch(part)))
            self.add(at, sentence(one, model))
            if one["loc"] or not isinstance(raw, dict):  # else it is of parts that are each sound alone
                self._unread.add(at)
            if one["type"] == "extra_forbidden":
                meant = _close(at[-1], _keys(model, [str(part) for part in one["loc"][:-1]]))
                self._unread |= {(*at[:-1], name) for name in meant}
        sound = {**fallback, **_without_faults(raw, [one["loc"] for one in faults])}
        for left_out in (None, *reversed(sound)):
            try:
                made = model.model_validate({key: value for key, value in sound.items() if key != left_out})
            except ValidationError:
                continue
            if left_out is not None:
                self._unread.add((*path, left_out))
            return made
        self._unread.add(path)
        return model.model_validate(fallback)


def _without_faults(raw: Any, faults: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return a copy of a raw section without the values at these places, or those that lack something there."""
    kept: dict[str, Any] = copy.deepcopy(raw) if isinstance(raw, dict) else {}
    for *above, last in filter(None, [_place(raw, fault) for fault in faults]):
        node = kept
        for part in above:
            node = node.get(part, {})
        node.pop(last, None)
    return kept


def _place(raw: Any, loc: Sequence[Any]) -> list[Any]:
    """Return the parts of an error's path that stand in a raw section."""
    place = []
    for part in loc:
        if isinstance(raw, dict) and part in raw:
            raw = raw[part]
            place.append(part)
    return place


def sentence(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return one of pydantic's errors as a sentence: what was expected, what came, and the nearest valid name."""
    loc, given = [str(part) for part in error["loc"]], error.get("input")
    if error["type"] == "extra_forbidden":
        valid = _keys(model, loc[:-1])
        return f"unknown key; {nearest(loc[-1], valid)}"
    if error["type"] == "missing":
        return "expected a value, got none"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "too_long":
        return f"expected at most {error['ctx']['max_length']} entries, got {len(given or ())}"
    if error["type"] == "string_pattern_mismatch":
        return f"expected a name of letters, digits, '.', '_' and '-' (at most 80), got {shown(given)}"
    expected = _EXPECTED.get(error["type"]) or str(error["msg"]).replace("Input should be", "expected")
    return f"{expected}, got {shown(given)}"


_EXPECTED = {
    "int_parsing": "expected a whole number", "int_type": "expected a whole number",
    "int_from_float": "expected a whole number", "float_parsing": "expected a number",
    "float_type": "expected a number", "bool_parsing": "expected true or false", "bool_type": "expected true or false",
    "dict_type": "expected `key: value` pairs", "model_type": "expected `key: value` pairs",
    "model_attributes_type": "expected `key: value` pairs", "string_type": "expected a text",
    "path_type": "expected a folder or file", "finite_number": "expected a finite number",
}  # fmt: skip


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint: the valid names nearest to `name`, or all of them."""
    valid = sorted(valid)
    close = _close(name, valid)
    if not close:  # a name without its section, or a part of one
        close = [one for one in valid if name in one.split(".") or one.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    return f"did you mean {' or '.join(f'`{one}`' for one in close)}?" if close else f"valid are {', '.join(valid)}"


def _close(name: str, valid: Iterable[str]) -> list[str]:
    """Return the valid names that are nearly this one."""
    return difflib.get_close_matches(name, sorted(valid), n=2, cutoff=0.6)


def field_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted path of every setting in a model of nested sections."""
    paths = []
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            paths += field_paths(inner, f"{path}.")
        else:
            paths.append(path)
    return paths


def check_size(spec: Spec, found: Finder) -> None:
    """Record more trials than a ledger is made for, of the design or to confirm; a search grows by its budget."""
    names, seeds = len(design.variants(spec)), len(spec.seed_list)
    if names * seeds > MOST_TRIALS:
        found.add(("seeds",), f"expected at most {MOST_TRIALS} trials, got {names} variants x {seeds} seeds")
    repeats = spec.search.repeats if spec.search else 1
    confirming = 1 if spec.confirm is None else spec.confirm.seeds
    each = confirming if isinstance(confirming, int) else len(confirming)
    if spec.search is not None and names * repeats * each > MOST_TRIALS:
        at = ("search", "repeats") if spec.confirm is None else ("confirm", "seeds")
        what = f"{names} variants x {repeats} repeats x {each} seeds"
        found.add(at, f"expected at most {MOST_TRIALS} trials to confirm, got {what}")


def check_looks(spec: Spec, found: Finder) -> None:
    """Record a design whose effects no number of seeds decides, where seeds are trained until all is decided."""
    made = design.crossed(spec) if spec.looks else None
    if spec.looks and isinstance(spec.design, dict) and "orders" in spec.design:
        what = "more seeds do not lessen the error of drawing orders"
    elif made is not None and made.resolution == 3:
        what = "of a fraction of resolution III main effects have no verdicts"
    else:
        return
    found.add(
        ("design",),
        "expected leave-one-out, add-one-in, list, factorial or {fractional: V} with seeds: until decided, got "
        f"{shown(spec.design)}; {what}: choose another design, or give a number of seeds",
    )


def check_tracking(tracking: Any, found: Finder) -> None:
    """Record a store that a spec's file puts anywhere on the disk.

    Args:
        tracking: the section as the file has it, before the settings of the command line, which may name any store.
        found: collects the problem.
    """
    uri = tracking.get("uri") if isinstance(tracking, dict) else None
    if isinstance(uri, str) and not uri.lower().startswith(SERVERS):
        found.add(
            ("tracking", "uri"),
            f"expected the address of a server, such as http://127.0.0.1:5000, got {shown(uri)}; a spec's file writes "
            "into the results folder alone: name another store with --set tracking.uri=...",
        )


def check_reference(spec: Spec, found: Finder, recorded: Callable[[], Mapping[str, str]]) -> None:
    """Record the trained models whose file does not exist, and names that are a variant's too.

    A file of a model that was scored already, name -> file in `recorded`, is not needed any more.
    """
    names = {variant.name for variant in design.variants(spec)}
    for name, path in spec.reference.items():
        if not os.path.isfile(path) and recorded().get(name) != path:
            found.add(("reference", name), f"expected a file of weights, but there is no file {path}")
        if name in names:
            found.add(("reference", name), f"the name `{name}` is a variant's; choose another")


def check_overrides(spec: Spec, trainer: Trainer, config: Any, found: Finder) -> Spec:
    """Record the component paths that do not exist, values out of range, and variants that are no difference.

    Returns:
        The spec without the components and variants of the first two kinds.
    """
    valid = field_paths(trainer.Config)
    unsound = set()
    for section, named in (("components", spec.components), ("variants", spec.variants)):
        for name, overrides in named.items():
            before = len(found.problems)
            if not overrides:
                found.add((section, name), "expected at least one setting, got none; it would change nothing")
            for path in (path for path in overrides if path not in valid):
                found.add((section, name, path), f"no such setting of the trainer; {nearest(path, valid)}")
            if len(found.problems) == before:
                _configured(trainer, config, overrides, (section, name), found)
            if len(found.problems) > before:
                unsound.add(name)
    if spec.design not in ("leave-one-out", "list"):
        _check_apart(spec.components, found)
    sound = _without(spec, unsound)
    _check_differences(sound, trainer, config, found)
    return sound


def _check_apart(components: Mapping[str, Mapping[str, Any]], found: Finder) -> None:
    """Record the settings that two components change in different ways: both cannot be taken out at once."""
    by: dict[str, tuple[str, Any]] = {}
    for name, overrides in components.items():
        for path, value in overrides.items():
            other, given = by.setdefault(path, (name, value))
            if given != value:
                what = f"`{other}` sets it to {shown(given)}, but the design takes both components out at once"
                found.add(("components", name, path), f"expected one value, {what}; got {shown(value)}")


def check_files(study: Study, found: Finder) -> None:
    """Record what is wrong with images and files of weights, for the full model and for each variant, once each."""
    said = study.trainer.check(study.config, study.data)
    found.problems += [Problem(where, what) for where, _, what in (problem.partition(": ") for problem in said)]
    sound = not said
    for variant in (variant for variant in design.variants(study.spec) if variant.overrides):
        at = ("variants", variant.name) if study.spec.design == "list" else ("components", variant.component or "")
        settings = _configured(study.trainer, study.config, variant.overrides, at, found)
        try:
            problems = [] if settings is None else study.trainer.misfits(settings, study.data)
        except ValueError:
            if not said:
                raise
            return  # the data are not sound, which the trainer has said
        for problem in problems:
            if problem not in said:
                found.add([part for part in at if part], f"`{variant.name}` cannot be trained: {problem}")
        said = [*said, *problems]
    if sound:
        _check_scenes(study, found)


def _check_scenes(study: Study, found: Finder) -> None:
    """Record too few scenes for a verdict on images like these, where seeds are trained until there is one."""
    spec, trainer = study.spec, study.trainer
    if not spec.looks or spec.analysis.images != "sample" or found.told("analysis", "primary"):
        return
    from analysis.comparison import SCENES  # loads pandas

    paired = any(one.needs_reference for one in trainer.METRICS if one.key == spec.analysis.primary)
    sets = getattr(study.data, "evaluate", {})
    without = [name for name, one in sets.items() if paired and not one.normal]
    scenes = {(name, scene) for name, _, scene in trainer.scenes(study.data) if name not in without}
    if len(scenes) < SCENES:
        found.add(
            ("analysis", "images"),
            f"expected {SCENES} scenes or more for verdicts on images like these, got {len(scenes)} with "
            f"{spec.analysis.primary}, so seeds: until decided would never decide; add images of other scenes, choose "
            "images: these, or give a number of seeds",
        )


def _without(spec: Spec, names: set[str]) -> Spec:
    """Return the spec without the components and variants of these names; one at a time where too few are left."""
    kept = {name: overrides for name, overrides in spec.components.items() if name not in names}
    variants = {name: overrides for name, overrides in spec.variants.items() if name not in names}
    design = "leave-one-out" if names and isinstance(spec.design, dict) else spec.design
    return spec.model_copy(update={"components": kept, "variants": variants, "design": design})


def _check_differences(spec: Spec, trainer: Trainer, config: Any, found: Finder) -> None:
    """Record the variants that train to the same results as another, unless several components are taken out.

    Of these one may mean nothing without another, which a factorial design shows as an interaction.
    """
    names = [variant.name for variant in design.variants(spec)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.add(("variants", name), f"the name `{name}` is taken by the design itself; choose another")
    if spec.control.placebo and design.PLACEBO in spec.components:
        found.add(("components", design.PLACEBO), f"the name `{design.PLACEBO}` is the control's; choose another")
    if found.told("train"):
        return
    seen: dict[str, str] = {}
    section = "variants" if spec.design == "list" else "components"
    for variant in design.variants(spec):
        at = (section, variant.component or variant.name)
        settings = _configured(trainer, config, variant.overrides, at, found)
        if settings is None:
            continue
        key = json.dumps([trainer.canonical(settings), variant.stream], sort_keys=True)
        if key in seen and len(variant.out) < 2:
            other = "the full model" if seen[key] == BASELINE else f"`{seen[key]}`"
            found.add(at, f"`{variant.name}` is the same as {other}: its settings change nothing; change or remove it")
        seen.setdefault(key, variant.name)


def _configured(
    trainer: Trainer, config: Any, overrides: Mapping[str, Any], at: tuple[str, ...], found: Finder
) -> Any | None:
    """Return the configuration with the overrides, or None after recording why there is none."""
    try:
        return design.configured(trainer.Config, config, overrides)
    except ValidationError as error:
        for one in error.errors():
            path = ".".join(str(part) for part in one["loc"])
            if path in overrides or not found.told("train"):
                found.add((*at, path) if path else at, sentence(one, trainer.Config))
    return None


def check_analysis(spec: Spec, trainer: Trainer, config: Any, data: Any, found: Finder) -> None:
    """Record what is wrong with the declared analysis: metrics that do not exist or cannot be measured, the score."""
    metrics = {metric.key: metric for metric in trainer.METRICS}
    named: list[tuple[tuple[str, ...], str]] = [(("analysis", "primary"), spec.analysis.primary)]
    named += [(("analysis", "matters", key), key) for key in spec.analysis.matters]
    for at, key in named:
        if key not in metrics:
            found.add(at, f"no such metric: {key}; {nearest(key, metrics)}")
        elif not metrics[key].per_image:
            found.add(at, f"{key} has one value for a whole trial, but verdicts compare images; name one of those")
    primary = metrics.get(spec.analysis.primary)
    if primary is not None and primary.per_image and primary.higher_is_better is None:
        directed = ", ".join(
            key for key, metric in metrics.items() if metric.per_image and metric.higher_is_better is not None
        )
        found.add(
            ("analysis", "primary"), f"{primary.key} has no direction, so no verdict can rest on it; use {directed}"
        )
    sets = list(getattr(data, "evaluate", {}).values())
    if found.told("analysis", "primary") or found.told("data", "evaluate"):
        sets = []
    if primary is not None and primary.needs_reference and sets and not any(one.normal for one in sets):
        found.add(
            ("analysis", "primary"),
            f"{primary.key} needs references, but no set under data.evaluate has `normal`; add one, or use eval/niqe",
        )
    evaluations = -(-config.steps // config.evaluate_every)
    inputs = (("analysis", "at"), ("train", "steps"), ("train", "evaluate_every"))
    if spec.analysis.at > evaluations and not any(found.told(*one) for one in inputs):
        found.add(
            ("analysis", "at"),
            f"expected at most the {evaluations} evaluations of a trial "
            f"(train.steps {config.steps} / train.evaluate_every {config.evaluate_every}), got {spec.analysis.at}",
        )


def _keys(model: Any, loc: Sequence[str]) -> list[str]:
    """Return the valid keys of the section at `loc` below `model`."""
    for part in loc:
        fields = getattr(model, "model_fields", {})
        info = next((one for name, one in fields.items() if part in (name, one.alias)), None)
        inner = info.annotation if info else None
        models = [one for one in (inner, *get_args(inner)) if isinstance(one, type) and issubclass(one, BaseModel)]
        model = models[0] if models else model if info is None else None
    return [info.alias or name for name, info in getattr(model, "model_fields", {}).items()]


def _is_union_branch(part: Any) -> bool:
    """Whether pydantic put the name of a union's branch, not of a key, into an error's path."""
    return isinstance(part, str) and ("[" in part or part in ("constrained-int", "int", "str"))
