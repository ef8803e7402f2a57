"""Checkpoints: files from which a training goes on as if it had never stopped.

A checkpoint is written at each report. It holds the networks, the generator's average, the optimisers, the pool of
images, what the monitor remembers, and the step; the random streams need no state, since their draws follow from the
step (`trials.randomness`), and the sums of losses begin anew after each report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trials.canonical import canonical
from trials.config import Config
from trials.health import Monitor
from trials.progress import CheckpointError, TrainError
from trials.randomness import Streams
from trials.steps import Gan
from trials.torch_file import DamagedError, read, write
from trials.weights import load, read_state

__all__ = ["Origin", "clear", "load", "prune", "read_state", "restore", "save", "save_generator", "write"]

FORMAT = 2
KEYS = {"origin", "step", "networks", "optimisers", "pool", "monitor"}


@dataclass(frozen=True)
class Origin:
    """Which training a checkpoint belongs to: one of another training is refused."""

    config: Config
    streams: Streams

    def settings(self) -> dict[str, Any]:
        """Return all that must be equal, by dotted name."""
        mine = {"format": FORMAT, "seed": self.streams.seed, "stream": self.streams.stream}
        return mine | _flat(canonical(self.config))


def save(folder: Path, gan: Gan, monitor: Monitor, origin: Origin, step: int) -> Path:
    """Write the checkpoint of `step` into the folder, whole or not at all.

    Returns:
        Its file name.

    Raises:
        OSError: if it cannot be written; earlier checkpoints stay as they are.
    """
    content = {
        "origin": origin.settings(),
        "step": step,
        "networks": {name: network.state_dict() for name, network in _networks(gan).items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in gan.optimisers.items()},
        "pool": [] if gan.pool is None else gan.pool.images,
        "monitor": monitor.state(),
    }
    name = Path(f"checkpoint-{step}.pt")
    write(folder / name, content)
    return name


def save_generator(folder: Path, gan: Gan) -> None:
    """Write the generator that is the result: `generator.pt`, its state dict, and `generator.json`, its settings."""
    settings = gan.config.generator.model_dump_json(indent=2)
    (folder / "generator.json").write_text(f"{settings}\n", encoding="utf-8")
    write(folder / "generator.pt", gan.result.state_dict())


def _networks(gan: Gan) -> dict[str, torch.nn.Module]:
    """Return every network that has a state, `average` among them if one is kept."""
    return gan.networks() | ({} if gan.average is None else {"average": gan.average})


def restore(path: Path, gan: Gan, monitor: Monitor, origin: Origin) -> int:
    """Bring the networks, the optimisers, the pool and the monitor to the state in a checkpoint.

    Returns:
        The steps done so far.

    Raises:
        CheckpointError: if the file is missing or broken.
        TrainError: if it belongs to another training.
    """
    content = _load(path, next(gan.generator.parameters()).device)
    theirs, ours = content["origin"], origin.settings()
    differing = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    if differing:
        named = "; ".join(f"{key} is {ours.get(key)!r}, there {theirs.get(key)!r}" for key in differing[:3])
        rest = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise TrainError(f"checkpoint {path} belongs to another training: {named}{rest}; start this one without it")
    for name, network in _networks(gan).items():
        network.load_state_dict(content["networks"][name])
    for name, optimiser in gan.optimisers.items():
        optimiser.load_state_dict(content["optimisers"][name])
    if gan.pool is not None:
        gan.pool.images = content["pool"]
    monitor.restore(content["monitor"])
    return int(content["step"])


def prune(folder: Path, *, before: int) -> None:
    """Delete the checkpoints of steps before `before`."""
    for path in folder.glob("checkpoint-*.pt"):
        number = path.stem.removeprefix("checkpoint-")
        if number.isdigit() and int(number) < before:
            path.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Delete what processes that were killed left half written; for the beginning of a training in this folder."""
    for path in folder.glob("*.part"):
        path.unlink(missing_ok=True)


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        content = read(path, device)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {path} does not exist; start the training anew, or from another one"
        ) from error
    except (OSError, DamagedError) as error:
        raise CheckpointError(
            f"checkpoint {path} is broken ({type(error).__name__}): start the training anew, or from another one"
        ) from error
    if not isinstance(content, dict) or not content.keys() >= KEYS:
        raise CheckpointError(f"{path} is no checkpoint of this trainer: expected a file checkpoint-STEP.pt of a trial")
    return content


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
