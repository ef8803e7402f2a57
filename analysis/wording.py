"""How the report says things: numbers as text, names of variants, and a plain sentence for each verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd

from analysis.comparison import BELOW, LEVEL, Contrast, contrasts
from analysis.cube import ABSENT
from analysis.ledger import QUALITY, Study
from analysis.outlook import Reach, few_orders, reached
from analysis.schema import BASELINE, DECIDED, PLANNED, RUNNING, STATES

__all__ = [
    "EQUIVALENCE", "FULL", "OTHERS", "bound", "brightening", "counted", "deciding_p", "defect", "defects", "digits",
    "ended", "estimate", "event", "events", "exploratory", "first_steps", "interval", "label", "labels", "listed",
    "margin", "marked_p", "models", "number", "p_value", "question", "reason", "saved", "seeds_reached", "sentence",
    "share", "unended", "unlocked",
]  # fmt: skip

OTHERS = "Each interval stands for itself (95 %, not adjusted for their number); no verdict rests on them."
EQUIVALENCE = "p (equivalence) is that of the two tests that place the difference within the margin."
FULL, BARE = "full model", "bare model"
DEFECTS = {
    "colour": "How far the colours lie from the reference\u2019s or, without one, from the input\u2019s, lightness "
    "apart; chroma below 0 is paler than it should be, above 0 stronger.",
    "detail": "GMSD grows with structure that was lost or invented; fine detail below 0 was smoothed away, and above "
    "0 may be noise, which stands beside it.",
    "gradients": "A spike is a gradient norm far outside what the same network had just before; 0 is calm.",
    "equilibrium": "A discriminator with accuracy 0.5 and margin 0 cannot tell generated from real, one with accuracy "
    "near 1 always can and teaches the generator little. A loss ratio above 0: the discriminators lose more. A "
    "duality gap of 0: neither side could still gain.",
}
"""What the known defects' metrics say, and in which direction the defect lies."""
EVENTS = {"spike": "Gradient spike", "drop": "Gradient drop", "collapse": "Collapse", "nonfinite": "Not finite"}


def digits(largest: float) -> int:
    """Return how many decimals suit values up to `largest` (in magnitude): 3 for 0.7, 2 for 17.3, 1 for 170."""
    if not isfinite(largest) or largest == 0:
        return 2
    return 3 if largest <= 1 else 2 if largest < 100 else 1


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """Return a number as text, with a true minus sign; an en dash for one that is missing."""
    if not isfinite(value):
        return "\u2013"
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    zero = float(text) == 0
    return (text.lstrip("+-") if zero else text).replace("-", "\u2212")


def interval(low: float, high: float, *, decimals: int, signed: bool = True) -> str:
    """Return an interval as text."""
    return f"{number(low, decimals, signed=signed)} to {number(high, decimals, signed=signed)}"


def share(low: float, high: float) -> str:
    """Return an interval of shares in per cent."""
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def p_value(p: float) -> str:
    """Return a p-value as text."""
    return "< 0.001" if p < 0.001 else number(p, 3)


def deciding_p(row: Mapping[Any, Any]) -> str:
    """Return the adjusted p that a verdict rests on; marked where it is that of being equivalent, not of differing."""
    if row["verdict"] == "equivalent" and isfinite(row["p_equivalent_adjusted"]):
        return f"{p_value(row['p_equivalent_adjusted'])} (equivalence)"
    return p_value(row["p_adjusted"])


def marked_p(p: str, mark: str) -> str:
    """Return a p-value with a mark, in the parentheses that it may have already."""
    return p if not mark else f"{p[:-1]}, {mark})" if p.endswith(")") else f"{p} ({mark})"


def estimate(row: Mapping[Any, Any], decimals: int) -> str:
    """Return the difference of a row of `analysis.judge` with its interval."""
    if not isfinite(row["low"]):
        return number(row["difference"], decimals, signed=True)
    ends = f"{number(row['low'], decimals, signed=True)}, {number(row['high'], decimals, signed=True)}"
    return f"{number(row['difference'], decimals, signed=True)} [{ends}]"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(words: list[str]) -> str:
    """Return words as a list in prose."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def unended(states: Iterable[str]) -> dict[str, str]:
    """Return what those states are called that are no end of a trial; one that is not known has its own name."""
    return {RUNNING: "running", PLANNED: "waiting"} | {state: state for state in sorted({*states} - {*STATES})}


def label(contrast: Contrast) -> str:
    """Return a variant's name for readers: `no_attention` lacks attention, so it is "without attention"."""
    if contrast.present or contrast.component in ("", contrast.variant):
        return _spaced(contrast.variant)
    return f"without {_spaced(contrast.component)}"


def labels(variants: pd.DataFrame, runs: pd.DataFrame) -> dict[str, str]:
    """Return each variant's name for readers, in the order of the plan.

    Args:
        variants: as from `analysis.load_variants`.
        runs: as from `analysis.load_runs`.
    """
    compared = {one.variant: label(one) for one in contrasts(variants)}
    lacking = {name: [_spaced(str(one)) for one in runs.columns if not row[one]] for name, row in runs.iterrows()}

    def named(name: str) -> str:
        out = lacking.get(name, [])
        whole = 1 < len(out) == len(runs.columns)
        return compared.get(name) or (BARE if whole else f"without {listed(out)}" if out else FULL)

    return {name: named(name) for name in variants["name"]}


def unlocked(row: Mapping[Any, Any], study: Study) -> str:
    """Return what of the locked plan was changed after the first trial and touches this comparison; else nothing."""
    own = study.exploratory.get(row["component"] or row["variant"], [])
    return "; ".join([*study.exploratory.get("", []), *own])


def exploratory(changes: str) -> str:
    """Say that a verdict is exploratory because of these changes, as a sentence that follows its own; else nothing."""
    if not changes:
        return ""
    return f" Exploratory: the plan was changed after the first trial ({changes}), so p keeps no error rate."


def question(study: Study, family: Sequence[Contrast]) -> str:
    """Return what the study asks, in a sentence."""
    components = [
        _spaced(one.component) for one in family if one.component and (one.component != one.variant or one.present)
    ]
    name = study.metric(study.primary).name
    if not components:
        return f"Which variant changes {name}, and is the difference real or seed noise?"
    asked = f"Which of {listed(components)} matter" if len(components) > 1 else f"Does {components[0]} matter"
    return f"{asked} for {name}, and is the difference real or seed noise?"


def margin(study: Study) -> str:
    """Return the smallest difference of the primary metric that matters; nothing if none was declared."""
    smallest = study.matters.get(study.primary)
    return "" if smallest is None else f"{smallest:g} {study.metric(study.primary).unit}".rstrip()


def bound(row: Mapping[Any, Any], study: Study, *, decimals: int) -> str:
    """Say what a primary difference becomes if trials that broke down score as the untouched input; else nothing."""
    if not isfinite(row["bound_difference"]) or (row["seeds"] == 0 and row["bound_difference"] == 0):
        return ""  # where all of both broke down, it is the untouched input less itself
    change = _quantity(row["bound_difference"], study, decimals=decimals, signed=True)
    reach = interval(row["bound_low"], row["bound_high"], decimals=decimals)
    reach = f" ({reach})" if isfinite(row["bound_low"]) else ""
    opening = "Trials that broke down are left out; scored as the untouched input, they would make the difference"
    return f"{opening} {change}{reach}."


def sentence(
    row: Mapping[Any, Any], study: Study, *, decimals: int, family: int, unit: str = "seed", over: str = ""
) -> str:
    """Say what a row of `analysis.judge` means, and of which images, in one or two sentences.

    Args:
        row: of the primary metric.
        study: its metrics and margins.
        decimals: of the metric.
        family: the number of comparisons declared together.
        unit: what one observation is: a `seed`, or a `repeat` of the search.
        over: what the difference is an average over, where it is one, with a comma.
    """
    lacks = f" In {row['partial']} of {counted(row['seeds'], unit)} a seed is missing." if row["partial"] else ""
    text = _said(row, study, decimals=decimals, family=family, unit=unit, over=over) + _looked(row, study) + lacks
    return text + (ended(row["why"]) if row["verdict"] and row["deviation"] == 0 else "") + ended(row["left_out"])


def ended(text: str) -> str:
    """Return a part of a sentence as one of its own that follows another; nothing of nothing."""
    return f" {text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}" if text else ""


def _looked(row: Mapping[Any, Any], study: Study) -> str:
    """Say at which look a row was decided, and what an early one does to its estimate; nothing where none decided."""
    look = row.get("look")
    if not look:
        return ""
    later = f", estimated from all {row['seeds']}" if row["seeds"] > look else ""
    early = row["verdict"] != "equivalent" and look < study.looks[-1]
    bias = ": what is decided early is estimated too far from zero on average" if early else ""
    return f" Decided at the look at {look} seeds{later}{bias}."


def saved(study: Study, looks: pd.DataFrame, trained: int, most: int) -> str:
    """Say how far the looks are, and what they saved; nothing without looks.

    Args:
        study: what it asks.
        looks: so far; `analysis.looks.COLUMNS`.
        trained: trials of the plan so far.
        most: trials if nothing were decided before the last look.
    """
    if not study.looks:
        return ""
    at = f"Looks are taken after {listed([str(seeds) for seeds in study.looks])} seeds"
    done = int(looks["seeds"].max()) if len(looks) else 0
    if not done:
        return f"{at}; no look has been taken yet."
    told = looks[looks["verdict"].isin(DECIDED)]
    over = done == study.looks[-1] or set(told["variant"]) == set(looks["variant"])
    left = f"{most - trained} {'is' if most - trained == 1 else 'are'}" if most > trained else "none is"
    return (
        f"{at}, each at a share of the level, so that all of them err as one test does; p (adjusted) is over all "
        f"looks. The last look was at {done} seeds. {trained} of at most {most} trainings are planned"
        f"{f', so {left} saved' if over else ' so far'}."
    )


def _said(row: Mapping[Any, Any], study: Study, *, decimals: int, family: int, unit: str, over: str) -> str:
    contrast = Contrast(row["variant"], row["compared_to"], row["component"], row["present"])
    thing = _spaced(contrast.component or contrast.variant)
    if not row["verdict"]:
        return f"No verdict on {thing}: {_reason(row['why'], contrast)}."
    opening = f"{_subject(contrast)}, {over}{study.metric(study.primary).name} {_where(row, study)}"
    low, high, difference = row["low"], row["high"], row["difference"]
    against = "" if contrast.compared_to in ("", BASELINE) else f" against {_spaced(contrast.compared_to)}"
    if row["verdict"] in ("helps", "hurts"):
        verb = "rises" if difference > 0 else "falls"
        near, far = sorted((abs(low), abs(high)))
        crosses = low <= 0 <= high  # of a look's verdict alone
        reach = (
            interval(low, high, decimals=decimals) if crosses else interval(near, far, decimals=decimals, signed=False)
        )
        change = f"{verb} by {_quantity(abs(difference), study, decimals=decimals)} ({reach})"
        later = f", by what that look saw{_since(row)}" if crosses else ""
        smallest = study.matters.get(study.primary)
        less = not crosses and smallest is not None and near < smallest <= far
        much = f"; whether by as much as the margin of {margin(study)} is open" if less else ""
        return f"{opening} {change}{against}: {thing} {row['verdict']}{later}{much}."
    reach = interval(low, high, decimals=decimals)
    change = f"changes by {_quantity(difference, study, decimals=decimals, signed=True)} ({reach})"
    if row["verdict"] == "equivalent":
        found = f"{thing} makes no difference that matters"
        if row["p_equivalent"] >= LEVEL:  # it rests on a look's recorded verdict alone
            seen = f"inside the margin of {margin(study)} by what that look saw{_since(row)}"
            return f"{opening} {change}{against}: {seen}."
        past = max(abs(low), abs(high)) > study.matters[study.primary]
        tests = " (as its 90 % interval shows, which the two tests use)" if past else ""
        if row["note"] == BELOW:
            return f"{opening} {change}{against}: {BELOW} of {margin(study)}{tests}, so {found}."
        return f"{opening} {change}{against}, inside the margin of {margin(study)}{tests}: {found}."
    doubt = f" among {counted(family, 'comparison')}" if row["p"] < LEVEL and family > 1 else ""
    if study.looks:
        doubt = " at the share of the level that the looks may spend" if row["p"] < LEVEL else ""
    return f"{opening} {change}{against}: undecided{doubt}. {_outlook(row, study, family=family, unit=unit)}."


def _since(row: Mapping[Any, Any]) -> str:
    """Say that the seeds after a look do not bear out what it saw; nothing if none came."""
    return f"; all {row['seeds']} seeds no longer say so" if row["seeds"] > (row.get("look") or 0) else ""


def _reason(why: str, contrast: Contrast) -> str:
    base = contrast.compared_to
    return reason(why, {base: FULL if base == BASELINE else _spaced(base), contrast.variant: label(contrast)})


def reason(why: str, names: Mapping[str, str]) -> str:
    """Return a reason with the names that readers know the variants by."""
    if not why.startswith(ABSENT):
        return why
    return ABSENT + " and of ".join(f"“{names.get(one, one)}”" for one in why[len(ABSENT) :].split(" and of "))


def brightening(table: pd.DataFrame, study: Study) -> str:
    """Say on which metrics of quality a method that learns nothing beats the trained full model.

    Nothing if they have no metric in common.

    Args:
        table: of `analysis.tables.variant_table`.
        study: its metrics.
    """
    trained = table[table["row"] == BASELINE].set_index("set")
    wins: dict[str, list[str]] = {}
    compared = 0
    for row in table[(table["kind"] == "reference") & table["weights"].isna()].to_dict("records"):
        for metric in (one for one in study.metrics if one.about == QUALITY):
            theirs = float(row.get(metric.key, nan))
            ours = float(trained[metric.key].get(row["set"], nan)) if metric.key in trained else nan
            if metric.higher_is_better is None or not isfinite(theirs - ours):
                continue
            compared += 1
            shown = digits(max(abs(theirs), abs(ours)))
            if number(theirs, shown) != number(ours, shown) and (theirs > ours) == metric.higher_is_better:
                place = f"{row['set']}: " if len(trained) > 1 else ""
                wins.setdefault(row["row"], []).append(
                    f"{metric.name.replace(', ', ' ')} ({place}{_against(theirs, ours)})"
                )
    if not compared:
        return ""
    if not wins:
        return "No method that learns nothing beats the full model on any metric of quality."
    beats = "; ".join(f"{method} on {listed(_first(won))}" for method, won in wins.items())
    return f"Methods that learn nothing beat the trained full model: {beats}."


def _first(won: list[str], most: int = 3) -> list[str]:
    """Return the first words of a list, and how many more there are."""
    return won if len(won) <= most + 1 else [*won[:most], f"{len(won) - most} more"]


def models(table: pd.DataFrame) -> str:
    """Name the trained models among the references, each with the beginning of its file's SHA-256; '' if none."""
    found = table[table["weights"].notna()].drop_duplicates("row")
    return listed(
        [f"{row} (weights {digest[:12]})" for row, digest in zip(found["row"], found["weights"], strict=True)]
    )


def defect(about: str) -> str:
    """Return the name of a known defect as a head."""
    return _spaced(about).capitalize()


def defects(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return for each of these heads (see `defect`) what its metrics say, where that is known."""
    said = {defect(about): text for about, text in DEFECTS.items()}
    return [(name, said[name]) for name in dict.fromkeys(names) if name in said]


def event(kind: str) -> str:
    """Return a kind of event as a head."""
    return EVENTS.get(kind, _spaced(kind).capitalize())


def first_steps(steps: Sequence[int], trials: int) -> str:
    """Say how many of so many trials had an event, and the median and range of the steps of each one's first."""
    if not steps:
        return f"none of {trials}"
    middle = sorted(steps)[(len(steps) - 1) // 2]  # the lower of two, so that it is a step
    reach = "" if len(steps) == 1 else f" ({min(steps)} to {max(steps)})"
    return f"{len(steps)} of {trials}, at step {middle}{reach}"


def events(frame: pd.DataFrame, trials: int) -> str:
    """Say in how many of so many trials each kind of event happened; '' if none did."""
    counts = frame.groupby("kind")["trial"].nunique()
    parts = [f"{event(str(kind)).lower()} in {count}" for kind, count in counts.items()]
    return f"Of {counted(trials, 'trial')} begun: {', '.join(parts)}." if parts else ""


def _against(theirs: float, ours: float) -> str:
    shown = digits(max(abs(theirs), abs(ours)))
    return f"{number(theirs, shown)} against {number(ours, shown)}"


def _outlook(row: Mapping[Any, Any], study: Study, *, family: int, unit: str) -> str:
    """Say how many seeds, or repeats of the search, would decide, or why that cannot be said."""
    units = "seeds" if unit == "seed" else "searches of each variant"
    if not margin(study):
        return f"No margin was declared, so it cannot be said how many {units} would decide"
    level, smallest = LEVEL / family, study.matters[study.primary]
    if few_orders(row, smallest):
        return f"No number of {units} would decide at a margin of {margin(study)}: {few_orders(row, smallest)}"
    low, high = reached(row, smallest, level=level, looks=study.looks)
    scenes = ", and perhaps more scenes" if study.images == "sample" else ""
    seeds = seeds_reached(low, high, units, most=study.looks[-1] if study.looks else 0)
    about = "" if low.beyond else "about "
    return f"At a margin of {margin(study)} it would take {about}{seeds}{scenes}; there are {row['seeds']}"


def seeds_reached(low: Reach, high: Reach, units: str, *, most: int = 0) -> str:
    """Return a range of seeds, or repeats, that decide, such as `5 to 96 seeds`.

    Args:
        low: the fewest.
        high: the most.
        units: what they are; empty where that stands beside.
        most: the number that was declared for seeds until decided; 0 without.
    """
    noun = f" {units}" if units else ""
    if low.beyond and most:
        return f"more than the {most}{noun} that were declared"
    if high.beyond and most:
        if low.seeds == most:
            return f"all {most}{noun} that were declared, or more"
        return f"{low.seeds}{noun}, or more than the {most} that were declared"
    many = f"more than {high.seeds:,}" if high.beyond else f"{high.seeds:,}"
    return f"{many}{noun}" if low == high else f"{low.seeds:,} to {many}{noun}"


def _where(row: Mapping[Any, Any], study: Study) -> str:
    """Return what the verdict speaks of: these images, or images like them."""
    if study.images == "sample":
        return f"on images like these ({counted(row['scenes'], 'scene')})"
    return "on this image" if row["images"] == 1 else f"on these {counted(row['images'], 'image')}"


def _subject(contrast: Contrast) -> str:
    """Return the variant as the opening of a sentence."""
    if contrast.component in ("", contrast.variant) and contrast.compared_to:
        return f"In {_spaced(contrast.variant)}"
    return f"{'With' if contrast.present else 'Without'} {_spaced(contrast.component)}"


def _quantity(value: float, study: Study, *, decimals: int, signed: bool = False) -> str:
    """Return a value of the primary metric with its unit."""
    return f"{number(value, decimals, signed=signed)} {study.metric(study.primary).unit}".rstrip()


def _spaced(name: str) -> str:
    return name.replace("_", " ")
