import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trials import data, images, photos
from trials.config import Config, Data
from trials.progress import DataError

ROOT = Path(__file__).parents[2]
CROP_64 = Config(crop_px=64)


def write(path, *, height=64, width=80, seed=0):
    images.write(path, np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def folders(tmp_path):
    for seed, name in enumerate(("low/b", "low/a", "normal/x", "LOL/low/1", "LOL/normal/1", "DICM/2", "SICE/3")):
        write(tmp_path / f"{name}.png", seed=seed)
    return tmp_path


def settings(root, **changes):
    described = {
        "source": "folders",
        "low": root / "low",
        "normal": root / "normal",
        "evaluate": {"LOL": {"low": root / "LOL/low", "normal": root / "LOL/normal"}, "DICM": {"low": root / "DICM"}},
        "confirm": {"SICE": {"low": root / "SICE"}},
    }
    return Data.model_validate(described | changes)


def test_training_images_come_by_name(folders):
    training = data.load_training(settings(folders))
    np.testing.assert_array_equal(training.low[0], images.read(folders / "low/a.png"))
    assert (len(training.low), len(training.normal)) == (2, 1)


def test_evaluation_images_come_by_set_and_without_the_confirming_ones(folders):
    found = data.load_evaluation(settings(folders))
    assert [(image.set, image.name, image.normal is not None) for image in found] == [
        ("DICM", "2", False),
        ("LOL", "1", True),
    ]


def test_bundled_photographs_are_never_paired_with_themselves():
    training = data.load_training(Data())
    shapes = [photos.load(name).shape for name in photos.TRAINING]
    assert [image.shape for image in training.low] == shapes
    originals = [photos.load(name) for name in photos.TRAINING]
    for original, normal in zip(originals, training.normal, strict=True):
        assert not np.array_equal(original, normal)
    assert sorted(image.mean() for image in training.normal) == sorted(image.mean() for image in originals)


def test_bundled_photographs_are_scored_against_themselves_in_the_light():
    found = data.load_evaluation(Data())
    assert [(image.set, image.name, image.scene) for image in found] == [
        ("photos", "chelsea", "chelsea"),
        ("photos", "china", "china"),
    ]
    np.testing.assert_array_equal(found[0].normal, photos.load("chelsea"))
    np.testing.assert_array_equal(found[0].low, photos.darkened("chelsea"))


def test_own_sets_replace_the_scored_photographs(folders):
    own = Data.model_validate({"evaluate": {"DICM": {"low": folders / "DICM"}}})
    assert [image.set for image in data.load_evaluation(own)] == ["DICM"]
    assert list(data.provenance(own)["sets"]) == ["DICM"]
    assert data.digest(own) != data.digest(Data())


def test_the_digest_does_not_depend_on_where_the_folders_lie(folders):
    before = data.digest(settings(folders))
    assert len(before) == 32
    assert int(before, 16) >= 0
    moved = folders.rename(folders.with_name("moved"))
    assert data.digest(settings(moved)) == before


def test_what_changes_no_result_leaves_the_digest(folders):
    before = data.digest(settings(folders))
    (folders / "low/notes.txt").write_text("not an image")
    write(folders / "LOL/normal/unused.png")
    write(folders / "SICE/4.png")
    with_scenes = {"LOL": {"low": folders / "LOL/low", "normal": folders / "LOL/normal", "scenes": "(.)"}}
    changed = settings(folders, evaluate=with_scenes | {"DICM": {"low": folders / "DICM"}})
    assert data.digest(changed) == before


def change_content(root):
    write(root / "low/a.png", seed=99)


def change_a_name(root):
    (root / "low/a.png").rename(root / "low/aa.png")  # the order stays


def change_a_reference(root):
    write(root / "LOL/normal/1.png", seed=99)


def add_an_image(root):
    write(root / "DICM/3.png")


def swap_the_roles(root):
    (root / "low").rename(root / "other")
    (root / "normal").rename(root / "low")
    (root / "other").rename(root / "normal")


@pytest.mark.parametrize("change", [change_content, change_a_name, change_a_reference, add_an_image, swap_the_roles])
def test_what_can_change_a_result_changes_the_digest(folders, change):
    before = data.digest(settings(folders))
    change(folders)
    assert data.digest(settings(folders)) != before


def test_the_name_of_a_set_is_in_the_digest(folders):
    one, other = ({"low": folders / "DICM"} for _ in range(2))
    assert data.digest(settings(folders, evaluate={"A": one})) != data.digest(settings(folders, evaluate={"B": other}))


def test_the_recipe_is_in_the_digest(monkeypatch):
    before = data.digest(Data())
    monkeypatch.setattr(photos, "RECIPE_VERSION", "2")
    assert data.digest(Data()) != before


def test_a_file_that_cannot_be_digested_is_named(folders):
    (folders / "low/gone.png").symlink_to(folders / "nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png: the file cannot be read"):
        data.digest(settings(folders))


def test_provenance_counts_images_and_scenes(folders):
    write(folders / "DICM/2b.png")
    evaluate = {"DICM": {"low": folders / "DICM", "scenes": r"^(\d)"}}
    assert data.provenance(settings(folders, evaluate=evaluate)) == {
        "source": "folders",
        "caution": None,
        "training": {"low": 2, "normal": 1},
        "sets": {"DICM": {"images": 2, "paired": False, "scenes": 1}},
    }


def test_photographs_come_with_a_caution(folders):
    found = data.provenance(Data())
    assert found["training"] == {"low": 4, "normal": 4}
    assert found["sets"] == {"photos": {"images": 2, "paired": True, "scenes": 2}}
    assert "trained on 4 bundled photographs and scored on 2" in found["caution"]
    own = Data.model_validate({"evaluate": {"DICM": {"low": folders / "DICM"}}})
    assert "scored on" not in data.provenance(own)["caution"]


def test_good_data_have_no_problems(folders):
    assert data.check(CROP_64, settings(folders)) == []
    assert data.check(Config(crop_px=400), Data()) == []


def test_training_images_smaller_than_the_crop_are_named(folders):
    for number in range(4):
        write(folders / f"low/small{number}.png", height=63)
    [problem] = data.check(CROP_64, settings(folders))
    assert problem.startswith("data.low: ")
    assert "4 of 6 training images are smaller than crop_px = 64: small0.png (80 x 63)" in problem
    assert "small2.png (80 x 63) and 1 more; lower crop_px" in problem


def test_photographs_smaller_than_the_crop_are_named():
    [problem] = data.check(Config(crop_px=416), Data())
    assert "1 of 4 training images are smaller than crop_px = 416: coffee (600 x 400)" in problem


def test_scored_images_may_be_smaller_than_the_crop_and_than_niqe_asks(folders):
    write(folders / "DICM/small.png", height=20, width=20)
    assert data.check(CROP_64, settings(folders)) == []


def test_every_problem_is_reported_at_once_with_its_place(folders):
    (folders / "low/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folders / "normal/x.png").unlink()
    (folders / "LOL/normal/1.png").unlink()
    (folders / "SICE/3.png").write_bytes(b"")
    problems = data.check(CROP_64, settings(folders))
    assert [problem.split(":")[0] for problem in problems] == [
        "data.low",
        "data.normal",
        "data.evaluate.LOL",
        "data.confirm.SICE",
    ]
    for problem, told in zip(problems, ("broken.png", "it is empty", "it is empty", "0 bytes"), strict=True):
        assert told in problem


def test_confirming_on_the_searched_images_is_a_problem(folders):
    same = settings(folders, confirm={"again": {"low": folders / "DICM" / ".." / "DICM"}})
    [problem] = data.check(CROP_64, same)
    assert problem.startswith("data.confirm.again: expected images that the search never sees")
    assert problem.endswith("data.evaluate.DICM")


@pytest.mark.parametrize("name", ["DICM/2", "low/a"])
def test_confirming_on_a_copy_of_what_was_seen_is_a_problem(folders, name):
    (folders / "SICE" / "copy.png").write_bytes((folders / f"{name}.png").read_bytes())
    [problem] = data.check(CROP_64, settings(folders))
    assert problem.startswith("data.confirm.SICE: expected images that the search never sees, but ")
    assert problem.endswith(f"{folders / name}.png")


def test_missing_photographs_are_problems(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert len(data.check(CROP_64, Data())) == 6


def test_a_configuration_that_does_not_fit_the_images_is_found_from_their_sizes(folders):
    described = settings(folders)
    assert data.misfits(CROP_64, described) == []
    (low, normal) = data.misfits(Config(crop_px=80), described)
    said = "2 of 2 training images are smaller than crop_px = 80: a.png (80 x 64), b.png (80 x 64); lower"
    assert low.startswith(f"data.low: {folders / 'low'}: {said}")
    assert normal.startswith(f"data.normal: {folders / 'normal'}: 1 of 1")
    deep = Config(crop_px=128, generator={"depth": 6, "norm": "instance"})
    assert data.misfits(deep, Data()) == []
    write(folders / "DICM" / "4.png", height=64, width=64)
    found = [problem for problem in data.misfits(deep, described) if "expected a side of 65 px or more" in problem]
    assert len(found) == 1
    assert found[0].startswith(f"data.evaluate: {folders / 'DICM' / '4.png'}")


def test_checking_and_digesting_load_no_torch():
    program = (
        "import sys; from trials import trainer as t; config = t.Config(vgg={'weights': 'random'}); "
        "t.check(config, t.Data()); t.digest(t.Data()); "
        "t.provenance(t.Data()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT).returncode == 0
