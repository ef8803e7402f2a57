import itertools
import json
import math
import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from trials import colour, detail, lightness, metrics, photos
from trials.detail import Region
from trials.progress import DataError, ImageScore
from trials.trainer import METRICS


def darker():
    reference = photos.load("astronaut")
    return reference, np.round(reference * 0.3).astype(np.uint8)


def steeper():
    reference = photos.load("coffee")
    return reference, np.round(255 * (reference / 255) ** 2.2).astype(np.uint8)


def noisier():
    reference = photos.load("coffee")
    noise = np.random.default_rng(0).normal(0, 10, reference.shape)
    return reference, np.clip(np.round(reference + noise), 0, 255).astype(np.uint8)


# PSNR and SSIM as scikit-image, torchmetrics, piq and pyiqa give them with the settings of the literature.
@pytest.mark.parametrize(
    ("pair", "psnr_db", "ssim", "psnr_matched_db"),
    [
        (darker, 8.2770, 0.4888, 48.6231),
        (steeper, 14.3058, 0.5259, 18.0712),
        (noisier, 28.3957, 0.6419, 28.3957),
    ],
)
def test_pairs_score_as_other_libraries_say(pair, psnr_db, ssim, psnr_matched_db):
    reference, image = pair()
    assert metrics.psnr(reference, image) == pytest.approx(psnr_db, abs=1e-4)
    assert metrics.ssim(reference, image) == pytest.approx(ssim, abs=1e-4)
    assert metrics.psnr_matched(reference, image) == pytest.approx(psnr_matched_db, abs=1e-4)


def test_psnr_and_ssim_agree_with_skimage_on_odd_sizes():
    rng = np.random.default_rng(1)
    reference, image = rng.integers(0, 256, (2, 23, 38, 3), dtype=np.uint8)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(reference, image, data_range=255, channel_axis=-1, **wang)
    assert metrics.ssim(reference, image) == pytest.approx(expected, abs=1e-12)
    assert metrics.psnr(reference, image) == pytest.approx(peak_signal_noise_ratio(reference, image), abs=1e-12)


def test_matched_ssim_agrees_with_skimage_on_the_image_scaled_by_hand():
    reference, image = steeper()
    luma = np.array([0.299, 0.587, 0.114])
    scaled = np.clip(np.round(image * ((reference @ luma).mean() / (image @ luma).mean())), 0, 255).astype(np.uint8)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(reference, scaled, data_range=255, channel_axis=-1, **wang)
    assert metrics.ssim_matched(reference, image) == pytest.approx(expected, abs=1e-9)


def test_equal_images_have_finite_psnr():
    image = photos.load("chelsea")
    assert metrics.psnr(image, image) == 100
    assert metrics.ssim(image, image) == pytest.approx(1)
    almost = image.copy()
    almost[0, 0, 0] += 1  # 104 dB
    assert metrics.psnr(image, almost) == 100


@pytest.mark.filterwarnings("error")
def test_an_image_smaller_than_the_window_has_no_ssim():
    image = np.zeros((10, 40, 3), dtype=np.uint8)
    assert math.isnan(metrics.ssim(image, image))
    assert metrics.psnr(image, image) == 100


def test_a_black_image_cannot_be_matched():
    reference, black = photos.load("chelsea"), np.zeros((300, 451, 3), dtype=np.uint8)
    assert math.isnan(metrics.psnr_matched(reference, black))
    assert math.isnan(metrics.ssim_matched(reference, black))


def test_an_image_that_is_too_bright_has_a_positive_luminance_error():
    reference = np.full((20, 20, 3), 100, dtype=np.uint8)
    red = reference.copy()
    red[..., 0] = 200
    assert metrics.luminance_error(reference, red) == pytest.approx(29.9)  # 0.299 x 100
    assert metrics.luminance_error(red, reference) == pytest.approx(-29.9)


def keys(*, reference, hair):
    """The keys of what each image has: with or without a reference, and hair."""
    return {
        metric.key
        for metric in METRICS
        if metric.per_image
        and (reference or not metric.needs_reference)
        and (hair or not metric.key.startswith("eval/hair"))
    }


def test_an_image_has_every_metric_and_without_reference_or_hair_those_that_need_none():
    reference, image = steeper()
    low = metrics.scaled(reference, 0.2)
    hair = Region(10, 20, 40, 60)
    assert set(metrics.score(image, reference, low, hair)) == keys(reference=True, hair=True)
    assert set(metrics.score(image, reference, low)) == keys(reference=True, hair=False)
    assert set(metrics.score(image, None, low, hair)) == keys(reference=False, hair=False)


def test_scores_are_those_of_the_single_metrics():
    reference, image = steeper()
    low, hair = metrics.scaled(reference, 0.2), Region(10, 20, 40, 60)
    scores = metrics.score(image, reference, low, hair)
    assert scores["eval/niqe"] == metrics.niqe(image)
    assert scores["eval/niqe_flat_share"] == metrics.niqe_flat_share(image)
    assert scores["eval/psnr_db"] == metrics.psnr(reference, image)
    assert scores["eval/ssim"] == metrics.ssim(reference, image)
    assert scores["eval/psnr_matched_db"] == metrics.psnr_matched(reference, image)
    assert scores["eval/ssim_matched"] == metrics.ssim_matched(reference, image)
    assert scores["eval/luminance_error_levels"] == metrics.luminance_error(reference, image)
    assert scores["eval/loe"] == lightness.order_error(low, image)
    assert scores["eval/ciede2000"] == pytest.approx(17.9320, abs=1e-4)
    planes = detail.luminance(reference), detail.luminance(image)
    assert scores["eval/gmsd"] == detail.gmsd(*planes)
    assert scores["eval/hair_gmsd"] == detail.gmsd(*planes, within=hair)
    assert scores["eval/high_frequency_log2"] == detail.high_frequency_log2(*planes)
    assert scores["eval/hair_high_frequency_log2"] == detail.high_frequency_log2(*planes, within=hair)
    assert scores["eval/noise_levels"] == detail.noise(planes[1])
    blocks = [colour.blocks(colour.light(one)) for one in (reference, image)]
    assert scores["eval/colour_angle_deg"] == colour.angle_deg(*blocks)
    assert scores["eval/chroma_log2"] == colour.chroma_log2(*map(colour.lab, blocks))


def test_an_image_equal_to_its_input_and_reference_differs_in_nothing():
    image = photos.load("chelsea")
    scores = metrics.score(image, image, image, photos.HAIR["chelsea"])
    compared = [key for key in scores if re.search("loe|ciede|chroma|angle|gmsd|frequency", key)]
    assert {key: scores[key] for key in compared} == pytest.approx(dict.fromkeys(compared, 0), abs=1e-6)
    assert len(compared) == 14


def faded(image):
    return np.round(0.5 * image + 0.5 * detail.luminance(image)[..., None]).astype(np.uint8)


def bluish(image):
    return np.round(image * np.array([0.85, 0.9, 1.0])).astype(np.uint8)


def smooth(image):
    return np.round(gaussian_filter(image.astype(float), (1.5, 1.5, 0))).astype(np.uint8)


@pytest.mark.parametrize("prefix", ["eval/", "eval/input_"])
def test_each_defect_moves_its_metric_with_and_without_a_reference(prefix):
    reference, low = photos.load("chelsea"), photos.darkened("chelsea")
    good, grey, cast, blurred = (
        metrics.score(image, reference, low)
        for image in (reference, faded(reference), bluish(reference), smooth(reference))
    )
    assert grey[f"{prefix}chroma_log2"] < good[f"{prefix}chroma_log2"] - 0.8
    assert cast[f"{prefix}colour_angle_deg"] > good[f"{prefix}colour_angle_deg"] + 3
    assert cast[f"{prefix}ciede2000_chroma"] > good[f"{prefix}ciede2000_chroma"] + 2
    assert blurred[f"{prefix}high_frequency_log2"] < good[f"{prefix}high_frequency_log2"] - 2
    assert blurred["eval/noise_levels"] < good["eval/noise_levels"] / 2
    assert blurred["eval/gmsd"] > good["eval/gmsd"] + 0.03


def test_the_inputs_noise_does_not_count_as_a_change_of_colour():
    reference, low = photos.load("china"), photos.darkened("china")
    clean = metrics.score(reference, None, low)
    noisy = metrics.score(metrics.scaled(low, 4.2), None, low)
    assert clean["eval/input_ciede2000_chroma"] < noisy["eval/input_ciede2000_chroma"]
    assert clean["eval/input_colour_angle_deg"] < noisy["eval/input_colour_angle_deg"]
    assert abs(clean["eval/input_chroma_log2"]) < 0.1


def test_the_outputs_noise_does_not_count_as_colour():
    reference = photos.load("coffee")
    grainy = np.clip(np.round(reference + np.random.default_rng(0).normal(0, 25, reference.shape)), 0, 255)
    grainy = grainy.astype(np.uint8)
    scores = metrics.score(grainy, reference, reference)
    pixels = colour.angle_deg(colour.light(reference), colour.light(grainy))
    assert abs(scores["eval/chroma_log2"]) < 0.1
    assert scores["eval/colour_angle_deg"] < pixels / 3
    assert scores["eval/ciede2000_chroma"] > 7  # but as an error of each pixel


def test_the_input_is_brightened_in_linear_light_to_the_mean_luminance():
    low, image = np.full((6, 8, 3), 30, dtype=np.uint8), np.full((6, 8, 3), 90, dtype=np.uint8)
    low[:3] = 60
    image[:, :4] = 150
    light = [((level / 255 + 0.055) / 1.055) ** 2.4 for level in (30, 60, 90, 150)]  # IEC 61966-2-1
    gain = (light[2] + light[3]) / (light[0] + light[1])
    levels = [round(255 * (1.055 * (gain * light[row]) ** (1 / 2.4) - 0.055)) for row in (0, 1)]
    found = metrics.brightened(low, image)
    assert (found[3:] == levels[0]).all()
    assert (found[:3] == levels[1]).all()
    assert metrics.brightened(np.zeros_like(low), image) is None


def test_contrast_is_the_spread_of_the_luminance_and_clipped_are_pixels_at_the_ends():
    image = np.full((4, 5, 3), 100, dtype=np.uint8)
    image[:2] = 120
    image[0, :3] = (0, 0, 0), (255, 255, 255), (255, 0, 0)
    image[3, 3] = (255, 255, 254)
    scores = metrics.score(image, None, image)
    assert scores["eval/clipped_share"] == 3 / 20
    expected = np.std(image @ np.array([0.299, 0.587, 0.114]))
    assert scores["eval/contrast_levels"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(5, 7), (16, 16), (40, 200)])
def test_black_and_flat_images_are_scored_and_what_is_undefined_is_not_a_number(size):
    black, flat = np.zeros((*size, 3), dtype=np.uint8), np.full((*size, 3), 90, dtype=np.uint8)
    for image, reference, low in itertools.product((black, flat), repeat=3):
        scores = metrics.score(image, reference, low, Region(0, 0, 4, 4))
        assert not any(math.isinf(value) for value in scores.values())
        angles = math.isnan(scores["eval/input_colour_angle_deg"]), math.isnan(scores["eval/colour_angle_deg"])
        assert angles == (image is black or low is black, image is black or reference is black)
        assert math.isnan(scores["eval/input_ciede2000"]) == (low is black)
        assert math.isnan(scores["eval/hair_high_frequency_log2"]) == (image is black or reference is black)
        assert scores["eval/contrast_levels"] == pytest.approx(0, abs=1e-4)
        assert scores["eval/clipped_share"] == (image is black)


def test_means_leave_out_images_without_a_value():
    def image(**values):
        return ImageScore("LOL", "1", "1", values)

    means = metrics.mean_scores([image(a=1.0, b=math.nan), image(a=math.nan, b=math.nan, c=5.0), image(a=4.0)])
    assert means["a"] == 2.5
    assert math.isnan(means["b"])
    assert means["c"] == 5
    assert metrics.mean_scores([]) == {}


def test_floats_wrong_shapes_and_empty_images_are_refused():
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"expected uint8 of shape \(H, W, 3\), got float64"):
        metrics.psnr(image, image / 255)
    with pytest.raises(DataError, match=r"got uint8 of shape \(3, 20, 30\)"):
        metrics.ssim(image, image.transpose(2, 0, 1))
    with pytest.raises(DataError, match=r"shape \(20, 29, 3\) and the reference \(20, 30, 3\)"):
        metrics.luminance_error(image, image[:, :29])
    with pytest.raises(DataError, match=r"shape \(20, 30, 3\) and the low-light input \(20, 29, 3\)"):
        metrics.score(image, image, image[:, :29])
    with pytest.raises(DataError, match=r"expected uint8 of shape \(H, W, 3\) or \(H, W\)"):
        metrics.niqe(image.astype(np.float32))
    with pytest.raises(DataError, match=r"got uint8 of shape \(0, 30, 3\)"):
        metrics.psnr(image[:0], image[:0])


def test_the_record_of_the_settings_can_be_stored():
    assert json.loads(json.dumps(metrics.SETTINGS)) == metrics.SETTINGS
    assert "live-2012/snap1" in metrics.SETTINGS["niqe"]
    assert "grid of 50 cells" in metrics.SETTINGS["loe"]
