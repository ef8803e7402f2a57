"""Trying a few steps on workers before anything starts: what is wrong with them, and what they take of a GPU.

**Unproven on a GPU**: the tests run it on Ray with counted GPUs and played measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from platform import ray_alive
from platform.job import Job
from platform.packing import AUTO, crowd, packing
from platform.searcher import LOSSES

__all__ = ["probe"]

SIZE_S = 60.0
"""Seconds in which a node has to tell the size of its GPU; one that is too busy is left out."""


def probe(job: Job) -> Callable[[], str]:
    """Let workers try a few steps of `job.samples()`; return what waits for them and says what went wrong, or ''.

    Most studies that are bound to fail do so here, in seconds and before the night. What goes wrong with another sample
    than the first is left to its own trial to tell. What they take of a GPU goes into the ledger's `packing`, with the
    share that comes of it: measured with a whole GPU for each where the share is to be found, else under the cap.
    """
    import ray

    from trials.trainable import probe

    auto = job.study.spec.resources.gpu == AUTO
    if auto:
        job.ledger.put({"packing": None})  # so that `job.share` is a whole device for now
    samples = job.samples()
    tried = ray.remote(  # each in a process of its own, which leaves nothing on the device
        num_cpus=job.study.spec.resources.cpu, num_gpus=job.share, max_retries=0, max_calls=1
    )(probe)
    asked = [tried.remote(job.task(cell), job.shipped) for cell in samples]

    def wait() -> str:
        """Return what is wrong with the first sample, or '' once the ledger has what the samples take."""
        for losses in range(LOSSES):
            try:
                wrong, first = ray.get(asked[0])
                break
            except ray.exceptions.RayError as error:  # the worker, or its node
                ray_alive.check()
                if losses == LOSSES - 1:
                    return f"its worker died {LOSSES} times, with: {str(error).partition(chr(10))[0]}"
                asked[0] = tried.remote(job.task(samples[0]), job.shipped)
        if wrong:
            return str(wrong)
        if auto and first is None:
            return "resources.gpu: auto needs a GPU that PyTorch can use, but there is none; give a number"
        footprints = [first]
        for one in asked[1:]:
            with suppress(ray.exceptions.RayError):
                footprints.append(ray.get(one)[1])
        _keep(job, [one for one in footprints if one is not None], [cell.trial for cell in samples])
        return ""

    return wait


def _keep(job: Job, footprints: Sequence[Any], probed: Sequence[str]) -> None:
    """Write into the ledger what the largest trial takes, and the share of a GPU that each gets."""
    if not footprints:
        return
    largest = max(footprints, key=lambda one: int(one.peak_b + one.context_b))
    needs, device_b, share = job.study.spec.resources, largest.device_b, job.share
    if needs.gpu == AUTO:
        nodes = [node for node in _nodes() if node["Resources"].get("GPU")]
        device_b = min([one.device_b for one in footprints] + _sizes([node["NodeID"] for node in nodes]))
        most = crowd([node["Resources"] for node in nodes], needs.cpu)
        share = packing(largest.peak_b + largest.context_b, device_b, most=most)
    taken = {"peak_b": largest.peak_b, "context_b": largest.context_b, "device_b": device_b, "share": share}
    job.ledger.put({"packing": {**taken, "probed": list(probed)}})


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _sizes(nodes: Sequence[str]) -> list[int]:
    """Return the bytes of a GPU on each of these nodes, by their ids; the GPUs of one node are taken for alike."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from trials.device import size

    if len(nodes) < 2:
        return []  # where the samples were tried
    told = ray.remote(num_cpus=0, num_gpus=0.001, max_retries=0, max_calls=1)(size)
    asked = [
        told.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=False)).remote() for one in nodes
    ]
    answered, late = ray.wait(asked, num_returns=len(asked), timeout=SIZE_S)
    for one in late:
        ray.cancel(one)
    found: list[int | None] = []
    for one in answered:
        with suppress(ray.exceptions.RayError):
            found.append(ray.get(one))
    return [one for one in found if one is not None]
