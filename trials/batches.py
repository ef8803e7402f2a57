"""Training batches: which images, which crops, flips, darkening and patches, each from its own random stream."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trials.config import Augment, Config
from trials.progress import DataError
from trials.randomness import Streams

__all__ = ["Batch", "Batches", "Offset", "Place", "cut"]

Offset = tuple[int, int]
"""Top and left of a patch, in pixels."""
Place = Offset | tuple[Offset, ...]
"""Where a patch is cut: at one offset in all images of a batch, or at an offset for each."""


@dataclass(frozen=True)
class Batch:
    """What one step trains on. Images are (N, 3, S, S), in [-1, 1].

    Args:
        low: crops of low-light images: what the output should keep the features of.
        darkened: the same, some of them darkened: the generator's input.
        normal: crops of normal-light images.
        offsets: where patches are cut, the same for low, darkened and normal; empty if no term looks at patches.
        step: the step that it belongs to, 1 for the first.
    """

    low: Tensor
    darkened: Tensor
    normal: Tensor
    offsets: Sequence[Place]
    step: int = 1


class Batches:
    """The batches of a training, by step; `at` has no memory, so a training can go on from any step.

    The images stay 8 bit, on the device: a quarter of the memory, and crops are cheap to convert. On a CPU they are
    not copied, so that trials may share them.

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
        # The published flips: left-right apart for low and normal, then both for the pair; so top-down is shared.
        low = self._crops([self._low[i] for i in lows], places[:, 0], flips[:, (2, 0)])
        normal = self._crops([self._normal[i] for i in normals], places[:, 1], flips[:, (2, 1)])
        darkened = _darken(low, config.augment, self._streams.at("darkening", step).random((size, 2)))
        return Batch(low, darkened, normal, self._offsets(step), step)

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

    def _crops(self, images: list[Tensor], places: np.ndarray, flips: np.ndarray) -> Tensor:
        """Return crops (N, 3, S, S) of images (H, W, 3), mirrored along the axes (top-down, left-right) chosen."""
        side = self._config.crop_px
        crops = []
        for image, place, flip in zip(images, places, flips, strict=True):
            top, left = _offset(place, image.shape[0] - side, image.shape[1] - side)
            crop = image[top : top + side, left : left + side]
            crops.append(crop.flip(np.flatnonzero(flip).tolist()) if flip.any() else crop)
        batch = torch.stack(crops).permute(0, 3, 1, 2)  # channels last in memory
        layout = torch.channels_last if self._config.compute.channels_last else torch.contiguous_format
        return batch.to(torch.float32, memory_format=layout).div_(127.5).sub_(1)

    def _offsets(self, step: int) -> list[Place]:
        local = self._config.local
        if not self._config.cuts_patches:
            return []
        room = self._config.crop_px - local.patch_px
        if local.border == "official":
            room = max(0, room - 1)
        if local.offsets == "shared":
            return [
                _offset(place, room, room) for place in self._streams.at("patches", step).random((local.patches, 2))
            ]
        places = self._streams.at("patches/apart", step).random((local.patches, self._config.batch, 2))
        return [tuple(_offset(place, room, room) for place in one) for one in places]


def cut(images: Tensor, offsets: Sequence[Place], side: int) -> Tensor:
    """Cut square patches out of images (N, 3, H, W).

    Returns:
        (len(offsets) * N, 3, side, side): all images at the first place, then all at the second, ...
    """
    return torch.cat([_cut(images, place, side) for place in offsets])


def _cut(images: Tensor, place: Place, side: int) -> Tensor:
    if isinstance(place[0], int):
        top, left = place
        return images[..., top : top + side, left : left + side]
    return torch.cat([_cut(images[n : n + 1], offset, side) for n, offset in enumerate(place)])


def _prepare(kind: str, images: Sequence[np.ndarray], side: int, device: torch.device) -> list[Tensor]:
    if not images:
        raise DataError(f"training needs {kind}-light images, but there are none")
    for number, image in enumerate(images, 1):
        if min(image.shape[:2]) < side:
            raise DataError(
                f"{kind}-light training image {number} of {len(images)}: expected sides of crop_px = {side} pixels "
                f"or more, but it has {image.shape[1]} x {image.shape[0]}; lower crop_px or take it out"
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor does anybody write
        return [torch.from_numpy(image).to(device) for image in images]


def _offset(place: np.ndarray, height: int, width: int) -> Offset:
    """Turn two numbers in [0, 1) into an offset of 0 to `height` and 0 to `width`, all equally likely.

    The official code never draws the last row and column.
    """
    return int(place[0] * (height + 1)), int(place[1] * (width + 1))


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
