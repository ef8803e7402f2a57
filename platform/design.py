"""From components to variants: which settings each variant changes, and what it is compared with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.schema import BASELINE
from platform.spec import Spec
from platform.trainer import Trainer

__all__ = ["PLACEBO", "Variant", "changes", "configured", "inert", "variants"]

BARE = "bare"
PLACEBO = "placebo"


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
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    component: str | None = None
    compared_to: str | None = None
    present: bool = False
    stream: str = ""


def variants(spec: Spec) -> list[Variant]:
    """Return the variants of a spec's design, the full model first.

    leave-one-out: the full model without each component in turn. add-one-in: the full model, the bare one (every
    component taken out), and the bare one with each component in turn. list: as written by hand.
    """
    found = [Variant(BASELINE)]
    if spec.design == "leave-one-out":
        found += [Variant(f"no_{name}", out, name, BASELINE) for name, out in spec.components.items()]
    elif spec.design == "add-one-in" and spec.components:
        found.append(Variant(BARE, _merged(spec.components), None, BASELINE))
        for name in spec.components:
            rest = _merged({other: out for other, out in spec.components.items() if other != name})
            found.append(Variant(f"only_{name}", rest, name, BARE, present=True))
    else:
        found += [Variant(name, overrides, None, BASELINE) for name, overrides in spec.variants.items()]
    if spec.control.placebo:
        found.append(Variant(PLACEBO, {}, None, BASELINE, stream=PLACEBO))
    return found


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
