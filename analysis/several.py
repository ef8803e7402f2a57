"""Several studies side by side: their verdicts in one table, never pooled, and what sets them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.basis import BELOW, basis, unchosen, waiting
from analysis.errors import StudyError
from analysis.ledger import Ledger, StudyLike, open_ledger
from analysis.schema import BASELINE, FIXED
from analysis.stages import verdict_stage
from analysis.suggestions import read_search
from analysis.tables import Readings, Tables, read, tables
from analysis.wording import margin

__all__ = ["Side", "apart", "load_together", "named", "side_by_side", "sides"]

SHOWN = (
    "variant", "compared_to", "component", "estimand", "metric", "difference", "low", "high", "p_adjusted",
    "p_equivalent_adjusted", "effect", "seeds", "images", "n_failed", "verdict", "note", "why", "unlocked", "sentence",
)  # fmt: skip
JUDGED_BY = ("stage", "observation", "images_are", "margin")
PATHS = 3
"""The most settings that a sentence names."""


def load_together(load: Callable[[Ledger], pd.DataFrame], studies: Sequence[StudyLike]) -> pd.DataFrame:
    """Return the rows that `load` finds in each of several studies, with the study's name as the first column.

        load_together(load_judged, ["components", "components_again"])

    Args:
        load: one of the `analysis.load_...` functions.
        studies: folders, names under `results`, or open ledgers.

    Raises:
        StudyError: if there is no such study, or two that must not be pooled; the message says why.
    """
    with ExitStack() as stack:
        ledgers = named([stack.enter_context(open_ledger(study)) for study in studies])
        for name, why in apart(ledgers).items():
            if why:
                first = next(iter(ledgers))
                raise StudyError(f"{name} cannot be pooled with {first}: {why}; load each for itself")
        parts = [load(ledger).assign(study=name) for name, ledger in ledgers.items()]
    table = pd.concat(parts, ignore_index=True)
    return table[["study", *(column for column in table if column != "study")]]


@dataclass(frozen=True)
class Side:
    """One of several studies.

    Args:
        readings: of the stage that is judged.
        tables: computed from them.
        waits: why there are no verdicts yet; empty if there are.
        basis: what verdicts after a search compare.
        apart: why its verdicts are not those of the first study; empty if nothing speaks against it.
    """

    readings: Readings
    tables: Tables
    waits: str
    basis: str
    apart: str

    @property
    def nothing(self) -> str:
        """Why there is no row of a comparison; empty if there are rows."""
        if self.waits:
            return self.waits.rstrip(".")
        judged = (self.tables.verdicts["role"] == "primary").any()
        return "" if judged else "the study declares no comparison"


def sides(ledgers: Mapping[str, Ledger]) -> dict[str, Side]:
    """Return what each of several studies says, as its own report does.

    Args:
        ledgers: open, by name.
    """
    whys = apart(ledgers, verdicts=True)
    return {name: _side(ledger, whys[name]) for name, ledger in ledgers.items()}


def side_by_side(found: Mapping[str, Side]) -> pd.DataFrame:
    """Return the verdicts of several studies on their primary metrics, a row for each comparison of each study.

    Columns: `study`; those of `SHOWN`, as of `analysis.tables.verdict_table`; what the verdict rests on: `stage`,
    `observation` (a `seed`, or a `repeat` of the search), `images_are` (`these` or a `sample`) and `margin` (in the
    metric's unit); and `apart`: why the row must not be read, or pooled, with those of the first study, empty if
    nothing speaks against it. A study without comparisons, or whose verdicts wait, has one row, whose `why` says so.

    Args:
        found: by name, from `sides`.
    """
    parts = []
    for name, side in found.items():
        study, table = side.readings.study, side.tables.verdicts
        rows = table.loc[table["role"] == "primary"].reindex(columns=list(SHOWN))
        if side.nothing:
            rows = pd.DataFrame([{"metric": study.primary, "why": side.nothing}], columns=list(SHOWN))
        rests_on = (side.readings.stage, side.readings.unit, study.images, study.matters.get(study.primary))
        rows = rows.astype(object).assign(**dict(zip(JUDGED_BY, rests_on, strict=True)))
        parts.append(rows.assign(study=name, apart=side.apart))
    return pd.concat(parts, ignore_index=True)[["study", *SHOWN, *JUDGED_BY, "apart"]].infer_objects()


def apart(ledgers: Mapping[str, Ledger], *, verdicts: bool = False) -> dict[str, str]:
    """Return for each study why its scores must not be pooled with the first one's; empty if nothing speaks against it.

    Compared are the images, the trainer with its results version, the primary metric, over how many evaluations a
    score is the mean, the stage that is judged, and the full model's settings.

    Args:
        ledgers: open, by name.
        verdicts: whether to compare, too, what turns equal scores into other verdicts: margin, and images meant.
    """
    facts = {name: _facts(ledger) for name, ledger in ledgers.items()}
    first, texts = next(iter(facts.values()), {}), _FACTS | (_RULES if verdicts else {})
    return {name: "; ".join(_differences(one, first, texts)) for name, one in facts.items()}


def named(ledgers: Sequence[Ledger], places: Sequence[str] = ()) -> dict[str, Ledger]:
    """Return open ledgers by the study's name; of studies with one name by their place, too.

    Args:
        ledgers: open.
        places: where each was read; by default its folder.

    Raises:
        StudyError: if the same study comes twice, by another path or as a copy, too.
    """
    # Two studies of one name are told apart by when their first specs were recorded, as in MLflow.
    marks = [(one.study.name, one.connection.execute("SELECT min(at) FROM spec").fetchone()[0]) for one in ledgers]
    names = [name for name, _ in marks]
    found, seen = dict[str, Ledger](), dict[tuple[str, float], str]()
    for mark, place, one in zip(marks, places or [str(one.folder) for one in ledgers], ledgers, strict=True):
        if mark in seen:
            raise StudyError(
                f"{mark[0]} is named twice ({seen[mark]} and {place}): expected different studies, not one and its copy"
            )
        seen[mark] = place
        found[mark[0] if names.count(mark[0]) == 1 else f"{mark[0]} ({place})"] = one
    return found


_FACTS = {
    "images": "other images",
    "trainer": "another trainer: {0}, not {1}",
    "version": "another version of the trainer: {0}, not {1}",
    "primary": "another primary metric: {0}, not {1}",
    "at": "scores over the last {0} evaluations, not {1}",
    "stage": "judged in the stage {0}, not {1}",
}
_RULES = {
    "margin": "another margin: {0}, not {1}",
    "images_are": "verdicts on {0}, not on {1}",
}


def _side(ledger: Ledger, why: str) -> Side:
    study = ledger.study
    readings = read(ledger, verdict_stage(study))
    choices = read_search(ledger).choices if study.search else None
    lacking = {} if choices is None else unchosen(choices)
    waits = "" if choices is None else waiting(study, readings.plan, choices).removesuffix(BELOW)
    return Side(readings, tables(readings, lacking), waits, basis(readings), why)


def _facts(ledger: Ledger) -> dict[str, Any]:
    study, connection = ledger.study, ledger.connection
    confirm = study.confirm if verdict_stage(study) != FIXED else None
    images = confirm.digest if confirm else study.digest
    trainer = connection.execute("SELECT value FROM study WHERE key = 'trainer'").fetchone()
    versions = connection.execute("SELECT DISTINCT version FROM scored WHERE data = ? ORDER BY 1", [images]).fetchall()
    settings = connection.execute(
        "SELECT t.settings FROM cell c JOIN trial t ON t.number = c.trial WHERE c.stage = ? AND c.variant = ? LIMIT 1",
        [FIXED, BASELINE],
    ).fetchone()
    return {
        "images": images,
        "trainer": json.loads(trainer[0]) if trainer else None,
        "version": ", ".join(version for (version,) in versions) or "not recorded",
        "primary": study.primary,
        "at": study.at,
        "stage": verdict_stage(study),
        "margin": margin(study) or "none",
        "images_are": "images like these" if study.images == "sample" else "these images",
        "settings": _flat(json.loads(settings[0])) if settings else {},
    }


def _differences(one: Mapping[str, Any], first: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    found = [text.format(one[key], first[key]) for key, text in texts.items() if one[key] != first[key]]
    mine, other = one["settings"], first["settings"]
    paths = sorted(path for path in mine.keys() | other.keys() if mine.get(path) != other.get(path))
    if paths:
        told = [f"{path} {_shown(mine, path)}, not {_shown(other, path)}" for path in paths[:PATHS]]
        more = [f"and {len(paths) - PATHS} more"] if len(paths) > PATHS else []
        found.append(f"another full model: {', '.join([*told, *more])}")
    return found


def _shown(settings: Mapping[str, Any], path: str) -> str:
    return json.dumps(settings[path]) if path in settings else "nothing"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return flat
