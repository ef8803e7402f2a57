"""How many trials share a device, and how many fit on a cluster: pure functions of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

__all__ = ["AUTO", "crowd", "fitting", "gpus", "packing", "told"]

AUTO: Literal["auto"] = "auto"
"""`resources.gpu`: the share of a device that was found by measuring."""
UNIT = 10_000
"""Ray counts resources in ten-thousandths."""
MARGIN = 0.1
"""Beyond the largest footprint measured, as a share of it: what a fragmented memory wastes, and few steps miss."""


def packing(footprint_b: int, device_b: int, *, margin: float = MARGIN, most: int) -> float:
    """Return the share of a device that each trial gets: for the largest number of trials whose memory fits.

    Args:
        footprint_b: bytes that a trial takes of a device, the CUDA context's among them. The largest of all trials
            should be given, since all get the same share.
        device_b: bytes of the smallest device of the cluster.
        margin: more than that is set aside for each trial, as a share of it.
        most: the largest number of trials for one device, at least 1, as the CPUs allow.

    Returns:
        A number from 0.0001 to 1 that Ray can count: 1 / trials, rounded down to ten-thousandths. 1 if no two fit,
        even if not one does: there is nothing better to try.
    """
    needed_b = max(1.0, footprint_b * (1 + margin))
    trials = max(1, min(most, UNIT, int(device_b // needed_b)))
    while trials > 1 and _share(trials) * device_b < needed_b:  # what rounding took away
        trials -= 1
    return _share(trials)


def _share(trials: int) -> float:
    return UNIT // trials / UNIT


def crowd(nodes: Iterable[Mapping[str, float]], cpu: float) -> int:
    """Return how many trials of `cpu` CPUs each there are for one GPU on the node that has most CPUs for each.

    Args:
        nodes: what each node of the cluster has, by Ray's names (`CPU`, `GPU`).
        cpu: CPUs of a trial.

    Returns:
        At least 1.
    """
    counts = [
        _times(node.get("CPU", 0), cpu) // int(node["GPU"]) for node in nodes if int(node.get("GPU", 0))
    ]  # nodes without a GPU run none of these trials
    return max(1, *counts) if counts else 1


def fitting(nodes: Iterable[Mapping[str, float]], *, cpu: float, gpu: float) -> int:
    """Return how many trials fit on these nodes at once. A trial lies on one node; a share of a GPU, on one GPU.

    Args:
        nodes: what each node has, by Ray's names (`CPU`, `GPU`).
        cpu: CPUs of a trial, more than 0.
        gpu: GPUs of a trial: none, a share of one, or a whole number.
    """
    return sum(_on_node(node, cpu, gpu) for node in nodes)


def _on_node(node: Mapping[str, float], cpu: float, gpu: float) -> int:
    trials = _times(node.get("CPU", 0), cpu)
    if gpu >= 1:
        trials = min(trials, _times(node.get("GPU", 0), gpu))
    elif gpu:
        trials = min(trials, int(node.get("GPU", 0)) * _times(1, gpu))
    return trials


def _times(whole: float, part: float) -> int:
    """Return how often `part` is in `whole`, as Ray counts: 0.1 is ten times in 1."""
    return round(whole * UNIT) // max(1, round(part * UNIT))


def gpus(asked: float | Literal["auto"], measured: Mapping[str, Any] | None) -> float:
    """Return the GPUs that a trial gets.

    Args:
        asked: the spec's `resources.gpu`.
        measured: the ledger's `packing`, if there is one. Until a share has been found, `auto` is a whole device.
    """
    if asked != AUTO:
        return float(asked)
    return float((measured or {}).get("share") or 1)


def told(measured: Mapping[str, Any]) -> str:
    """Return in words what the ledger's `packing` says, measured where the first trials were tried."""
    took_b, device_b = measured["peak_b"] + measured["context_b"], measured["device_b"]
    share = measured["share"]
    gets = f", and gets {share:.4g} of one" if share < 1 else ""
    return f"a trial takes up to {took_b / 1e9:.2f} of the {device_b / 1e9:.2f} GB of a GPU{gets}"
