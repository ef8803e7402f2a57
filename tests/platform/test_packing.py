"""Sharing devices: known answers, worked out by hand, and what has to hold for any sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform.errors import SpecError
from platform.packing import crowd, fitting, gpus, packing, told
from tests.platform.specs import study

GB = 10**9


@pytest.mark.parametrize(
    ("footprint", "device", "most", "share"),
    [
        (2 * GB, 8 * GB, 99, 0.3333),  # 2.2 GB each: three, not four
        (2 * GB, 8.8 * GB, 99, 0.25),  # exactly four
        (2 * GB, 6.6 * GB, 99, 0.5),  # three thirds, rounded down, would lack 0.2 MB
        (2 * GB, 80 * GB, 8, 0.125),  # the CPUs allow eight
        (2 * GB, 80 * GB, 1, 1),
        (5 * GB, 8 * GB, 99, 1),
        (50 * GB, 8 * GB, 99, 1),  # even one does not fit
        (0, 8 * GB, 16, 0.0625),
        (1, 80 * GB, 10**9, 0.0001),
    ],
)
def test_as_many_trials_as_fit(footprint, device, most, share):
    assert packing(int(footprint), int(device), margin=0.1, most=most) == share


@given(
    footprint=st.integers(1, 10**12), device=st.integers(10**8, 10**12), most=st.integers(1, 100),
    margin=st.floats(0, 2),
)  # fmt: skip
def test_caps_fit_the_device_and_footprints_fit_the_caps(footprint, device, most, margin):
    share = packing(footprint, device, margin=margin, most=most)
    trials = fitting([{"CPU": 10**6, "GPU": 1}], cpu=1, gpu=share)
    assert trials >= 1
    assert trials * share <= 1 + 1e-9
    if share < 1:
        assert share * device >= footprint * (1 + margin) * (1 - 1e-9)
    assert trials <= most


@pytest.mark.parametrize(
    ("nodes", "cpu", "gpu", "trials"),
    [
        ([{"CPU": 8}], 1, 0, 8),
        ([{"CPU": 1}], 0.1, 0, 10),  # where 1 // 0.1 is 9
        ([{"CPU": 3}, {"CPU": 3}], 2, 0, 2),  # a trial lies on one node
        ([{"CPU": 8, "GPU": 2}], 1, 0.4, 4),  # two on each device, not five on two
        ([{"CPU": 8, "GPU": 1}], 1, 0.3333, 3),
        ([{"CPU": 8, "GPU": 3}], 1, 2, 1),
        ([{"CPU": 2, "GPU": 4}], 1, 0.5, 2),
        ([{"CPU": 0}, {"CPU": 64}, {"CPU": 4, "GPU": 1}], 1, 0.5, 2),
        ([{"memory": 1.0}], 1, 0, 0),
        ([], 1, 0, 0),
    ],
)
def test_how_many_trials_fit_on_nodes(nodes, cpu, gpu, trials):
    assert fitting(nodes, cpu=cpu, gpu=gpu) == trials


@pytest.mark.parametrize(
    ("nodes", "cpu", "trials"),
    [
        ([{"CPU": 16, "GPU": 2}], 1, 8),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 32, "GPU": 1}, {"CPU": 64}], 2, 16),
        ([{"CPU": 1, "GPU": 4}], 1, 1),
        ([{"CPU": 8}], 1, 1),
    ],
)
def test_as_many_for_a_gpu_as_the_cpus_allow(nodes, cpu, trials):
    assert crowd(nodes, cpu) == trials


def test_the_share_that_was_measured_holds_where_none_is_given():
    assert gpus("auto", None) == 1
    assert gpus("auto", {"share": 0.25}) == 0.25
    assert gpus(0.5, {"share": 0.25}) == 0.5
    assert gpus(0, None) == 0


def test_what_was_measured_is_told():
    measured = {"peak_b": 1_500_000_000, "context_b": 500_000_000, "device_b": 8_000_000_000, "share": 0.25}
    assert told(measured) == "a trial takes up to 2.00 of the 8.00 GB of a GPU, and gets 0.25 of one"
    assert told({**measured, "share": 1.0}) == "a trial takes up to 2.00 of the 8.00 GB of a GPU"


@pytest.mark.parametrize("gpu", ["auto", 0, 0.001, 0.25, 1, 2, 10_000])
def test_gpus_that_a_trial_may_ask_for(tmp_path, gpu):
    assert study(tmp_path, f"resources.gpu={gpu}").resolved()["resources"]["gpu"] == gpu


@pytest.mark.parametrize("gpu", ["much", -1, 0.0001, 1.5, 20_000, "true", "[1]", ".nan", ".inf"])
def test_gpus_that_ray_cannot_give_are_refused(tmp_path, gpu):
    said = r"resources.gpu: expected 0, a share of a GPU from 0.001 to 1, a whole number up to 10000, or auto, got"
    with pytest.raises(SpecError, match=said):
        study(tmp_path, f"resources.gpu={gpu}")
