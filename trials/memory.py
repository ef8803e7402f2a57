"""Whether something failed for want of memory. Imports nothing of the trainer's, nor torch."""

from __future__ import annotations

__all__ = ["lacks_memory"]


def lacks_memory(error: BaseException) -> bool:
    """Whether Python, a GPU or the CPU lacked memory; torch's allocator for the CPU raises a plain RuntimeError."""
    named = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and named)
