"""Training batches: which images, which crops, flips, darkening and patches, each from its own random stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trials.config import Augment, Config
from trials.progress import DataError
from trials.randomness import Streams

__all__ = ["Batch", "Batches", "Offset", "cut"]

Offset = tuple[int, int]
"""Top and left of a patch, in pixels."""


@dataclass(frozen=True)
class Batch:
    """What one step trains on. Images are (N, 3, S, S), in [-1, 1].

    Args:
        low: crops of low-light images: what the output should keep the features of.
        darkened: the same, some of them darkened: the generator's input.
        normal: crops of normal-light images.
        offsets: where patches are cut, the same for every image; empty if no term looks at patches.
    """

    low: Tensor
    darkened: Tensor
    normal: Tensor
    offsets: list[Offset]


class Batches:
    """The batches of a training, by step; `at` has no memory, so a training can go on from any step.

    The images stay 8 bit, on the device: a quarter of the memory, and crops are cheap to convert.

    Args:
        config: sizes, pairing and augmentation.
        low: low-light images, (H, W, 3) uint8.
        normal: normal-light images, (H, W, 3) uint8.
        streams: the trial's random streams.
        device: where batches are made.

    Raises:
        DataError: if there is no image of either kind, or one is smaller than the crop.
    """

    def __init__(
        self,
        config: Config,
        *,
        low: Sequence[np.ndarray],
        normal: Sequence[np.ndarray],
        streams: Streams,
        device: torch.device,
    ) -> None:
        self._config = config
        self._streams = streams
        self._low = _prepare("low", low, config.crop_px, device)
        self._normal = _prepare("normal", normal, config.crop_px, device)

    def at(self, step: int) -> Batch:
        """Return the batch of step `step`, 1 for the first."""
        config, size = self._config, self._config.batch
        lows, normals = self._members(step)
        places = self._streams.at("crops", step).random((size, 2, 2))  # item, low or normal, top or left
        flips = self._streams.at("flips", step).random((size, 3)) < 0.5 * config.augment.flip
        low = self._crops([self._low[i] for i in lows], places[:, 0])
        normal = self._crops([self._normal[i] for i in normals], places[:, 1])
        # The published flips: left-right apart for low and normal, then both for the pair; so top-down is shared.
        low, normal = _flip(low, flips[:, (0, 2)]), _flip(normal, flips[:, (1, 2)])
        darkened = _darken(low, config.augment, self._streams.at("darkening", step).random((size, 2)))
        return Batch(low, darkened, normal, self._offsets(step))

    def _members(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the step's low and normal images."""
        low, normal = len(self._low), len(self._normal)
        if self._config.pairing == "independent":
            return self._shuffled("order/low", low, step), self._shuffled("order/normal", normal, step)
        items = self._shuffled("order/pairs", max(low, normal), step)
        return items % low, items % normal

    def _shuffled(self, name: str, count: int, step: int) -> np.ndarray:
        """Return the step's share of an endless row of shuffled passes over `count` items."""
        first = (step - 1) * self._config.batch
        passes = range(first // count, (first + self._config.batch - 1) // count + 1)
        order = np.concatenate([self._streams.at(name, number).permutation(count) for number in passes])
        return order[first % count :][: self._config.batch]

    def _crops(self, images: list[Tensor], places: np.ndarray) -> Tensor:
        side = self._config.crop_px
        crops = []
        for image, place in zip(images, places, strict=True):
            top, left = _offset(place, image.shape[1] - side, image.shape[2] - side)
            crops.append(image[:, top : top + side, left : left + side])
        return torch.stack(crops).to(torch.float32, memory_format=torch.channels_last) / 127.5 - 1

    def _offsets(self, step: int) -> list[Offset]:
        if not self._config.cuts_patches:
            return []
        room = self._config.crop_px - self._config.local.patch_px
        places = self._streams.at("patches", step).random((self._config.local.patches, 2))
        return [_offset(place, room, room) for place in places]


def cut(images: Tensor, offsets: Sequence[Offset], side: int) -> Tensor:
    """Cut square patches out of images (N, 3, H, W).

    Returns:
        (len(offsets) * N, 3, side, side): all images at the first offset, then all at the second, ...
    """
    return torch.cat([images[..., top : top + side, left : left + side] for top, left in offsets])


def _prepare(kind: str, images: Sequence[np.ndarray], side: int, device: torch.device) -> list[Tensor]:
    if not images:
        raise DataError(f"training needs {kind}-light images, but there are none")
    for number, image in enumerate(images, 1):
        if min(image.shape[:2]) < side:
            raise DataError(
                f"{kind}-light training image {number} of {len(images)}: expected sides of crop_px = {side} pixels "
                f"or more, but it has {image.shape[1]} x {image.shape[0]}; lower crop_px or take it out"
            )
    return [torch.tensor(np.ascontiguousarray(image.transpose(2, 0, 1)), device=device) for image in images]


def _offset(place: np.ndarray, height: int, width: int) -> Offset:
    """Turn two numbers in [0, 1) into an offset of 0 to `height` and 0 to `width`, all equally likely.

    The official code never draws the last row and column.
    """
    return int(place[0] * (height + 1)), int(place[1] * (width + 1))


def _flip(images: Tensor, flips: np.ndarray) -> Tensor:
    """Mirror images left-right where column 0 of `flips` (N, 2) says so, top-down where column 1 does."""
    chosen = torch.from_numpy(flips).to(images.device)[:, :, None, None, None]
    images = torch.where(chosen[:, 0], images.flip(3), images)
    return torch.where(chosen[:, 1], images.flip(2), images)


def _darken(low: Tensor, augment: Augment, draws: np.ndarray) -> Tensor:
    """Divide images, taken as 0..1, by a number in [darken_min, darken_max], each with probability `darken`.

    Args:
        low: (N, 3, S, S), in [-1, 1].
        augment: the probability and the range.
        draws: (N, 2), uniform in [0, 1): whether, and how much.
    """
    strength = augment.darken_min + (augment.darken_max - augment.darken_min) * draws[:, 1]
    divisors = np.where(draws[:, 0] < augment.darken, strength, 1).astype(np.float32)
    return (low + 1) / torch.from_numpy(divisors).to(low.device)[:, None, None, None] - 1
