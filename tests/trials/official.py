"""What the official code of EnlightenGAN returns for weights and inputs that anyone can make (`official.json`).

Measured with the official networks and losses at commit b0349848, run under torch 2.15.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trials import config
from trials.networks import Generator

FIGURES = json.loads(Path(__file__).with_name("official.json").read_text())


def noise(count: int, number: int) -> np.ndarray:
    """Return `count` values in [-1, 1) that look random and are the same everywhere."""
    value = 43758.5453 * np.sin(12.9898 * np.arange(1, count + 1, dtype=np.float64) + 78.233 * number)
    return 2 * (value - np.floor(value)) - 1


def generator(**settings) -> Generator:
    return Generator(config.Generator(**settings))


def image(batch: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(noise(batch * 3 * height * width, 0).reshape(batch, 3, height, width)).float()


def filled(network: nn.Module) -> nn.Module:
    """Set the network's state as it was for the measurement."""
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    for number, (name, value) in enumerate(state.items(), 1):
        values = torch.from_numpy(noise(value.numel(), number).reshape(value.shape))
        value.copy_(_scaled(values, name))
    return network


def _scaled(values: Tensor, name: str) -> Tensor:
    if values.ndim == 4:
        return values * 2.45 / math.sqrt(values[0].numel())
    if name.endswith("running_var"):
        return 1 + 0.5 * values.abs()
    if name.startswith("bn") and name.endswith(".weight"):
        return 1 + 0.1 * values
    return 0.05 * values


def pixels(output: Tensor, places: list[tuple[int, ...]]) -> list[float]:
    return [float(output[place]) for place in places]
