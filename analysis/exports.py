"""The report's tables for other programs: Parquet and LaTeX. Pure."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow
from pyarrow import parquet as writer

from analysis.cost_shown import CostPart
from analysis.effects_shown import EffectsPart
from analysis.latex import cost_tex, effects_tex, outlook_tex, search_tex, variants_tex, verdicts_tex
from analysis.outlook_shown import OutlookPart
from analysis.search_shown import SearchPart
from analysis.tables import Readings, Tables

__all__ = ["exports", "parquet"]


def exports(
    readings: Readings,
    tables: Tables,
    frames: Mapping[str, pd.DataFrame],
    cost: CostPart | None,
    outlook: OutlookPart | None,
    *,
    effects: EffectsPart | None = None,
    search: SearchPart | None = None,
) -> dict[str, bytes]:
    """Return files by name: `<frame>.parquet`, `variants.tex`, `verdicts.tex`, `cost.tex`, `outlook.tex`.

    Where the design declared effects `effects.tex`, where there was a search `search.tex`, too.

    Args:
        readings: of the ledger, one stage.
        tables: computed from them.
        frames: what is written as CSV, by name.
        cost: what is told of costs.
        outlook: what is told of seeds and hours to come.
        effects: what is told of effects.
        search: what is told of a search.
    """
    files = {f"{name}.parquet": parquet(frame) for name, frame in frames.items()}
    texts = {
        "variants.tex": variants_tex(readings, tables),
        "verdicts.tex": verdicts_tex(readings, tables, basis=(search.waits or search.basis) if search else ""),
        "cost.tex": cost_tex(readings, cost),
        "outlook.tex": outlook_tex(readings, outlook),
    }
    texts |= {"effects.tex": effects_tex(readings, effects)} if effects else {}
    texts |= {"search.tex": search_tex(readings, search)} if search else {}
    return files | {name: text.encode() for name, text in texts.items()}


def parquet(frame: pd.DataFrame) -> bytes:
    """Return a frame as a Parquet file; equal frames give equal bytes.

    A column of values of several kinds, such as a setting that is a number in one variant and a text in another, holds
    their JSON.
    """
    mixed = [name for name in frame if frame[name].dtype == object and not _texts(frame[name])]
    plain = frame.assign(**{str(name): frame[name].map(_json) for name in mixed}).reset_index(drop=True)
    buffer = io.BytesIO()
    writer.write_table(pyarrow.Table.from_pandas(plain, preserve_index=False), buffer)
    return buffer.getvalue()


def _texts(column: pd.Series[Any]) -> bool:
    return bool(column.map(lambda value: value is None or isinstance(value, str) or value != value).all())


def _json(value: object) -> str | None:
    missing = value is None or (isinstance(value, float) and value != value)
    return None if missing else json.dumps(value, ensure_ascii=False, default=str)
