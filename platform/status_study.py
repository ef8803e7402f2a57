"""A study at a moment, as `platform.status` shows it: what there is to say. `platform.status_read` reads it.

Times are seconds since 1970 (UTC), durations seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from platform.standing import Standing
from platform.status_disk import Kept, Mirror
from platform.status_driver import Driver, Holder

__all__ = ["Brief", "Ended", "Lost", "Place", "Running", "Search", "State", "Status", "Time", "Variant"]

State = Literal["running", "unfinished", "budget", "failed", "done"]
"""Of a study: a driver runs; trials are left; trials are left and the budget is spent; all have ended, some FAILED; all
have a result."""


class Place(NamedTuple):
    """A place of the plan that a trial fills; see the ledger's table `cell`."""

    stage: str
    variant: str
    repeat: int
    number: int
    seed: int


@dataclass(frozen=True)
class Variant:
    """A variant in a stage: how many of its places hold a trial in each state.

    `value` is the primary metric's mean over the completed trials of the fixed stage, each at its last evaluations.
    """

    stage: str
    variant: str
    states: Mapping[str, int]
    value: float | None


@dataclass(frozen=True)
class Running:
    """A trial that is being trained, or that a dead driver left behind.

    Args:
        trial: its identity.
        places: those that it fills.
        step: the last one reported.
        steps: of the whole training.
        value: the primary metric at the last evaluation.
        seconds: spent on it so far, all attempts together.
        attempt: its number, from 1.
        node: where it runs.
        device: on what.
        last_sign: when it was last heard of, in seconds since 1970.
    """

    trial: str
    places: Sequence[Place]
    step: int
    steps: int
    value: float | None
    seconds: float
    attempt: int
    node: str | None
    device: str | None
    last_sign: float


@dataclass(frozen=True)
class Ended:
    """A trial that failed or diverged, with the kind of a failure and the sentence; not the traceback."""

    trial: str
    places: Sequence[Place]
    kind: str | None
    message: str


@dataclass(frozen=True)
class Lost:
    """A trial of which attempts were lost with their worker: how many, on which nodes, and when the last one was."""

    trial: str
    places: Sequence[Place]
    attempts: int
    nodes: Sequence[str]
    last: float


@dataclass(frozen=True)
class Time:
    """Seconds of training: so far, over all attempts; still to come, until the last trial ends; and allowed.

    `left` counts `at_a_time` trials at once, as many as run now; of a study that does not run it is all the training
    that is left, one after another. None while nothing is known. `budget` is None without one.
    """

    spent: float
    left: float | None
    at_a_time: int
    budget: float | None


@dataclass(frozen=True)
class Search:
    """The searches: what each variant's budget counts, the objectives' directions, and where each variant stands."""

    unit: str
    objectives: Mapping[str, str]
    standings: Sequence[Standing]


@dataclass(frozen=True)
class Status:
    """A study at a moment; the docstring of `platform.status` describes the fields."""

    study: str
    folder: str
    at: float
    state: State
    why: str
    driver: Driver | None
    held_by: Holder | None
    primary: str
    trials: Mapping[str, int]
    to_come: int
    unplanned: int
    variants: Sequence[Variant]
    running: Sequence[Running]
    time: Time
    failed: Sequence[Ended]
    diverged: Sequence[Ended]
    lost: Sequence[Lost]
    outcomes: Mapping[str, int]
    search: Search | None
    mirror: Mirror | None
    disk: Sequence[Kept]
    go_on: str


@dataclass(frozen=True)
class Brief:
    """A study in short: as the fields of `Status` of the same names. `trials` is empty if the ledger cannot be read."""

    study: str
    state: State | Literal["unreadable"]
    why: str
    driver: Driver | None
    trials: Mapping[str, int]
