"""The adapter between Ray Tune and a trainer; runs inside a Ray worker. Nothing in `trials` imports it.

The driver sends one task and gets messages back, each a JSON text, so that Tune, which flattens what it passes on,
leaves them alone. The first says that the trial has begun, and where; then comes each report. How a trial ended, when
not well, is a last message with an `outcome`: a failing trial leaves its worker alive and its traceback in the ledger.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune

from trials import device
from trials.arrival import arrived
from trials.disk import no_room, out_of_reach
from trials.memory import lacks_memory
from trials.progress import CheckpointError, DataError, DivergedError, Report
from trials.scratch import carried
from trials.shipping import Parcel
from trials.storage import StorageError

__all__ = ["needs", "probe", "trainable"]


def trainable(config: dict[str, Any], shipped: Parcel | None = None) -> None:
    """Train one trial; `config["task"]` is the JSON that `platform.job.Job.task` makes, `shipped` files sent along."""
    task = json.loads(config["task"])
    begun = time.monotonic() - task["seconds"]
    _tell(task["step"], {"began": _record(task)})
    try:
        device.cap(task["gpu"], task["context_b"])
        with carried(task["storage"], task["folder"], task["resume"]) as (storage, carry):
            for report in _reports(task, shipped, storage):
                carry()
                _tell(report.step, _result(report, task, time.monotonic() - begun))
            carry()
    except Exception as error:
        _tell(task["step"], {"outcome": _outcome(error, task)})


def needs(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return what a trial needs: `config` has its CPUs and GPUs."""
    return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]}])


def probe(text: str, shipped: Parcel | None = None) -> tuple[str, device.Footprint | None]:
    """Train a few steps of a task, evaluate once, keep nothing.

    Returns:
        What went wrong, with its traceback, or '': a training that breaks down is a result, which the trial itself will
        tell. Then what it took of its GPU, in a process of its own; None without a GPU.
    """
    wrong = _tried(json.loads(text), shipped)
    return wrong, None if wrong else device.footprint()


def _tried(task: dict[str, Any], shipped: Parcel | None) -> str:
    try:
        device.cap(task["gpu"], task["context_b"])
        trainer, config, data = arrived(task, shipped, ray.get)
        with carried(task["storage"], task["folder"], None):  # does the storage answer here, too?
            trainer.seconds(config, data, threads=task["threads"])
    except DivergedError:
        return ""
    except Exception as error:
        return _outcome(error, task)["message"]
    return ""


def _tell(step: int, message: dict[str, Any]) -> None:
    tune.report({"step": step, "message": json.dumps(message)})


def _reports(task: dict[str, Any], shipped: Parcel | None, storage: Path) -> Any:
    trainer, config, data = arrived(task, shipped, ray.get)
    folder = storage / task["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    return trainer.train(
        config,
        data,
        seed=task["seed"],
        stream=task["stream"],
        folder=folder,
        resume=storage / task["resume"] if task["resume"] else None,
        threads=task["threads"],
    )


def _result(report: Report, task: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return a report as plain values; paths become relative to the storage folder."""
    folder = Path(task["folder"])
    return {
        "step": report.step,
        "seconds": seconds,
        "metrics": report.metrics,
        "images": [{"set": one.set, "image": one.image, "metrics": one.metrics} for one in report.images],
        "checkpoint": str(folder / report.checkpoint) if report.checkpoint else None,
        "pictures": {name: str(folder / path) for name, path in report.pictures.items()},
        "events": [asdict(one) for one in report.events],
    }


def _outcome(error: Exception, task: dict[str, Any]) -> dict[str, str]:
    """Return how a trial ended that did not end well: its state, the kind of failure, a sentence and the traceback.

    A full disk, a storage that does not answer and a damaged checkpoint are no fault of the trial, which stays PLANNED.
    """
    state, kind = "FAILED", "bug"
    if isinstance(error, DivergedError):
        state, kind = "DIVERGED", ""
    elif isinstance(error, CheckpointError):
        state, kind = "PLANNED", "checkpoint"
    elif isinstance(error, DataError):
        kind = "data"
    elif lacks_memory(error):
        kind = "memory"
    elif isinstance(error, StorageError):
        state, kind = "PLANNED", "storage"
    elif full := no_room(error):
        state, kind, error = "PLANNED", "disk", full
    elif away := out_of_reach(error, Path(task["storage"], task["folder"])):
        state, kind, error = "PLANNED", "storage", away
    said = f"{type(error).__name__}: {error}"
    return {"state": state, "kind": kind, "message": f"{said}\n\n{traceback.format_exc()}"}


def _record(task: dict[str, Any]) -> dict[str, Any]:
    """Return where this attempt runs and with which versions."""
    packages = ("numpy", "ray", "torch", "torchvision")
    return {
        "node": socket.gethostname(),
        "pid": os.getpid(),
        "device": os.environ.get("CUDA_VISIBLE_DEVICES") or "cpu",
        "threads": task["threads"],
        "versions": {"python": sys.version.split()[0]} | {name: importlib.metadata.version(name) for name in packages},
    }
