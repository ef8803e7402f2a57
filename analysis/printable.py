"""Texts from a ledger, made harmless for terminals and spreadsheets: names and messages may hold anything."""

from __future__ import annotations

import re
from functools import lru_cache

import pandas as pd

__all__ = ["clean", "csv"]

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but line feeds and tabs, and those that turn the direction of writing."""
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def clean(text: str) -> str:
    """Return a text with the characters that a terminal would obey as escapes that do nothing."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV in which no text is a formula: a spreadsheet shows `'=...` and computes nothing."""
    texts = frame.select_dtypes(include=["object", "string"])
    return frame.assign(**{str(name): texts[name].map(_harmless) for name in texts}).to_csv(index=False)


def _harmless(value: object) -> object:
    return _written(value) if isinstance(value, str) else value


@lru_cache(maxsize=10_000)  # of a million texts in a table few differ
def _written(text: str) -> str:
    text = clean(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
