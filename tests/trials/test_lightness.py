import numpy as np
import pytest

from trials import photos
from trials.lightness import cells, disorder, order_error
from trials.references import gamma


def test_disorder_is_the_published_sum_over_pairs():
    random = np.random.default_rng(0)
    before, after = random.integers(0, 6, (2, 70))  # many are equal
    changed = sum(
        (before[i] >= before[j]) != (after[i] >= after[j]) for i in range(len(before)) for j in range(len(before))
    )
    assert disorder(before, after) == changed / 70**2


def test_what_rises_keeps_the_order_and_what_falls_reverses_every_pair():
    values = np.arange(200)
    assert disorder(values, values**2) == 0
    assert disorder(values, -values) == 1 - 1 / 200  # no value leaves its own place


def test_cells_are_means_over_a_grid_of_50_along_the_shorter_side():
    plane = np.random.default_rng(0).integers(0, 256, (100, 151), dtype=np.uint8)
    means = cells(plane)
    assert means.shape == (50, 76)
    assert means[3, 0] == plane[6:8, 0:1].mean()  # 151 columns: cells of 1 or 2
    assert means[49, 75] == plane[98:, 149:].mean()
    assert (cells(plane[:20]) == plane[:20]).all()


def test_lightness_is_the_largest_channel():
    low = np.zeros((8, 8, 3), dtype=np.uint8)
    low[:4, :, 0], low[4:, :, 2] = 40, 80  # the blue half is lighter, though its luminance is less
    kept, turned = 3 * low, np.zeros_like(low)
    turned[:4, :, 1], turned[4:, :, 1] = 200, 100
    assert order_error(low, kept) == 0
    assert order_error(low, turned) == 0.5  # of the pairs of different halves each, which are half of all


def test_one_curve_for_all_pixels_hardly_changes_the_order_and_a_light_that_turns_does():
    low = photos.darkened("coffee")
    ramp = np.linspace(1, 0.1, low.shape[1])[:, None]
    turned = np.round(low * ramp).astype(np.uint8)
    assert order_error(low, low) == 0
    assert order_error(low, gamma(low)) < 0.02
    assert order_error(low, turned) > 0.1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (60, 3)])
@pytest.mark.filterwarnings("error")
def test_images_of_any_size_have_an_order(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert order_error(image, image) == 0
    assert order_error(np.zeros_like(image), np.zeros_like(image)) == 0
