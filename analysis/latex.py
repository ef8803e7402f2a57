r"""The report's tables for a paper: LaTeX with booktabs, and nothing else. Pure.

A file holds tables for `\input`; the document needs `\usepackage{booktabs}`. Every text is escaped: a name may hold
anything. From an unchanged ledger come the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from analysis import shown, wording
from analysis.cost_shown import CostPart
from analysis.outlook_shown import OutlookPart
from analysis.printable import clean
from analysis.records import dated
from analysis.tables import Readings, Tables

__all__ = ["cost_tex", "escape", "outlook_tex", "table", "variants_tex", "verdicts_tex"]

LEADING = 5
"""So many metrics of quality fit into the width of a page, the first ones; the CSV and Parquet files have all."""
COSTS_FROM = 3
"""Of the table of costs so many columns stand before those of the first cost, two for each."""
WIDEST = 14
"""Longer heads are broken at a comma or a space."""
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
    rows: Sequence[Sequence[str]],
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
        rows: texts, not escaped yet.
        caption: above it.
        label: after `tab:`.
        left: so many columns stand left, the others right.
        notes: small print below it.
        rules: before these rows stands a rule.
    """
    lines = [
        r"\begin{table}[htbp]", r"\centering\footnotesize", rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9-]+', '-', label.lower())}}}", r"\setlength{\tabcolsep}{4pt}",
        rf"\begin{{tabular}}{{@{{}}{'l' * left}{'r' * (len(heads) - left)}@{{}}}}", r"\toprule",
        rf"{' & '.join(_head(head, number < left) for number, head in enumerate(heads))} \\", r"\midrule",
    ]  # fmt: skip
    for number, row in enumerate(rows):
        lines += [r"\midrule"] if number in rules else []
        lines.append(rf"{' & '.join(map(_cell, row))} \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip{{\scriptsize {' '.join(map(escape, notes))}\par}}"] if notes else []
    return "\n".join([*lines, r"\end{table}", ""])


def verdicts_tex(readings: Readings, tables: Tables) -> str:
    """Return the table of verdicts: difference with interval and unit, adjusted p, standardised effect, n."""
    study = readings.study
    metric, said = study.metric(study.primary), shown.verdicts(readings, tables)
    heads = ["Component", "Verdict", f"Difference{_in(metric.unit)} [95 %]", "p (Holm)", "Effect (sd)"]
    heads += [f"{readings.unit.capitalize()}s", "Images"]
    primary = tables.verdicts[tables.verdicts["role"] == "primary"]
    images = primary["images"].astype(int).astype(str).tolist()
    rows = [
        [one.component, one.verdict, one.estimate, one.p, one.effect, str(one.seeds), count]
        for one, count in zip(said, images, strict=True)
    ]
    if not rows:
        return _file(readings, ["% This study declares no comparison.\n"])
    subject = "images like these" if study.images == "sample" else "these images"
    caption = f"Study {study.name}: {metric.name}, what each component changes, on {subject}."
    notes = ["Intervals are for each row alone; p-values and verdicts are adjusted for all rows."]
    notes += [f"A difference of less than {wording.margin(study)} does not matter."] if wording.margin(study) else []
    notes += [one.sentence for one in said if one.verdict == "no verdict" or one.mark]
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


def variants_tex(readings: Readings, tables: Tables) -> str:
    """Return a table of the variants' scores for each set of images: mean and deviation over seeds, units, n."""
    found = []
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
        label = f"{readings.study.name}-{group.name}"
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
        r"% Needs \usepackage{booktabs}. The trials behind each row: trace.csv.",
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


def _cell(text: str) -> str:
    """Return a cell; a mark at its end (`^a`) stands high."""
    body, caret, mark = text.rpartition("^")
    if caret and body == "\u2013" and mark.isalpha():
        return rf"{escape(body)}\textsuperscript{{{mark}}}"
    return escape(text)


def _marked(cell: str, reasons: list[str]) -> str:
    """Return a cell whose reason to be empty stands below the table, with a mark."""
    kind, colon, reason = cell.partition(": ")
    if not colon or kind not in ("none", "not known"):
        return cell
    if reason not in reasons:
        reasons.append(reason)
    return f"\u2013^{_letter(reasons.index(reason))}"


def _letter(number: int) -> str:
    return chr(ord("a") + number)


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""
