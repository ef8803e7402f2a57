"""Whether the Ray node that the driver belongs to is there. Without it nothing runs, and Tune would wait for ever."""

from __future__ import annotations

from platform.errors import SweepError

__all__ = ["check"]

NEEDED = ("raylet", "gcs_server")


def check() -> None:
    """Do nothing as long as the driver's node lives.

    Raises:
        SweepError: if it has died. What ran is interrupted, which counts against no trial.
    """
    import ray
    from ray._private.worker import _global_node as node  # of what this process started it knows at once

    dead = [kind for kind, _ in node.dead_processes() if kind in NEEDED] if node is not None else []
    if not dead:
        mine = ray.get_runtime_context().get_node_id()
        dead = [one["NodeID"] for one in ray.nodes() if one["NodeID"] == mine and not one["Alive"]]
    if dead:
        raise SweepError("the Ray node that this sweep belongs to died; what is done is kept, the same command goes on")
