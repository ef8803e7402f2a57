"""What `search:` and `confirm:` of a spec say, as frozen, typed data. `platform.search_checks` finds what is wrong.

What one value alone can tell is refused here; what needs the trainer, or two values, is for `search_checks`, so that
a fault hides no other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_serializer, model_validator

from platform.errors import shown
from platform.section import Name, Section, Seeds
from platform.trainer import Metric, Trainer

__all__ = [
    "Choose", "Confirm", "Direction", "Distribution", "Scheduler", "Search",
    "anchor", "bounds", "confirm_seeds", "objectives_of", "search_seeds",
]  # fmt: skip

Direction = Literal["max", "min"]
KINDS = ("float", "int", "choice")
MOST_CHOICES = 1000
"""Every one of them is checked against the trainer."""
_LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


class Distribution(Section):
    """The values that a search may give to one setting: a range of numbers, of whole numbers, or a list."""

    float_: list[float] | None = Field(None, alias="float")
    """[low, high], both included."""
    int_: list[int] | None = Field(None, alias="int")
    """[low, high], both included."""
    choice: list[Any] | None = None
    """Two different values or more: numbers, texts, true, false or null."""
    log: bool = False
    """Whether the range is even in its logarithm."""
    step: int | float | None = None
    """Distance between values, from the low end."""
    when: dict[str, list[Any]] = {}
    """Setting -> the values (one, or a list) of it under which this setting is searched; all must hold."""

    @model_validator(mode="before")
    @classmethod
    def _sound(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        faults = _faults(value)
        if faults:
            raise ValueError("; ".join(faults))
        conditions = value.get("when") or {}
        when = {path: one if isinstance(one, list) else [one] for path, one in conditions.items()}
        return {**{key: one for key, one in value.items() if one is not None}, "when": when}

    @property
    def kind(self) -> Literal["float", "int", "choice"]:
        """Which of the three it is."""
        return "float" if self.float_ is not None else "int" if self.int_ is not None else "choice"

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        """Return the distribution as a spec holds it."""
        whole = {"float": self.float_, "int": self.int_, "choice": self.choice, "step": self.step, "when": self.when}
        given = {key: value for key, value in whole.items() if value is not None and value != {}}
        return {**given, "log": True} if self.log else given


def _faults(raw: Any) -> list[str]:
    """Return what is wrong with a distribution as written, a sentence each."""
    if not isinstance(raw, dict):
        return [f"expected {_FORMS}, got {shown(raw)}"]
    faults = [
        f"unknown key `{key}`; valid are float, int, choice, log, step and when"
        for key in raw
        if key not in (*KINDS, "log", "step", "when")
    ]
    kinds = [kind for kind in KINDS if raw.get(kind) is not None]
    log, step = raw.get("log"), raw.get("step")
    if log is not None and not isinstance(log, bool):
        faults.append(f"expected log: true or false, got {shown(log)}")
    if len(kinds) != 1:
        faults.append(f"expected {_FORMS}, got {' and '.join(kinds) or 'none of them'}")
    elif kinds == ["choice"]:
        faults += _choice_faults(raw["choice"])
        faults += [f"`{key}` belongs to a range, not to a choice" for key in ("log", "step") if raw.get(key)]
    else:
        faults += _range_faults(kinds[0], raw[kinds[0]], log is True, step)
    return faults + _when_faults(raw.get("when"))


_FORMS = "one of `float: [low, high]`, `int: [low, high]` and `choice: [value, value, ...]`"


def _choice_faults(choices: Any) -> list[str]:
    if not isinstance(choices, list) or not all(_scalar(one) for one in choices):
        return [f"expected a list of numbers, texts, true, false or null to choose from, got {shown(choices)}"]
    if len(choices) > MOST_CHOICES:
        return [f"expected at most {MOST_CHOICES} values to choose from, got {len(choices)}; use a range"]
    twice = [one for n, one in enumerate(choices) if one in choices[:n]]
    if twice:
        return [f"{shown(twice[0])} stands twice among the choices {shown(choices)}; remove one"]
    if len(choices) < 2:
        return [f"expected two values or more to choose from, got {shown(choices)}; one alone belongs into `train`"]
    return []


def _range_faults(kind: str, ends: Any, log: bool, step: Any) -> list[str]:
    """Return what is wrong with a range; `step` is None for none."""
    number = _whole if kind == "int" else _number
    what = "whole numbers" if kind == "int" else "finite numbers"
    if not (isinstance(ends, list) and len(ends) == 2 and all(number(one) for one in ends)):
        return [f"expected `{kind}: [low, high]`, two {what}, got {shown(ends)}"]
    low, high = ends
    faults = []
    if low > high:
        faults.append(f"the range is inverted: expected the low end first, got {shown(ends)}")
    elif low == high:
        faults.append(f"the range is empty: {shown(ends)} holds one value, which belongs into `train`")
    if log and min(ends) <= 0:
        faults.append(f"a log range holds numbers above 0 alone, got {shown(ends)}; raise its low end, or remove `log`")
    if step is None:
        return faults
    if not number(step) or step <= 0:
        faults.append(f"expected step: a {'whole ' if kind == 'int' else ''}number above 0, got {shown(step)}")
    elif log:
        faults.append("expected `log` or `step`, got both; remove one")
    elif low < high and step > high - low:
        faults.append(f"step {shown(step)} is wider than the range {shown(ends)}, which leaves one value")
    elif low < high and (Fraction(str(high)) - Fraction(str(low))) % Fraction(str(step)):
        faults.append(f"the range {shown(ends)} is no multiple of its step {shown(step)}; move an end")
    return faults


def _when_faults(when: Any) -> list[str]:
    if when is None:
        return []
    if not isinstance(when, dict):
        return [f"expected when: {{setting: value or [value, ...]}}, got {shown(when)}"]
    return [
        f"expected when: a value of {path}, or a list of values, got {shown(one)}"
        for path, one in when.items()
        if not (_scalar(one) or (isinstance(one, list) and one and all(_scalar(part) for part in one)))
    ]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or _number(value)


class Asha(Section):
    """Asynchronous successive halving (arXiv 1810.05934), stopping: at each rung the best 1 / reduction go on."""

    first_rung: int | None = Field(None, ge=1)
    """Step of the first rung, an evaluation's; each next one is `reduction` times as far. By default the first."""
    reduction: int = Field(3, ge=2)


class Hyperband(Asha):
    """Hyperband (arXiv 1603.06560): several brackets of successive halving, each with a later first rung."""

    brackets: int | None = Field(None, ge=1)
    """By default as many as the steps have room for."""


class Median(Section):
    """Stops a trial whose best lies below the median of the others' running means (Golovin et al. 2017, Vizier)."""

    first_rung: int | None = Field(None, ge=1)
    """Step of the first evaluation at which a trial may be stopped. By default the first."""
    warm_up_trials: int = Field(3, ge=1)
    """Other trials of a variant that must have reached a step before one is stopped there."""


class Scheduler(Section):
    """Which trials of the search are stopped early: `none`, or one of these."""

    asha: Asha | None = None
    hyperband: Hyperband | None = None
    median: Median | None = None

    @model_validator(mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        words = tuple(cls.model_fields)
        if value is None or value == "none":
            return {}
        if isinstance(value, str) and value in words:
            return {value: {}}
        if not isinstance(value, dict):
            raise ValueError(f"expected none, {', '.join(words)}, or one of them with its settings, got {shown(value)}")
        several = [word for word in words if word in value]
        if len(several) > 1:
            raise ValueError(f"expected one scheduler, got {' and '.join(several)}; remove one")
        return {key: {} if one is None else one for key, one in value.items()}

    @property
    def kind(self) -> Literal["none", "asha", "hyperband", "median"]:
        """Which of them it is."""
        return "asha" if self.asha else "hyperband" if self.hyperband else "median" if self.median else "none"

    @property
    def rules(self) -> Asha | Hyperband | Median | None:
        """Its settings, or None."""
        return self.asha or self.hyperband or self.median

    @model_serializer
    def _as_written(self) -> Any:
        return {self.kind: self.rules.model_dump(mode="json")} if self.rules else "none"


class Choose(Section):
    """How the settings that go on to `confirm` are picked out of a front: `knee`, or one of two rules."""

    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """Objective -> weight of its loss, which is 0 at the front's best value and 1 at its worst; the least sum wins."""
    best: str | None = None
    """The objective whose best wins, among the settings that keep within `where`."""
    where: dict[str, str] = {}
    """Metric -> a limit such as `<= 4`; it need be no objective."""

    @model_validator(mode="before")
    @classmethod
    def _knee(cls, value: Any) -> Any:
        if value is None or value == "knee":
            return {}
        if not isinstance(value, dict | cls):
            raise ValueError(
                f"expected knee, {{weights: {{metric: number}}}} or {{best: metric, where: {{metric: <= 4}}}}, "
                f"got {shown(value)}"
            )
        return value

    @field_validator("where")
    @classmethod
    def _limits(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [f"{metric}: {shown(limit)}" for metric, limit in value.items() if not _LIMIT.fullmatch(limit)]
        if wrong:
            raise ValueError(f"expected limits such as `<= 4` or `> 0.5`, got {', '.join(wrong)}")
        return value

    @property
    def knee(self) -> bool:
        """Whether it is the knee: of the front, the farthest from the line (plane) through its extremes."""
        return not (self.weights or self.best or self.where)

    @model_serializer
    def _as_written(self) -> Any:
        if self.knee:
            return "knee"
        whole = {"weights": self.weights, "best": self.best, "where": self.where}
        return {key: value for key, value in whole.items() if value}


def bounds(limit: str) -> tuple[float, float]:
    """Return the lowest and the highest value that keep within a limit such as `<= 4`; one of them is infinite.

    Raises:
        ValueError: if the limit cannot be read.
    """
    read = _LIMIT.fullmatch(limit)
    if read is None:
        raise ValueError(f"expected a limit such as `<= 4`, got {shown(limit)}")
    relation, bound = read[1], float(read[2])
    if relation in ("<=", "<"):
        return -math.inf, bound if relation == "<=" else math.nextafter(bound, -math.inf)
    return bound if relation == ">=" else math.nextafter(bound, math.inf), math.inf


class Total(Section):
    """Caps over the searches of all variants; whichever is reached first ends them."""

    trials: int | None = Field(None, ge=1)
    hours: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Hours of training, summed over all attempts."""
    gpu_hours: float | None = Field(None, gt=0, allow_inf_nan=False)
    """The same, times the GPUs that a trial holds."""


class Search(Section):
    """A search of its own for every variant, with an equal budget: `trials` or `steps`, one of them."""

    trials: int | None = Field(None, ge=1)
    """Trials of every variant, in each repeat."""
    steps: int | None = Field(None, ge=1)
    """Training steps of every variant, over all its trials, in each repeat."""
    total: Total = Total()
    objectives: dict[str, Direction] = {}
    """Metric -> max or min. By default the primary metric, in its direction."""
    space: dict[str, Distribution] = {}
    """Setting of the trainer -> the values it may take."""
    sampler: Literal["tpe", "random", "quasi-random", "gp"] = "tpe"
    scheduler: Scheduler = Scheduler()
    choose: Choose = Choose()
    """With one objective the knee is its best."""
    repeats: int = Field(1, ge=1, le=1000)
    """Searches of each variant, each with seeds of its own: of the sampler, of its trainings, and to confirm."""
    seed: int = Field(0, ge=0, lt=2**32)
    """From which the samplers draw; the trainings have their own seeds."""
    first_points: int | None = Field(None, ge=0, le=1000)
    """How many suggestions come first that are the same for all variants; by default a third of them, 2 to 10."""
    patience: int | None = Field(None, ge=1)
    """All searches end when none has found anything better in its last so many suggestions."""
    seeds: Seeds = 1
    """How many of the study's seeds, from its first, or which seeds: each setting is trained with every one of them."""
    start: list[Name] = []
    """Studies whose trials are a start for this search, by name."""

    @field_validator("start", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Confirm(Section):
    """The best settings of each variant, trained again with fresh seeds and scored on images that no search saw."""

    seeds: Seeds = 5
    """How many seeds, or which; never one of the search's."""


def objectives_of(search: Search, primary: str, metrics: Sequence[Metric]) -> dict[str, Direction]:
    """Return the search's objectives with their directions, by default the study's primary metric.

    Raises:
        ValueError: if there are none and the primary metric has no direction.
    """
    if search.objectives:
        return dict(search.objectives)
    higher = {metric.key: metric.higher_is_better for metric in metrics}.get(primary)
    if higher is None:
        raise ValueError(f"{primary} has no direction; name the search's objectives with theirs")
    return {primary: "max" if higher else "min"}


def search_seeds(search: Search, study: Sequence[int]) -> list[int]:
    """Return the seeds that each setting of the search is trained with; `study` are the study's own, in order."""
    return list(study[: search.seeds]) if isinstance(search.seeds, int) else list(search.seeds)


def confirm_seeds(confirm: Confirm, searched: Sequence[int], study: Sequence[int]) -> list[int]:
    """Return the seeds of the confirming trials, none of them `searched`.

    A number of them takes the study's other seeds first, so that untuned and confirmed trials pair, and then those that
    follow the largest.
    """
    if not isinstance(confirm.seeds, int):
        return list(confirm.seeds)
    fresh = [seed for seed in study if seed not in searched]
    beyond = max([*study, *searched], default=0) + 1
    return [*fresh, *range(beyond, beyond + confirm.seeds)][: confirm.seeds]


def anchor(raw: Any, folder: Path, trainer: Trainer) -> None:
    """Make the relative names of files in a raw `search:` absolute, in place: they lie in `folder`."""
    space = raw.get("space") if isinstance(raw, dict) else None
    for path, one in space.items() if isinstance(space, dict) else ():
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("choice"), list):
            one["choice"] = [trainer.anchored(path, value, folder) for value in one["choice"]]
        when = one["when"] if isinstance(one.get("when"), dict) else {}
        for key, value in when.items():
            several = isinstance(value, list)
            named = [trainer.anchored(key, part, folder) for part in (value if several else [value])]
            when[key] = named if several else named[0]
