"""What lacks memory is told from other failures."""

import pytest
import torch

from trials.memory import lacks_memory


def test_torch_lacking_memory_on_the_cpu_is_told_by_its_own_error():
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**62, dtype=torch.uint8)
    assert lacks_memory(found.value)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_python_and_a_gpu_lack_memory(error):
    assert lacks_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("DefaultCPUAllocator is no text")])
def test_other_errors_do_not(error):
    assert not lacks_memory(error)
