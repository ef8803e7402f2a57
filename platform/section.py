"""What the parts of a spec have in common: frozen, typed, strict; and the forms of names and seeds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from platform.errors import shown

__all__ = ["MOST_SEEDS", "Name", "Section", "Seeds"]

MOST_SEEDS = 10_000

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]


class Section(BaseModel):
    """A part of a spec: cannot be changed, refuses unknown keys, converts nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


def _seeds(value: Any) -> Any:
    def whole(one: Any, low: int, high: int) -> bool:
        return isinstance(one, int) and not isinstance(one, bool) and low <= one <= high

    named = isinstance(value, list) and value and all(whole(one, 0, 2**32 - 1) for one in value[: MOST_SEEDS + 1])
    if named and len(value) > MOST_SEEDS:
        raise ValueError(f"expected at most {MOST_SEEDS} seeds, got a list of {len(value)}")
    if not (whole(value, 1, MOST_SEEDS) or (named and len(set(value)) == len(value))):
        raise ValueError(
            f"expected a number of seeds from 1 to {MOST_SEEDS}, or a list of different seeds, got {shown(value)}"
        )
    return value


Seeds = Annotated[int | list[int], BeforeValidator(_seeds)]
"""How many seeds, or which."""
