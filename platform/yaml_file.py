"""Reading YAML (version 1.2, so that 1e-3 is a number and `no` a word) with the line of every key."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from platform.errors import Problem, SpecError, shown

__all__ = ["Lines", "parse_value", "read"]

Lines = dict[tuple[str, ...], int]


def read(path: Path) -> tuple[dict[str, Any], Lines]:
    """Return the mapping that the file holds, and the line (from 1) of every key and list item.

    Raises:
        SpecError: if the file cannot be read, is no YAML, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(str(path), [Problem("file", "expected a spec, but there is no such file; name one")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), [Problem("file", f"expected a readable UTF-8 text, got: {error}")]) from None
    try:
        loaded = _loader().load(StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        told = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError(str(path), [Problem(f"line {line}", f"this is not YAML: {told.splitlines()[0]}")]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpecError(str(path), [Problem("file", f"this is not YAML: {reason}")]) from None
    if not isinstance(loaded, CommentedMap):
        found = "nothing" if loaded is None else "a list" if isinstance(loaded, CommentedSeq) else shown(loaded)
        raise SpecError(str(path), [Problem("line 1", f"expected `key: value` pairs, got {found}")])
    return _plain(loaded), dict(_lines(loaded, ()))


def parse_value(text: str) -> Any:
    """Return what `text` means as a YAML value: `4`, `1e-3`, `[1, 2]`, `{low: a}`, `null`.

    Raises:
        ValueError: if it is no YAML.
    """
    try:
        return _plain(_loader().load(StringIO(text)))
    except (YAMLError, RecursionError) as error:
        raise ValueError(str(error).splitlines()[0]) from None


def _loader() -> YAML:
    loader = YAML(typ="rt")  # the round-trip loader is a safe one: it makes plain values, never objects
    loader.version = (1, 2)
    return loader


def _lines(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            here = (*path, str(key))
            position = node.lc.data.get(key) if node.lc.data else None
            if position:  # a key merged in by `<<` has none of its own
                yield here, position[0] + 1
            yield from _lines(value, here)
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            yield from _lines(value, (*path, str(index)))


def _plain(node: Any) -> Any:
    """Return the value without YAML's wrappers; keys become strings, NaN and infinity stay as they are."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return float(node) if math.isfinite(node) else node * 1.0
    return str(node)
