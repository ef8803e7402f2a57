"""The report's tables for other programs: Parquet, LaTeX, and which trials each number rests on. Pure."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow
from pyarrow import parquet as writer

from analysis.cost_shown import CostPart
from analysis.latex import cost_tex, outlook_tex, variants_tex, verdicts_tex
from analysis.outlook_shown import OutlookPart
from analysis.printable import csv
from analysis.schema import COMPLETED
from analysis.tables import Readings, Tables

__all__ = ["exports", "parquet", "traces"]

Flags = npt.NDArray[np.bool_]
Key = tuple[str, str, str, str, tuple[str, ...]]
"""Table, row, what it is compared with, set of images, trials."""


def exports(
    readings: Readings,
    tables: Tables,
    frames: Mapping[str, pd.DataFrame],
    cost: CostPart | None,
    outlook: OutlookPart | None,
) -> dict[str, bytes]:
    """Return files by name: `<frame>.parquet`, `variants.tex`, `verdicts.tex`, `cost.tex`, `outlook.tex`, `trace.csv`.

    Args:
        readings: of the ledger, one stage.
        tables: computed from them.
        frames: what is written as CSV, by name.
        cost: what is told of costs.
        outlook: what is told of seeds and hours to come.
    """
    files = {f"{name}.parquet": parquet(frame) for name, frame in frames.items()}
    texts = {
        "variants.tex": variants_tex(readings, tables),
        "verdicts.tex": verdicts_tex(readings, tables),
        "cost.tex": cost_tex(readings, cost),
        "outlook.tex": outlook_tex(readings, outlook),
        "trace.csv": csv(traces(readings, tables)),
    }
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


def traces(readings: Readings, tables: Tables) -> pd.DataFrame:
    """Return which trials the numbers of the tables of variants and verdicts rest on.

    Columns: `table` (`variants`, `verdicts`; those of costs rest on the trials of the verdict in the metric of cost);
    `row` (the variant, or the component where effects have the verdicts), `compared_to`; `set` (of the images; empty
    for verdicts, which are over all, and for what a trial has as a whole); `metrics`, keys parted by spaces, for which
    this holds; `count`; `trials`, identities parted by spaces. Methods and models that stand beside the variants rest
    on no trial of the study.

    Args:
        readings: of the ledger, one stage.
        tables: computed from them.
    """
    found: dict[Key, list[str]] = {}
    for key, metric in [*_of_variants(readings), *_of_verdicts(readings, tables)]:
        found.setdefault(key, []).append(metric)
    rows = [
        (*key[:4], " ".join(metrics), len(key[4]), " ".join(key[4])) for key, metrics in found.items() if key[4]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["table", "row", "compared_to", "set", "metrics", "count", "trials"])


class _Complete:
    """Which trials have every image of a metric that any has it on."""

    def __init__(self, images: pd.DataFrame, unit: str) -> None:
        self._images = images
        group = images.groupby(["variant", "trial"], sort=False)
        self._place = group.ngroup().to_numpy()
        self._image = images.groupby(["set", "image"], sort=False).ngroup().to_numpy()
        self.places = images.drop_duplicates(["variant", "trial"])[["variant", "trial", "seed", "repeat"]]
        self.places = self.places.assign(observation=self.places["repeat" if unit == "repeat" else "seed"])

    def of(self, metric: str, chosen: Flags) -> Flags:
        """Return for each of `places` whether it is complete on the images of the chosen rows; none if none has it."""
        there = self._images[metric].notna().to_numpy() & chosen
        expected = len(np.unique(self._image[there]))
        counts = np.bincount(self._place[there], minlength=len(self.places))
        complete: Flags = (counts == expected) & (expected > 0)
        return complete


def _of_variants(readings: Readings) -> Iterator[tuple[Key, str]]:
    """Yield what each variant's means on each set rest on, metric by metric."""
    complete = _Complete(readings.images, readings.unit)
    keys = [key for key in readings.study.image_keys if key in readings.images]
    for name in readings.images["set"].unique():
        chosen = (readings.images["set"] == name).to_numpy()
        for metric in keys:
            places = complete.places
            whole = complete.of(metric, chosen)
            lacking = set(zip(*(places.loc[~whole, one] for one in ("variant", "observation")), strict=True))
            pairs = zip(places["variant"], places["observation"], strict=True)
            used = np.array([pair not in lacking for pair in pairs], dtype=bool)
            for variant, trials in places[used].groupby("variant", sort=False)["trial"]:
                yield ("variants", str(variant), "", str(name), tuple(trials)), metric
    finished = readings.trials[readings.trials["state"] == COMPLETED]
    for one in (one for one in readings.study.metrics if not one.per_image and one.key in finished):
        for variant, trials in finished[finished[one.key].notna()].groupby("variant", sort=False)["trial"]:
            yield ("variants", str(variant), "", "", tuple(trials)), one.key


def _of_verdicts(readings: Readings, tables: Tables) -> Iterator[tuple[Key, str]]:
    """Yield what each comparison, or effect, that has a number rests on, metric by metric."""
    complete = _Complete(readings.images, readings.unit)
    everything = np.ones(len(readings.images), dtype=bool)
    for metric, rows in tables.verdicts.groupby("metric", sort=False):
        places = complete.places[complete.of(str(metric), everything)]
        seeds = {
            str(name): set(zip(part["observation"], part["seed"], strict=True))
            for name, part in places.groupby("variant")
        }
        for row in rows[rows["difference"].notna()].to_dict("records"):
            if row["compared_to"]:
                both = seeds.get(row["variant"], set()) & seeds.get(row["compared_to"], set())
                part = places[places["variant"].isin([row["variant"], row["compared_to"]])]
                pairs = zip(part["observation"], part["seed"], strict=True)
                part = part[np.array([pair in both for pair in pairs], dtype=bool)]
            else:
                part = places[places["variant"].isin(readings.runs.index)]
            key = ("verdicts", str(row["variant"]), str(row["compared_to"]), "", tuple(part["trial"].unique()))
            yield key, str(metric)


def _texts(column: pd.Series[Any]) -> bool:
    return bool(column.map(lambda value: value is None or isinstance(value, str) or value != value).all())


def _json(value: object) -> str | None:
    missing = value is None or (isinstance(value, float) and value != value)
    return None if missing else json.dumps(value, ensure_ascii=False, default=str)
