"""A trainer that does as its setting says: ends well, raises, diverges, lacks memory or disk, or kills its worker."""

import errno
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trials.progress import CheckpointError, DataError, DivergedError, Event, ImageScore, Report
from trials.trainer import METRICS

__all__ = ["METRICS"]
RESULTS_VERSION = "1"


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = 3
    evaluate_every: int = 1
    behaviour: str = "well"
    quality: float = 0


class Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    marks: Path


def canonical(config):
    return config.model_dump()


def confirming(data):
    return data


def check(config, data):
    return misfits(config, data)


def digest(data):
    return "simulated"


def files(data):
    return []


def weights(config):
    return []


def moved(config, data, root):
    return config, data


def misfits(config, data):
    return [f"train.behaviour: {config.behaviour} fits nothing"] if config.behaviour == "misfit" else []


def train(config, data, *, seed, folder, resume, **_):
    if resume and resume.read_text() == "damaged":
        raise CheckpointError(f"checkpoint {resume} is broken")
    first = int(resume.read_text()) + 1 if resume else 1
    for step in range(first, config.steps + 1):
        with (data.marks / f"{config.behaviour}-{seed}").open("a") as marks:
            marks.write(f"{step}\n")
        if step == 2 and config.behaviour == "diverge":
            events = [Event(2, "nonfinite", "loss/generator", float("nan"), "step 2: loss/generator is NaN")]
            yield Report(step, {"health/gradient_norm_global": 1e9, "loss/generator": float("nan")}, events=events)
        if step == 2:
            _misbehave(config.behaviour, data.marks, seed)
        if step == 3 and config.behaviour == "damaged" and not (data.marks / f"damaged-{seed}.done").exists():
            (data.marks / f"damaged-{seed}.done").touch()
            (folder / "2.txt").write_text("damaged")
            os._exit(9)
        (folder / f"{step}.txt").write_text(str(step))
        scores = {metric.key: step + seed / 10 + config.quality for metric in METRICS}
        of_image = {metric.key: scores[metric.key] for metric in METRICS if metric.per_image}
        events = [Event(1, "spike", "global", 9.5, "step 1: a spike")] if step == 1 else []
        yield Report(step, scores, [ImageScore("none", "one", "one", of_image)], Path(f"{step}.txt"), events=events)


def _misbehave(behaviour, marks, seed):
    if behaviour == "bug":
        raise ZeroDivisionError("a bug of the trainer")
    if behaviour == "data":
        raise DataError("cat.png: broken")
    if behaviour == "diverge":
        raise DivergedError("step 2: loss/generator is NaN")
    if behaviour == "memory" or (behaviour == "memory once" and not (marks / f"lacked {behaviour}-{seed}").exists()):
        (marks / f"lacked {behaviour}-{seed}").touch()
        raise MemoryError("no more")
    if behaviour == "full" and (marks / "full").exists():
        raise RuntimeError("unexpected position") from OSError(errno.ENOSPC, "No space left on device")
    if behaviour == "die always":
        os._exit(9)
    if behaviour == "die once" and not (marks / f"died-{seed}").exists():
        (marks / f"died-{seed}").touch()
        os._exit(9)
