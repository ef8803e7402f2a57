"""Reading YAML (version 1.2, so that 1e-3 is a number and `no` a word) with the line of every key.

A spec may come from anywhere: it is measured before anything is made of it; see `trials.plain_yaml`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from platform.errors import Problem, SpecError, shown
from trials.plain_yaml import DEEPEST, MOST_BYTES, RefusedError, measure, unprintable

__all__ = ["DEEPEST", "Lines", "parse_value", "read", "unprintable"]

Lines = dict[tuple[str, ...], int]

LARGEST = 10**18
"""Whole numbers are smaller, which a ledger can hold."""


def read(path: Path) -> tuple[dict[str, Any], Lines]:
    """Return the mapping that the file holds, and the line (from 1) of every key.

    Raises:
        SpecError: if the file cannot be read, is no YAML, holds no mapping, or is larger than any spec.
    """
    text = _text(path)
    try:
        loaded = _loaded(text)
        plain = _plain(loaded, 1)
    except RefusedError as error:
        where = f"line {error.line}" if error.line else "file"
        raise SpecError(str(path), [Problem(where, str(error))]) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        told = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError(str(path), [Problem(f"line {line}", f"this is not YAML: {_first_line(told)}")]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        reason = _first_line(str(error)) or type(error).__name__
        raise SpecError(str(path), [Problem("file", f"this is not YAML: {reason}")]) from None
    if not isinstance(loaded, CommentedMap):
        found = "nothing" if loaded is None else "a list" if isinstance(loaded, CommentedSeq) else shown(plain)
        raise SpecError(str(path), [Problem("line 1", f"expected `key: value` pairs, got {found}")])
    return plain, dict(_lines(loaded, ()))


def parse_value(text: str) -> Any:
    """Return what `text` means as a YAML value: `4`, `1e-3`, `[1, 2]`, `{low: a}`, `null`.

    Raises:
        ValueError: if it is no YAML, or larger than any spec.
    """
    try:
        return _plain(_loaded(text), None)
    except (YAMLError, RecursionError) as error:
        raise ValueError(_first_line(str(error)) or type(error).__name__) from None


def _text(path: Path) -> str:
    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise SpecError(
                str(path), [Problem("file", "expected a text, but this is a pipe or a device; name a file")]
            )
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise SpecError(str(path), [Problem("file", "expected a spec, but there is no such file; name one")]) from None
    except (OSError, ValueError) as error:  # a path may hold what no path can
        raise SpecError(str(path), [Problem("file", f"expected a readable UTF-8 text, got: {error}")]) from None
    if len(content) > MOST_BYTES:
        raise SpecError(str(path), [Problem("file", f"expected a spec of at most {MOST_BYTES} bytes, but it has more")])
    return text


def _loader() -> YAML:
    loader = YAML(typ="rt")  # the round-trip loader is a safe one: it makes plain values, never objects
    loader.version = (1, 2)
    return loader


def _loaded(text: str) -> Any:
    """Return what the text holds, with YAML's wrappers, after measuring it."""
    measure(_loader().parse(StringIO(text)))
    return _loader().load(StringIO(text))


def _lines(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            here = (*path, _key(key, None))
            line = _line(node, key)
            if line:  # a key merged in by `<<` has none of its own
                yield here, line
            yield from _lines(value, here)
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            yield from _lines(value, (*path, str(index)))


def _line(node: CommentedMap, key: Any) -> int | None:
    position = node.lc.data.get(key) if node.lc.data else None
    return position[0] + 1 if position else None


def _plain(node: Any, line: int | None) -> Any:
    """Return the value without YAML's wrappers; keys become strings, NaN and infinity stay as they are.

    Args:
        node: what was loaded.
        line: of the innermost key around it, if that is known.

    Raises:
        RefusedError: if a key is no text, or stands twice, or a number is too large.
    """
    if isinstance(node, CommentedMap):
        return _plain_mapping(node, line)
    if isinstance(node, CommentedSeq):
        return [_plain(value, line) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, ScalarBoolean):  # one with an anchor
        return bool(node)
    if isinstance(node, int):
        if abs(node) >= LARGEST:
            raise RefusedError(line, "expected whole numbers of at most 18 digits, but here is a larger one")
        return int(node)
    if isinstance(node, float):
        return float(node) if math.isfinite(node) else node * 1.0
    return str(node)


def _plain_mapping(node: CommentedMap, line: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        here = (line and _line(node, key)) or line
        name = _key(key, here)
        if name in found:
            raise RefusedError(here, f"the key `{name}` stands twice; remove one")
        found[name] = _plain(value, here)
    return found


def _key(key: Any, line: int | None) -> str:
    """Return a key as a text: `null`, `true` and numbers as they are written."""
    if isinstance(key, int) and not isinstance(key, bool) and abs(key) >= LARGEST:
        raise RefusedError(line, "expected keys of at most 18 digits, but here is a larger number")
    return json.dumps(key) if key is None or isinstance(key, bool) else str(key)


def _first_line(text: str) -> str:
    """Return the first line of a message, with no character that a terminal would obey."""
    first = next(iter(text.splitlines()), "")
    return "".join(f"<{odd}>" if (odd := unprintable(one)) else one for one in first)
