"""Reading `ablation.yaml` and the settings that override it. Every problem is found at once, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from platform import trainer as trainers
from platform import yaml_file
from platform.errors import Problem, SpecError
from platform.search_checks import check_search
from platform.search_spec import anchor
from platform.spec import Spec, Study
from platform.spec_checks import (
    Finder,
    check_analysis,
    check_files,
    check_looks,
    check_overrides,
    check_reference,
    check_size,
    check_tracking,
)
from platform.trainer import Trainer

__all__ = ["read"]


def read(
    path: Path, settings: Sequence[str] = (), *, recorded: Callable[[str], Mapping[str, str]] = lambda study: {}
) -> Study:
    """Read a spec and the `path=value` settings that override it.

    Args:
        path: the spec.
        settings: what overrides it.
        recorded: returns for a study's name the trained models that were scored in it already, name -> file; such a
            file may be gone.

    Raises:
        SpecError: with every problem of the file and the settings.
    """
    raw, lines = yaml_file.read(path)
    problems: list[Problem] = []
    raw = {key: value for key, value in raw.items() if value is not None}  # a section left empty is one left out
    trainer = trainers.load(_trainer_named(raw))
    _anchor(raw, path.resolve().parent, trainer)
    found = Finder(lines, problems)
    check_tracking(raw.get("tracking"), found)
    for setting in settings:
        _override(raw, setting, problems)
        _anchor(raw, Path.cwd(), trainer)
    spec = found.validated(Spec, raw, (), {"study": "unnamed"})
    config = found.validated(trainer.Config, raw.get("train", {}), ("train",), {})
    data = found.validated(trainer.Data, raw.get("data", {}), ("data",), {})
    check_size(spec, found)
    check_looks(spec, found)
    check_analysis(spec, trainer, config, data, found)
    sound = check_overrides(spec, trainer, config, found)
    check_reference(spec, found, lambda: recorded(spec.study))
    check_search(spec.search, spec.confirm, Study(spec, trainer, config, data), found)
    if problems and not found.told("train") and data.model_dump(exclude_unset=True):  # images, in the same message
        check_files(Study(sound, trainer, config, data), found)
    if problems:
        raise SpecError(str(path), problems)
    return Study(spec, trainer, config, data, lines)


def _override(raw: dict[str, Any], setting: str, problems: list[Problem]) -> None:
    """Put `path=value` into the raw spec. Relative folders given here are relative to the working directory."""
    path, equals, text = setting.partition("=")
    where = next((f"--set {one}" for one in (setting, f"{path}=...") if _is_short(one)), "--set")
    if odd := yaml_file.unprintable(path if equals else setting):
        problems.append(Problem(where, f"expected path=value, but here is the character {odd}"))
        return
    if not equals or not path.strip():
        problems.append(Problem(where, "expected path=value, such as seeds=4 or train.steps=200"))
        return
    try:
        value = yaml_file.parse_value(text)
    except ValueError as error:
        problems.append(Problem(where, f"the value is not YAML: {error}"))
        return
    parts = _split(path.strip())
    if len(parts) > yaml_file.DEEPEST:
        problems.append(Problem(where, f"expected at most {yaml_file.DEEPEST} parts between dots, got {len(parts)}"))
        return
    node = raw
    for part in parts[:-1]:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            problems.append(Problem(where, f"`{part}` holds a value, not a section, so nothing can be set below it"))
            return
    node[parts[-1]] = value


def _is_short(text: str) -> bool:
    """Whether a text can stand in front of a message."""
    return len(text) <= 200 and not yaml_file.unprintable(text)


def _split(path: str) -> list[str]:
    """Split a dotted path; below a component or variant the rest is one key, itself a dotted path; so is a name."""
    parts = path.split(".")
    if parts[0] in ("components", "variants") and len(parts) > 3:
        return [*parts[:2], ".".join(parts[2:])]
    if parts[:2] == ["search", "space"] and len(parts) > 3:
        below = len(parts) > 4 and parts[-1] in ("float", "int", "choice", "log", "step")
        return ["search", "space", ".".join(parts[2:-1] if below else parts[2:]), *(parts[-1:] if below else [])]
    if parts[:2] == ["search", "objectives"] and len(parts) > 3:
        return ["search", "objectives", ".".join(parts[2:])]
    if parts[0] == "reference" and len(parts) > 2:
        return ["reference", ".".join(parts[1:])]
    return parts


def _trainer_named(raw: dict[str, Any]) -> str:
    """Return the trainer that a raw spec names, if that can be, else the default."""
    field = Spec.model_fields["trainer"]
    named = raw.get("trainer")
    return str(named if named in get_args(field.annotation) else field.default)


def _anchor(raw: dict[str, Any], folder: Path, trainer: Trainer) -> None:
    """Make the relative names of folders and files in a raw spec absolute, in place."""
    for holder in _holders(raw.get("data")):
        for key in ("low", "normal"):
            if isinstance(holder.get(key), str) and holder[key]:
                holder[key] = _absolute(holder[key], folder)
        if isinstance(holder.get("scenes"), str) and holder["scenes"].lower().endswith(".csv"):
            holder["scenes"] = _absolute(holder["scenes"], folder)
    reference = raw.get("reference")
    if isinstance(reference, dict):
        raw["reference"] = {
            name: _absolute(file, folder) if isinstance(file, str) and file else file
            for name, file in reference.items()
        }
    _anchor_settings(raw.get("train"), folder, trainer)
    for section in (raw.get("components"), raw.get("variants")):
        for overrides in section.values() if isinstance(section, dict) else ():
            _anchor_settings(overrides, folder, trainer)
    anchor(raw.get("search"), folder, trainer)


def _anchor_settings(node: Any, folder: Path, trainer: Trainer, prefix: str = "") -> None:
    """Make the relative names of files in the trainer's settings absolute, in place."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, dict):
            _anchor_settings(value, folder, trainer, f"{prefix}{key}.")
        else:
            node[key] = trainer.anchored(f"{prefix}{key}", value, folder)


def _absolute(path: str, folder: Path) -> str:
    try:
        return str((folder / Path(path).expanduser()).resolve())
    except (RuntimeError, ValueError):  # no such user, or a character that no path has: no such file, later
        return path


def _holders(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        yield data
        for section in ("evaluate", "confirm"):
            if isinstance(data.get(section), dict):
                named = {name: {"low": one} if isinstance(one, str) else one for name, one in data[section].items()}
                data[section] = named
                yield from (one for one in data[section].values() if isinstance(one, dict))
