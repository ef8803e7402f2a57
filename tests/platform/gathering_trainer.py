"""A trainer whose trials wait for one another, so that they end only if all are there at once; and a played GPU."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import ray
from pydantic import BaseModel, ConfigDict

from tests.platform.misbehaving_trainer import canonical, check, confirming, digest, files, misfits, moved, weights
from trials.progress import ImageScore, Report
from trials.trainer import METRICS

__all__ = ["METRICS", "canonical", "check", "confirming", "digest", "files", "misfits", "moved", "weights"]
RESULTS_VERSION = "1"
PATIENCE_S = 60


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = 1
    evaluate_every: int = 1
    gather: int = 1
    """So many files have to be there before a trial goes on."""
    pattern: str = "here-*.json"
    """Which files: by default, a note of each trial that has begun."""
    lacks_memory: bool = False
    """The trial lacks memory while it has less than a whole GPU."""
    takes_b: int = 0
    """What a played GPU tells of a few steps, in bytes; with 0 there is none."""


class Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    marks: Path


def train(config, data, *, seed, folder, **_):
    has = ray.get_runtime_context().get_assigned_resources()
    note = {"seed": seed, "has": has, "node": ray.get_runtime_context().get_node_id(), "pid": os.getpid()}
    (data.marks / f"here-{os.getpid()}-{time.time_ns()}.json").write_text(json.dumps(note))
    if config.lacks_memory and has["GPU"] < 1:
        raise MemoryError("the share is too small")
    wait_for(data.marks, config.pattern, config.gather)
    (data.marks / f"ended-{seed}").touch()
    (folder / "1.txt").write_text("1")
    scores = {metric.key: float(seed) for metric in METRICS}
    of_image = {metric.key: scores[metric.key] for metric in METRICS if metric.per_image}
    yield Report(1, scores, [ImageScore("none", "one", "one", of_image)], Path("1.txt"))


def wait_for(folder, pattern, count):
    """Return once there are so many of these files."""
    for _ in range(PATIENCE_S * 20):
        if len(list(folder.glob(pattern))) >= count:
            return
        time.sleep(0.05)
    raise TimeoutError(f"fewer than {count} came")


def notes(folder):
    """Return what the trials that were here noted, in the order in which they came."""
    return [
        json.loads(one.read_text())
        for one in sorted(folder.glob("here-*.json"), key=lambda one: one.stat().st_mtime_ns)
    ]


def seconds(config, data, *, threads):
    """Play a device of 8 GB, of which 0.5 GB are the context's; torch itself is not needed."""
    (data.marks / f"tried-{config.takes_b}").touch()
    if config.takes_b:
        sys.modules["torch"] = SimpleNamespace(cuda=played(config.takes_b))
    return 1.0


def played(takes_b):
    return SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        mem_get_info=lambda: (8_000_000_000 - takes_b - 500_000_000, 8_000_000_000),
        memory_reserved=lambda: takes_b,
        max_memory_reserved=lambda: takes_b,
    )
