"""Named random streams: every random number of a training has an address (seed, stream, name, step).

A draw depends on its address alone: not on what else was drawn, nor on whether the training was interrupted. So
a component that is taken out does not shift the draws of the others, and a checkpoint needs no generator's state.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

__all__ = ["Streams"]


@dataclass(frozen=True)
class Streams:
    """The random streams of one trial.

    Args:
        seed: the trial's seed.
        stream: name of another family of streams under the same seeds (a placebo); '' is the ordinary one.
    """

    seed: int
    stream: str = ""

    def at(self, name: str, step: int = 0) -> np.random.Generator:
        """Return the generator of stream `name` at `step`, always in its initial state.

        The generator is Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): its key is
        the first half of SHA-256 over seed, stream and name, the highest word of its counter is the step, so that
        two steps are 2^192 blocks apart.
        """
        digest = hashlib.sha256(repr((int(self.seed), self.stream, name)).encode()).digest()
        key = int.from_bytes(digest[:16], "little")
        return np.random.Generator(np.random.Philox(key=key, counter=step << 192))
