import json
import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from trials import metrics, photos
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


def test_an_image_has_every_metric_and_without_reference_those_that_need_none():
    reference, image = steeper()
    assert set(metrics.score(image, reference)) == {metric.key for metric in METRICS}
    assert set(metrics.score(image, None)) == {metric.key for metric in METRICS if not metric.needs_reference}


def test_scores_are_those_of_the_single_metrics():
    reference, image = steeper()
    scores = metrics.score(image, reference)
    assert scores["eval/niqe"] == metrics.niqe(image)
    assert scores["eval/niqe_flat_share"] == metrics.niqe_flat_share(image)
    assert scores["eval/psnr_db"] == metrics.psnr(reference, image)
    assert scores["eval/ssim"] == metrics.ssim(reference, image)
    assert scores["eval/psnr_matched_db"] == metrics.psnr_matched(reference, image)
    assert scores["eval/ssim_matched"] == metrics.ssim_matched(reference, image)
    assert scores["eval/luminance_error_levels"] == metrics.luminance_error(reference, image)


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
    with pytest.raises(DataError, match=r"expected uint8 of shape \(H, W, 3\) or \(H, W\)"):
        metrics.niqe(image.astype(np.float32))
    with pytest.raises(DataError, match=r"got uint8 of shape \(0, 30, 3\)"):
        metrics.psnr(image[:0], image[:0])


def test_the_record_of_the_settings_can_be_stored():
    assert json.loads(json.dumps(metrics.SETTINGS)) == metrics.SETTINGS
    assert "live-2012/snap1" in metrics.SETTINGS["niqe"]
