"""What differs between the spec that a study began with and the one it goes on with, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform.errors import shown

__all__ = ["deviations"]

FREE = ("resources", "tracking", "budget", "keep", "reference")
"""Sections that change no result and no verdict."""

SETTINGS = ("train", "components", "variants")
"""Sections that hold settings of the trainer."""

WHOLE = ("search", "confirm")
"""Sections that a spec need not have."""

_NOTHING = object()


def deviations(
    before: Mapping[str, Any], after: Mapping[str, Any], *, same_images: bool = False, same_trials: bool = False
) -> list[str]:
    """Return a sentence for each setting that was declared otherwise before the first trial.

    Args:
        before: the resolved spec that held so far.
        after: the resolved spec that holds from now on.
        same_images: whether the images are the same, byte for byte; then it does not matter where they lie.
        same_trials: whether every variant has the trials that it had; then another value of a setting, such as the
            place of a file of weights, changes no result.
    """
    whole = [name for name in WHOLE if (name in before) != (name in after)]
    old, new = (_flat({key: one for key, one in spec.items() if key not in whole}) for spec in (before, after))
    changed = [path for path in sorted(old.keys() | new.keys()) if old.get(path, _NOTHING) != new.get(path, _NOTHING)]
    counted = [path for path in changed if not _free(path, same_images) and not _emptied(old, new, path)]
    if same_trials:
        counted = [path for path in counted if not (path in old and path in new and _is_setting(path))]
    said = [f"{name}: {'added' if name in after else 'removed'}" for name in whole]
    return said + [f"{path}: {_shown(old, path)} became {_shown(new, path)}" for path in counted]


def _free(path: str, same_images: bool) -> bool:
    parts = path.split(".")
    return parts[0] in FREE or (same_images and parts[0] == "data" and parts[-1] in ("low", "normal"))


def _emptied(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> bool:
    """Whether a section is empty before or after, and nothing at the other time: what it held or holds says more."""
    filled = any(other.startswith(f"{path}.") for values in (old, new) for other in values)
    return filled and {str(values.get(path, _NOTHING)) for values in (old, new)} == {"{}", str(_NOTHING)}


def _is_setting(path: str) -> bool:
    return path.split(".")[0] in SETTINGS


def _shown(values: Mapping[str, Any], path: str) -> str:
    return shown(values[path]) if path in values else "nothing"


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values by dotted path; an empty section is a value."""
    values: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            values |= _flat(value, f"{path}.")
        else:
            values[path] = value
    return values
