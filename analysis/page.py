"""The report as one page of HTML that needs no network: words, tables, figures and pictures."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from analysis import cautions, defects, figures, shown, wording
from analysis.beside import beside, elsewhere, explored, limits, niqe
from analysis.comparison import REPEATS, SCENES, SEEDS, seed_differences
from analysis.cost_shown import CostPart
from analysis.effects_figures import together
from analysis.effects_shown import EffectsPart
from analysis.ledger import Study
from analysis.outlook_shown import OutlookPart
from analysis.pictures import VARIANTS, Gallery
from analysis.records import dated
from analysis.schema import COMPLETED, CONFIRM, DIVERGED
from analysis.search_shown import MATTERED, TUNED, SearchPart
from analysis.tables import Readings, Tables, metric_digits

__all__ = ["drawn", "render"]

FOREST, PANELS = 30, 24
"""The most lines of the forest plot and panels of the curves; the CSV files have all."""
SMALL = figures.Panels(columns=6, height_in=1.25)
DYNAMICS = (
    ("health/gradient_norm_", "Gradient norms", replace(SMALL, log=True)),
    ("health/margin_", "Margins of the discriminators", SMALL),
)
"""What is drawn of the trainings: the beginning of the metrics' keys, which ends with a network's name."""


def drawn(study: Study) -> list[str]:
    """Return the keys of the metrics whose curves the page shows."""
    dynamics = [key for prefix, _, _ in DYNAMICS for key in study.keys if key.startswith(prefix)]
    return [study.primary, *dynamics]


def render(
    readings: Readings,
    tables: Tables,
    *,
    curves: Mapping[str, pd.DataFrame],
    gallery: Gallery,
    search: SearchPart | None = None,
    effects: EffectsPart | None = None,
    cost: CostPart | None = None,
    outlook: OutlookPart | None = None,
) -> str:
    """Return the page.

    Args:
        readings: of the ledger, one stage.
        tables: computed from them.
        curves: of each metric of `drawn`, as from `analysis.load_curves`, of the same stage.
        gallery: pictures of some evaluation images.
        search: what is told of a search, if there was one.
        effects: what is told of main effects, interactions and Shapley values, if the design declared such.
        cost: what is told of costs, if any were recorded.
        outlook: what is told of seeds and hours to come, if a margin was declared.
    """
    slider = (Path(__file__).parent / "templates" / "slider.js").read_text(encoding="utf-8")
    waits = bool(search and search.waits)
    said = [] if waits else shown.verdicts(readings, tables)
    told = limits(readings) if said else []
    parts = {
        **_head(readings, search, told),
        **_verdicts(readings, tables, effects),
        **_scores(readings, tables),
        **_trainings(readings, tables, curves),
    }
    parts |= {"verdicts": said, "cautions": told, "search": search, "mattered": MATTERED, "effects": effects}
    parts |= {"cost": None if waits else cost, "outlook": None if waits else outlook, "gallery": gallery}
    parts |= {"tuned": TUNED, "slider": slider, "policy": _policy(slider)}
    parts["most"] = {"forest": FOREST, "panels": PANELS, "pictured": VARIANTS}
    return _template().render(parts)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["dated"] = dated
    environment.filters["headings"] = _headings
    return environment.get_template("page.html")


def _head(readings: Readings, search: SearchPart | None, told: list[tuple[str, str]]) -> dict[str, Any]:
    """Return what the top of the page and its method say. `told`: what is said beside the verdicts."""
    study = readings.study
    return {
        "study": study,
        "primary": study.metric(study.primary),
        "limit": wording.margin(study),
        "question": wording.question(study, readings.family),
        "facts": shown.facts(readings),
        "notices": [*(search.notices if search else []), *elsewhere(shown.notices(readings), told)],
        "records": readings.records,
        "stage": readings.stage,
        "over": _over(readings),
        "family": len(readings.family),
        "variant_count": len(readings.variants),
        "least": {"seeds": REPEATS if readings.unit == "repeat" else SEEDS, "scenes": SCENES},
        "full": wording.FULL,
    }


def _verdicts(readings: Readings, tables: Tables, effects: EffectsPart | None) -> dict[str, Any]:
    """Return what stands beside and under the verdicts."""
    primary = readings.study.metric(readings.study.primary)
    return {
        "beside": beside(readings, tables),
        "forest": _forest(readings, tables),
        "explored": explored(readings, tables),
        "others": wording.OTHERS,
        "niqe": niqe(readings, tables),
        "together": together(effects.pairs, primary) if effects and effects.pairs else "",
    }


def _scores(readings: Readings, tables: Tables) -> dict[str, Any]:
    """Return what the tables of variants and of known defects say."""
    known = defects.by_set(readings, tables)
    return {
        "variants_head": shown.variants_head(readings),
        "groups": shown.groups(readings, tables),
        "spread": cautions.spread(readings.trials),
        "near": cautions.NEAR,
        "brightening": wording.brightening(tables.variants, readings.study),
        "models": wording.models(tables.variants),
        "defects": known,
        "explained": wording.defects([name for group in known for name, _ in group.spans]),
    }


def _trainings(readings: Readings, tables: Tables, curves: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return what is told of the trainings themselves."""
    return {
        "curves": _curves(readings, curves[readings.study.primary]),
        "curved": shown.curved(readings),
        "happened": shown.happened(readings),
        "events": shown.events(readings),
        "event_count": len(readings.events),
        "dynamics": _dynamics(readings, curves),
        "settings": shown.settings(readings),
        "breaks": shown.breaks(readings, tables),
        "trials": shown.trials(readings),
        "scored": shown.scored(readings),
        "planned": len(readings.trials),
    }


def _policy(script: str) -> str:
    """Return what a browser may do with the page: show what it holds and run this script; nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _headings(body: str) -> list[tuple[str, str]]:
    """Return anchor and text of the second-level headings of a piece of the page, in order."""
    return [(anchor, text) for anchor, text in re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>', body)]


def _over(readings: Readings) -> dict[str, str]:
    """Return what the variant table's deviations, and the curves, are over."""
    search = readings.study.search
    several = search is not None and search.repeats > 1 and readings.stage == CONFIRM
    units = "repeats of the search" if readings.unit == "repeat" else "seeds"
    return {"unit": readings.unit, "units": units, "runs": "repeats and seeds" if several else "seeds"}


def _forest(readings: Readings, tables: Tables) -> str:
    study = readings.study
    metric, decimals = study.metric(study.primary), metric_digits(readings, study.primary)
    table = tables.verdicts[(tables.verdicts["role"] == "primary") & tables.verdicts["difference"].notna()]
    table = table.loc[table["difference"].abs().nlargest(FOREST).index.sort_values()]
    if table.empty:
        return ""
    names = shown.labels(readings)
    compared = readings.controls if readings.effects else readings.family
    seeds = seed_differences(readings.judged, compared, metric=metric.key, images_are=study.images)
    if readings.effects:
        seeds |= readings.effects.by_seed(readings.judged, metric.key)
    rows = [
        figures.ForestRow(
            label=names.get(row["variant"]) or row["variant"].replace("_", " "),
            seeds=seeds.get(row["variant"], np.empty(0)),
            mean=row["difference"],
            interval=(row["low"], row["high"]),
            decided=row["verdict"] in ("helps", "hurts", "equivalent"),
            text=wording.estimate(row, decimals),
            unit=readings.unit,
        )
        for row in table.to_dict("records")
    ]
    caption = f"Differences in {metric.title} with 95 % intervals. " + " ".join(table["sentence"])
    return figures.forest(rows, metric, margin=study.matters.get(metric.key), caption=caption)


def _curves(readings: Readings, curves: pd.DataFrame) -> str:
    """Draw the curves of the completed trials, so that a mean is over the same seeds at every step."""
    metric = readings.study.metric(readings.study.primary)
    completed = readings.trials.loc[readings.trials["state"] == COMPLETED, "trial"]
    curves = curves[curves["trial"].isin(completed)]
    if metric.key not in curves or curves[metric.key].isna().all():
        return ""
    names = dict(list(shown.labels(readings).items())[:PANELS])
    caption = (
        f"{metric.title} over the training steps, mean and range over {_over(readings)['runs']}, for each variant."
    )
    return figures.curves(curves, metric, labels=names, caption=caption)


def _dynamics(readings: Readings, curves: Mapping[str, pd.DataFrame]) -> list[tuple[str, list[str]]]:
    """Draw how the trainings went, diverged ones included: for each heading a figure for each network."""
    ended = readings.trials.loc[readings.trials["state"].isin([COMPLETED, DIVERGED]), "trial"]
    names = dict(list(shown.labels(readings).items())[:PANELS])
    found: list[tuple[str, list[str]]] = []
    for prefix, heading, layout in DYNAMICS:
        pictures = []
        for metric in (one for one in readings.study.metrics if one.key.startswith(prefix)):
            table = curves[metric.key][curves[metric.key]["trial"].isin(ended)]
            if table[metric.key].notna().any():
                caption = f"{metric.title} over the training steps, mean and range over seeds, for each variant."
                marks = _marks(readings, metric.key.removeprefix(prefix))
                pictures.append(
                    figures.curves(table, metric, labels=names, caption=caption, marks=marks, layout=layout)
                )
        if pictures:
            found.append((heading, pictures))
    return found


def _marks(readings: Readings, network: str) -> dict[str, list[int]]:
    """Return for each variant the steps at which something happened to this network, or to none in particular."""
    prefixes = [prefix for prefix, _, _ in DYNAMICS]
    networks = {
        key.removeprefix(prefix) for prefix in prefixes for key in readings.study.keys if key.startswith(prefix)
    }
    events = readings.events[(readings.events["subject"] == network) | ~readings.events["subject"].isin(networks)]
    return {str(name): sorted(set(part["step"].tolist())) for name, part in events.groupby("variant")}
