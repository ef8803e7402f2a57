"""A trial's share of a GPU: the cap on its memory, and what a training took of it.

**Unproven on a GPU**: what is said here of CUDA is PyTorch's documentation; the tests play the device.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

__all__ = ["CONTEXT_B", "Footprint", "cap", "footprint", "fraction", "size"]

CONTEXT_B = 1 << 30
"""More than a CUDA context takes, with the code of the kernels: taken for it where it was not measured."""


@dataclass(frozen=True)
class Footprint:
    """What a process took of its device, in bytes.

    Args:
        peak_b: the most that PyTorch's allocator held. It gives back what it only keeps before it runs out, so a
            training may do with less.
        context_b: the CUDA context, which the allocator does not count; at most CONTEXT_B, since what others hold of
            the device looks the same.
        device_b: the whole device.
    """

    peak_b: int
    context_b: int
    device_b: int


def fraction(share: float, context_b: int, device_b: int) -> float:
    """Return the fraction of a device, 0 to 1, that PyTorch's allocator may take so that its process keeps to a share.

    Args:
        share: of the device, more than 0; with 1 or more there is no neighbour, and no cap.
        context_b: bytes of the CUDA context.
        device_b: bytes of the device.
    """
    return 1.0 if share >= 1 else max(0.0, share - context_b / device_b)


def cap(share: float, context_b: int | None) -> None:
    """Let this process take no more of its device than a share; more than that raises torch.OutOfMemoryError.

    To be called before each trial: a worker that is used again may get another share. Where there is no GPU, or no
    share of one, it does nothing.

    Args:
        share: of the device; 1 or more takes the cap away, 0 is no GPU.
        context_b: bytes of the CUDA context; None if nobody measured them.

    Raises:
        MemoryError: if the context alone takes the whole share.
    """
    if not share:
        return
    import torch

    if not torch.cuda.is_available():
        return
    _, device_b = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()  # what is kept from before counts as well
    taken_b = CONTEXT_B if context_b is None else context_b
    rest = fraction(share, taken_b, device_b)
    if not rest:
        raise MemoryError(
            f"a share of {share:g} of a GPU of {device_b / 1e9:.1f} GB is less than a CUDA context takes "
            f"({taken_b / 1e9:.1f} GB); ask for more in resources.gpu"
        )
    torch.cuda.set_per_process_memory_fraction(rest)


def footprint() -> Footprint | None:
    """Return what this process has taken of its device at most; None if it has used no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return None
    free_b, device_b = torch.cuda.mem_get_info()
    context_b = device_b - free_b - torch.cuda.memory_reserved()
    return Footprint(torch.cuda.max_memory_reserved(), min(max(0, context_b), CONTEXT_B), device_b)


def size() -> int | None:
    """Return the bytes of this process's device, None if there is none."""
    import torch

    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else None
