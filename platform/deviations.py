"""What differs between the spec that a study began with and the one it goes on with, and the lock on its plan. Pure.

At the first trial the plan is locked: all that decides what a verdict says. A verdict that rests on what was changed
later is exploratory: how it was to be found was chosen when results could be known, so its p-value keeps no error rate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.sequential import schedule
from platform.errors import shown

__all__ = ["changed", "deviations", "digest", "exploratory", "locked"]

FREE = ("resources", "tracking", "budget", "keep", "reference")
"""Sections that change no result and no verdict."""

HOURS = "budget.hours"
"""The one setting of these that is not free: it decides how many of the planned seeds there are. A change is listed as
a deviation, but is no part of the lock: with more hours a study that was cut off goes on, and once every planned seed
has ended there are as many as were locked. Until then the report marks each verdict as interim, whatever the hours."""

SETTINGS = ("train", "components", "variants")
"""Sections that hold settings of the trainer."""

WHOLE = ("search", "confirm")
"""Sections that a spec need not have."""

NAMED = ("components", "variants")
"""Sections of which each entry is one setting: what a variant changes."""

LOCKED = ("analysis", "components", "confirm", "control", "design", "search", "seeds", "train", "trainer", "variants")
"""Sections on which verdicts rest: metric, margins, scoring rule and images; design; seeds; what stops a search or a
training; who trains. Data are locked by their digest."""
SEEDS, DESIGN = "seeds", "design"
DATA = "data"
DIRECTION = "direction"
ALL = ""
"""Stands for every verdict."""

_NOTHING = object()


def deviations(
    before: Mapping[str, Any], after: Mapping[str, Any], *, same_images: bool = False, same_trials: bool = False
) -> list[str]:
    """Return a sentence for each setting that was declared otherwise before the first trial; see `changed`."""
    old, new = _settings(before), _settings(after)
    return [
        _change(old, new, path) for path in changed(before, after, same_images=same_images, same_trials=same_trials)
    ]


def changed(
    before: Mapping[str, Any], after: Mapping[str, Any], *, same_images: bool = False, same_trials: bool = False
) -> list[str]:
    """Return the dotted path of each setting that was declared otherwise before the first trial.

    Seeds, the design, and each component or variant are one setting.

    Args:
        before: the resolved spec that held so far.
        after: the resolved spec that holds from now on.
        same_images: whether the images are the same, byte for byte; then it does not matter where they lie.
        same_trials: whether every variant has the trials that it had; then another value of a setting, such as the
            place of a file of weights, changes no result.
    """
    whole = [name for name in WHOLE if (name in before) != (name in after)]
    old, new = (_settings({key: one for key, one in spec.items() if key not in whole}) for spec in (before, after))
    changed = [path for path in sorted(old.keys() | new.keys()) if old.get(path, _NOTHING) != new.get(path, _NOTHING)]
    counted = [path for path in changed if not _free(path, same_images) and not _emptied(old, new, path)]
    if same_trials:
        counted = [path for path in counted if not (path in old and path in new and _is_setting(path))]
    return whole + counted


def locked(resolved: Mapping[str, Any], *, images: list[str], direction: bool | None) -> dict[str, Any]:
    """Return what of a spec is locked at the first trial.

    Args:
        resolved: the spec.
        images: the digests of the images of the study, and of those that confirm.
        direction: whether more of the primary metric is better; None if it has no direction.
    """
    plan = {name: resolved[name] for name in LOCKED if name in resolved}
    return plan | {SEEDS: _seeds(plan[SEEDS]), DATA: images, DIRECTION: direction}


def digest(plan: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a plan, as its canonical JSON: keys in order, no white space, UTF-8; 64 digits."""
    text = json.dumps(plan, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def exploratory(lock: Mapping[str, Any], plan: Mapping[str, Any], paths: Iterable[str]) -> dict[str, list[str]]:
    """Return which verdicts are exploratory, and why: component (or variant without one) -> sentences.

    Under `` stands what touches every verdict. A component that was added touches its own verdict: with one comparison
    more, the adjustment of the others only grows. One that was taken away touches all, since theirs shrinks, and in
    other designs than leave-one-out and a list all are estimated from the same trainings. What is again as it was
    locked touches none.

    Args:
        lock: the plan that was locked.
        plan: the one that holds now, both as from `locked`.
        paths: what was ever changed after the first trial, as from `changed`, or of parts of such settings. A path of a
            file that only moved is not among them.
    """
    old, new = _settings(lock), _settings(plan)
    known = old.keys() | new.keys()
    found: dict[str, list[str]] = {}
    for path in sorted({DIRECTION, DATA, *(_holding(path, known) for path in paths)}):
        there, here = (lock, plan) if path in WHOLE else (old, new)
        same = there.get(path, _NOTHING) == here.get(path, _NOTHING)
        if same or path.partition(".")[0] not in (*LOCKED, DATA, DIRECTION) or _of_another_metric(path, lock, plan):
            continue
        found.setdefault(_touched(path, plan), []).append(_change(old, new, path))
    return found


def _of_another_metric(path: str, lock: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Whether this is the margin of a metric that no verdict speaks of."""
    prefix = "analysis.matters."
    return path.startswith(prefix) and path.removeprefix(prefix) not in (
        lock["analysis"]["primary"],
        plan["analysis"]["primary"],
    )


def _touched(path: str, plan: Mapping[str, Any]) -> str:
    """Return whose verdict a change touches, or ALL."""
    section, _, name = path.partition(".")
    if section == "control":
        return "placebo" if plan["control"].get("placebo") else ALL
    if section not in NAMED or name not in plan.get(section, {}):
        return ALL
    return name if plan.get("design") in ("leave-one-out", "list") else ALL


def _change(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> str:
    """Say what became of a setting; of a whole section, whether it was added, removed or changed."""
    if path in WHOLE:
        there, here = (any(f"{one}.".startswith(f"{path}.") for one in values) for values in (old, new))
        return f"{path}: {'changed' if there and here else 'added' if here else 'removed'}"
    if path == DATA:
        return "data: the images are others than they were"
    if path == DIRECTION:
        return f"analysis.primary: {_BETTER[old[path]]} is better became {_BETTER[new[path]]} is better"
    if path not in old:
        return f"{path}: added, {_shown(new[path])}"
    if path not in new:
        return f"{path}: removed, it was {_shown(old[path])}"
    why = ": how many seeds there are was decided after the first trial" if path == HOURS else ""
    return f"{path}: {_shown(old[path])} became {_shown(new[path])}{why}"


_BETTER = {True: "higher", False: "lower", None: "neither"}


def _free(path: str, same_images: bool) -> bool:
    parts = path.split(".")
    if parts[0] in FREE:
        return path != HOURS
    return same_images and parts[0] == "data" and parts[-1] in ("low", "normal")


def _emptied(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> bool:
    """Whether a section is empty before or after, and nothing at the other time: what it held or holds says more."""
    filled = any(other.startswith(f"{path}.") for values in (old, new) for other in values)
    return filled and {str(values.get(path, _NOTHING)) for values in (old, new)} == {"{}", str(_NOTHING)}


def _is_setting(path: str) -> bool:
    return path.split(".")[0] in SETTINGS


def _shown(value: Any) -> str:
    """Return a value as a sentence shows it: seeds until decided in words, pairs as a spec has them."""
    if isinstance(value, Mapping) and "until" in value:
        return f"up to {value['max']} until decided (looks at {', '.join(map(str, value['looks']))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {shown(one)}' for key, one in value.items())}}}"
    return shown(value)


def _seeds(seeds: Any) -> Any:
    """Return seeds in one of the ways in which they can be written: seeds 1, 2 and 3 are 3; looks are spelt out."""
    if isinstance(seeds, list) and seeds == list(range(1, len(seeds) + 1)):
        return len(seeds)
    if isinstance(seeds, Mapping):
        return {**seeds, "looks": seeds["looks"] or schedule(seeds["start"], seeds["max"])}
    return seeds


def _holding(path: str, known: Iterable[str]) -> str:
    """Return the setting that a path is, or is a part of; DATA for all that says which images there are."""
    if path.startswith(f"{DATA}."):
        return DATA
    return max((one for one in known if f"{path}.".startswith(f"{one}.")), key=len, default=path)


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a spec, or of a plan, by dotted path; see `changed`."""
    found: dict[str, Any] = {}
    for section, value in spec.items():
        if section == SEEDS:
            found[section] = _seeds(value)
        elif section in NAMED and value:
            found |= {f"{section}.{name}": one for name, one in value.items()}
        else:
            found |= {section: value} if section == DESIGN else _flat({section: value})
    return found


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
