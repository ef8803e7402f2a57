"""A generator over tiles: the pixels of the whole picture, in memory that the picture's size does not decide.

Each tile is computed with a margin of its surroundings, wide enough that what the zeros beyond the margin spoil is cut
off again. One layer needs more: bilinear upsampling with aligned corners, whose sample grid depends on the size of the
whole map. Over a tile it is computed here, from where the tile lies in the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from trials.networks import Generator
from trials.progress import DataError

__all__ = ["affordable_px", "enhanced", "margin_px", "padded", "require_tileable"]

MAPS_PER_WIDTH = 16
"""Float32 values that a pass takes for each pixel and channel of the first stage. Measured on a CPU: 8 to 10 for whole
pictures; 12 to 22 for tiles of 512 to 256 px, since tiles of several sizes scatter the memory."""
SHARE = 0.6
"""Share of the free memory that a pass may take."""
UNKNOWN_MEMORY = 4 << 30
"""Bytes taken as free where the system does not tell."""


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture, in pixels: rows `top` to `bottom`, columns `left` to `right`, the ends left out."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, image: Tensor) -> Tensor:
        """Return this part of an image (..., H, W), as a view."""
        return image[..., self.top : self.bottom, self.left : self.right]


def margin_px(depth: int) -> int:
    """Return how wide the surroundings of a tile must be: 128 px for the four levels of the published generator.

    Counted in pixels of each level, from the edge of the computed part: two convolutions spoil 2 more, halving spoils
    half, rounded up; doubling between c spoiled pixels spoils 2 c + 1, a sample or three convolutions after it 3 more.
    The margin is a multiple of the generator's stride, so that tiles are pooled as the whole is.
    """
    spoiled = 0
    for _ in range(depth):
        spoiled = (spoiled + 2 + 1) // 2
    spoiled += 2
    for _ in range(depth):
        spoiled = 2 * spoiled + 1 + 3
    stride = 1 << depth
    return -(-spoiled // stride) * stride


def require_tileable(generator: Generator) -> None:
    """Raise unless an output pixel depends on its surroundings alone.

    Raises:
        DataError: if the generator looks at the picture as a whole.
    """
    settings = generator.settings
    if settings.norm == "instance":
        raise DataError("generator.norm instance looks at the whole picture, so it cannot be computed in tiles")
    if settings.attention == "turned":
        raise DataError("generator.attention turned looks at the whole picture, so it cannot be computed in tiles")


def affordable_px(generator: Generator, device: torch.device) -> int:
    """Return how many pixels can be computed at once within the memory that is free now: an estimate."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_bytes()
    return int(SHARE * free / (MAPS_PER_WIDTH * 4 * generator.settings.width))


@torch.inference_mode()
def enhanced(
    generator: Generator, image: Tensor, tile_px: int, *, done: Callable[[float], None] = lambda share: None
) -> Tensor:
    """Return what the generator makes of an image, computed tile by tile.

    Args:
        generator: in eval mode, on any device.
        image: (1, 3, H, W), in [-1, 1]; on the CPU, if it is large.
        tile_px: side of a tile without its margin; rounded up to a multiple of the stride.
        done: told after each tile which share of all is done.

    Returns:
        (1, 3, H, W), unbounded, on the device of `image`. Equal to the whole pass but for rounding.

    Raises:
        DataError: see `require_tileable`.
    """
    require_tileable(generator)
    image, inside = padded(image, generator.stride)
    height, width = image.shape[-2:]
    margin, device = margin_px(generator.settings.depth), next(generator.parameters()).device
    output = torch.empty_like(image)
    boxes = list(_tiles(height, width, -(-tile_px // generator.stride) * generator.stride))
    for number, box in enumerate(boxes, 1):
        around = Box(
            max(0, box.top - margin),
            max(0, box.left - margin),
            min(height, box.bottom + margin),
            min(width, box.right + margin),
        )
        with _Placed(around, height, width):
            part = generator(around.of(image).to(device, memory_format=torch.channels_last))
        inner = Box(box.top - around.top, box.left - around.left, box.bottom - around.top, box.right - around.left)
        box.of(output).copy_(inner.of(part))
        done(number / len(boxes))
    return inside.of(output)


def padded(image: Tensor, stride: int) -> tuple[Tensor, Box]:
    """Pad (1, 3, H, W) by reflection to multiples of `stride`, as the generator itself does; return its place, too.

    An image smaller than its padding, which the generator refuses, is reflected again and again.
    """
    height, width = image.shape[2:]
    top, left = -height % stride // 2, -width % stride // 2
    rows, columns = _reflected(height, top, stride), _reflected(width, left, stride)
    image = image[:, :, rows.to(image.device)][:, :, :, columns.to(image.device)]
    return image, Box(top, left, top + height, left + width)


def _reflected(count: int, before: int, stride: int) -> Tensor:
    """Return which of `count` pixels stand in a row that is padded by reflection to a multiple of `stride`."""
    after = -count % stride - before
    return torch.from_numpy(np.pad(np.arange(count), (before, after), mode="reflect"))


def _tiles(height: int, width: int, side: int) -> Iterator[Box]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(height, top + side), min(width, left + side))


class _Placed(TorchFunctionMode):
    """Within it, upsampling with aligned corners takes what it is given for a part of a larger map."""

    def __init__(self, box: Box, height: int, width: int) -> None:
        super().__init__()
        self.box, self.height, self.width = box, height, width

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func is functional.interpolate and options.get("align_corners"):
            return self._doubled(*args, **options)
        return func(*args, **options)

    def _doubled(self, x: Tensor, *, scale_factor: float | None = None, mode: str = "", **_: Any) -> Tensor:
        if scale_factor != 2 or mode != "bilinear":
            raise NotImplementedError(f"upsampling over tiles: {mode} x {scale_factor}")
        factor = (self.box.bottom - self.box.top) // x.shape[2]  # from pixels of this level to pixels of the picture
        rows = _samples(self.box.top // factor, x.shape[2], self.height // factor, x)
        columns = _samples(self.box.left // factor, x.shape[3], self.width // factor, x)
        pixels = x.permute(0, 2, 3, 1)  # channels last: whole pixels are copied, and convolutions like it, too
        return _interpolated(_interpolated(pixels, 1, *rows), 2, *columns).permute(0, 3, 1, 2)


def _samples(first: int, count: int, whole: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the 2 `count` samples of a doubled part lie: the pixels before and after, and the second's weight.

    With aligned corners, sample i of a map of n pixels that is doubled lies at i (n - 1) / (2 n - 1).

    Args:
        first: the part's first pixel in the whole map.
        count: its pixels.
        whole: those of the whole map.
        like: the device, and the type of the weights.
    """
    samples = torch.arange(2 * first, 2 * (first + count), dtype=torch.float64)
    places = (samples * (whole - 1) / (2 * whole - 1) - first).clamp(0, count - 1)
    before = places.floor()
    after = (before + 1).clamp(max=count - 1)
    return before.long().to(like.device), after.long().to(like.device), (places - before).to(like)


def _interpolated(x: Tensor, dim: int, before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
    shape = [1] * x.ndim
    shape[dim] = -1
    return x.index_select(dim, before).lerp_(x.index_select(dim, after), weight.reshape(shape))


def _free_bytes() -> int:
    """Return the free memory of this machine, or of the container that this process lives in."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        if most.isdigit():
            limits.append(int(most) - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError, IndexError):  # another system: what is known so far counts
        pass
    return max(0, min(limits, default=UNKNOWN_MEMORY))
