"""Reading what is to be trained from a YAML file: its sections `train` and `data`. Imports no torch.

Every problem is found at once and said in a sentence: where, what was expected, what came, the nearest valid name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trials.canonical import FILES, absolute, anchored
from trials.config import Config, Data
from trials.plain_yaml import MOST_BYTES, RefusedError, measure
from trials.progress import TrainError

__all__ = ["ConfigError", "Settings", "read"]

SECTIONS: dict[str, type[Config] | type[Data]] = {"train": Config, "data": Data}
FOLDERS = ("low", "normal")
EXPECTED = {
    "bool_type": "true or false", "dict_type": "`key: value` pairs", "float_type": "a number",
    "finite_number": "a finite number", "int_type": "a whole number", "int_from_float": "a whole number",
    "model_type": "`key: value` pairs", "model_attributes_type": "`key: value` pairs", "path_type": "a folder",
    "string_type": "a text",
}  # fmt: skip


class ConfigError(TrainError):
    """The settings of a training are wrong. Holds every problem found."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n  ".join([f"{path}: {count}", *problems]))


@dataclass(frozen=True)
class Settings:
    """What a file asks for; `ignored` are its other sections, such as a study's."""

    config: Config
    data: Data
    ignored: list[str]


def read(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a file of settings, and what overrides it: `train.steps=200` and the like.

    Relative folders in the file are relative to it, those of overrides to the working directory.

    Raises:
        ConfigError: with every problem.
    """
    content, problems = _content(path), list[str]()
    raw: dict[str, Any] = {name: {} if content.get(name) is None else content[name] for name in SECTIONS}
    ignored = [name for name in content if name not in SECTIONS]
    problems += [problem for name in ignored if (problem := _misplaced(name))]
    _anchor(raw, path.resolve().parent)
    for text in overrides:
        problems += _override(raw, text)
    found: dict[str, Any] = {}
    for name, model in SECTIONS.items():
        try:
            found[name] = model.model_validate(raw[name])
        except ValidationError as error:
            problems += [_sentence(one, model, name) for one in error.errors()]
    if problems:
        raise ConfigError(path, problems)
    return Settings(found["train"], found["data"], ignored)


def _content(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise ConfigError(path, ["expected a text, but this is a pipe or a device; name a file"])
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ConfigError(path, [f"expected at most {MOST_BYTES} bytes, but it has more"])
        content = _parsed(text.decode("utf-8"))
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(path, ["expected a YAML file with `train` and `data`, but there is none"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, [f"expected a readable UTF-8 text, got: {error}"]) from None
    except ValueError as error:
        raise ConfigError(path, [f"this is not YAML: {error}"]) from None
    if not isinstance(content, dict):
        raise ConfigError(path, [f"expected `train: ...` and `data: ...`, got {_shown(content)}"])
    return {str(name): value for name, value in content.items()}


def _parsed(text: str) -> Any:
    """Return what a YAML text means, as plain values.

    Raises:
        ValueError: if it is no YAML, or more than any file of settings.
    """
    try:
        measure(_loader().parse(StringIO(text)))
        return _loader().load(StringIO(text))
    except RefusedError as error:
        raise ValueError(f"line {error.line}: {error}" if error.line else str(error)) from None
    except (YAMLError, ValueError, RecursionError) as error:  # an integer may have too many digits
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def _loader() -> YAML:
    loader = YAML(typ="safe", pure=True)
    loader.version = (1, 2)  # in which 1e-3 is a number, and `no` a word
    return loader


def _misplaced(name: str) -> str | None:
    """Return what is wrong with a section that is neither of ours, if it looks like a slip."""
    if name in _names(Config) or name in _names(Data):
        section = "train" if name in _names(Config) else "data"
        return f"{name}: expected below `{section}`, got it beside; indent it there"
    close = difflib.get_close_matches(name, SECTIONS, n=1, cutoff=0.7)
    return f"{name}: unknown section; did you mean `{close[0]}`?" if close else None


def _override(raw: dict[str, Any], text: str) -> list[str]:
    """Put `path=value` into the raw sections; return what is wrong with it."""
    path, equals, value = (part.strip() for part in text.partition("="))
    section, *parts = path.split(".")
    if not equals or not all(parts):
        return [f"--set {text}: expected path=value, such as train.steps=200"]
    if section not in SECTIONS or not parts:
        return [f"--set {text}: expected a path below train or data, {_nearest(path, list(_paths()))}"]
    try:
        parsed = _parsed(value)
    except ValueError as error:
        return [f"--set {text}: the value is not YAML: {error}"]
    node = raw[section]
    for depth, part in enumerate([*parts[:-1], ""], 1):
        if not isinstance(node, dict):
            above = ".".join([section, *parts[: depth - 1]])
            return [f"--set {text}: {above} holds a value, so nothing can be set below it"]
        if part:
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
    node[parts[-1]] = parsed
    _anchor(raw, Path.cwd())
    return []


def _anchor(raw: dict[str, Any], folder: Path) -> None:
    """Make the relative names of folders and files in the raw sections absolute, in place."""
    for path in FILES:
        node, (*sections, last) = raw["train"], path.split(".")
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if isinstance(node, dict) and last in node:
            node[last] = anchored(path, node[last], folder)
    for holder in _holders(raw["data"]):
        scenes = holder.get("scenes")
        files = ("scenes",) if isinstance(scenes, str) and scenes.lower().endswith(".csv") else ()
        for name in (*FOLDERS, *files):
            if isinstance(holder.get(name), str) and holder[name]:
                holder[name] = absolute(holder[name], folder)


def _holders(data: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a raw section `data` that name folders; `DICM: DIR` becomes `DICM: {low: DIR}`."""
    if not isinstance(data, dict):
        return
    yield data
    for section in ("evaluate", "confirm"):
        named = data.get(section)
        if isinstance(named, dict):
            named.update({name: {"low": one} for name, one in named.items() if isinstance(one, str)})
            yield from (one for one in named.values() if isinstance(one, dict))


def _sentence(error: Mapping[str, Any], model: type[BaseModel], section: str) -> str:
    """Return one of pydantic's errors as a sentence."""
    places = [str(part) for part in error["loc"]]
    where, came = ".".join([section, *places]), _shown(error.get("input"))
    if error["type"] == "extra_forbidden":
        inner = _inner(model, places[:-1])
        return f"{where}: unknown setting; {_nearest(places[-1], _names(inner) if inner else [])}"
    if error["type"] == "missing":
        return f"{where}: expected a value, got none"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    expected = EXPECTED.get(error["type"]) or str(error["msg"]).removeprefix("Input should be ")
    if expected.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"{where}: expected {expected}, got {came}"


def _inner(model: type[BaseModel] | None, places: Sequence[str]) -> type[BaseModel] | None:
    """Return the model of the section at `places` below a model."""
    for place in places:
        fields = model.model_fields.items() if model else ()
        info = next((info for name, info in fields if place in (name, info.alias)), None)
        if info is not None:
            models = [info.annotation, *get_args(info.annotation)]
            model = next((one for one in models if isinstance(one, type) and issubclass(one, BaseModel)), None)
    return model


def _names(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _paths() -> Iterator[str]:
    """Yield the dotted path of every setting."""
    open_sections: list[tuple[str, type[BaseModel]]] = list(SECTIONS.items())
    for prefix, model in open_sections:
        for name in _names(model):
            inner = _inner(model, [name])
            yield f"{prefix}.{name}"
            if inner is not None and not prefix.startswith("data"):
                open_sections.append((f"{prefix}.{name}", inner))


def _nearest(name: str, valid: Sequence[str]) -> str:
    """Return a hint: the valid names nearest to `name`, or all of a few."""
    close = [one for one in valid if one.endswith(f".{name}")] or difflib.get_close_matches(name, valid, n=2)
    if close:
        return f"did you mean {' or '.join(f'`{one}`' for one in close[:2])}?"
    return f"valid are {', '.join(sorted(valid))}" if len(valid) <= 30 else "such as train.steps"


def _shown(value: Any) -> str:
    """Return a value as a message shows it: as JSON, of 60 characters at most."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
