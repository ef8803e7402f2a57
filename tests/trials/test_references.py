import math

import numpy as np
import pytest
import torch

from tests.trials import official
from trials import images, metrics
from trials.config import Data
from trials.progress import DataError
from trials.references import gamma, references, training_gain


def grey(path, level, *, size=(40, 50)):
    images.write(path, np.full((*size, 3), level, dtype=np.uint8))


@pytest.fixture
def described(tmp_path):
    for name, level in (("low/a", 10), ("low/b", 30), ("normal/c", 90), ("normal/d", 110)):
        grey(tmp_path / f"{name}.png", level)
    for name, level in (
        ("LOL/low/1", 20),
        ("LOL/normal/1", 120),
        ("LOL/low/2", 60),
        ("LOL/normal/2", 255),
        ("DICM/3", 1),
    ):
        grey(tmp_path / f"{name}.png", level)
    evaluate = {
        "LOL": {"low": tmp_path / "LOL/low", "normal": tmp_path / "LOL/normal"},
        "DICM": {"low": tmp_path / "DICM"},
    }
    return Data.model_validate(
        {"source": "folders", "low": tmp_path / "low", "normal": tmp_path / "normal", "evaluate": evaluate}
    )


def test_the_gain_is_the_ratio_of_the_training_images_brightness(described):
    assert training_gain(described) == pytest.approx(5)  # (90 + 110) / (10 + 30)


def test_each_method_brightens_as_it_says(described, tmp_path):
    folder = tmp_path / "out"
    found = references(described, folder, {})
    assert list(found) == ["input", "gain", "gamma", "normal"]
    levels = {name: images.read(folder / found[name].pictures["LOL/1"])[0, 0, 0] for name in found}
    assert levels == {"input": 20, "gain": 100, "gamma": 71, "normal": 120}  # 255 (20 / 255)^0.5 = 71.4
    assert images.read(folder / found["gain"].pictures["LOL/2"]).max() == 255  # 60 x 5, clipped


def test_pictures_lie_below_the_folder_by_method_set_and_name(described, tmp_path):
    found = references(described, tmp_path / "out", {})
    assert found["gamma"].pictures["DICM/3"].as_posix() == "gamma/DICM/3.png"
    assert set(found["input"].pictures) == {"DICM/3", "LOL/1", "LOL/2"}
    assert set(found["normal"].pictures) == {"LOL/1", "LOL/2"}
    assert all((tmp_path / "out" / path).is_file() for report in found.values() for path in report.pictures.values())


def test_scores_are_those_of_the_pictures_and_means_leave_out_unpaired_images(described, tmp_path):
    found = references(described, tmp_path / "out", {})
    gain = {f"{score.set}/{score.image}": score.metrics for score in found["gain"].images}
    assert gain["LOL/1"]["eval/luminance_error_levels"] == pytest.approx(-20)
    assert "eval/psnr_db" not in gain["DICM/3"]
    expected = [20 * math.log10(255 / 20), metrics.PSNR_CAP_DB]  # 100 for 120; 255 for 255
    assert found["gain"].metrics["eval/psnr_db"] == pytest.approx(np.mean(expected))
    assert found["gain"].step == 0
    assert found["normal"].images == []
    assert found["normal"].metrics == {}


def test_gamma_keeps_black_and_white():
    assert gamma(np.array([0, 1, 64, 200, 255], dtype=np.uint8)).tolist() == [0, 16, 128, 226, 255]


def test_bundled_photographs_gain_most_of_their_psnr_from_brightness_alone(tmp_path):
    found = references(Data(), tmp_path, {})
    psnr = {name: report.metrics["eval/psnr_db"] for name, report in found.items() if report.images}
    assert 6 <= psnr["gain"] - psnr["input"] <= 14
    assert psnr["input"] < psnr["gamma"] < psnr["gain"]


def test_the_untouched_input_differs_from_itself_in_nothing(tmp_path):
    found = references(Data(), tmp_path, {})
    untouched = found["input"].metrics
    compared = {key: value for key, value in untouched.items() if key == "eval/loe" or key.startswith("eval/input_")}
    assert len(compared) == 6
    assert compared == pytest.approx(dict.fromkeys(compared, 0), abs=1e-6)
    assert found["gain"].metrics["eval/noise_levels"] > 2 * untouched["eval/noise_levels"]
    assert [one.image for one in found["gamma"].images if "eval/hair_gmsd" in one.metrics] == ["chelsea"]


def test_black_training_images_are_refused(described):
    for path in described.low.iterdir():
        grey(path, 0)
    with pytest.raises(DataError, match="low-light training images are black"):
        training_gain(described)


def test_a_trained_generator_is_a_method_of_its_own(described, tmp_path):
    network = official.generator(width=1, attention="none")
    with torch.no_grad():
        network["conv10"].weight.zero_()
        network["conv10"].bias.fill_(40 / 127.5)  # adds 40 grey levels
    torch.save({f"module.{name}": value for name, value in network.state_dict().items()}, tmp_path / "200_net_G_A.pth")
    found = references(described, tmp_path / "out", {"official": tmp_path / "200_net_G_A.pth"})
    assert list(found) == ["input", "gain", "gamma", "official", "normal"]
    assert images.read(tmp_path / "out" / found["official"].pictures["LOL/1"]).max() == 60
    assert found["official"].metrics["eval/luminance_error_levels"] == pytest.approx((-60 - 155) / 2)
