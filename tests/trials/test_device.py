"""A trial's share of a GPU, on one that is played: what PyTorch is told, and what is made of what it tells."""

import sys
from types import SimpleNamespace

import pytest

from trials import device

GB = 10**9


class Played:
    """As much of `torch.cuda` as is used, on a device of 8 GB."""

    def __init__(self, *, free=7 * GB, reserved=0, peak=0, there=True):
        self.said = []
        self.mem_get_info = lambda: (free, 8 * GB)
        self.memory_reserved = lambda: reserved
        self.max_memory_reserved = lambda: peak
        self.is_available = lambda: there
        self.is_initialized = lambda: there

    def empty_cache(self):
        self.said.append("empty_cache")

    def set_per_process_memory_fraction(self, fraction):
        assert isinstance(fraction, float)
        assert 0 <= fraction <= 1
        self.said.append(fraction)


@pytest.fixture
def play(monkeypatch):
    def play(**facts):
        cuda = Played(**facts)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        return cuda

    return play


@pytest.mark.parametrize(
    ("share", "context", "fraction"),
    [(0.5, GB, 0.375), (0.25, None, 0.25 - (1 << 30) / (8 * GB)), (1.0, GB, 1.0), (2.0, GB, 1.0)],
)
def test_the_context_counts_as_part_of_the_share(play, share, context, fraction):
    cuda = play()
    device.cap(share, context)
    assert cuda.said == ["empty_cache", pytest.approx(fraction)]  # what was kept under the last cap first


def test_a_share_that_the_context_takes_whole_is_told(play):
    play()
    with pytest.raises(
        MemoryError, match=r"a share of 0.1 of a GPU of 8.0 GB is less than a CUDA context takes \(1.0 GB\)"
    ):
        device.cap(0.1, GB)


def test_a_worker_that_is_used_again_gets_the_next_trials_cap(play):
    cuda = play()
    for share in (0.25, 1.0, 0.5):
        device.cap(share, 0)
    assert cuda.said[1::2] == [0.25, 1.0, 0.5]


def test_without_a_gpu_nothing_is_capped(play):
    cuda = play(there=False)
    device.cap(0.5, 0)
    assert cuda.said == []
    cuda = play()
    device.cap(0, 0)
    assert cuda.said == []


def test_a_footprint_is_the_peak_and_what_the_allocator_does_not_count(play):
    play(free=5 * GB, reserved=2 * GB, peak=3 * GB)
    assert device.footprint() == device.Footprint(peak_b=3 * GB, context_b=1 * GB, device_b=8 * GB)
    play(free=1 * GB, reserved=2 * GB, peak=3 * GB)  # others hold 4 GB or so of the device
    assert device.footprint() == device.Footprint(3 * GB, device.CONTEXT_B, 8 * GB)


def test_a_process_that_used_no_gpu_has_no_footprint(play, monkeypatch):
    play(there=False)
    assert device.footprint() is None
    assert device.size() is None
    monkeypatch.delitem(sys.modules, "torch")
    assert device.footprint() is None
