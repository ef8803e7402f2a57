"""Which checkpoints of trials that have ended stay: of each variant those of its best trials. Pure, but for `delete`.

A checkpoint lets a training go on; a completed one needs none. What is kept serves those who want to fine-tune, or look
at the discriminators. The generator of every trial stays. A trial that runs, waits or was stopped keeps its last two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from trials.storage import Storage, is_checkpoint

__all__ = ["Retention", "delete"]


class Retention:
    """Remembers the best completed trials of each variant."""

    def __init__(self, keep: int | None, *, higher_is_better: bool) -> None:
        """Begin with none.

        Args:
            keep: how many trials of a variant keep their checkpoints; None for all.
            higher_is_better: the direction of the values that they are compared by.
        """
        self.keep = keep
        self._sign = 1 if higher_is_better else -1
        self._best: dict[str, list[tuple[float, str]]] = {}

    def add(self, trial: str, variants: Iterable[str], value: float) -> list[str]:
        """Return the trials, this one or earlier ones, that are among the best of no variant any more.

        Args:
            trial: a completed trial's identity.
            variants: those that it is a trial of.
            value: what it is worth; NaN is worse than any number.
        """
        if self.keep is None:
            return []
        worth = -math.inf if math.isnan(value) else self._sign * value
        out = set()
        for variant in variants:
            best = self._best.setdefault(variant, [])
            best.append((worth, trial))
            best.sort(key=lambda one: -one[0])  # stable: of equals the earlier one stays
            out |= {one for _, one in best[self.keep :]}
            del best[self.keep :]
        kept = {one for best in self._best.values() for _, one in best}
        return sorted(out - kept)


def delete(storage: Path | Storage, trials: Sequence[str]) -> None:
    """Delete the checkpoints of these trials; what is gone already is no matter.

    Raises:
        StorageError: if a storage with an address does not answer.
    """
    if isinstance(storage, Path):
        for trial in trials:
            for path in (storage / "trials" / trial).glob("checkpoint-*.pt"):
                path.unlink(missing_ok=True)
    elif trials:
        those = set(trials)
        found = storage.names(f"trials/{trials[0]}" if len(trials) == 1 else "trials")  # one look for all
        storage.delete(name for name in found if name.split("/")[1] in those and is_checkpoint(name))
