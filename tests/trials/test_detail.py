import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2gray

from trials import photos
from trials.detail import Region, cut, gmsd, high_frequency_log2, luminance, noise


def noisy(image, deviation):
    added = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.clip(np.round(image + added), 0, 255).astype(np.uint8)


def test_luminance_is_weighted_as_bt601_and_not_rounded():
    image = np.array([[[100, 0, 0], [0, 100, 0], [0, 0, 100], [7, 7, 7]]], dtype=np.uint8)
    np.testing.assert_allclose(luminance(image), [[29.9, 58.7, 11.4, 7]], rtol=1e-6)


# The figures of piq 0.8.0.
@pytest.mark.parametrize(
    ("name", "changed", "deviation"),
    [
        ("astronaut", lambda image: np.round(image * 0.3).astype(np.uint8), 0.1737),
        ("coffee", lambda image: np.round(255 * (image / 255) ** 2.2).astype(np.uint8), 0.0740),
        ("coffee", lambda image: noisy(image, 10), 0.0325),
    ],
)
def test_gmsd_is_that_of_another_library(name, changed, deviation):
    reference = photos.load(name)
    assert gmsd(luminance(reference), luminance(changed(reference))) == pytest.approx(deviation, abs=5e-5)


def test_gmsd_of_a_part_sees_only_that_part():
    reference = luminance(photos.load("chelsea"))
    part = Region(top=100, left=60, height=40, width=50)
    elsewhere, there = reference.copy(), reference.copy()
    cut(elsewhere, Region(10, 10, 40, 50))[:] = 90
    cut(there, part)[:] = 90
    assert gmsd(reference, elsewhere, within=part) == 0
    assert gmsd(reference, elsewhere) > 0.01
    assert gmsd(reference, there, within=part) > 3 * gmsd(reference, there)


@pytest.mark.parametrize("shape", [(1, 1), (5, 4), (16, 17)])
def test_equal_images_have_no_gmsd_whatever_their_size(shape):
    plane = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    assert gmsd(plane, plane) == 0


def wave(amplitude, *, period=4):
    return np.tile(100 + amplitude * np.sin(2 * np.pi * np.arange(240) / period), (60, 1))


def test_fine_detail_of_half_the_amplitude_has_a_quarter_of_the_energy():
    assert high_frequency_log2(wave(40), wave(20)) == pytest.approx(-2)
    assert high_frequency_log2(wave(20), wave(40)) == pytest.approx(2)


def test_coarse_detail_hardly_counts():
    # A wave of f cycles per pixel passes the 5 x 5 means with cos(pi f)^4, so this much of it is fine.
    fine, coarse = (1 - math.cos(math.pi / period) ** 4 for period in (4, 24))
    middle = Region(0, 24, 60, 192)  # whole periods, away from the borders
    measured = high_frequency_log2(wave(40), wave(100, period=24), within=middle)
    assert measured == pytest.approx(math.log2((100 * coarse) ** 2 / (40 * fine) ** 2), abs=1e-6)


def test_brightening_by_a_factor_leaves_fine_detail_blurring_lowers_it_and_noise_raises_it():
    plane = luminance(photos.load("coffee"))
    assert high_frequency_log2(plane, 0.3 * plane) == pytest.approx(0, abs=1e-5)
    assert high_frequency_log2(plane, gaussian_filter(plane, 1)) < -2
    assert high_frequency_log2(plane, luminance(noisy(photos.load("coffee"), 10))) > 0.3


def test_fine_detail_of_a_part_sees_only_that_part():
    plane = luminance(photos.load("chelsea"))
    blurred = plane.copy()
    blurred[200:] = gaussian_filter(plane, 2)[200:]
    assert high_frequency_log2(plane, blurred, within=Region(20, 30, 60, 90)) == 0
    assert high_frequency_log2(plane, blurred, within=photos.HAIR["chelsea"]) < -3


@pytest.mark.filterwarnings("error")
def test_black_images_have_no_ratio_and_flat_ones_as_much_detail_as_rounding_hides():
    black, flat = np.zeros((20, 30), dtype=np.float32), np.full((20, 30), 100, dtype=np.float32)
    assert math.isnan(high_frequency_log2(flat, black))
    assert math.isnan(high_frequency_log2(black, flat))
    assert high_frequency_log2(flat, flat) == 0
    deviation = 30 * (1 - math.cos(math.pi / 4) ** 4) / math.sqrt(2)
    plane = wave(30)[:, 40:200]
    assert high_frequency_log2(plane, flat) == pytest.approx(math.log2(1 / 12 / deviation**2), abs=0.05)


@pytest.mark.parametrize("deviation", [2, 5, 15])
def test_noise_of_known_strength_is_found_on_a_smooth_image(deviation):
    slope = np.linspace(70, 180, 600) + np.linspace(0, 10, 400)[:, None]
    image = noisy(np.repeat(slope[..., None], 3, axis=2), deviation)
    weight = math.sqrt(0.299**2 + 0.587**2 + 0.114**2)  # the channels' noise is independent
    expected = weight * math.hypot(deviation, 1 / math.sqrt(12))  # and so are their rounding errors
    assert noise(luminance(image)) == pytest.approx(expected, rel=0.02)


def test_noise_on_a_photograph_is_the_median_of_its_diagonal_details():
    plane = rgb2gray(noisy(photos.load("coffee"), 20)) * 255
    a, b, c, d = plane[::2, ::2], plane[::2, 1::2], plane[1::2, ::2], plane[1::2, 1::2]
    assert noise(plane) == pytest.approx(np.median(np.abs(a - b - c + d) / 2) / 0.6745)


def test_flat_images_have_no_noise_and_single_rows_no_estimate():
    assert noise(np.full((20, 30), 7, dtype=np.float32)) == 0
    assert math.isnan(noise(np.zeros((1, 30), dtype=np.float32)))
