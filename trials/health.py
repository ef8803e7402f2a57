"""The health of a training: spikes of the gradients, measures that are not finite, an output that has collapsed.

What a step measures is looked at some steps later, all at once, so that the device never waits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trials.config import Collapse, Watch
from trials.progress import DivergedError, Event

__all__ = ["Monitor", "collapsed", "loss_ratio_log2", "robust_score"]

NORM = "health/gradient_norm_"
LEAST_STEPS = 20
"""Steps before a gradient norm is judged."""
LEAST_DEVIATION = 0.05
"""Of the logarithm of a gradient norm, so that a very steady training does not call every 20 % a spike."""

Step = Mapping[str, float]
"""The measures of one step: `loss/...` and `health/...`."""


def robust_score(value: float, before: npt.NDArray[np.float64]) -> float:
    """Return how many robust standard deviations `value` lies above the median of `before`.

    The deviation is 1.4826 x the median absolute deviation, which is the standard deviation of normal values, and at
    least 0.05.
    """
    median = float(np.median(before))
    deviation = 1.4826 * float(np.median(np.abs(before - median)))
    return (value - median) / max(deviation, LEAST_DEVIATION)


def loss_ratio_log2(means: Step) -> float | None:
    """Return log2 of the discriminators' losses over the generator's adversarial ones, both summed over the views.

    None where there are none, or a sum is not above 0.
    """
    theirs = sum(value for name, value in means.items() if name.startswith("loss/d_"))
    ours = sum(value for name, value in means.items() if name.startswith("loss/g_"))
    return math.log2(theirs / ours) if theirs > 0 and ours > 0 else None


def collapsed(rule: Collapse, means: Step) -> tuple[float, str] | None:
    """Return the measure by which an evaluation's means say that the output has collapsed, and why; None if not."""
    contrast, clipped = (means.get(f"eval/{name}", math.nan) for name in ("contrast_levels", "clipped_share"))
    if contrast < rule.contrast_levels:
        return contrast, f"the output's contrast is {contrast:.3g} grey levels, below {rule.contrast_levels:g}"
    if clipped > rule.clipped_share:
        return clipped, f"{clipped:.1%} of the output's pixels are clipped, more than {rule.clipped_share:.1%}"
    return None


@dataclass
class Monitor:
    """Watches one training. Its state is part of a checkpoint.

    Args:
        watch: the thresholds.
        norms: for each network the logarithms of its last gradient norms.
        unusual: for each network the kind of event that its last norm belongs to, if any.
        spikes: how many spikes there were.
        highest: the highest score so far; 0 before the first one.
        nonfinite: how many gradient norms were not finite.
        collapses: evaluations in a row that found the output collapsed.
    """

    watch: Watch
    norms: dict[str, list[float]] = field(default_factory=dict)
    unusual: dict[str, str] = field(default_factory=dict)
    spikes: int = 0
    highest: float = 0.0
    nonfinite: int = 0
    collapses: int = 0

    def state(self) -> dict[str, Any]:
        """Return what has to be saved."""
        names = ("norms", "unusual", "spikes", "highest", "nonfinite", "collapses")
        return {name: getattr(self, name) for name in names}

    def measures(self) -> dict[str, float]:
        """Return what has been counted so far, as `health/...`."""
        return {
            "health/gradient_spikes": float(self.spikes),
            "health/gradient_spike_score": self.highest,
            "health/gradients_nonfinite": float(self.nonfinite),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        for name, value in state.items():
            setattr(self, name, value)

    def look(self, first: int, steps: Sequence[Step]) -> list[Event]:
        """Return what happened in these steps, of which the first has the number `first`."""
        return [event for number, step in enumerate(steps, first) for event in self._look(number, step)]

    def _look(self, number: int, step: Step) -> list[Event]:
        found = []
        for key, value in step.items():
            if not key.startswith(NORM):
                continue
            network = key.removeprefix(NORM)
            score = self._scored(network, value)
            kind = self._kind(network, score)
            if kind and kind != self.unusual.get(network):
                found.append(_event(number, kind, network, value, score))
                self.spikes += kind == "spike"
            self.unusual[network] = kind
        return found

    def _scored(self, network: str, norm: float) -> float:
        """Return the score of a gradient norm, NaN if it is not finite; and remember the norm."""
        if not math.isfinite(norm):
            self.nonfinite += 1
            return math.nan
        before, value = self.norms.setdefault(network, []), math.log(max(norm, 1e-30))
        score = robust_score(value, np.array(before)) if len(before) >= LEAST_STEPS else 0.0
        before.append(value)
        del before[: -self.watch.window_steps]
        self.highest = max(self.highest, score)
        return score

    def _kind(self, network: str, score: float) -> str:
        """Return what a score is: a kind of event, or nothing. What has begun ends below half of the threshold.

        So a level that stays near the threshold is one event, not one for each time that it is crossed.
        """
        if math.isnan(score):
            return "nonfinite"
        kind = "spike" if score > 0 else "drop"
        threshold = self.watch.spike_score / (2 if kind == self.unusual.get(network) else 1)
        return kind if abs(score) > threshold else ""

    def evaluated(self, step: int, means: Step) -> list[Event]:
        """Return the event, if an evaluation found the output collapsed.

        Raises:
            DivergedError: if it is the last of as many in a row as the rule asks for; `events` of the error has the
                event.
        """
        found = collapsed(self.watch.collapse, means)
        self.collapses = self.collapses + 1 if found else 0
        if found is None:
            return []
        value, why = found
        event = Event(step, "collapse", "output", value, f"step {step}: {why}")
        if self.collapses >= self.watch.collapse.evaluations:
            raise DivergedError(f"step {step}: collapsed, {why}", [event])
        return [event]


def _event(step: int, kind: str, network: str, norm: float, score: float) -> Event:
    if kind == "nonfinite":
        return Event(step, kind, network, norm, f"step {step}: the gradient norm of {network} is not finite")
    side = "above" if kind == "spike" else "below"
    text = (
        f"step {step}: the gradient norm of {network}, {norm:.3g}, lies {abs(score):.1f} deviations {side} its median"
    )
    return Event(step, kind, network, norm, text)
