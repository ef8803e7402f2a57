"""How much YAML is too much: a text is measured before anything is made of it.

So no file takes much time or memory, and it holds plain values alone: no tags, which stand for objects, and no
characters that a terminal would obey.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

__all__ = ["DEEPEST", "MOST_BYTES", "RefusedError", "measure", "unprintable"]

MOST_BYTES = 1 << 20
MOST_VALUES = 30_000
"""Keys and values, each alias counted as all that it stands for; long texts count as several."""
VALUE_CHARACTERS = 100
"""So many characters of a text count as one value."""
DEEPEST = 30
"""Sections within sections."""
BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class RefusedError(ValueError):
    """YAML that no spec needs. Holds the line, from 1, if it is known."""

    def __init__(self, line: int | None, what: str) -> None:
        super().__init__(what)
        self.line = line


def unprintable(text: str) -> str:
    """Return the first character that is no text, as `U+001B`; empty if there is none.

    Such are control characters, line breaks, halves of a pair, and those that turn the direction of writing.
    """
    odd = (one for one in text if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in BIDIRECTIONAL)
    return next((f"U+{ord(one):04X}" for one in odd), "")


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
            RefusedError: if that is too much, too deep, or nothing that a spec holds.
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
            raise RefusedError(line, "expected keys that are texts, but here is a list or a section as a key")
        within.members += 1
        within.deepest = max(within.deepest, depth)
        if self.values > MOST_VALUES:
            raise RefusedError(line, f"expected at most {MOST_VALUES} values in a spec, but from here on it has more")
        if section:
            self.around.append(_Around(event.anchor, here, isinstance(event, MappingStartEvent)))
        if len(self.around) - 1 + depth > DEEPEST:
            raise RefusedError(line, f"expected at most {DEEPEST} sections within each other, but here are more")

    def _alias(self, event: AliasEvent, line: int) -> tuple[int, int]:
        if any(one.anchor == event.anchor for one in self.around):
            raise RefusedError(line, f"*{event.anchor} stands within what it stands for")
        return self.anchored.get(event.anchor, (1, 0))  # an unknown one is refused when the text is loaded


def measure(events: Iterator[Event]) -> None:
    """Go through the events of a text, which are made one by one, and refuse the first that no spec needs.

    Raises:
        RefusedError: if there are too many values, too deep, or of another kind than text, numbers and the like.
    """
    so_far = _Measure()
    for event in events:
        if isinstance(event, SequenceEndEvent | MappingEndEvent):
            so_far.end()
        elif isinstance(event, AliasEvent | ScalarEvent | SequenceStartEvent | MappingStartEvent):
            so_far.begin(event, event.start_mark.line + 1)


def _check_tag(event: Any, line: int) -> None:
    tag = None if event.tag is None else str(event.tag)
    if tag is not None:
        what = tag.replace("tag:yaml.org,2002:", "!!") if not unprintable(tag) else "one"
        raise RefusedError(line, f"a spec holds plain values, but here is a tag ({what}); remove it")


def _check_characters(text: str, line: int) -> None:
    odd = unprintable(text)
    if odd:
        what = "a line break" if odd in ("U+000A", "U+000D") else f"the character {odd}"
        raise RefusedError(line, f"expected names and texts of one line that can be printed, but here is {what}")
