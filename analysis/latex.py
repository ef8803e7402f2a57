r"""The report's tables for a paper: LaTeX with booktabs and graphicx, and nothing else. Pure.

A file holds tables for `\input`; the document needs `\usepackage{booktabs,graphicx}`. A table wider than the text is
made smaller until it fits. Every text is escaped: a name may hold anything. From an unchanged ledger come the same
bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from analysis import shown, wording
from analysis.beside import Beside, beside, limits
from analysis.cost_shown import CostPart
from analysis.effects_shown import EffectsPart
from analysis.outlook_shown import OutlookPart
from analysis.printable import clean
from analysis.records import dated
from analysis.search_shown import TUNED, Grid, SearchPart
from analysis.tables import Readings, Tables

__all__ = ["cost_tex", "effects_tex", "escape", "outlook_tex", "search_tex", "table", "variants_tex", "verdicts_tex"]

LEADING = 5
"""So many metrics of quality are shown, the first ones; the CSV and Parquet files have all."""
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""What follows is made as narrow as the text if it is wider."""
COSTS_FROM = 3
"""Of the table of costs so many columns stand before those of the first cost, two for each."""
WIDEST = 14
"""Longer heads are broken at a comma or a space."""
Cell = str | tuple[str, str]
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\char34}", "'": "{'}", "`": "{`}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after \\ these would be arguments of it
    "-": "{-}",  # two would be a dash
    "\u2212": "$-$", "\u2013": "--", "\u2014": "---", "\u00b1": r"$\pm$", "\u00d7": r"$\times$", "\u00b7": r"$\cdot$",
    "\u2191": r"$\uparrow$", "\u2193": r"$\downarrow$", "\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''",
    "\u00a0": "~", "\n": " ", "\t": " ",
}  # fmt: skip
_LETTERS = {
    "\u00c4": '\\"A', "\u00d6": '\\"O', "\u00dc": '\\"U', "\u00e4": '\\"a', "\u00f6": '\\"o', "\u00fc": '\\"u',
    "\u00df": r"\ss{}", "\u00e9": r"\'e", "\u00e8": r"\`e", "\u00e1": r"\'a", "\u00f3": r"\'o", "\u00ed": r"\'i",
    "\u00fa": r"\'u", "\u00f1": r"\~n", "\u00e7": r"\c{c}", "\u00e5": r"\aa{}", "\u00f8": r"\o{}", "\u00e6": r"\ae{}",
}  # fmt: skip


def escape(text: str) -> str:
    r"""Return a text that LaTeX sets as it is, in any engine and encoding: ASCII.

    Of letters beyond ASCII the usual Latin ones are spelled with accents; any other character is shown by its code
    point, as `U+591C`, since a font need not have it.
    """
    return "".join(map(_escaped, clean(text)))


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    caption: str,
    label: str,
    left: int = 1,
    notes: Sequence[str] = (),
    rules: Sequence[int] = (),
) -> str:
    """Return a floating table.

    Args:
        heads: one for each column.
        rows: texts, not escaped yet; a pair is a text with a mark that stands high behind it.
        caption: above it.
        label: after `tab:`.
        left: so many columns stand left, the others right.
        notes: small print below it.
        rules: before these rows stands a rule.
    """
    lines = [
        r"\begin{table}[htbp]", r"\centering\footnotesize", rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9-]+', '-', label.lower())}}}", r"\setlength{\tabcolsep}{4pt}", FITTED,
        rf"\begin{{tabular}}{{@{{}}{'l' * left}{'r' * (len(heads) - left)}@{{}}}}", r"\toprule",
        rf"{' & '.join(_head(head, number < left) for number, head in enumerate(heads))} \\", r"\midrule",
    ]  # fmt: skip
    for number, row in enumerate(rows):
        lines += [r"\midrule"] if number in rules else []
        lines.append(rf"{' & '.join(map(_cell, row))} \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\smallskip{{\scriptsize {' '.join(map(escape, notes))}\par}}"] if notes else []
    return "\n".join([*lines, r"\end{table}", ""])


def verdicts_tex(readings: Readings, tables: Tables, *, basis: str = "") -> str:
    """Return the table of verdicts: difference with interval and unit, adjusted p, standardised effect, n.

    Below it stands what limits each number, as on the page. `basis`: what verdicts after a search compare, or why
    there are none yet.
    """
    study = readings.study
    metric, said = study.metric(study.primary), shown.verdicts(readings, tables)
    heads = ["Component", "Verdict", f"Difference{_in(metric.unit)} [95 %]", "p (Holm)", "Effect (sd)"]
    heads += [f"{readings.unit.capitalize()}s", "Images"]
    primary = tables.verdicts[tables.verdicts["role"] == "primary"]
    images = primary["images"].astype(int).astype(str).tolist()
    rows = [
        [one.component, one.tag, one.estimate, one.p, one.effect, str(one.seeds), count]
        for one, count in zip(said, images, strict=True)
    ]
    if not rows:
        return _file(readings, ["% This study declares no comparison.\n"])
    subject = "images like these" if study.images == "sample" else "these images"
    caption = f"Study {study.name}: verdicts by {metric.name}, on {subject}."
    notes = [basis] if basis else []
    notes += [f"{heading}: {text}" for heading, text in limits(readings)]
    notes += [
        shown.differed(readings),
        "Intervals are for each row alone; p-values and verdicts are adjusted for all rows.",
    ]
    notes += [wording.EQUIVALENCE] if any(one.verdict == "equivalent" for one in said) else []
    notes += [f"A difference of less than {wording.margin(study)} does not matter."] if wording.margin(study) else []
    notes += [one.sentence for one in said if one.verdict == "no verdict" or one.mark]
    read_with = zip(said, beside(readings, tables), strict=True)
    notes += [f"{one.component}: {' '.join(told)}" for one, found in read_with if (told := _read_with(one, found))]
    looks = primary["look"].astype(int) if readings.study.looks else [0] * len(said)
    notes += _looked(readings, {one.component: (one.verdict, at) for one, at in zip(said, looks, strict=True) if at})
    return _file(
        readings,
        [table(heads, rows, caption=caption, label=f"{study.name}-verdicts", left=2, notes=notes)],
    )


def _looked(readings: Readings, decided: Mapping[str, tuple[str, int]]) -> list[str]:
    """Return how far the looks are and what they decided, where seeds are trained until all is decided.

    Args:
        readings: of the study.
        decided: component -> its verdict, and the seeds at which it was decided.
    """
    if not readings.study.looks:
        return []
    at = "; ".join(f"{name} at {seeds} seeds" for name, (_, seeds) in decided.items())
    early = any(verdict != "equivalent" and seeds < readings.study.looks[-1] for verdict, seeds in decided.values())
    bias = " What is decided early is estimated too far from zero on average." if early else ""
    return [shown.looked(readings), *([f"Decided: {at}.{bias}"] if at else [])]


def _read_with(one: shown.Verdict, found: Beside) -> list[str]:
    """Return what a verdict must be read with, as sentences; nothing of one that is none."""
    companion = found.companion if one.verdict != "no verdict" else None
    beside_it = [f"{companion.matched}.", f"{companion.luminance}.", companion.conflict] if companion else []
    return [text for text in (one.bound, *beside_it, found.caution) if text]


def variants_tex(readings: Readings, tables: Tables) -> str:
    """Return a table of the variants' scores for each set of images: mean and deviation over seeds, units, n."""
    found: list[str] = []
    for group in shown.groups(readings, tables):
        heads = ["Variant", "Completed", *(f"{title} {arrow}".rstrip() for title, arrow in group.heads[:LEADING])]
        rows = [
            [row["name"], row["completed"], *(" ".join(cell).rstrip() for cell in row["cells"][:LEADING])]
            for row in group.rows
        ]
        part = tables.variants[tables.variants["set"] == group.name]
        images = int(part["images"].max()) if part["images"].notna().any() else 0
        first = next((number for number, row in enumerate(group.rows) if row["kind"] == "reference"), 0)
        caption = (
            f"Study {readings.study.name}: scores on {group.name or 'no images'}, mean over "
            f"{wording.counted(images, 'image')} \u00b1 standard deviation over {readings.unit}s."
        )
        notes = ["Below the rule: what was not trained here."] if first else []
        label = f"{readings.study.name}-variants-{len(found) + 1}"  # two names of sets may be one in a label
        found.append(table(heads, rows, caption=caption, label=label, left=2, notes=notes, rules=[first][:first]))
    return _file(readings, found)


def cost_tex(readings: Readings, cost: CostPart | None) -> str:
    """Return a table of each cost, and what components buy for it; why an effect is not divided stands below it."""
    if cost is None:
        return _file(readings, ["% No cost was recorded, or the study declares no comparison.\n"])
    grid = cost.table
    found: list[str] = []
    for first in range(COSTS_FROM, len(grid.heads), 2):
        reasons: list[str] = []
        columns = [*range(COSTS_FROM), first, first + 1]
        rows = [[_marked(row[column], reasons) for column in columns] for row in grid.rows]
        notes = [cost.note, *(f"{_letter(number)}: {reason}." for number, reason in enumerate(reasons))]
        heads = [grid.heads[column] for column in columns]
        caption = f"Study {readings.study.name}: {heads[-2]}, what each component costs and what it buys."
        label = f"{readings.study.name}-cost-{len(found) + 1}"
        found.append(table(heads, rows, caption=caption, label=label, left=grid.left, notes=notes))
    return _file(readings, found)


def effects_tex(readings: Readings, effects: EffectsPart | None) -> str:
    """Return a table of what each component is credited with, each estimand explained, and one of interactions."""
    if effects is None:
        return _file(readings, ["% The design declared no effects.\n"])
    credited = [*(f"{head}: {text}" for head, text in effects.estimands), effects.total, effects.why, *effects.method]
    grids = {
        "what each component is credited with": (
            effects.credits,
            [effects.note, *dict(limits(readings)).values(), *credited],
        ),
        "interactions": (effects.interactions, effects.findings),
    }
    return _file(readings, _grids(readings, "effects", grids))


def search_tex(readings: Readings, search: SearchPart | None) -> str:
    """Return tables of what a search took, promised and found, and of what tuning changes of each comparison."""
    if search is None:
        return _file(readings, ["% This study has no search.\n"])
    grids = {
        "what the search took": (search.spent, [search.asked, search.budget]),
        "promised and confirmed": (search.promised, [search.basis if not search.waits else search.waits, *search.gaps]),
        "what tuning changes": (search.tuned, [TUNED, search.tuned_why]),
    }
    return _file(readings, _grids(readings, "search", grids))


def _grids(readings: Readings, kind: str, grids: Mapping[str, tuple[Grid, Sequence[str]]]) -> list[str]:
    """Return a table for each grid with rows: what it shows -> the grid and the notes below it."""
    found: list[str] = []
    for what, (grid, notes) in ((what, told) for what, told in grids.items() if told[0].rows):
        caption, label = f"Study {readings.study.name}: {what}.", f"{readings.study.name}-{kind}-{len(found) + 1}"
        below = [note for note in notes if note]
        found.append(table(grid.heads, grid.rows, caption=caption, label=label, left=grid.left, notes=below))
    return found


def outlook_tex(readings: Readings, outlook: OutlookPart | None) -> str:
    """Return a table of the seeds, trainings and hours that each margin takes."""
    if outlook is None:
        return _file(readings, ["% This study declares no margin, or no comparison that could be judged by one.\n"])
    grid, name = outlook.table, readings.study.name
    reasons: list[str] = []
    rows = [[_marked(cell, reasons) for cell in row] for row in grid.rows]
    notes = [outlook.note, *(f"{_letter(number)}: {reason}." for number, reason in enumerate(reasons))]
    caption = f"Study {name}: what it would take to decide."
    found = table(grid.heads, rows, caption=caption, label=f"{name}-outlook", left=grid.left, notes=notes)
    return _file(readings, [found])


def _file(readings: Readings, tables: Sequence[str]) -> str:
    study = readings.study
    lines = [
        f"% Study {_comment(study.name)}, as of {dated(readings.records.as_of)}, images {_comment(study.digest)}.",
        f"% Plan locked at the first trial: SHA-256 {_comment(study.lock) or 'not recorded'}.",
        r"% Needs \usepackage{booktabs,graphicx}. The trials behind each row: trace.csv.",
    ]
    return "\n".join([*lines, *tables])


def _comment(text: str) -> str:
    """Return a text that cannot end the comment that it stands in."""
    return clean(text).encode("ascii", "backslashreplace").decode().replace("\n", " ")


def _escaped(character: str) -> str:
    known = _SPECIAL.get(character) or _LETTERS.get(character)
    if known is not None:
        return known
    return character if " " <= character <= "~" else f"U+{ord(character):04X}"


def _head(text: str, left: bool) -> str:
    """Return a head, in several lines if it is long."""
    if len(text) <= WIDEST:
        return escape(text)
    lines = [""]
    for word in text.split():
        fits = len(lines[-1]) + len(word) < WIDEST
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if fits or not lines[-1] else [lines[-1], word]
    broken = r" \\ ".join(map(escape, lines))
    return rf"\shortstack[{'l' if left else 'r'}]{{{broken}}}"


def _cell(cell: Cell) -> str:
    """Return a cell as LaTeX."""
    return escape(cell) if isinstance(cell, str) else rf"{escape(cell[0])}\textsuperscript{{{cell[1]}}}"


def _marked(cell: str, reasons: list[str]) -> Cell:
    """Return a cell; its reason to be empty, or a remark after a semicolon, stands below the table, with a mark."""
    kind, colon, reason = cell.partition(": ")
    shown, semicolon, remark = cell.partition("; ")
    if colon and kind in ("none", "not known"):
        shown, remark = "\u2013", reason
    elif not semicolon:
        return cell
    if remark not in reasons:
        reasons.append(remark)
    return shown, _letter(reasons.index(remark))


def _letter(number: int) -> str:
    """Return a, b, ..., z, aa, ab, ..."""
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""
