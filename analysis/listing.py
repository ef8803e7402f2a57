"""The report's tables for the terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from analysis import cautions, defects, shown, wording
from analysis.beside import Beside, beside, elsewhere, explored, limits, niqe
from analysis.cost_shown import CostPart
from analysis.effects_shown import EffectsPart
from analysis.outlook_shown import OutlookPart
from analysis.printable import clean
from analysis.schema import PLANNED
from analysis.search_shown import MATTERED, TUNED, Grid, SearchPart
from analysis.tables import Readings, Tables

__all__ = ["markdown", "several", "show"]

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
PIPE_COLUMNS = 200
BAR = "\\|"
GAP = 3
ALWAYS = 3  # columns: name, completed, the first metric


def markdown(
    readings: Readings,
    tables: Tables,
    *,
    search: SearchPart | None = None,
    effects: EffectsPart | None = None,
    cost: CostPart | None = None,
    outlook: OutlookPart | None = None,
) -> str:
    """Return the report as Markdown: notices, verdicts, variants, the search, known defects, events, trials."""
    study = readings.study
    parts = [f"# {study.name}", wording.question(study, readings.family)]
    parts.append(" \u00b7 ".join(shown.facts(readings)))
    said = [] if search and search.waits else shown.verdicts(readings, tables)
    told = limits(readings) if said else []
    parts += [f"**{heading}.** {text}" for heading, text in elsewhere(_notices(readings, search), told)]
    parts += ["## Verdicts", _rests_on(search), *(f"**{heading}.** {text}" for heading, text in told)]
    parts.append("\n".join(map(_item, said, beside(readings, tables))))
    numbers = [[one.component, one.estimate, one.p, one.effect, str(one.seeds), _tag(one)] for one in said]
    parts.append(_pipes(_verdict_heads(readings), numbers) if numbers else "")
    names, others = explored(readings, tables)
    if others and said:
        parts += ["### Other metrics, exploratory", _pipes(["", *names], [[title, *cells] for title, cells in others])]
        parts.append(niqe(readings, tables))
    parts += [] if outlook is None or not said else ["## What it would take", _grid(outlook.table), outlook.note]
    parts += [] if effects is None else _effects(effects)
    parts += [] if cost is None or not said else _cost(cost)
    parts += [f"## {shown.variants_head(readings)}", wording.brightening(tables.variants, study), _models(tables)]
    parts += [cautions.spread(readings.trials), cautions.NEAR if niqe(readings, tables) else ""]
    for group in shown.groups(readings, tables):
        parts += [f"### {group.name}", _pipes(_heads(group), _rows(group))]
    parts += [] if search is None else _search(search)
    groups = defects.by_set(readings, tables)
    if groups:
        explained = wording.defects([name for group in groups for name, _ in group.spans])
        parts += ["## Known defects", "\n".join(f"- **{name}**: {text}" for name, text in explained)]
    for group in groups:
        parts += [f"### {group.name}", _pipes(_heads(group), _rows(group))]
    kinds, happened = shown.happened(readings)
    if happened:
        parts += ["## What happened in training", _pipes(["", *kinds], [[name, *cells] for name, cells in happened])]
    parts += ["## Trials", _pipes(_trial_heads(readings), shown.trials(readings))]
    parts.append(shown.scored(readings))
    if len(readings.trials) > shown.ROWS:
        parts.append(f"The first {shown.ROWS} of {len(readings.trials):,}; all are in trials.csv.")
    text = "\n\n".join(part for part in parts if part) + "\n"
    return _TAG.sub(r"\\<", clean(text))  # a name or a message may look like HTML, which Markdown would pass on


def several(table: pd.DataFrame) -> str:
    """Return the verdicts of several studies, from `analysis.several.side_by_side`, as a page of Markdown."""
    heads = ["Study", "Component", "Metric", "Difference [95 %]", "p (Holm)", "Seeds", "Verdict", "Stands apart"]
    rows = []
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        known = None not in [row[key] for key in ("difference", "low", "high")]
        estimate = wording.estimate(row, wording.digits(abs(row["difference"]))) if known else ""
        p = "" if row["p_adjusted"] is None else wording.p_value(row["p_adjusted"])
        of = f" ({row['estimand']})" if row["estimand"] else ""
        names = [row["study"], f"{row['component'] or row['variant'] or ''}{of}", row["metric"]]
        verdict = row["verdict"] or row["why"] or ""
        rows.append([*names, estimate, p, str(row["seeds"] or 0), verdict, row["apart"]])
    parts = ["# Several studies, side by side", "Each for itself; nothing is pooled.", _pipes(heads, rows, 3)]
    return _TAG.sub(r"\\<", clean("\n\n".join(parts) + "\n"))


def show(
    readings: Readings,
    tables: Tables,
    *,
    path: Path,
    search: SearchPart | None = None,
    effects: EffectsPart | None = None,
) -> None:
    """Print the variant table, what a search took and found, the verdicts and the path of the page."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    for heading, text in _notices(readings, search):
        console.print(clean(f"{heading}. {text}"))
    head = "" if search is None else f" ({shown.variants_head(readings).lower()})"
    for group in shown.groups(readings, tables):
        console.print(_table(group, title=f"{readings.study.name}, {group.name}{head}", width=console.width))
    if search is not None:
        _show_search(console, search)
    brief = defects.in_brief(readings, tables)
    if brief:
        title = f"Known defects, {brief.name}: one metric of each, the report has more"
        console.print(_table(brief, title=title, width=console.width))
    if search is not None:
        console.print(clean(_rests_on(search)), soft_wrap=True)
    for one in [] if search and search.waits else shown.verdicts(readings, tables):
        console.print(clean(_whole(one)), soft_wrap=True)
    if effects is not None:
        _show_effects(console, effects)
    begun = int((readings.trials["state"] != PLANNED).sum())
    happened = wording.events(readings.events, begun)
    for sentence in (happened, wording.brightening(tables.variants, readings.study), str(path)):
        if sentence:
            console.print(clean(sentence), soft_wrap=True)


def _notices(readings: Readings, search: SearchPart | None) -> list[tuple[str, str]]:
    return [*(search.notices if search else []), *shown.notices(readings)]


def _rests_on(search: SearchPart | None) -> str:
    """Return what the verdicts compare, or why there are none yet; nothing without a search."""
    return "" if search is None else search.waits or search.basis


def _search(search: SearchPart) -> list[str]:
    """Return what is told of a search as parts of a Markdown page."""
    parts = ["## Search", search.asked, "### What was spent", search.budget, _grid(search.spent)]
    parts.append("\n".join(f"- {name}: its search leaves out `{path}`: {why}" for name, path, why in search.left_out))
    parts += ["### Promised and confirmed", " ".join(search.gaps), _grid(search.promised)]
    if search.tuned.rows:
        parts += ["### Does tuning change what a component does?", TUNED, search.tuned_why, _grid(search.tuned)]
    parts += ["### Settings chosen", _grid(search.settings)]
    if search.mattered.rows or search.unknown:
        said = MATTERED if search.mattered.rows else ""
        parts += ["### Parameters told from noise", said, search.unknown, _grid(search.mattered)]
    if search.rungs.rows:
        parts += ["### Does stopping early mislead?", search.compared, _grid(search.rungs)]
    if search.untuned:
        parts.append("## Untuned")
    for group in search.untuned:
        parts += [f"### {group.name}, untuned", _pipes(_heads(group), _rows(group))]
    return parts


def _cost(cost: CostPart) -> list[str]:
    """Return what is told of costs as parts of a Markdown page."""
    told = "\n".join(f"- {sentence}" for sentence in cost.sentences)
    return ["## What each component costs", told, _grid(cost.table), cost.note]


def _effects(effects: EffectsPart) -> list[str]:
    """Return what is told of effects as parts of a Markdown page."""
    parts = ["## Effects of the components", _grid(effects.credits), effects.total, effects.why]
    parts.append("\n".join(f"- {head}: {text}" for head, text in effects.estimands))
    if effects.interactions.rows:
        cut = f"{effects.cut} smaller ones are in effects.csv." if effects.cut else ""
        found = "\n".join(f"- {sentence}" for sentence in effects.findings)
        parts += ["### Interactions", _grid(effects.interactions), cut, found]
    return [*parts, " ".join(effects.method)]


def _show_effects(console: Console, effects: EffectsPart) -> None:
    _show_grids(console, {"Effects of the components": effects.credits, "Interactions": effects.interactions})
    for sentence in (effects.total, effects.why, *effects.findings):
        if sentence:
            console.print(clean(sentence), soft_wrap=True)


def _show_search(console: Console, search: SearchPart) -> None:
    _show_grids(console, {"Search, what was spent": search.spent, "Promised and confirmed": search.promised})
    console.print(clean(" ".join([search.budget, *search.gaps])), soft_wrap=True)


def _show_grids(console: Console, grids: Mapping[str, Grid]) -> None:
    for title, grid in ((title, grid) for title, grid in grids.items() if grid.rows):
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        for place, head in enumerate(grid.heads):
            table.add_column(clean(head), justify="left" if place < grid.left else "right")
        for row in grid.rows:
            table.add_row(*map(clean, row))
        console.print(table)


def _grid(grid: Grid) -> str:
    return _pipes(grid.heads, grid.rows, grid.left) if grid.rows else ""


def _table(group: shown.Group, *, title: str, width: int) -> Table:
    """Return a group as a table, with as many metrics, the first ones, as fit into `width` characters."""
    heads, *rows = [list(map(clean, line)) for line in (_heads(group), *_rows(group))]
    columns = list(zip(heads, zip(*rows, strict=True), strict=True))
    whole = [max(len(text) for text in (*cells, head)) for head, cells in columns]
    widths = [max(len(text) for text in (*cells, *head.split())) for head, cells in columns]
    fitting = max(ALWAYS, sum(total < width for total in accumulate(one + GAP for one in widths)))
    if sum(one + GAP for one in whole[:fitting]) < width:
        widths = whole  # no head has to be broken
    table = Table(box=box.SIMPLE_HEAD, title=clean(title), title_justify="left")
    for place, head in enumerate(heads[:fitting]):
        table.add_column(head, justify="right" if place > 1 else "left", width=widths[place])
    for row in rows:
        table.add_row(*row[:fitting])
    return table


def _models(tables: Tables) -> str:
    named = wording.models(tables.variants)
    return f"Trained elsewhere: {named}." if named else ""


def _item(verdict: shown.Verdict, found: Beside) -> str:
    """Return a verdict as an item of a Markdown list, with what it must be read with below it."""
    lines = [f"- **{verdict.component}**: {_whole(verdict)}"]
    if found.companion:
        lines += [found.companion.matched, found.companion.luminance, found.companion.conflict]
    return "\n  - ".join(filter(None, [*lines, found.caution]))


def _whole(verdict: shown.Verdict) -> str:
    return f"{verdict.sentence} {verdict.bound}".rstrip()


def _tag(verdict: shown.Verdict) -> str:
    return f"{verdict.verdict}, {verdict.mark}" if verdict.mark else verdict.verdict


def _heads(group: shown.Group) -> list[str]:
    return ["", "Completed", *(f"{title} {arrow}".rstrip() for title, arrow in group.heads)]


def _rows(group: shown.Group) -> list[list[str]]:
    return [
        [row["name"], row["completed"], *(f"{mean} {spread}".rstrip() for mean, spread in row["cells"])]
        for row in group.rows
    ]


def _verdict_heads(readings: Readings) -> list[str]:
    metric = readings.study.metric(readings.study.primary)
    units = f"{readings.unit.capitalize()}s"
    return ["Component", f"Difference of {metric.title} [95 %]", "p (Holm)", "Effect (sd)", units, "Verdict"]


def _trial_heads(readings: Readings) -> list[str]:
    return ["Variant", "Seed", "State", readings.study.metric(readings.study.primary).title, "Seconds", "Trial"]


def _pipes(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; the first columns, so many as `left`, are left, the others right."""
    return "\n".join(_line(cells) for cells in (heads, ["---"] * left + ["---:"] * (len(heads) - left), *rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"
