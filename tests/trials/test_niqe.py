import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import correlate

from trials import images, niqe, photos

# Figures of LIVE's algorithm with its pristine model, to six decimals, from an implementation checked against MATLAB.
PUBLISHED = {
    "astronaut": 3.063434,
    "coffee": 4.058462,
    "chelsea": 2.572084,
    "rocket": 7.036827,
    "china": 4.212048,
    "flower": 4.819383,
}


def noise(height, width, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items())
def test_photographs_score_as_published(name, expected):
    path = photos.file(name)
    decoder = 0.01 if path.suffix == ".jpg" else 0  # JPEG decoders round differently
    assert niqe.measure(images.read(path))[0] == pytest.approx(expected, abs=1e-4 + decoder)


def test_a_grey_image_scores_as_published():
    with Image.open(photos.file("astronaut").with_name("camera.png")) as file:
        assert niqe.measure(np.asarray(file))[0] == pytest.approx(3.096207, abs=1e-4)


def test_pixels_beyond_the_last_whole_block_do_not_count():
    image = photos.load("coffee")
    assert niqe.measure(image) == niqe.measure(image[:384, :576])
    assert niqe.measure(image) != niqe.measure(image[1:])


@pytest.mark.parametrize(("size", "defined"), [((95, 400), False), ((191, 191), False), ((192, 191), True)])
def test_niqe_needs_two_blocks(size, defined):
    assert np.isfinite(niqe.measure(noise(*size))[0]) == defined


def test_an_image_without_any_block_has_no_flat_share_either():
    assert np.isnan(niqe.measure(noise(95, 95))).all()


@pytest.mark.filterwarnings("error")
def test_a_constant_image_has_no_niqe_and_is_all_flat():
    index, flat_share = niqe.measure(np.full((300, 300, 3), 7, dtype=np.uint8))
    assert np.isnan(index)
    assert flat_share == 1


@pytest.mark.filterwarnings("error")
def test_one_block_that_is_not_flat_is_not_enough_and_two_are():
    image = np.zeros((288, 288), dtype=np.uint8)
    image[:90, :90] = noise(90, 90)
    assert np.isnan(niqe.measure(image)[0])
    image[:90, 100:180] = noise(90, 80)
    assert np.isfinite(niqe.measure(image)[0])


def blurred_in_two_dimensions(plane):
    return correlate(plane, np.outer(niqe.WINDOW, niqe.WINDOW), mode="nearest")


def test_the_order_of_summation_does_not_matter_in_flat_regions(monkeypatch):
    image = np.clip(photos.load("coffee").astype(int) * 5, 0, 255).astype(np.uint8)
    index, flat_share = niqe.measure(image)
    assert flat_share > 0.1
    monkeypatch.setattr(niqe, "_blurred", blurred_in_two_dimensions)
    assert niqe.measure(image)[0] == pytest.approx(index, abs=1e-6)
    monkeypatch.setattr(niqe, "SNAP", 0)
    assert abs(niqe.measure(image)[0] - index) > 0.001  # what the snap prevents


def test_the_shape_is_the_first_minimum_over_the_whole_grid():
    shapes, ratios = niqe._shapes()
    asked = np.concatenate([np.random.default_rng(0).uniform(-0.1, 1.1, 500), ratios[[0, 1, 5000, -1]], [0.0, 2.0]])
    searched = shapes[((ratios - asked[:, None]) ** 2).argmin(axis=1)]
    np.testing.assert_array_equal(niqe._shape(asked), searched)
    assert np.isnan(niqe._shape(np.array([np.nan])))


def test_halving_agrees_with_pillows_antialiased_bicubic_away_from_the_border():
    plane = photos.load("coffee")[..., 1].astype(np.float64)
    pillow = Image.fromarray(plane.astype(np.float32)).resize((300, 200), Image.Resampling.BICUBIC)
    ours = niqe._halved(niqe._halved(plane).T).T
    np.testing.assert_allclose(ours[4:-4, 4:-4], np.asarray(pillow)[4:-4, 4:-4], atol=1e-3)


def test_luminance_is_matlabs():
    # rgb2gray(uint8(cat(3, 0, 1, 0))) is 1 in MATLAB, and (0, 0, 255) gives 29
    image = np.array([[[0, 1, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    assert niqe.gray(image).tolist() == [[1, 29, 255]]


def test_another_pristine_model_is_refused(monkeypatch):
    niqe._pristine.cache_clear()
    monkeypatch.setattr(niqe, "MODEL_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="is not LIVE's model of 2012"):
        niqe.measure(noise(192, 192))
