"""Which evaluation images show one scene: the unit of statistics that speak about images like these."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from trials.images import listed
from trials.progress import DataError

__all__ = ["scenes"]


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
        pattern = _pattern(rule)
        found = {path: match[1] if (match := pattern.search(path.name)) else None for path in paths}
    missing = [path.name for path, scene in found.items() if not scene]
    if missing:
        raise DataError(f"{rule}: expected a scene for every image, but there is none for {listed(missing)}")
    return {path: scene for path, scene in found.items() if scene}


def _pattern(rule: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise DataError(f"{rule}: not a regular expression ({error})") from error
    if pattern.groups != 1:
        raise DataError(
            f"{rule}: expected a regular expression with one group, the scene, but it has {pattern.groups}; "
            "groups that only group are written (?:...)"
        )
    return pattern


def _table(path: Path) -> dict[str, str]:
    try:
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
