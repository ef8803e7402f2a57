"""What `ablation.yaml` says, as frozen, typed data. `platform.spec_file` reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from analysis.factorial import FEWEST_ORDERS
from analysis.schema import CONFIRM
from analysis.sequential import schedule
from platform.errors import shown
from platform.packing import AUTO
from platform.search_spec import Confirm, Search
from platform.section import MOST_SEEDS, Name, Section, Seeds
from platform.trainer import Trainer

__all__ = ["Analysis", "Spec", "Study"]


Overrides = dict[str, Any]
LEARNLESS = ("input", "gain", "gamma", "normal")
"""Rows and pictures that every study has."""
MOST_VARIANTS = 200
"""Each is checked against the trainer, and with a search against its space, before anything starts."""

DESIGNS = ("leave-one-out", "add-one-in", "factorial", "list")
RESOLUTIONS = {"III": 3, "IV": 4, "V": 5}
MOST_ORDERS = 100


def _design(value: Any) -> Any:
    if isinstance(value, dict) and list(value) == ["fractional"]:
        resolution = RESOLUTIONS.get(str(value["fractional"]), value["fractional"])
        if not isinstance(resolution, bool) and resolution in RESOLUTIONS.values():
            return {"fractional": resolution}
    if isinstance(value, dict) and list(value) == ["orders"]:
        count = value["orders"]
        if isinstance(count, int) and not isinstance(count, bool) and FEWEST_ORDERS <= count <= MOST_ORDERS:
            return value
    if not (isinstance(value, str) and value in DESIGNS):
        raise ValueError(
            f"expected {', '.join(DESIGNS)}, {{fractional: III}} (or IV, V) or {{orders: N}} (N from "
            f"{FEWEST_ORDERS} to {MOST_ORDERS}), got {shown(value)}"
        )
    return value


Design = Annotated[str | dict[str, int], BeforeValidator(_design)]


class UntilDecided(Section):
    """Seeds until every component is decided, or none are left: complete cohorts are looked at."""

    start: int = Field(3, ge=3, le=MOST_SEEDS)
    """Seeds at the first look; fewer allow no verdict."""
    max: int = Field(ge=4, le=MOST_SEEDS)
    """Seeds at the last one."""
    until: Literal["decided"]
    looks: list[int] | None = None
    """Seeds at each look; by default 3, 5, 8, 12 between the two, and then half as many more each time."""

    @model_validator(mode="after")
    def _looks_grow(self) -> UntilDecided:
        if self.max <= self.start:
            raise ValueError(f"expected max above start, got {self.max} and {self.start}")
        if self.looks is not None and (
            self.looks != sorted(set(self.looks)) or [self.start, self.max] != [*self.looks[:1], *self.looks[-1:]]
        ):
            raise ValueError(
                f"looks: expected growing numbers of seeds from start ({self.start}) to max ({self.max}), got "
                f"{shown(self.looks)}"
            )
        return self

    @property
    def at(self) -> list[int]:
        """The seeds at each look."""
        return self.looks or schedule(self.start, self.max)


def _kind_of_seeds(value: Any) -> str:
    return "[until]" if isinstance(value, dict | UntilDecided) else "[seeds]"


class Analysis(Section):
    """How the study will be judged; declared before the first trial, and locked by it."""

    primary: str = "eval/psnr_db"
    """The metric that verdicts speak of."""
    matters: dict[str, Annotated[float, Field(ge=1e-6, allow_inf_nan=False)]] = {}
    """For each metric, the smallest difference that matters; smaller ones are equivalent."""
    images: Literal["these", "sample"] = "these"
    """Whether verdicts speak of these images or of images like them (seven scenes or more)."""
    at: int = Field(4, ge=1)
    """A trial's score is the mean over its last so many evaluations. `last 4 evaluations` is read as 4."""

    @field_validator("at", mode="before")
    @classmethod
    def _last_evaluations(cls, value: Any) -> Any:
        found = re.fullmatch(r"last (\d+ )?evaluations?", value.strip()) if isinstance(value, str) else None
        return value if found is None else int(found[1] or 1)


def _gpus(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e4
    if value == AUTO or (number and (value == 0 or 1e-3 <= value <= 1 or value == int(value))):
        return value
    raise ValueError(
        f"expected 0, a share of a GPU from 0.001 to 1, a whole number up to 10000, or auto, got {shown(value)}"
    )


class Resources(Section):
    """What one trial needs."""

    cpu: float = Field(1, ge=1e-3, le=1e4)
    gpu: Annotated[float | Literal["auto"], BeforeValidator(_gpus)] = 0.0
    """GPUs; with a share of one, the trial's memory on it is capped. `auto`: as large a share as trials need."""


class Keep(Section):
    """What stays on the disk when a trial is completed, beside its generator and pictures."""

    checkpoints: int | None = Field(3, ge=0)
    """The checkpoints of so many trials of each variant, the best by the primary metric; null for all."""


class Budget(Section):
    """When to stop planning trials."""

    hours: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Hours of training, summed over all attempts of all trials."""
    failures: int | None = Field(5, ge=1)
    """So many trials that FAILED in a row, whatever the reason, end the study; null for no limit."""


class Tracking(Section):
    """Where the MLflow mirror writes."""

    uri: str | None = None
    """An MLflow server or store; by default `mlflow.db` in the results folder."""
    experiment: str | None = None
    """By default the study's name."""


class Control(Section):
    """Controls of the study itself."""

    placebo: bool = False
    """Train the full model a second time under another stream of seeds: a component that cannot matter."""


class Spec(Section):
    """One study. Everything has a default but its name."""

    study: Name
    trainer: Literal["trials.trainer"] = "trials.trainer"
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}
    reference: dict[Name, str] = {}
    """Trained models to compare with, each a name and its file of weights: a row of its own in every table."""
    components: dict[Name, Overrides] = Field({}, max_length=MOST_VARIANTS)
    """For each component, the settings that take it out."""
    variants: dict[Name, Overrides] = Field({}, max_length=MOST_VARIANTS)
    """With `design: list`, the variants by hand: settings that differ from the full model's."""
    design: Design = "leave-one-out"
    """Which components are taken out together: one at a time; all but one; every subset (`factorial`), or a regular
    fraction of these of resolution III, IV or V (`{fractional: IV}`); what N random orders of taking one after another
    out need (`{orders: N}`, for Shapley values of more than 6; drawn from the study's name); or `variants` by hand
    (`list`)."""
    seeds: Annotated[
        Annotated[Seeds, Tag("[seeds]")] | Annotated[UntilDecided, Tag("[until]")], Discriminator(_kind_of_seeds)
    ] = 3
    """How many seeds (from 1), or which; or `{start: 3, max: 12, until: decided}`."""
    search: Search | None = None
    """A search for the best settings of every variant."""
    confirm: Confirm | None = None
    """Training what the search found again, with fresh seeds and images."""
    control: Control = Control()
    analysis: Analysis = Analysis()
    resources: Resources = Resources()
    budget: Budget = Budget()
    keep: Keep = Keep()
    tracking: Tracking = Tracking()

    @field_validator("reference")
    @classmethod
    def _new_names(cls, value: dict[str, str]) -> dict[str, str]:
        taken = sorted(value.keys() & set(LEARNLESS))
        if taken:
            raise ValueError(f"the name `{taken[0]}` is taken: {', '.join(LEARNLESS)} always stand; choose another")
        if CONFIRM in value:
            raise ValueError(f"the name `{CONFIRM}` is taken by the folder of pictures to confirm; choose another")
        return value

    @field_validator("study")
    @classmethod
    def _free_name(cls, value: str) -> str:
        if value == "mlartifacts" or value.startswith("mlflow.db"):  # with what SQLite lays beside it
            raise ValueError(f"the results folder holds MLflow's own {value}; choose another name")
        return value

    @model_validator(mode="after")
    def _design_fits(self) -> Spec:
        if self.design == "list" and not self.variants:
            raise ValueError("design: list needs `variants`, a mapping {NAME: {setting: value}}")
        if self.design != "list" and self.variants:
            raise ValueError(f"`variants` belongs to design: list, but design is {shown(self.design)}")
        self._check_components(len(self.components))
        if self.looks and self.search is not None:
            raise ValueError("seeds: until decided goes without a search; give a number of seeds, or remove `search`")
        return self

    def _check_components(self, count: int) -> None:
        """Refuse a design that so many components do not fit."""
        if isinstance(self.design, dict) and "fractional" in self.design and not 3 <= count <= 8:
            raise ValueError(f"design: a fractional factorial takes 3 to 8 components, got {count}")
        if isinstance(self.design, dict) and "orders" in self.design and count < 2:
            raise ValueError(f"design: orders of components need two of them or more, got {count}")
        if self.design == "factorial" and 2**count > MOST_VARIANTS:
            raise ValueError(
                f"design: a full factorial of {count} components has {2**count} variants, expected at most "
                f"{MOST_VARIANTS}; use {{fractional: V}} or {{orders: {FEWEST_ORDERS}}}"
            )
        if isinstance(self.design, dict) and (most := self.design.get("orders", 0) * (count - 1) + 2) > MOST_VARIANTS:
            raise ValueError(
                f"design: expected at most {MOST_VARIANTS} variants, got up to {most}; ask for fewer orders, "
                f"{FEWEST_ORDERS} at least, or fewer components"
            )

    @property
    def seed_list(self) -> list[int]:
        """The seeds, in the order in which they are trained; the most that there may be."""
        most = self.seeds.max if isinstance(self.seeds, UntilDecided) else self.seeds
        return list(range(1, most + 1)) if isinstance(most, int) else list(most)

    @property
    def looks(self) -> list[int]:
        """After how many seeds the study is looked at; none where their number is given."""
        return self.seeds.at if isinstance(self.seeds, UntilDecided) else []


@dataclass(frozen=True)
class Study:
    """A spec whose every part is checked: what the user wrote, and the trainer's typed reading of it.

    `lines` has the line of each path in the file, from 1; for what is said of it later.
    """

    spec: Spec
    trainer: Trainer
    config: Any
    data: Any
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    def resolved(self) -> dict[str, Any]:
        """Return the spec with every default filled in, as JSON values; no `search` and `confirm` if there is none."""
        whole = self.spec.model_dump(mode="json", by_alias=True)
        whole["train"] = self.config.model_dump(mode="json", by_alias=True)
        whole["data"] = self.data.model_dump(mode="json", by_alias=True)
        return {key: value for key, value in whole.items() if key not in ("search", "confirm") or value is not None}
