"""Which evaluation images show one scene: the unit of statistics that speak about images like these."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from trials.images import listed
from trials.progress import DataError

__all__ = ["scenes"]

MATCHING_S = 10.0
"""What matching all names of a folder may take; 1,000 names take milliseconds."""
MATCHER = (
    "import json, re, sys; rule, names = json.load(sys.stdin); search = re.compile(rule).search; "
    "json.dump([match[1] if (match := search(name)) else None for name in names], sys.stdout)"
)


def scenes(rule: str | None, paths: list[Path]) -> dict[Path, str]:
    """Return the scene of each file.

    Args:
        rule: None: each file is its own scene, called like the file without its extension. A path that ends in
            `.csv`: a table with the columns `file` (with or without extension) and `scene`. Otherwise a regular
            expression, searched for in the file's name, whose one group is the scene.
        paths: image files.

    Raises:
        DataError: if the rule is malformed, or gives no scene for a file.
    """
    if rule is None:
        return {path: path.stem for path in paths}
    if rule.lower().endswith(".csv"):
        table = _table(Path(rule))
        found = {path: table.get(path.name) or table.get(path.stem) for path in paths}
    else:
        _check(rule)
        found = dict(zip(paths, _matched(rule, tuple(path.name for path in paths)), strict=True))
    missing = [path.name for path, scene in found.items() if not scene]
    if missing:
        raise DataError(f"{rule}: expected a scene for every image, but there is none for {listed(missing)}")
    return {path: scene for path, scene in found.items() if scene}


def _check(rule: str) -> None:
    try:
        pattern = re.compile(rule)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"{rule}: not a regular expression ({error})") from error
    if pattern.groups != 1:
        raise DataError(
            f"{rule}: expected a regular expression with one group, the scene, but it has {pattern.groups}; "
            "groups that only group are written (?:...)"
        )


@lru_cache(maxsize=64)
def _matched(rule: str, names: tuple[str, ...]) -> list[str | None]:
    """Return what the rule's group holds in each name.

    In a process of its own, since some expressions would take years, and Python cannot break off a match.

    Raises:
        DataError: if that takes too long.
    """
    asked = json.dumps([rule, names])
    command = [sys.executable, "-I", "-S", "-c", MATCHER]
    try:
        told = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=MATCHING_S)
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{rule}: matching {len(names)} names takes more than {MATCHING_S:g} s; write the expression without a "
            "repeat inside a repeat, or name a CSV table file,scene"
        ) from None
    found: list[str | None] = json.loads(told.stdout)
    return found


def _table(path: Path) -> dict[str, str]:
    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise DataError(f"{path}: expected a CSV table file,scene, but this is a pipe or a device")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"file", "scene"} <= set(reader.fieldnames or []):
                raise DataError(f"{path}: expected the columns file,scene, got {','.join(reader.fieldnames or [])}")
            rows = [(row["file"] or "", row["scene"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV table file,scene, but it cannot be read ({error})") from error
    table: dict[str, str] = {}
    for name, scene in rows:
        if table.setdefault(name, scene) != scene:
            raise DataError(f"{path}: expected one scene for {name}, got {table[name]} and {scene}")
    return table
