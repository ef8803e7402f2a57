import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from trials import photos
from trials.config import Data
from trials.data import load_evaluation
from trials.detail import cut, high_frequency_log2, luminance
from trials.progress import DataError

ROOT = Path(__file__).parents[2]


def test_no_photograph_is_both_trained_on_and_scored():
    assert not set(photos.TRAINING) & set(photos.EVALUATION)
    assert {*photos.TRAINING, *photos.EVALUATION} == set(photos.FILES)


def test_every_photograph_is_there_and_becomes_much_darker():
    for name in photos.FILES:
        photograph, dark = photos.load(name), photos.darkened(name)
        assert dark.shape == photograph.shape
        assert 0.2 < dark.mean() / photograph.mean() < 0.5


def test_darkened_pixels_have_not_changed():
    pixels = hashlib.sha256(photos.darkened("coffee").tobytes()).hexdigest()
    assert pixels.startswith("b4ae2382e2e2920932cf"), "other pixels: raise RECIPE_VERSION"


def test_darkening_depends_on_the_name_alone(monkeypatch):
    first = photos.darkened("chelsea")
    np.testing.assert_array_equal(photos.darkened("chelsea"), first)
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    monkeypatch.setattr(photos, "load", lambda name: grey)
    assert (photos.darkened("chelsea") != photos.darkened("china")).any()


def test_hair_lies_in_a_photograph_that_is_scored_and_is_fine():
    for name, part in photos.HAIR.items():
        plane = luminance(photos.load(name))
        assert cut(plane, part).shape == (part.height, part.width)
        assert high_frequency_log2(plane, gaussian_filter(plane, 1), within=part) < -2
    hair = {image.name: image.hair for image in load_evaluation(Data())}
    assert hair == {name: photos.HAIR.get(name) for name in photos.EVALUATION}
    assert set(photos.HAIR) <= set(photos.EVALUATION)


def test_photographs_are_found_without_importing_their_packages():
    program = (
        "import sys; from trials import photos; [photos.file(name) for name in photos.FILES]; "
        "sys.exit(bool({'skimage', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT).returncode == 0


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DataError, match="photograph china: expected in the package scikit-learn, which is not installed"
    ):
        photos.load("china")


def test_a_package_without_the_photograph_is_named(monkeypatch, tmp_path):
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: package)
    with pytest.raises(DataError, match="this version of scikit-image comes without it"):
        photos.load("rocket")
