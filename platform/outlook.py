"""What `--dry-run` says of the seeds, trainings and hours that each margin takes; see `analysis.outlook`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import StudyError
from analysis.factorial import spreads
from analysis.schema import CONFIRM, SEARCH
from platform.design import crossed, drawn, runs, variants
from platform.spec import Spec, Study

if TYPE_CHECKING:  # pandas takes half a second, which whoever sweeps need not wait for
    import pandas as pd

    from analysis.outlook_shown import OutlookPart
    from analysis.stages import Unit

__all__ = ["declared", "outlook"]


def outlook(
    study: Study, folder: Path, most: Mapping[str, int], *, seconds: float | None, slots: int
) -> OutlookPart | None:
    """Return what it would take to decide, by what the study's ledger knows; None if no margin was declared.

    Args:
        study: whose margins, looks and scoring hold, also over a ledger that was made with others.
        folder: of its ledger, which need not be there.
        most: stage -> how many trials it has at most.
        seconds: what a trial takes; None if that is not known.
        slots: how many trials run at a time.
    """
    from analysis.ledger import Metric
    from analysis.outlook import Effort, outlook_table
    from analysis.outlook_shown import Asked, outlook_part

    spec = study.spec
    repeats = spec.search.repeats if spec.search is not None and spec.confirm is not None else 1
    each = (most[SEARCH] + most[CONFIRM]) / repeats if repeats > 1 else len(variants(spec))
    effort = Effort(each, nan if seconds is None else seconds / 3600, slots)
    known, planned, outstanding, why = _known(study, folder)
    made = runs(spec)
    table = outlook_table(
        known, spec.analysis.matters, declared(spec), effort, looks=spec.looks, planned=planned,
        outstanding=outstanding, unknown=why,
        spreads=spreads(tuple(spec.components), made, drawn(spec)) if made else {},
    )  # fmt: skip
    metrics = [Metric(one.key, one.title, one.higher_is_better, one.needs_reference) for one in study.trainer.METRICS]
    unit: Unit = "repeat" if repeats > 1 else "seed"
    asked = Asked(metrics, unit=unit, looks=spec.looks, sample=spec.analysis.images == "sample")
    return outlook_part(table, effort, asked)


def declared(spec: Spec) -> dict[str, int]:
    """Return the comparisons that a spec declares, by variant (or component, of effects): the size of each's family.

    None of a design that is for screening, which gives no verdicts.
    """
    pairs, made = [one for one in variants(spec) if one.compared_to], crossed(spec)
    if spec.design in ("leave-one-out", "add-one-in", "list"):
        return {one.name: len(pairs) for one in pairs}
    if made is not None and made.resolution == 3:
        return {}
    controls = [one for one in pairs if one.stream]
    return dict.fromkeys(spec.components, len(spec.components)) | {one.name: len(controls) for one in controls}


def _known(study: Study, folder: Path) -> tuple[pd.DataFrame | None, int, float, str]:
    """Return the table of verdicts of the study's ledger, by the spec's rules of now, and why rows are missing.

    Between them stand the seeds that are planned, while some of them have not ended (`Readings.planned`), and the
    trainings that are outstanding.
    """
    from analysis.ledger import open_ledger
    from analysis.stages import verdict_stage
    from analysis.tables import read, verdict_table

    nothing = "nothing has been trained yet"
    if not (folder / "ledger.db").exists():
        return None, 0, nan, nothing
    rules = study.spec.analysis
    try:
        with open_ledger(folder) as ledger:
            now = replace(
                ledger.study, primary=rules.primary, matters=rules.matters, images=rules.images, at=rules.at,
                looks=tuple(study.spec.looks),
            )  # fmt: skip
            readings = read(replace(ledger, study=now), verdict_stage(now))
            return verdict_table(readings), readings.planned, readings.outstanding, "it has not been trained yet"
    except StudyError as error:
        return None, 0, nan, str(error)
