"""A pool of images made before: discriminators are shown some of them instead of what was made last.

Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial Training", arXiv 1612.07828,
section 2.3, as CycleGAN uses it. The official code of EnlightenGAN queries such a pool and overwrites the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trials.randomness import Streams

__all__ = ["ImagePool"]


class ImagePool:
    """Keeps up to `size` images. Until it is full, images are taken in and shown as they are.

    Args:
        size: images that are kept.
        streams: the trial's random streams.
    """

    def __init__(self, size: int, streams: Streams) -> None:
        self._size = size
        self._streams = streams
        self.images: list[Tensor] = []
        """What is kept, (3, S, S) each."""

    def exchange(self, fake: Tensor, step: int) -> Tensor:
        """Return what discriminators are shown at `step` for the images `fake`, (N, 3, S, S), without gradients.

        Each is returned itself or, with probability a half, exchanged for one of the pool.
        """
        draws = self._streams.at("pool", step).random((len(fake), 2))
        shown = []
        for image, (chance, place) in zip(fake.detach(), draws, strict=True):
            if len(self.images) < self._size:
                self.images.append(image.clone())
                shown.append(image)
            elif chance < 0.5:
                taken = int(place * self._size)
                shown.append(self.images[taken])
                self.images[taken] = image.clone()
            else:
                shown.append(image)
        layout = torch.channels_last if fake.is_contiguous(memory_format=torch.channels_last) else None
        return torch.stack(shown).contiguous(memory_format=layout or torch.contiguous_format)
