"""`--dry-run`: the design, the search, the number of trials and the time they take; starts and writes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.factorial import Run, aliases, named
from analysis.schema import BASELINE, CONFIRM, FIXED, PLANNED, RUNNING, SEARCH
from platform.design import changes, crossed, inert, variants
from platform.early_stopping import rungs
from platform.errors import SweepError, shown
from platform.outlook import outlook
from platform.plan import Cell
from platform.search_checks import cautions
from platform.search_spec import Choose, Distribution, Hyperband, Median
from platform.snapshot import snapshot, states
from platform.spec import Spec, Study
from platform.tracks import Rules, Track, first_points, rules_of, tracks_of
from platform.view import clock

__all__ = ["design_plan", "looks_plan", "outlook_plan", "search_plan", "show"]

NO_MARGIN = (
    "no margin is declared (analysis.matters: {METRIC: SMALLEST DIFFERENCE THAT MATTERS}), so it cannot be said how "
    "many seeds would decide"
)
SAMPLERS = {"tpe": "TPE", "random": "random", "quasi-random": "quasi-random", "gp": "GP"}


def show(study: Study, cells: Sequence[Cell], folder: Path, console: Console) -> None:
    """Print what the sweep would do, with an estimate of the time from a few training steps and one evaluation."""
    spec = study.spec
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for head in ("variant", "differs from", "by"):
        table.add_column(head, overflow="fold")
    without, by_name = {}, {variant.name: variant for variant in variants(spec)}
    for variant in by_name.values():
        other = variant.compared_to or (BASELINE if variant.out else variant.name)
        by = [f"{path}: {shown(value)}" for path, value in changes(variant, by_name[other], study.config).items()]
        table.add_row(
            variant.name,
            other if other != variant.name else "",
            Text(", ".join(by) or ("other seeds" if variant.stream else "")),
        )
        without[variant.name] = inert(study.trainer, study.config, variant.overrides)
    console.print(table)
    for line in design_plan(spec):
        console.print(line, markup=False, highlight=False)
    for paths in dict.fromkeys(tuple(paths) for paths in without.values() if paths):
        names = ", ".join(name for name, theirs in without.items() if tuple(theirs) == paths)
        console.print(f"without effect, too, in {names}: {', '.join(paths)}", markup=False, highlight=False)
    for part in search_plan(study):
        console.print(part)
    known = states(folder / "ledger.db")
    left = sum(known.get(cell.trial, PLANNED) in (PLANNED, RUNNING) for cell in cells)
    seeds = _listed(spec.seed_list[: spec.looks[0]] if spec.looks else spec.seed_list)
    threads = max(1, int(spec.resources.cpu))
    try:
        one: float | None = study.trainer.seconds(study.config, study.data, threads=threads)
    except ValueError as error:
        raise SweepError(f"no trial can be trained: {error}") from None
    except MemoryError:
        one = None
    slots = max(1, int((os.cpu_count() or 1) // spec.resources.cpu))
    most = at_most(study)
    later = max(0, most[SEARCH] + most[CONFIRM] - _later_results(folder / "ledger.db", spec.analysis.primary))
    bound = ", the search's not stopped early" if most[SEARCH] else ""
    takes = (
        "a trial needs more memory than there is here, so the time it takes is not known"
        if one is None
        else f"a trial takes about {clock(one)} here, so {'at most ' if bound else ''}"
        f"{clock(one * -(-(left + later) // slots))} with {slots} at a time{bound}"
    )
    console.print(
        (f"{looks_plan(spec)}\n" if spec.looks else "")
        + f"{len(cells)} trials (seeds {seeds}), {left} still to train\n"
        + (f"of the search and its confirmation at most {later} still to train\n" if most[SEARCH] else "")
        + takes,
        markup=False,
        highlight=False,
    )
    for part in outlook_plan(study, folder, most, seconds=one, slots=slots):
        console.print(part)
    console.print(f"results go to {folder}", markup=False, highlight=False)


def outlook_plan(
    study: Study, folder: Path, most: Mapping[str, int], *, seconds: float | None, slots: int
) -> list[RenderableType]:
    """Return the seeds, trainings and hours that each margin takes, as a table and a note; see `platform.outlook`."""
    told = outlook(study, folder, most, seconds=seconds, slots=slots)
    if told is None:
        return [] if study.spec.analysis.matters else [Text(NO_MARGIN)]
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for place, head in enumerate(told.table.heads):
        if place < told.table.left:  # whole, where it can: the figures' heads fold
            table.add_column(head, overflow="fold", min_width=min(22, max(len(row[place]) for row in told.table.rows)))
        else:
            table.add_column(head, overflow="fold", justify="right")
    for row in told.table.rows:
        table.add_row(*map(Text, row))
    return [Text("to decide at each margin:"), table, Text(told.note)]


def looks_plan(spec: Spec) -> str:
    """Return how seeds are trained until all is decided."""
    *most, last = spec.looks
    names = len(variants(spec))
    until = "all until every main effect is decided" if crossed(spec) else "each until it is decided"
    return (
        f"{names} variants, {until}, with at most {last} seeds: looks at "
        f"{', '.join(map(str, most))} and {last}, from {names * spec.looks[0]} to {names * last} trials"
    )


ROMAN = {3: "III", 4: "IV", 5: "V"}


def design_plan(spec: Spec) -> list[str]:
    """Return what a factorial design is: its runs, generators, and which effects it cannot tell apart."""
    made = crossed(spec)
    if made is None:
        return []
    if not made.words:
        return [f"full factorial of {len(made.components)} components, {len(made.runs)} variants"]
    names = made.components
    effects = [frozenset(pair) for size in (1, 2) for pair in combinations(names, size)]
    confused: list[list[Run]] = []
    seen: set[Run] = set()
    for effect in effects:
        others = [one for one in aliases(effect, made.words) if one not in seen]
        seen.add(effect)
        if others and effect not in {one for group in confused for one in group}:
            confused.append([effect, *others])
    resolution = made.resolution or 0
    lines = [
        f"fractional factorial of {len(names)} components, resolution {ROMAN.get(resolution, resolution)}, "
        f"{len(made.runs)} of {2 ** len(names)} variants",
        "generators: " + ", ".join(f"{name} = {named(word, names)}" for name, word in made.generators.items()),
        "not told apart: " + "; ".join(" and ".join(named(one, names) for one in group) for group in confused)
        if confused
        else "main effects and interactions of two components are all told apart",
    ]
    if resolution == 3:
        lines.append("mind: at resolution III a main effect may be an interaction, so there are no verdicts: screening")
    return lines


def search_plan(study: Study) -> list[RenderableType]:
    """Return what the study's search will do, as lines and a table; nothing if it has none. Starts nothing."""
    asked = rules_of(study)
    if asked is None:
        return []
    search, searches = asked.search, tracks_of(study, asked.search)
    budget = f"{search.trials} trials" if search.trials is not None else f"{search.steps} training steps"
    each = f"in each of {search.repeats} repeats" if search.repeats > 1 else ""
    first = first_points(asked, searches[0])
    caps = [f"{number:g} {name.replace('_', '-')}" for name, number in search.total if number is not None]
    lines = [
        f"search: {budget} for every variant{f' {each}' if each else ''}, every setting with {_seeds(asked.seeds)}; "
        f"{SAMPLERS[search.sampler]}{f', after {first} first points that all variants share' if first else ''}"
        "; first of all the spec's own settings, where the space holds them",
        f"objectives: {', '.join(f'{name} ({way})' for name, way in asked.objectives.items())}",
        *([f"all searches together: at most {', '.join(caps)}"] if caps else []),
        *([f"they end early when none finds better in {search.patience} suggestions"] if search.patience else []),
        f"early stopping: {_scheduler(asked, study)}",
        f"choice: {_choice(search.choose, asked)}",
        f"confirm: {_confirming(asked, study)}",
    ]
    space = Table(box=None, padding=(0, 2), header_style="dim")
    for head in ("setting", "values", "exists when"):
        space.add_column(head, overflow="fold")
    for path, one in search.space.items():
        when = " and ".join(f"{other} is {' or '.join(map(shown, values))}" for other, values in one.when.items())
        space.add_row(path, Text(_values(one)), Text(when))
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for head in ("variant", "searches", "leaves out"):
        table.add_column(head, overflow="fold")
    for track in (track for track in searches if track.repeat == 0):
        names = ", ".join(one.path for one in track.parameters) or "nothing: it is confirmed as it stands"
        table.add_row(
            track.variant.name, names, Text("\n".join(f"{path}: {why}" for path, why in track.left_out.items()))
        )
    most = at_most(study)
    stages = ", ".join(f"{most[stage]} {word}" for stage, word in _STAGES.items() if most[stage])
    stopped = search.steps is not None and search.scheduler.rules is not None
    lines_after = [
        f"at most {sum(most.values())} trials: {stages}"
        + ("; where trials are stopped early, the steps buy more of them" if stopped else ""),
        *(f"mind: {sentence}" for sentence in cautions(search, study.spec.confirm, study)),
    ]
    return [*map(Text, lines), space, table, *map(Text, lines_after)]


_STAGES = {FIXED: "at the spec's settings", SEARCH: "of the search", CONFIRM: "to confirm"}


def at_most(study: Study) -> dict[str, int]:
    """Return how many trials each stage has at most, if none is stopped early; none is counted twice by settings."""
    found = {FIXED: len(variants(study.spec)) * len(study.spec.seed_list), SEARCH: 0, CONFIRM: 0}
    asked = rules_of(study)
    if asked is None:
        return found
    searches = tracks_of(study, asked.search)
    found[SEARCH] = sum(_affordable(track, asked) for track in searches)
    if asked.search.total.trials is not None:
        found[SEARCH] = min(found[SEARCH], asked.search.total.trials)
    found[CONFIRM] = len(asked.confirm) * sum(bool(track.parameters) or track.repeat == 0 for track in searches)
    return found


def _affordable(track: Track, asked: Rules) -> int:
    """Return how many trials one search can have: by its budget, and by the settings that there are."""
    if not track.parameters:
        return 0
    seeds, search = len(asked.seeds), asked.search
    settings = (search.trials or 0) // seeds if search.steps is None else search.steps // (track.steps * seeds)
    return seeds * (settings if track.points is None else min(settings, track.points))


def _later_results(ledger: Path, metric: str) -> int:
    """Return how many trials of a search, and of its confirmation, have a result."""
    now = snapshot(ledger, metric, time.time()).search if ledger.exists() else None
    return 0 if now is None else sum(
        count
        for stage in (SEARCH, CONFIRM)
        for state, count in now.states[stage].items()
        if state not in (PLANNED, RUNNING)
    )  # fmt: skip


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {_listed(seeds)}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds[:12])) + (", ..." if len(seeds) > 12 else "")


def _values(one: Distribution) -> str:
    """Return the values that a setting may take, as the spec writes them."""
    if one.choice is not None:
        return f"one of {', '.join(map(shown, one.choice))}"
    low, high = (one.int_ if one.float_ is None else one.float_) or (0, 0)  # a distribution is one of the three
    scale = ", log" if one.log else f", step {one.step:g}" if one.step is not None else ""
    return f"{'a whole number' if one.int_ else 'a number'} from {low:g} to {high:g}{scale}"


def _scheduler(asked: Rules, study: Study) -> str:
    """Return which trials of the search are stopped, and at which steps."""
    rule, every = asked.search.scheduler.rules, int(study.config.evaluate_every)
    if rule is None:
        return "none, every trial runs to its end"
    steps = rungs(asked.search, steps=int(study.config.steps), evaluate_every=every)
    by = "their front" if len(asked.objectives) > 1 else next(iter(asked.objectives))
    if isinstance(rule, Median):
        others = f"{rule.warm_up_trials} others have" if rule.warm_up_trials > 1 else "another has"
        return f"median, by {by}: at every evaluation from step {steps[0]} on, once {others} got there"
    at = f"{', '.join(map(str, steps[:12]))}{', ...' if len(steps) > 12 else ''} of {study.config.steps}"
    brackets = f", in {rule.brackets or len(steps) + 1} brackets" if isinstance(rule, Hyperband) else ""
    name = "Hyperband" if isinstance(rule, Hyperband) else "ASHA"
    return f"{name}, by {by}: at steps {at} the best 1 of {rule.reduction} go on{brackets}"


def _choice(choose: Choose, asked: Rules) -> str:
    """Return how the settings are picked that go on to be confirmed."""
    if choose.weights:
        weights = ", ".join(f"{name} x {weight:g}" for name, weight in choose.weights.items())
        return f"of each variant's front the least weighted sum of losses ({weights}), each from 0 to 1 on the front"
    if choose.best is not None:
        return f"of each variant the best {choose.best} where " + " and ".join(
            f"{metric} {limit}" for metric, limit in choose.where.items()
        )
    if len(asked.objectives) == 1:
        return f"of each variant the best {next(iter(asked.objectives))}"
    return "of each variant the knee of its front, the farthest from the line through its ends"


def _confirming(asked: Rules, study: Study) -> str:
    """Return with which seeds, and on which images, what was chosen is trained again."""
    if not asked.confirm:
        return "none"
    sets: Mapping[str, object] = getattr(study.data, "confirm", {})
    images = f"on {', '.join(sets)}, which the search never sees" if sets else "on the images of the search"
    return f"what each {'repeat' if asked.search.repeats > 1 else 'variant'} chose, {_seeds(asked.confirm)}, {images}"
