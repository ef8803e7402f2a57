"""The report's tables for the terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from analysis import cautions, defects, shown, wording
from analysis.beside import Beside, beside, elsewhere, explored, limits, niqe
from analysis.cost_shown import CostPart
from analysis.effects_shown import EffectsPart
from analysis.outlook_shown import OutlookPart
from analysis.printable import clean
from analysis.records import dated
from analysis.search_shown import MATTERED, TUNED, Grid, SearchPart
from analysis.several import Side
from analysis.tables import Readings, Tables

__all__ = ["markdown", "several", "show"]

_LIVE = re.compile(r"(\\*)(<(?=[A-Za-z/!?])|(?<=!)\[|(?<=\])[(:\[])")
"""What would begin a tag, an image, a link or a link's address, and the backslashes before it."""
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
    """Return the report as Markdown: what the page says in words and tables, its method in brief."""
    study = readings.study
    parts = [f"# {study.name}", wording.question(study, readings.family)]
    parts.append(" \u00b7 ".join(shown.facts(readings)))
    said = [] if search and search.waits else shown.verdicts(readings, tables)
    told = limits(readings) if said else []
    parts += [f"**{heading}.** {text}" for heading, text in elsewhere(_notices(readings, search), told)]
    parts += ["## Verdicts", _rests_on(search), *(f"**{heading}.** {text}" for heading, text in told)]
    parts.append("\n".join(map(_item, said, beside(readings, tables))))
    numbers = [[one.component, one.estimate, one.p, one.effect, str(one.seeds), one.tag] for one in said]
    parts.append(_pipes(_verdict_heads(readings), numbers) if numbers else "")
    parts.append(shown.differed(readings) if numbers else "")
    parts.append(wording.EQUIVALENCE if any(one.verdict == "equivalent" for one in said) else "")
    names, others = explored(readings, tables)
    if others and said:
        rows = [[title, *cells] for title, cells in others]
        parts += ["### Other metrics, exploratory", wording.OTHERS, _pipes(["", *names], rows)]
        parts.append(niqe(readings, tables))
    parts += [] if outlook is None or not said else ["## What it would take", _grid(outlook.table), outlook.note]
    parts += [] if effects is None else _effects(effects)
    parts += [] if cost is None or not said else _cost(cost)
    parts += [f"## {shown.variants_head(readings)}", wording.brightening(tables.variants, study), _models(tables)]
    parts += [f"Mean over images, \u00b1 standard deviation over {readings.unit}s."] if tables.variants.size else []
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
    parts += [*_breaks(readings, tables), *_deviations(readings), *_method(readings), *_versions(readings)]
    parts += ["## Trials", _pipes(_trial_heads(readings), shown.trials(readings))]
    parts.append(shown.scored(readings))
    if len(readings.trials) > shown.ROWS:
        parts.append(f"The first {shown.ROWS} of {len(readings.trials):,}; all are in trials.csv.")
    return _safe("\n\n".join(part for part in parts if part) + "\n")


def several(sides: Mapping[str, Side]) -> str:
    """Return the verdicts of several studies as a page of Markdown: one table, then what each study says for itself."""
    heads = ["Study", "Component", "What is compared", "Metric", "Difference [95 %]", "Margin", "p (Holm)"]
    heads += ["Observations", "Images", "Broke down", "Verdict", "Stands apart"]
    rows = [row for name, side in sides.items() for row in _compared(name, side)]
    parts = [
        "# Several studies, side by side",
        "Each for itself: nothing is pooled, and p is adjusted within each study, not over all of them.",
        _pipes(heads, rows, 4),
    ]
    for name, side in sides.items():
        said = [] if side.nothing else shown.verdicts(side.readings, side.tables)
        told = [*shown.notices(side.readings), *(limits(side.readings) if said else [])]
        rests_on = f"There are no verdicts: {side.nothing}." if side.nothing and not side.waits else side.waits
        parts += [f"## {name}", wording.question(side.readings.study, side.readings.family), rests_on or side.basis]
        parts += [f"**{heading}.** {text}" for heading, text in {text: (head, text) for head, text in told}.values()]
        parts.append(wording.EQUIVALENCE if any(one.verdict == "equivalent" for one in said) else "")
        parts += [*_deviations(side.readings)[1:], "\n".join(map(_item, said, beside(side.readings, side.tables)))]
    return _safe("\n\n".join(part for part in parts if part) + "\n")


def _compared(name: str, side: Side) -> list[list[str]]:
    """Return a row for each comparison of a study, or one that says why there is none."""
    study, unit = side.readings.study, side.readings.unit
    metric, judged_by = study.metric(study.primary).key, wording.margin(study) or "none"
    if side.nothing:
        return [[name, "", "", metric, "", judged_by, "", "", "", "", side.nothing, side.apart]]
    labels = shown.labels(side.readings)
    table = side.tables.verdicts[side.tables.verdicts["role"] == "primary"].to_dict("records")
    found = []
    for row, one in zip(table, shown.verdicts(side.readings, side.tables), strict=True):
        pair = f"{labels.get(row['variant'])} minus {labels.get(row['compared_to'])}"
        what = f"{row['estimand']}, present minus absent" if row.get("estimand") else pair
        images = f"{int(row['images'])} ({study.images})"
        why = f": {wording.reason(row['why'], labels)}" if row["why"] and not row["verdict"] else ""
        verdict = f"{one.tag}{why}"
        cells = [name, one.component, what, metric, one.estimate, judged_by, one.p, wording.counted(one.seeds, unit)]
        found.append([*cells, images, str(int(row["n_failed"])), verdict, side.apart])
    return found


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
    for at, text in readings.records.deviations:
        console.print(clean(f"  {dated(at)}: {text}"), soft_wrap=True)
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
    happened = wording.events(readings.events, shown.begun(readings)["trial"].nunique())
    for sentence in (happened, wording.brightening(tables.variants, readings.study), str(path)):
        if sentence:
            console.print(clean(sentence), soft_wrap=True)


def _notices(readings: Readings, search: SearchPart | None) -> list[tuple[str, str]]:
    return [*(search.notices if search else []), *shown.notices(readings)]


def _rests_on(search: SearchPart | None) -> str:
    """Return what the verdicts compare, or why there are none yet; nothing without a search."""
    return "" if search is None else search.waits or search.basis


def _breaks(readings: Readings, tables: Tables) -> list[str]:
    """Return what diverged or failed as parts of a Markdown page."""
    shares, broken = shown.breaks(readings, tables)
    if not broken:
        return []
    rows = [[*cells, " ".join(message.split())] for *cells, message in broken]
    told = "\n".join(f"- {share}" for share in shares)
    return ["## Diverged and failed", told, _pipes(["Variant", "Seed", "How", "Message"], rows, 4)]


def _deviations(readings: Readings) -> list[str]:
    found = [f"- {dated(at)}: {text}" for at, text in readings.records.deviations]
    return ["## Deviations from the first plan", "\n".join(found)] if found else []


def _method(readings: Readings) -> list[str]:
    """Return in brief how numbers came about, as parts of a Markdown page; the page in HTML has it whole."""
    study, unit, margin = readings.study, readings.unit, wording.margin(readings.study)
    about = "images like these" if study.images == "sample" else "these very images"
    looks = (", not adjusted for looks", " and over all looks") if study.looks else ("", "")
    judged = (
        f"Intervals are of 95 %, each for itself{looks[0]}; p-values are adjusted for {len(readings.family)} "
        f"(Holm){looks[1]}."
    )
    told = [
        f"A score is the mean over the last {wording.counted(study.at, 'evaluation')} of a trial, never the best one.",
        f"Differences are paired by {unit} and image; verdicts are on {about}, and one observation is a {unit}.",
        f"{judged} {f'A difference of less than {margin} does not matter.' if margin else 'No margin was declared.'}",
        f"Plan locked at the first trial: SHA-256 `{study.lock}`." if study.lock else "No plan was locked.",
        f"Images: digest `{study.digest}`.",
    ]
    told += [
        f"{name} sets `{own}`{f'; without effect then: `{gone}`' if gone else ''}."
        for name, own, gone in shown.settings(readings)
    ]
    return ["## Method", "\n".join(f"- {one}" for one in told)]


def _versions(readings: Readings) -> list[str]:
    found = [*readings.records.made_with, *readings.study.settings.items()]
    return ["## Versions", "\n".join(f"- {name}: {value}" for name, value in found)] if found else []


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
    parts = ["## Effects of the components", effects.note, _grid(effects.credits), effects.total, effects.why]
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


def _safe(text: str) -> str:
    """Return Markdown in which no name or message is HTML, an image or a link: a reader's program would load these."""
    return _LIVE.sub(lambda found: f"{found[1]}{found[1]}\\{found[2]}", clean(text))


def _pipes(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; the first columns, so many as `left`, are left, the others right."""
    return "\n".join(_line(cells) for cells in (heads, ["---"] * left + ["---:"] * (len(heads) - left), *rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"
