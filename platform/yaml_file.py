"""Reading YAML (version 1.2, so that 1e-3 is a number and `no` a word) with the line of every key.

A spec may come from anywhere: it is measured before anything is made of it, so that no file takes much time or memory,
and it holds plain values alone: no tags, which stand for objects, and no characters that a terminal would obey.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.scalarbool import ScalarBoolean

from platform.errors import Problem, SpecError, shown

__all__ = ["DEEPEST", "Lines", "parse_value", "read", "unprintable"]

Lines = dict[tuple[str, ...], int]

MOST_BYTES = 1 << 20
MOST_VALUES = 30_000
"""Keys and values, each alias counted as all that it stands for; long texts count as several."""
VALUE_CHARACTERS = 100
"""So many characters of a text count as one value."""
DEEPEST = 30
"""Sections within sections."""
LARGEST = 10**18
"""Whole numbers are smaller, which a ledger can hold."""
BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _RefusedError(ValueError):
    """YAML that no spec needs. Holds the line, from 1, if it is known."""

    def __init__(self, line: int | None, what: str) -> None:
        super().__init__(what)
        self.line = line


def read(path: Path) -> tuple[dict[str, Any], Lines]:
    """Return the mapping that the file holds, and the line (from 1) of every key.

    Raises:
        SpecError: if the file cannot be read, is no YAML, holds no mapping, or is larger than any spec.
    """
    text = _text(path)
    try:
        loaded = _loaded(text)
        plain = _plain(loaded, 1)
    except _RefusedError as error:
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


def unprintable(text: str) -> str:
    """Return the first character that is no text, as `U+001B`; empty if there is none.

    Such are control characters, line breaks, halves of a pair, and those that turn the direction of writing.
    """
    odd = (one for one in text if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in BIDIRECTIONAL)
    return next((f"U+{ord(one):04X}" for one in odd), "")


def _text(path: Path) -> str:
    try:
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
    _measure(_loader().parse(StringIO(text)))
    return _loader().load(StringIO(text))


@dataclass
class _Around:
    """A section that events lie in; `before` counts the values up to its begin, `deepest` the sections below it."""

    anchor: str | None
    before: int
    mapping: bool
    members: int = 0
    deepest: int = 0


class _Measure:
    """What is known of a text while its events pass by.

    Args:
        values: so many so far, aliases counted as all that they stand for.
        around: the sections around the next event, the outermost first.
        anchored: values and depth of what an alias stands for.
    """

    def __init__(self) -> None:
        self.values = 0
        self.around = [_Around(None, 0, mapping=False)]
        self.anchored: dict[str, tuple[int, int]] = {}

    def end(self) -> None:
        """Leave a section."""
        left = self.around.pop()
        self.around[-1].deepest = max(self.around[-1].deepest, left.deepest + 1)
        if left.anchor is not None:
            self.anchored[left.anchor] = (self.values - left.before, left.deepest + 1)

    def begin(self, event: Any, line: int) -> None:
        """Go on to a value, a key, an alias, or into a section.

        Raises:
            _RefusedError: if that is too much, too deep, or nothing that a spec holds.
        """
        here, section = self.values, isinstance(event, SequenceStartEvent | MappingStartEvent)
        count, depth = self._alias(event, line) if isinstance(event, AliasEvent) else (1, 0)
        if not isinstance(event, AliasEvent):
            _check_tag(event, line)
        if isinstance(event, ScalarEvent):
            _check_characters(event.value, line)
            count += len(event.value) // VALUE_CHARACTERS
            if event.anchor is not None:
                self.anchored[event.anchor] = (count, 0)
        self.values += count
        within = self.around[-1]
        if within.mapping and within.members % 2 == 0 and (section or depth):
            raise _RefusedError(line, "expected keys that are texts, but here is a list or a section as a key")
        within.members += 1
        within.deepest = max(within.deepest, depth)
        if self.values > MOST_VALUES:
            raise _RefusedError(line, f"expected at most {MOST_VALUES} values in a spec, but from here on it has more")
        if section:
            self.around.append(_Around(event.anchor, here, isinstance(event, MappingStartEvent)))
        if len(self.around) - 1 + depth > DEEPEST:
            raise _RefusedError(line, f"expected at most {DEEPEST} sections within each other, but here are more")

    def _alias(self, event: AliasEvent, line: int) -> tuple[int, int]:
        if any(one.anchor == event.anchor for one in self.around):
            raise _RefusedError(line, f"*{event.anchor} stands within what it stands for")
        return self.anchored.get(event.anchor, (1, 0))  # an unknown one is refused when the text is loaded


def _measure(events: Iterator[Event]) -> None:
    """Go through the events of a text, which are made one by one, and refuse the first that no spec needs.

    Raises:
        _RefusedError: if there are too many values, too deep, or of another kind than text, numbers and the like.
    """
    measure = _Measure()
    for event in events:
        if isinstance(event, SequenceEndEvent | MappingEndEvent):
            measure.end()
        elif isinstance(event, AliasEvent | ScalarEvent | SequenceStartEvent | MappingStartEvent):
            measure.begin(event, event.start_mark.line + 1)


def _check_tag(event: Any, line: int) -> None:
    tag = None if event.tag is None else str(event.tag)
    if tag is not None:
        what = tag.replace("tag:yaml.org,2002:", "!!") if not unprintable(tag) else "one"
        raise _RefusedError(line, f"a spec holds plain values, but here is a tag ({what}); remove it")


def _check_characters(text: str, line: int) -> None:
    odd = unprintable(text)
    if odd:
        what = "a line break" if odd in ("U+000A", "U+000D") else f"the character {odd}"
        raise _RefusedError(line, f"expected names and texts of one line that can be printed, but here is {what}")


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
        _RefusedError: if a key is no text, or stands twice, or a number is too large.
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
            raise _RefusedError(line, "expected whole numbers of at most 18 digits, but here is a larger one")
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
            raise _RefusedError(here, f"the key `{name}` stands twice; remove one")
        found[name] = _plain(value, here)
    return found


def _key(key: Any, line: int | None) -> str:
    """Return a key as a text: `null`, `true` and numbers as they are written."""
    if isinstance(key, int) and not isinstance(key, bool) and abs(key) >= LARGEST:
        raise _RefusedError(line, "expected keys of at most 18 digits, but here is a larger number")
    return json.dumps(key) if key is None or isinstance(key, bool) else str(key)


def _first_line(text: str) -> str:
    """Return the first line of a message, with no character that a terminal would obey."""
    first = next(iter(text.splitlines()), "")
    return "".join(f"<{odd}>" if (odd := unprintable(one)) else one for one in first)
