"""What a generator costs where it is used: its parameters, and the time that it takes for an image of a stated size."""

from __future__ import annotations

import time

import torch

from trials.networks import Generator

__all__ = ["PASSES", "SIDE_PX", "inference_ms", "parameters_m"]

SIDE_PX = 256
"""The side of the square image that is timed; `trials.trainer.METRICS` and `trials.metrics.SETTINGS` name it."""
PASSES = 5


def parameters_m(generator: Generator) -> float:
    """Return the generator's trained parameters in millions; statistics of batch norm are none."""
    return sum(parameter.numel() for parameter in generator.parameters()) / 1e6


@torch.inference_mode()
def inference_ms(generator: Generator) -> float:
    """Return the milliseconds that the generator takes for an image of 256 x 256 px that lies in its device's memory.

    The fastest of five passes after one that warms up: what else runs on a machine only ever adds to the time (as in
    Python's `timeit`). In eval mode and float32, one image at a time; the mode is restored afterwards. No random number
    is drawn.
    """
    device = next(generator.parameters()).device
    image = torch.zeros(1, 3, SIDE_PX, SIDE_PX, device=device)  # in [-1, 1]: mid grey, so that attention is at work
    training, times = generator.training, []
    generator.eval()
    try:
        for _ in range(PASSES + 1):
            _wait(device)
            begun = time.perf_counter()
            generator(image)
            _wait(device)
            times.append(time.perf_counter() - begun)
    finally:
        generator.train(training)
    return 1000 * min(times[1:])


def _wait(device: torch.device) -> None:
    """Wait for what the device has to do; a CPU is never behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
