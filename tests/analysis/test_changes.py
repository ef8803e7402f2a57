import numpy as np
import pytest

from analysis.changes import change
from analysis.statistics import paired
from tests.analysis.test_comparison import scores


def one(values, **options):
    return scores({"x": values}, **options).drop(columns="variant")


def test_a_change_of_a_sample_of_images_has_the_interval_of_crossed_seeds_and_images():
    rng = np.random.default_rng(2)
    after, before = one([1.0, 2.0, 4.0], images=8), one([1.0, 1.0, 2.0], images=8)
    after["psnr"] += rng.normal(size=len(after))
    d = (after["psnr"] - before["psnr"]).to_numpy().reshape(3, 8)
    found = change(after, before, metric="psnr", images_are="sample")
    assert (found.low, found.high) == pytest.approx(paired(d, images="sample").interval())
    few = change(after[after["image"] < "i6"], before, metric="psnr", images_are="sample")
    assert np.isnan(few.low)
    assert few.how == "6 scenes, 7 are needed to speak of images like these"


def test_a_change_is_that_on_the_images_that_both_have():
    after, before = one([3.0, 4.0, 5.0], images=1), one([1.0, 2.0, 2.0], images=3)
    assert change(after, before, metric="psnr").difference == pytest.approx(7 / 3)
    nothing = change(after.assign(image="other"), before, metric="psnr")
    assert np.isnan(nothing.difference)
    assert nothing.how == "no images that both were scored on"
