"""The adapter between Ray Tune and a trainer; runs inside a Ray worker. Nothing in `trials` imports it.

The driver sends one task and gets messages back, each a JSON text, so that Tune, which flattens what it passes on,
leaves them alone. The first says that the trial has begun, and where; then comes each report. How a trial ended, when
not well, is a last message with an `outcome`: a failing trial leaves its worker alive and its traceback in the ledger.
"""

from __future__ import annotations

import importlib
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

from ray import tune

from trials.disk import no_room
from trials.memory import lacks_memory
from trials.progress import CheckpointError, DataError, DivergedError, Report

__all__ = ["probe", "trainable"]


def trainable(config: dict[str, Any]) -> None:
    """Train one trial; `config["task"]` is the JSON that `platform.searcher.Job.task` makes."""
    task = json.loads(config["task"])
    begun = time.monotonic() - task["seconds"]
    _tell(task["step"], {"began": _record(task)})
    try:
        for report in _reports(task):
            _tell(report.step, _result(report, task, time.monotonic() - begun))
    except Exception as error:
        _tell(task["step"], {"outcome": _outcome(error)})


def probe(text: str) -> str:
    """Train a few steps of a task, evaluate once, keep nothing; return what went wrong, with its traceback, or ''.

    A training that breaks down is a result, which the trial itself will tell.
    """
    task = json.loads(text)
    trainer = importlib.import_module(task["trainer"])
    try:
        config, data = trainer.Config.model_validate(task["settings"]), trainer.Data.model_validate(task["data"])
        trainer.seconds(config, data, threads=task["threads"])
    except DivergedError:
        return ""
    except Exception as error:
        return _outcome(error)["message"]
    return ""


def _tell(step: int, message: dict[str, Any]) -> None:
    tune.report({"step": step, "message": json.dumps(message)})


def _reports(task: dict[str, Any]) -> Any:
    trainer = importlib.import_module(task["trainer"])
    storage = Path(task["storage"])
    folder = storage / task["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    return trainer.train(
        trainer.Config.model_validate(task["settings"]),
        trainer.Data.model_validate(task["data"]),
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


def _outcome(error: Exception) -> dict[str, str]:
    """Return how a trial ended that did not end well: its state, the kind of failure, a sentence and the traceback.

    A full disk and a damaged checkpoint are no fault of the trial, which stays PLANNED.
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
    elif full := no_room(error):
        state, kind, error = "PLANNED", "disk", full
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
