import numpy as np
import pytest

from trials import metrics, photos
from trials.lowlight import darken, to_linear, to_srgb

NO_NOISE = {"factor": 0.1, "shot": 0, "read": 0}
NOISE = {"factor": 0.05, "shot": 0.002, "read": 0.002}


# Mean, NIQE, PSNR and SSIM of the recipe's output, computed independently of this code.
@pytest.mark.parametrize(
    ("name", "recipe", "mean", "niqe", "psnr_db", "ssim"),
    [
        ("astronaut", NO_NOISE, 37.0, 3.6257, 8.6957, 0.4934),
        ("astronaut", NOISE, 25.3, 10.3187, 7.3839, 0.2426),
        ("coffee", NO_NOISE, 30.4, 4.9353, 9.7517, 0.4017),
        ("coffee", NOISE, 20.6, 10.5832, 8.4488, 0.2349),
        ("chelsea", NO_NOISE, 35.7, 3.5697, 9.6544, 0.4500),
        ("chelsea", NOISE, 22.7, 12.4191, 8.2963, 0.1766),
    ],
)
def test_darkened_photographs_score_as_computed_elsewhere(name, recipe, mean, niqe, psnr_db, ssim):
    photograph = photos.load(name)
    dark = darken(photograph, **recipe, rng=np.random.default_rng(0))
    assert dark.mean() == pytest.approx(mean, abs=0.06)
    assert metrics.niqe(dark) == pytest.approx(niqe, abs=1e-3)
    assert metrics.psnr(photograph, dark) == pytest.approx(psnr_db, abs=1e-4)
    assert metrics.ssim(photograph, dark) == pytest.approx(ssim, abs=1e-4)


def test_srgb_and_linear_light_are_inverse_and_standard():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_srgb(to_linear(every)), every)
    assert to_linear(np.array([10, 188], dtype=np.uint8)) == pytest.approx([10 / 255 / 12.92, 0.5029], abs=1e-4)
    assert to_srgb(np.array([-1.0, 0.18, 0.5, 2.0])).tolist() == [0, 118, 188, 255]


def test_noise_has_the_stated_variance():
    grey = np.full((500, 500), 255, dtype=np.uint8)
    light = to_linear(darken(grey, factor=0.5, shot=0.001, read=0.01, rng=np.random.default_rng(0)))
    assert light.mean() == pytest.approx(0.5, abs=1e-3)
    assert light.var() == pytest.approx(0.001 * 0.5 + 0.01**2, rel=0.03)


def test_negative_settings_are_refused():
    with pytest.raises(ValueError, match=r"must not be negative, got 0\.1, -1 and 0"):
        darken(np.zeros((2, 2), dtype=np.uint8), factor=0.1, shot=-1, read=0, rng=np.random.default_rng(0))
