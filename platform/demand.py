"""Asking a cluster that grows by itself for room: Ray's autoscaler adds nodes for what waits, and for nothing else.

A trial is handed out when there is room for it, so that a search suggests settings with all that is known by then.
What waits in its place are empty placement groups, which go when this process does, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Demand"]


class Demand:
    """Lets so many empty places wait in the cluster as trials wait for room; call it again and again.

    Args:
        most: how many at most.
        needs: returns what a trial needs, by Ray's names (`CPU`, `GPU`).
    """

    def __init__(self, most: int, needs: Callable[[], dict[str, float]]) -> None:
        self.most, self.needs = most, needs
        self.places: list[Any] = []

    def __call__(self, wanted: float) -> None:
        """Let min(`wanted`, `most`) places wait. One that was given room leaves it to the trials."""
        from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

        count = int(min(wanted, self.most))
        waiting = [place for place in self.places if placement_group_table(place)["state"] == "PENDING"]
        for place in self.places:
            if place not in waiting[:count]:
                remove_placement_group(place)
        self.places = waiting[:count]
        self.places += [placement_group([self.needs()]) for _ in range(count - len(self.places))]
