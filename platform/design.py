"""From components to variants: which settings each variant changes, and what it is compared with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis import factorial
from analysis.schema import BASELINE
from platform.spec import Spec
from platform.trainer import Trainer

__all__ = ["PLACEBO", "Variant", "changes", "configured", "crossed", "drawn", "inert", "runs", "variants"]

BARE = "bare"
PLACEBO = "placebo"
LONGEST = 80
"""Characters of a variant's name."""


@dataclass(frozen=True)
class Variant:
    """A named set of overrides to the full model.

    Args:
        name: `baseline`, `no_attention`, `only_attention`, `bare`, `placebo`, or as written by hand.
        overrides: dotted path -> value.
        component: the component it speaks of, if any.
        compared_to: the variant from which it differs by that component alone, or by its overrides.
        present: whether the component is in this variant (and missing in the other).
        stream: the stream of seeds; not empty for the placebo alone.
        out: the components that are taken out, in the spec's order.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    component: str | None = None
    compared_to: str | None = None
    present: bool = False
    stream: str = ""
    out: tuple[str, ...] = ()


def variants(spec: Spec) -> list[Variant]:
    """Return the variants of a spec's design, the full model first.

    leave-one-out: the full model without each component in turn. add-one-in: the full model, the bare one (every
    component taken out), and the bare one with each component in turn. list: as written by hand. factorial,
    fractional, orders: the full model without each set of components of its runs.

    Raises:
        DesignError: if there is no such design for so many components.
    """
    found = [Variant(BASELINE)]
    parts = tuple(spec.components)
    if spec.design == "leave-one-out":
        found += [_without(spec, (name,)) for name in parts]
    elif spec.design == "add-one-in" and parts:
        found.append(replace(_without(spec, parts), name=BARE, component=None, compared_to=BASELINE))
        for name in parts:
            rest = _without(spec, tuple(other for other in parts if other != name))
            found.append(replace(rest, name=f"only_{name}", component=name, compared_to=BARE, present=True))
    elif spec.design == "list":
        found += [Variant(name, overrides, None, BASELINE) for name, overrides in spec.variants.items()]
    else:
        outs = [tuple(name for name in parts if name not in run) for run in runs(spec)]
        found += [_without(spec, out, number) for number, out in enumerate(outs, start=1) if out]
    if spec.control.placebo:
        found.append(Variant(PLACEBO, {}, None, BASELINE, stream=PLACEBO))
    return found


def crossed(spec: Spec) -> factorial.Factorial | None:
    """Return the factorial design of a spec, full or a fraction; None if its design is another.

    Raises:
        DesignError: if there is no such fraction for so many components.
    """
    parts = tuple(spec.components)
    if spec.design == "factorial" and parts:
        return factorial.full(parts)
    if isinstance(spec.design, dict) and "fractional" in spec.design:
        return factorial.fractional(parts, spec.design["fractional"])
    return None


def drawn(spec: Spec) -> list[tuple[str, ...]]:
    """Return the random orders of a design that is made of such; none for any other."""
    if not isinstance(spec.design, dict) or "orders" not in spec.design:
        return []
    return factorial.orders(tuple(spec.components), spec.design["orders"], seed=factorial.orders_seed(spec.study))


def runs(spec: Spec) -> Sequence[factorial.Run]:
    """Return which components are there in each variant of a factorial design, or of one of orders."""
    made = crossed(spec)
    return made.runs if made is not None else factorial.runs_of_orders(drawn(spec))


def _without(spec: Spec, out: tuple[str, ...], number: int = 0) -> Variant:
    """Return the full model without these components; compared with it if there is one alone.

    `number` is in the name where the components' own names would make it too long.
    """
    one = out[0] if len(out) == 1 else None
    name = f"no_{'+'.join(out)}"
    overrides = _merged({name: spec.components[name] for name in out})
    return Variant(
        name if len(name) <= LONGEST else f"run_{number}", overrides, one, BASELINE if one else None, out=out
    )


def configured(model: Any, config: Any, overrides: Mapping[str, Any]) -> Any:
    """Return the trainer's configuration `config` (of class `model`) with overrides (dotted path -> value) applied.

    Raises:
        pydantic.ValidationError: if a value does not fit its setting.
    """
    if not overrides:
        return config
    settings = config.model_dump(mode="json", by_alias=True)
    for path, value in overrides.items():
        *sections, last = path.split(".")
        node = settings
        for section in sections:
            node = node[section]
        node[last] = value
    return model.model_validate(settings)


def changes(variant: Variant, other: Variant, config: Any) -> dict[str, Any]:
    """Return the settings in which a variant differs from another one, dotted path -> its own value.

    Args:
        variant: of the full model's configuration `config`.
        other: what it is compared with.
        config: the full model's.
    """
    full = config.model_dump(mode="json", by_alias=True)
    mine, theirs = (
        {**_at(full, {**variant.overrides, **other.overrides}), **one.overrides} for one in (variant, other)
    )
    return {path: value for path, value in mine.items() if value != theirs[path]}


def _at(settings: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    found = {}
    for path in paths:
        node: Any = settings
        for part in path.split("."):
            node = node[part]
        found[path] = node
    return found


def inert(trainer: Trainer, config: Any, overrides: Mapping[str, Any]) -> list[str]:
    """Return the settings of the full model that mean nothing any more under these overrides, dotted, in its order.

    They are those that `trainer.canonical` drops; a section that goes as a whole is named alone. What an override
    names itself is not among them.
    """
    full = trainer.canonical(config)
    return _gone(full, trainer.canonical(configured(trainer.Config, config, overrides)), set(overrides))


def _gone(full: Mapping[str, Any], rest: Mapping[str, Any], named: set[str], prefix: str = "") -> list[str]:
    """Return the paths in `full` that `rest` lacks and that are not `named`."""
    found: list[str] = []
    for key, value in full.items():
        path, kept = f"{prefix}{key}", rest.get(key)
        if path in named:
            continue
        section = isinstance(value, Mapping)
        if section and (kept is not None or any(one.startswith(f"{path}.") for one in named)):
            found += _gone(value, kept or {}, named, f"{path}.")
        elif kept is None and (section or key not in rest):
            found.append(path)
    return found


def _merged(components: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {path: value for out in components.values() for path, value in out.items()}
