"""Looking at a study more than once: how much of the level each look may spend, and what is decided there. Pure.

At looks after S_1 < S_2 < ... of at most S seeds, the level of a test is spent in shares t_k^2 - t_(k-1)^2, t = S_k / S
(Lan and DeMets 1983, Biometrika 70:659, with a power of 2). The shares add up to 1 or less, and errors add up at most,
so the level holds whatever the looks have to do with each other. Over components Holm's steps hold at every look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from types import MappingProxyType

from analysis.errors import StatisticsError

__all__ = ["LOOKS", "adjusted", "schedule", "shares"]

LOOKS = (3, 5, 8, 12)
"""The numbers of seeds at which a study is looked at by default."""


def schedule(start: int, most: int) -> list[int]:
    """Return after how many seeds to look: `LOOKS` between start and most, beyond them half as many more each time."""
    found = [start]
    while found[-1] < most:
        ahead = next((seeds for seeds in LOOKS if seeds > found[-1]), found[-1] * 3 // 2)
        found.append(min(ahead, most))
    return found


def shares(looks: Sequence[int], most: int) -> list[float]:
    """Return the share of the level that each look may spend.

    Args:
        looks: numbers of complete seeds, each larger than the one before.
        most: the largest number of seeds that the study may come to, declared beforehand.

    Raises:
        StatisticsError: if the looks do not grow, or one lies beyond `most`.
    """
    if list(looks) != sorted(set(looks)) or not looks or looks[0] < 1 or looks[-1] > most:
        raise StatisticsError(
            f"looks: expected growing numbers of seeds up to {most}, got {', '.join(map(str, looks))}"
        )
    reached = [0.0, *((seeds / most) ** 2 for seeds in looks)]
    return [later - earlier for earlier, later in pairwise(reached)]


def adjusted(
    p: Mapping[str, float], *, share: float, earlier: Mapping[str, float] = MappingProxyType({}), declared: int
) -> dict[str, float]:
    """Return for each hypothesis the least level of the family at which it is rejected by this look (Holm's steps).

    Args:
        p: hypothesis -> its p-value at this look, of those that are tested here.
        share: of the level, that this look may spend.
        earlier: what the look before returned. What is rejected at a level then makes room for others at that level.
        declared: the number of hypotheses declared together. One that is tested no more without having been rejected
            (since its component was decided otherwise) still counts.
    """
    found, reached = dict[str, float](), 0.0
    open_ = dict.fromkeys([*earlier, *p])
    while open_:
        left = declared - len(found)
        levels = {name: min(earlier.get(name, inf), left * p.get(name, inf) / share) for name in open_}
        first = min(levels, key=levels.__getitem__)
        reached = max(reached, levels[first])
        found[first] = min(reached, 1.0)
        del open_[first]
    return found
