"""Which trial is next, or wait, or done: a pure function of the plan's cells and the ledger's states.

There is no other state. Resuming, extending and re-running fall out of that: what has a result is not trained
again, what is missing comes next. A search adds cells to the plan as it goes; see `platform.searches`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.schema import BASELINE, DECIDED, FIXED, PLANNED, RUNNING, SEARCH, STOPPED
from platform.design import Variant, configured, crossed, variants
from platform.spec import Spec, Study

__all__ = [
    "Ahead",
    "Cell",
    "Conclude",
    "Done",
    "Look",
    "Looked",
    "Next",
    "Suggest",
    "Wait",
    "cells",
    "identity",
    "left",
    "placed",
    "plan",
    "seeds_of",
]


@dataclass(frozen=True)
class Cell:
    """One place of the plan: a variant with a seed in a stage, and the trial that fills it.

    `data` is the digest of its images. In a search `repeat` and `number` tell which suggestion it is of, both from 0;
    `repeat` also whose choice is confirmed.
    """

    stage: str
    variant: str
    seed: int
    stream: str
    trial: str
    settings: Mapping[str, Any]
    data: str
    repeat: int = 0
    number: int = 0


@dataclass(frozen=True)
class Next:
    """Train the trial of this cell."""

    cell: Cell


@dataclass(frozen=True)
class Suggest:
    """Let the search of this variant and repeat suggest settings; then ask again."""

    variant: str
    repeat: int


@dataclass(frozen=True)
class Conclude:
    """The search of this variant and repeat is over: choose among what it found; then ask again."""

    variant: str
    repeat: int


@dataclass(frozen=True)
class Look:
    """All trials of the first so many seeds have ended: see what is decided; then ask again."""

    seeds: int


@dataclass(frozen=True)
class Looked:
    """What a look found of a variant, as the ledger keeps it; see its table `look`."""

    seeds: int
    variant: str
    difference: float | None
    p: float | None
    p_equivalent: float | None
    verdict: str


@dataclass(frozen=True)
class Wait:
    """Nothing can start now; ask again when a trial has ended."""


@dataclass(frozen=True)
class Done:
    """Nothing will start any more. `reason` is empty if every cell has a result."""

    reason: str = ""


Ahead = Suggest | Conclude | Look | Wait | Done
"""What the searches of a study ask for, or its looks."""


def identity(trainer: str, version: str, settings: Mapping[str, Any], data: str, seed: int, stream: str) -> str:
    """Return a trial's identity: 32 hexadecimal digits (128 bits) over all that can change its result.

    Args:
        trainer: the trainer's module.
        version: the trainer's results version.
        settings: the canonical settings.
        data: the digest of the images.
        seed: the seed.
        stream: the stream of seeds; empty but for the placebo.
    """
    parts = [trainer, version, settings, data, seed, stream]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cells(study: Study, data: str, looked: Iterable[Looked] = ()) -> list[Cell]:
    """Return the cells of the fixed stage in the order of training: seed by seed through all variants.

    So a study that is cut off holds complete cohorts, a trial of every variant for each seed it got to.

    Args:
        study: whose design it is.
        data: the digest of the images.
        looked: what the looks have found so far, where seeds are trained until all is decided.
    """
    reached = seeds_of(study.spec, looked)
    seeds = study.spec.seed_list
    rows = [placed(study, FIXED, one, one.overrides, seeds[: reached[one.name]], data) for one in variants(study.spec)]
    return [row[place] for place in range(len(seeds)) for row in rows if place < len(row)]


def seeds_of(spec: Spec, looked: Iterable[Looked]) -> dict[str, int]:
    """Return for each variant how many seeds the plan has so far.

    Without looks these are all. Else those up to the look that comes next; a variant on which nothing rests that is
    open gets no more. When all is decided, or no look is left, they stay as they are.
    """
    named = variants(spec)
    if not spec.looks:
        return {one.name: len(spec.seed_list) for one in named}
    rows = list(looked)
    last = max((row.seeds for row in rows), default=0)
    ahead = next((seeds for seeds in spec.looks if seeds > last), last)
    decided = {row.variant: row.seeds for row in rows if row.verdict in DECIDED}
    needs = _needs(spec, named) or {BASELINE: [BASELINE]}  # the full model alone
    return {
        one.name: max(decided.get(what, ahead) for what, names in needs.items() if one.name in names) for one in named
    }


def _needs(spec: Spec, named: Sequence[Variant]) -> dict[str, list[str]]:
    """Return for all that a look decides the variants on which it rests.

    That are comparisons, by variant; of a factorial design the components' main effects, each of which rests on every
    run, and the comparisons of no component, such as the placebo's.
    """
    made = crossed(spec)
    runs = {name: [one.name for one in named if not one.stream] for name in made.components} if made else {}
    pairs = {one.name: [one.name, one.compared_to] for one in named if one.compared_to and not (made and one.component)}
    return runs | pairs


def placed(
    study: Study,
    stage: str,
    variant: Variant,
    overrides: Mapping[str, Any],
    seeds: Sequence[int],
    data: str,
    *,
    repeat: int = 0,
    number: int = 0,
) -> list[Cell]:
    """Return a cell for each seed of a variant with these overrides to the full model. Arguments as for `Cell`.

    Raises:
        pydantic.ValidationError: if the trainer refuses the settings.
    """
    config = configured(study.trainer.Config, study.config, overrides)
    settings, canonical = config.model_dump(mode="json", by_alias=True), study.trainer.canonical(config)
    name, version = study.spec.trainer, study.trainer.RESULTS_VERSION
    return [
        Cell(
            stage, variant.name, seed, variant.stream,
            identity(name, version, canonical, data, seed, variant.stream), settings, data, repeat, number,
        )
        for seed in seeds
    ]  # fmt: skip


def plan(
    cells: Iterable[Cell],
    states: Mapping[str, str],
    *,
    capacity: int,
    spent_s: float = 0,
    budget_s: float | None = None,
    halt: str = "",
    alone: Container[str] = (),
    ahead: Callable[[], Ahead] = Done,
) -> Next | Ahead:
    """Return what to do next.

    Args:
        cells: of the plan so far, in the order of training.
        states: the state of each trial that the ledger knows.
        capacity: how many trials may be RUNNING at once.
        spent_s: seconds of training so far, over all attempts.
        budget_s: seconds after which no trial starts; None for no limit.
        halt: why no trial may start for another reason; empty if there is none.
        alone: trials that may run only while no other does; they come last.
        ahead: returns what the searches ask for; called when a trial may start and every cell so far has one.
    """
    running = [trial for trial, state in states.items() if state == RUNNING]
    waiting = [cell for cell in cells if left(cell, states)]
    candidate = next((cell for cell in waiting if cell.trial not in alone), None)
    if not halt and budget_s is not None and spent_s >= budget_s:
        halt = f"the budget of {budget_s / 3600:g} hours is spent; raise budget.hours to go on"
    if candidate is None:
        asked = ahead() if len(running) < capacity else Wait()
        if isinstance(asked, Suggest | Conclude | Look):
            if not halt:
                return asked
        elif running or not waiting:
            return Wait() if running else asked
        else:
            candidate, capacity = waiting[0], 1
    if halt:
        return Wait() if running else Done(halt)
    if any(trial in alone for trial in running):
        return Wait()
    return Next(candidate) if candidate is not None and len(running) < capacity else Wait()


def left(cell: Cell, states: Mapping[str, str]) -> bool:
    """Whether the cell's trial has still to be started: what a search stopped, another stage trains to its end."""
    state = states.get(cell.trial, PLANNED)
    return state == PLANNED or (state == STOPPED and cell.stage != SEARCH)
