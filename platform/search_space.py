"""The search space of each variant: which settings it searches, which it leaves out and why, and its points. Pure.

Values are those of *active* parameters, whose conditions hold: dotted path -> value.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from pydantic import ValidationError

from platform.design import Variant, configured
from platform.errors import shown
from platform.search_spec import Distribution
from platform.trainer import Trainer

__all__ = [
    "Parameter", "active", "combinations", "compared", "contains", "is_active", "ordered", "placed", "point", "probes",
    "settings", "snapped", "space_of", "standing", "to_optuna",
]  # fmt: skip

EXHAUSTIVE = 1024
"""So many combinations of probed values are all gone through; of more, a sample in which every pair occurs."""
DRAWS = 8
"""Random draws of the others for each parameter in such a sample."""


@dataclass(frozen=True)
class Parameter:
    """A setting that is searched.

    Args:
        path: dotted.
        kind: what its values are.
        low: the lowest value of a range, in the setting's unit; so is `high` the highest.
        log: whether the range is even in its logarithm.
        step: the distance between a range's values, from `low`; None if a float range is continuous.
        choices: the values of a choice.
        when: path of another parameter -> the values of it under which this one is active.
    """

    path: str
    kind: Literal["float", "int", "choice"]
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def ordered(space: Mapping[str, Distribution]) -> list[Parameter]:
    """Return a spec's space as parameters in its order, but each after those that its conditions name.

    Raises:
        ValueError: if conditions go round in a circle.
    """
    left = {path: _parameter(path, one) for path, one in space.items()}
    found: list[Parameter] = []
    while left:
        ready = next((path for path, one in left.items() if not one.when.keys() & left.keys()), None)
        if ready is None:
            raise ValueError(f"conditions in a circle: {', '.join(left)}")
        found.append(left.pop(ready))
    return found


def _parameter(path: str, one: Distribution) -> Parameter:
    when = {other: tuple(values) for other, values in one.when.items()}
    if one.float_ is not None:
        low, high = one.float_
        return Parameter(path, "float", low, high, one.log, one.step, when=when)
    if one.int_ is not None:
        low, high = one.int_
        return Parameter(path, "int", low, high, one.log, 1 if one.step is None else int(one.step), when=when)
    return Parameter(path, "choice", choices=tuple(one.choice or ()), when=when)


def space_of(
    variant: Variant, space: Mapping[str, Distribution], *, trainer: Trainer, config: Any
) -> tuple[list[Parameter], dict[str, str]]:
    """Return what a variant searches, and why it leaves out the rest: path -> reason.

    Left out is what the variant itself fixes, what its conditions never allow, and what has no effect in it: for all
    settings of the variant that were tried, `trainer.canonical` is the same whatever its value. Tried are the ends, the
    middle and all choices, in all combinations, or of very many in a sample (`combinations`). A condition on a setting
    that the variant does not search is settled here, so that what is left names parameters of the variant alone.

    Args:
        variant: one of the design.
        space: of the spec; its paths exist, and its conditions form no circle.
        trainer: whose `canonical` tells what has an effect.
        config: the full model's configuration.
    """
    fixed = configured(trainer.Config, config, variant.overrides).model_dump(mode="json", by_alias=True)
    left_out = {
        path: f"the variant fixes it at {shown(variant.overrides[path])}" for path in space if path in variant.overrides
    }
    kept = [one for one in ordered(space) if one.path not in left_out]
    while True:
        kept, reasons = _settled(kept, fixed)
        reasons = reasons or _without_effect(kept, variant, trainer, config)
        if not reasons:
            return kept, {path: left_out[path] for path in space if path in left_out}
        left_out |= reasons
        kept = [one for one in kept if one.path not in reasons]


def _settled(parameters: Sequence[Parameter], fixed: Mapping[str, Any]) -> tuple[list[Parameter], dict[str, str]]:
    """Settle the conditions on settings that are not searched; return the parameters, and those that never exist."""
    searched = {one.path for one in parameters}
    kept: list[Parameter] = []
    reasons: dict[str, str] = {}
    for one in parameters:
        open_ = {path: values for path, values in one.when.items() if path in searched}
        unmet = [path for path in open_ if path in reasons]
        unmet += [path for path, values in one.when.items() if path not in searched and _at(fixed, path) not in values]
        if unmet:
            allowed = " or ".join(map(shown, one.when[unmet[0]]))
            here = "does not exist" if unmet[0] in reasons else f"is {shown(_at(fixed, unmet[0]))}"
            reasons[one.path] = f"it exists when {unmet[0]} is {allowed}, which {here} here"
        else:
            kept.append(replace(one, when=open_))
    return kept, reasons


def _without_effect(parameters: Sequence[Parameter], variant: Variant, trainer: Trainer, config: Any) -> dict[str, str]:
    """Return the parameters whose value never makes a difference to the canonical settings, with that reason."""
    undecided = {one.path for one in parameters}
    known: dict[tuple[Any, ...], str | None] = {}
    first: dict[tuple[Any, ...], str] = {}  # what was trained first, by a parameter and the values of all others
    idle: set[str] = set()  # those that were compared at all
    for values in combinations(parameters):
        chosen = active(parameters, values)
        key = tuple(chosen.items())
        if key not in known:
            known[key] = _trained(trainer, config, {**variant.overrides, **chosen})
        outcome = known[key]
        if outcome is None:
            continue
        for path in list(undecided & chosen.keys()):
            others = (path, *(value for other, value in values.items() if other != path))
            if others in first:
                idle.add(path)
            if first.setdefault(others, outcome) != outcome:
                undecided.discard(path)
        if not undecided:
            break
    return {one.path: "it has no effect here" for one in parameters if one.path in undecided & idle}


def _trained(trainer: Trainer, config: Any, overrides: Mapping[str, Any]) -> str | None:
    """Return the canonical settings with these overrides as text, or None if the trainer refuses them."""
    try:
        return json.dumps(trainer.canonical(configured(trainer.Config, config, overrides)), sort_keys=True)
    except ValidationError:
        return None


def probes(parameter: Parameter) -> list[Any]:
    """Return values that stand for a parameter's range: both ends and its middle, or all choices."""
    if parameter.kind == "choice":
        return list(parameter.choices)
    low, high = parameter.low, parameter.high
    middle = math.sqrt(low) * math.sqrt(high) if parameter.log else low + (high - low) / 2
    return list(dict.fromkeys([snapped(parameter, low), snapped(parameter, middle), snapped(parameter, high)]))


def combinations(parameters: Sequence[Parameter]) -> Iterator[dict[str, Any]]:
    """Yield settings of all parameters (inactive ones too), each at its probed values: path -> value.

    All combinations, if they are `EXHAUSTIVE` or fewer. Else every pair of values of two parameters with the others at
    their first and at their last value, and each parameter's values with `DRAWS` random draws of the others; the same
    ones at each call.
    """
    values = {one.path: probes(one) for one in parameters}
    if math.prod(map(len, values.values())) <= EXHAUSTIVE:
        for chosen in itertools.product(*values.values()):
            yield dict(zip(values, chosen, strict=True))
        return
    for rest in (0, -1):
        others = {path: several[rest] for path, several in values.items()}
        for one, two in itertools.combinations(values, 2):
            for first, second in itertools.product(values[one], values[two]):
                yield {**others, one: first, two: second}
    draw = random.Random(0)
    for path, several in values.items():
        for _ in range(DRAWS):
            others = {other: draw.choice(theirs) for other, theirs in values.items()}
            yield from ({**others, path: value} for value in several)


def is_active(parameter: Parameter, values: Mapping[str, Any]) -> bool:
    """Return whether a parameter's conditions hold under the values of the active ones before it."""
    return all(path in values and values[path] in allowed for path, allowed in parameter.when.items())


def active(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the parameters whose conditions hold, each snapped to its step.

    Args:
        parameters: each after those that its conditions name, as `space_of` returns them.
        values: a value for at least every active one.

    Raises:
        KeyError: if an active parameter has no value.
    """
    found: dict[str, Any] = {}
    for one in parameters:
        if is_active(one, found):
            found[one.path] = snapped(one, values[one.path])
    return found


def settings(variant: Variant, parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point of a variant's space as overrides to the full model, inactive parameters left out."""
    return {**variant.overrides, **active(parameters, values)}


def snapped(parameter: Parameter, value: Any) -> Any:
    """Return a value as the spec would write it: of the parameter's type, and free of the rounding of its steps.

    So 0.1 + 0.2 is 0.3, and the same setting has the same identity whichever way it was reached.
    """
    if parameter.kind == "choice":
        return value
    if parameter.step is None:
        return float(value)
    if parameter.kind == "int":
        low, step = int(parameter.low), int(parameter.step)
        return low + round((value - low) / step) * step
    start, width = Fraction(str(parameter.low)), Fraction(str(parameter.step))
    return float(start + round((Fraction(value) - start) / width) * width)


def contains(parameter: Parameter, value: Any) -> bool:
    """Return whether a parameter can have this value."""
    if parameter.kind == "choice":
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in parameter.choices)
    if isinstance(value, bool) or not isinstance(value, int | float) or not parameter.low <= value <= parameter.high:
        return False
    return math.isclose(snapped(parameter, value), value, rel_tol=1e-9, abs_tol=1e-8 * (parameter.step or 0))


def point(values: Mapping[str, Any]) -> str:
    """Return a point as a text that is the same for equal values in any order: JSON with sorted keys.

    Raises:
        ValueError: if a value is NaN or infinite.
    """
    return json.dumps(dict(values), sort_keys=True, separators=(",", ":"), allow_nan=False)


def standing(
    variant: Variant, parameters: Sequence[Parameter], *, trainer: Trainer, config: Any
) -> dict[str, Any] | None:
    """Return the point of a variant's space where it stands without a search, or None if that is no point of it.

    Args:
        variant: of the design.
        parameters: its space.
        trainer: whose settings they are.
        config: the full model's configuration.
    """
    had = configured(trainer.Config, config, variant.overrides).model_dump(mode="json", by_alias=True)
    found: dict[str, Any] = {}
    for one in parameters:
        if is_active(one, found):
            value = _at(had, one.path)
            if not contains(one, value):
                return None
            found[one.path] = snapped(one, value)
    return found


def placed(
    variant: Variant, parameters: Sequence[Parameter], observed: Mapping[str, Any], *, trainer: Trainer, config: Any
) -> dict[str, Any] | str:
    """Return where in a variant's space an earlier trial lies, or why it is no point of it.

    It is one if the trainer would train the very same: a setting that has been added to the space counts at the value
    that it had, one that was taken out must have had the value that it has now.

    Args:
        variant: of the study as it is now.
        parameters: its space as it is now.
        observed: the trial's whole settings, as the ledger holds them.
        trainer: whose settings they are.
        config: the full model's configuration as it is now.
    """
    try:
        earlier = trainer.Config.model_validate(observed)
        then, had = trainer.canonical(earlier), earlier.model_dump(mode="json", by_alias=True)
        found: dict[str, Any] = {}
        for one in parameters:
            if not is_active(one, found):
                continue
            value = _at(had, one.path)
            if not contains(one, value):
                return f"{one.path} was {shown(value)}, which is not in the space any more"
            found[one.path] = snapped(one, value)
        now = trainer.canonical(configured(trainer.Config, config, {**variant.overrides, **found}))
    except (ValidationError, KeyError, TypeError):
        return "the trainer does not know its settings any more"
    differs = sorted(_flat(then).items() ^ _flat(now).items())
    if differs:
        path = differs[0][0]
        return f"{path} was {_flat(then).get(path, 'without effect')} and is {_flat(now).get(path, 'without effect')}"
    return found


def compared(before: Sequence[Parameter], now: Sequence[Parameter]) -> dict[str, str]:
    """Return what became of each parameter that is not the same in two spaces: path -> what.

    `new`, `gone`, `wider` (holds all earlier values), `narrower` (holds some of them and no others), `changed`.
    """
    old, new = ({one.path: one for one in space} for space in (before, now))
    found = {}
    for path in [*old, *(path for path in new if path not in old)]:
        if path not in new or path not in old:
            found[path] = "new" if path in new else "gone"
        elif old[path] != new[path]:
            wider, narrower = _within(old[path], new[path]), _within(new[path], old[path])
            found[path] = "changed" if wider == narrower else "wider" if wider else "narrower"
    return found


def _within(inner: Parameter, outer: Parameter) -> bool:
    """Whether all that one parameter can be, the other can be too; other conditions count as neither."""
    if inner.kind != outer.kind or inner.when != outer.when:
        return False
    if inner.kind == "choice":
        return all(contains(outer, one) for one in inner.choices)
    if not (contains(outer, inner.low) and contains(outer, inner.high)):
        return False
    return outer.step is None or (inner.step is not None and not Fraction(str(inner.step)) % Fraction(str(outer.step)))


def to_optuna(parameter: Parameter) -> Any:
    """Return the parameter as Optuna's distribution. Loads Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), parameter.log, int(parameter.step or 1))
    return FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def _at(settings: Mapping[str, Any], path: str) -> Any:
    node: Any = settings
    for part in path.split("."):
        node = node[part]
    return node


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted path -> value as JSON."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": json.dumps(value)}
    return found
