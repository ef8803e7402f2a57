"""Ray's memory monitor kills workers on a node that runs low; Tune, which does not expect that, would end the study.

Its actor manager knows errors of actors and of their tasks; `OutOfMemoryError` is neither, so it raises a RuntimeError
out of `Tuner.fit` (Ray 2.60, `ray.air.execution._internal.actor_manager`). Here such a worker is one that died.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

__all__ = ["expect_kills", "said_of_kill"]

KILLED = "Ray killed its worker for want of memory: "

_task_failed, _start_failed = RayActorManager._actor_task_failed, RayActorManager._actor_start_failed


def expect_kills() -> None:
    """Let Tune take a worker that the memory monitor kills for one that died; may be called again."""

    def task_failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        _task_failed(self, tracked_actor_task, _told(exception))

    def start_failed(self: RayActorManager, tracked_actor: Any, exception: Exception) -> None:
        _start_failed(self, tracked_actor, _told(exception))

    RayActorManager._actor_task_failed, RayActorManager._actor_start_failed = task_failed, start_failed


def _told(error: Exception) -> Exception:
    return RayActorError(error_msg=f"{KILLED}{error}") if isinstance(error, OutOfMemoryError) else error


def said_of_kill(error_file: str | None) -> str | None:
    """Return one line on the kill if that is how a trial's worker ended, by what Tune has written of its error."""
    if error_file is None:
        return None
    _, killed, said = Path(error_file).read_text(errors="replace").rpartition(KILLED)
    return killed + said.partition("\n")[0] if killed else None
