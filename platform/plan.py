"""Which trial is next, or wait, or done: a pure function of the spec's cells and the ledger's states.

There is no other state. Resuming, extending and re-running fall out of that: what has a result is not trained
again, what is missing comes next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.schema import PLANNED, RUNNING
from platform.design import Variant, configured, variants
from platform.spec import Study

__all__ = ["FIXED", "Cell", "Done", "Next", "Wait", "cells", "identity", "plan"]

FIXED = "fixed"


@dataclass(frozen=True)
class Cell:
    """One place of the design: a variant with a seed in a stage, and the trial that fills it."""

    stage: str
    variant: str
    seed: int
    stream: str
    trial: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Next:
    """Train the trial of this cell."""

    cell: Cell


@dataclass(frozen=True)
class Wait:
    """Nothing can start now; ask again when a trial has ended."""


@dataclass(frozen=True)
class Done:
    """Nothing will start any more. `reason` is empty if every cell has a result."""

    reason: str = ""


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


def cells(study: Study, data: str) -> list[Cell]:
    """Return the cells of the study's design in the order of training: seed by seed through all variants.

    So a study that is cut off holds complete cohorts, a trial of every variant for each seed it got to.
    """
    made = [(variant, *_settings(study, variant)) for variant in variants(study.spec)]
    name, version = study.spec.trainer, study.trainer.RESULTS_VERSION
    return [
        Cell(
            FIXED, variant.name, seed, variant.stream,
            identity(name, version, canonical, data, seed, variant.stream), settings,
        )
        for seed in study.spec.seed_list
        for variant, settings, canonical in made
    ]  # fmt: skip


def plan(
    cells: Iterable[Cell],
    states: Mapping[str, str],
    *,
    capacity: int,
    spent_s: float = 0,
    budget_s: float | None = None,
    halt: str = "",
) -> Next | Wait | Done:
    """Return what to do next.

    Args:
        cells: the design's cells in the order of training.
        states: the state of each trial that the ledger knows.
        capacity: how many trials may be RUNNING at once.
        spent_s: seconds of training so far, over all attempts.
        budget_s: seconds after which no trial starts; None for no limit.
        halt: why no trial may start for another reason; empty if there is none.
    """
    running = sum(state == RUNNING for state in states.values())
    waiting = (cell for cell in cells if states.get(cell.trial, PLANNED) == PLANNED)
    candidate = next(waiting, None)
    if candidate is None:
        return Wait() if running else Done()
    if not halt and budget_s is not None and spent_s >= budget_s:
        halt = f"the budget of {budget_s / 3600:g} hours is spent; raise budget.hours to go on"
    if halt:
        return Wait() if running else Done(halt)
    return Next(candidate) if running < capacity else Wait()


def _settings(study: Study, variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a variant's settings, whole and canonical."""
    config = configured(study.trainer.Config, study.config, variant.overrides)
    return config.model_dump(mode="json", by_alias=True), study.trainer.canonical(config)
