"""The report as one page of HTML that needs no network: words, tables, figures and pictures."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from analysis import cautions, defects, figures, shown, wording
from analysis.companions import LUMINANCE, MATCHED, Companion, companions
from analysis.comparison import REPEATS, SCENES, SEEDS, seed_differences
from analysis.cost_shown import CostPart
from analysis.effects_figures import together
from analysis.effects_shown import EffectsPart
from analysis.ledger import Study
from analysis.pictures import VARIANTS, Gallery
from analysis.records import dated
from analysis.schema import COMPLETED, CONFIRM, DIVERGED
from analysis.search_shown import MATTERED, SearchPart
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
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    slider = (Path(__file__).parent / "templates" / "slider.js").read_text(encoding="utf-8")
    study, known = readings.study, defects.by_set(readings, tables)
    environment.filters["dated"] = dated
    environment.filters["headings"] = _headings
    trying = cautions.cautions(study, readings.trials, readings.images)
    return environment.get_template("page.html").render(
        study=study,
        primary=study.metric(study.primary),
        limit=wording.margin(study),
        question=wording.question(study, readings.family),
        facts=shown.facts(readings),
        notices=[*(search.notices if search else []), *_elsewhere(shown.notices(readings), trying)],
        search=search,
        effects=effects,
        together=together(effects.pairs, study.metric(study.primary)) if effects and effects.pairs else "",
        cost=None if search and search.waits else cost,
        stage=readings.stage,
        over=_over(readings),
        mattered=MATTERED,
        variants_head=shown.variants_head(readings),
        verdicts=shown.verdicts(readings, tables),
        cautions=trying,
        beside=_beside(readings, tables),
        family=len(readings.family),
        variant_count=len(readings.variants),
        forest=_forest(readings, tables),
        explored=_explored(readings, tables),
        niqe=_niqe(readings, tables),
        spread=cautions.spread(readings.trials),
        groups=shown.groups(readings, tables),
        brightening=wording.brightening(tables.variants, study),
        models=wording.models(tables.variants),
        defects=known,
        explained=wording.defects([name for group in known for name, _ in group.spans]),
        curves=_curves(readings, curves[study.primary]),
        curved=shown.curved(readings),
        happened=shown.happened(readings),
        events=shown.events(readings),
        event_count=len(readings.events),
        dynamics=_dynamics(readings, curves),
        settings=shown.settings(readings),
        gallery=gallery,
        full=wording.FULL,
        slider=slider,
        policy=_policy(slider),
        breaks=shown.breaks(readings, tables),
        records=readings.records,
        trials=shown.trials(readings),
        scored=shown.scored(readings),
        planned=len(readings.trials),
        least={"seeds": REPEATS if readings.unit == "repeat" else SEEDS, "scenes": SCENES},
        most={"forest": FOREST, "panels": PANELS, "pictured": VARIANTS},
    )


def _policy(script: str) -> str:
    """Return what a browser may do with the page: show what it holds and run this script; nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _headings(body: str) -> list[tuple[str, str]]:
    """Return anchor and text of the second-level headings of a piece of the page, in order."""
    return [(anchor, text) for anchor, text in re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>', body)]


def _elsewhere(notices: list[tuple[str, str]], told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the notices that are not told beside the verdicts."""
    return [(heading, text) for heading, text in notices if text not in {said for _, said in told}]


def _beside(readings: Readings, tables: Tables) -> list[tuple[Companion | None, str]]:
    """Return for each verdict what it must be read with: its companions, and what it cannot tell."""
    study = readings.study
    measured = [key for key in (MATCHED, LUMINANCE) if key in study.keys]
    scores = readings.images.reindex(columns=["variant", LUMINANCE]).dropna()
    levels = {str(name): float(own[LUMINANCE].mean()) for name, own in scores.groupby("variant")}
    found = companions(tables.verdicts, levels, study, decimals={key: metric_digits(readings, key) for key in measured})
    rows = tables.verdicts[tables.verdicts["role"] == "primary"].to_dict("records")
    return [(found.get(row["variant"]), cautions.alignment(float(row["difference"]), study.primary)) for row in rows]


def _explored(readings: Readings, tables: Tables) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return `shown.explored`, differences marked that `cautions.alignment` speaks of."""
    names, rows = shown.explored(readings, tables)
    if cautions.NIQE not in readings.study.keys:
        return names, rows
    title = readings.study.metric(cautions.NIQE).title
    of_niqe = tables.verdicts[(tables.verdicts["metric"] == cautions.NIQE) & (tables.verdicts["role"] == "exploratory")]
    changes = dict(zip(of_niqe["variant"], of_niqe["difference"].astype(float), strict=True))
    order = [changes.get(one.variant, float("nan")) for one in readings.family]
    return names, [
        (head, [cautions.marked(*one, cautions.NIQE) for one in zip(cells, order, strict=True)])
        if head == title
        else (head, cells)
        for head, cells in rows
    ]


def _niqe(readings: Readings, tables: Tables) -> bool:
    """Return whether the tables show any NIQE."""
    return cautions.NIQE in readings.study.keys and bool((tables.verdicts["metric"] == cautions.NIQE).any())


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
