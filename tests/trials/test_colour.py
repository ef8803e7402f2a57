import math

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from trials import colour, photos

# Sharma, Wu, Dalal 2005, table 1: two colours (L*, a*, b*) and the difference, given to 4 decimals.
PUBLISHED = [
    (50, 2.6772, -79.7751, 50, 0, -82.7485, 2.0425),
    (50, 3.1571, -77.2803, 50, 0, -82.7485, 2.8615),
    (50, 2.8361, -74.0200, 50, 0, -82.7485, 3.4412),
    (50, -1.3802, -84.2814, 50, 0, -82.7485, 1.0000),
    (50, -1.1848, -84.8006, 50, 0, -82.7485, 1.0000),
    (50, -0.9009, -85.5211, 50, 0, -82.7485, 1.0000),
    (50, 0, 0, 50, -1, 2, 2.3669),
    (50, -1, 2, 50, 0, 0, 2.3669),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0009, 7.1792),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0010, 7.1792),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0011, 7.2195),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0012, 7.2195),
    (50, -0.0010, 2.4900, 50, 0.0009, -2.4900, 4.8045),
    (50, -0.0010, 2.4900, 50, 0.0010, -2.4900, 4.8045),
    (50, -0.0010, 2.4900, 50, 0.0011, -2.4900, 4.7461),
    (50, 2.5, 0, 50, 0, -2.5, 4.3065),
    (50, 2.5, 0, 73, 25, -18, 27.1492),
    (50, 2.5, 0, 61, -5, 29, 22.8977),
    (50, 2.5, 0, 56, -27, -3, 31.9030),
    (50, 2.5, 0, 58, 24, 15, 19.4535),
    (50, 2.5, 0, 50, 3.1736, 0.5854, 1.0000),
    (50, 2.5, 0, 50, 3.2972, 0, 1.0000),
    (50, 2.5, 0, 50, 1.8634, 0.5757, 1.0000),
    (50, 2.5, 0, 50, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


def pairs():
    """The three pairs on which other libraries were run: darker, steeper, noisier."""
    astronaut, coffee = photos.load("astronaut"), photos.load("coffee")
    noise = np.random.default_rng(0).normal(0, 10, coffee.shape)
    return {
        "darker": (astronaut, np.round(astronaut * 0.3).astype(np.uint8)),
        "steeper": (coffee, np.round(255 * (coffee / 255) ** 2.2).astype(np.uint8)),
        "noisier": (coffee, np.clip(np.round(coffee + noise), 0, 255).astype(np.uint8)),
    }


def lab(image):
    return colour.lab(colour.light(image))


def patch(*rgb):
    return np.full((16, 24, 3), rgb, dtype=np.uint8)


def test_ciede2000_of_the_published_pairs_either_way_round():
    table = np.array(PUBLISHED, dtype=float).T
    for first, second in ((table[:3], table[3:6]), (table[3:6], table[:3])):
        np.testing.assert_allclose(colour.ciede2000(first, second)[0], table[6], atol=5.1e-5)


@pytest.mark.parametrize(("pair", "difference"), [("darker", 31.5273), ("steeper", 17.9320), ("noisier", 5.0348)])
def test_ciede2000_is_that_of_skimage_pixel_by_pixel(pair, difference):
    reference, image = pairs()[pair]
    whole, chroma = colour.ciede2000(lab(reference), lab(image))
    assert whole.mean(dtype=float) == pytest.approx(difference, abs=1e-4)
    np.testing.assert_allclose(whole, deltaE_ciede2000(rgb2lab(reference), rgb2lab(image)), atol=5e-4)
    relit = rgb2lab(image)
    relit[..., 0] = rgb2lab(reference)[..., 0]
    np.testing.assert_allclose(chroma, deltaE_ciede2000(rgb2lab(reference), relit), atol=5e-4)


def test_every_level_has_the_cielab_colour_of_skimage():
    image = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), axis=-1).reshape(1, -1, 3)
    np.testing.assert_allclose(np.moveaxis(lab(image), 0, 2), rgb2lab(image), atol=2e-4)


def test_faded_colour_lowers_the_chroma_ratio_and_stronger_colour_raises_it():
    red, blue = np.array([[[50.0]], [[40.0]], [[30.0]]]), np.array([[[20.0]], [[0.0]], [[-25.0]]])
    assert colour.chroma_log2(red, blue) == pytest.approx(-1)  # 25 over 50
    assert colour.chroma_log2(blue, red) == pytest.approx(1)


def test_a_grey_image_has_lost_its_colour_by_a_finite_ratio():
    before, after = lab(patch(200, 90, 40)), lab(patch(110, 110, 110))
    chroma = np.hypot(*rgb2lab(patch(200, 90, 40))[0, 0, 1:])
    assert colour.chroma_log2(before, after) == pytest.approx(math.log2(0.1 / chroma), abs=1e-4)
    assert colour.chroma_log2(after, after) == 0


# Figures of an independent computation in sRGB values, black pixels left out.
@pytest.mark.parametrize(("pair", "angle"), [("darker", 0.9636), ("steeper", 13.6909), ("noisier", 5.4391)])
def test_the_angle_between_srgb_values_is_as_computed_independently(pair, angle):
    first, second = (np.moveaxis(image, 2, 0) / 255 for image in pairs()[pair])
    assert colour.angle_deg(first, second, darkest=1 / 255) == pytest.approx(angle, abs=1e-4)


def test_the_angle_between_two_colours_is_that_of_their_light_whatever_the_exposure():
    first = np.array([[[0.2]], [[0.2]], [[0.0]]])
    second = np.array([[[0.6]], [[0.0]], [[0.0]]])
    assert colour.angle_deg(first, second) == pytest.approx(45)
    assert colour.angle_deg(first, 4 * second) == pytest.approx(45)
    assert colour.angle_deg(first, 0.5 * first) == pytest.approx(0, abs=1e-6)


def test_pixels_too_dark_to_have_a_colour_do_not_count_for_the_angle():
    reference, image = patch(100, 100, 100), patch(100, 100, 100)
    image[0] = (4, 0, 0)
    reference[1] = (0, 4, 0)
    assert colour.angle_deg(colour.light(reference), colour.light(image)) == 0
    image[0] = (5, 0, 0)
    one_row = math.degrees(math.acos(1 / math.sqrt(3))) / 15  # red from grey, of the 15 rows that count
    assert colour.angle_deg(colour.light(reference), colour.light(image)) == pytest.approx(one_row, rel=1e-5)


@pytest.mark.filterwarnings("error")
def test_black_images_have_no_angle():
    black = colour.light(patch(0, 0, 0))
    assert math.isnan(colour.angle_deg(black, colour.light(patch(9, 9, 9))))
    assert math.isnan(colour.angle_deg(black, black))


def test_blocks_are_means_of_light_and_small_images_are_one_block():
    light = colour.light(np.random.default_rng(0).integers(0, 256, (17, 26, 3), dtype=np.uint8))
    means = colour.blocks(light)
    assert means.shape == (3, 2, 3)
    assert means[1, 1, 2] == pytest.approx(light[1, 8:16, 16:24].mean(), rel=1e-5)
    np.testing.assert_allclose(colour.blocks(light[:, :5, :5])[:, 0, 0], light[:, :5, :5].mean(axis=(1, 2)), rtol=1e-5)


def test_brightness_is_the_luminance_of_srgb():
    assert colour.brightness(colour.light(patch(255, 255, 255))) == pytest.approx(1, abs=1e-5)
    assert colour.brightness(colour.light(patch(0, 255, 0))) == pytest.approx(0.7152, abs=1e-4)  # IEC 61966-2-1
