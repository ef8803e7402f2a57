from pathlib import Path

import numpy as np
import pytest

from trials import images, places
from trials.config import Config, Data
from trials.data import digest, scenes
from trials.shipping import pack, unpack


@pytest.fixture
def study(tmp_path):
    """Settings and data that name files in folders; a table of scenes and a start among them."""
    draw = np.random.default_rng(0)
    for folder, names in (("low", "ab"), ("normal", "c"), ("set/low", "d"), ("set/normal", "d"), ("later", "e")):
        for name in names:
            images.write(tmp_path / "here" / folder / f"{name}.png", draw.integers(0, 256, (40, 40, 3), np.uint8))
    here = tmp_path / "here"
    (here / "scenes.csv").write_text("file,scene\nd,garden\n")
    (here / "start.pt").write_bytes(b"weights")
    (here / "start.json").write_text("{}")
    (here / "low" / "notes.txt").write_text("no image")
    data = Data.model_validate(
        {
            "source": "folders",
            "low": here / "low",
            "normal": here / "normal",
            "evaluate": {
                "set": {"low": here / "set/low", "normal": here / "set/normal", "scenes": str(here / "scenes.csv")}
            },
            "confirm": {"later": here / "later"},
        }
    )
    return Config.model_validate({"init": str(here / "start.pt")}), data


def shipped(config, data, base):
    store = {}

    def send(content):
        store[len(store)] = content
        return len(store) - 1

    paths = [*places.files(data), *places.weights(config)[:2]]
    return unpack(pack(paths, send), store.__getitem__, base)


def test_every_file_that_a_trial_reads_is_named(study):
    config, data = study
    names = [path.name for path in places.files(data)]
    assert sorted(names) == ["a.png", "b.png", "c.png", "d.png", "d.png", "scenes.csv"]
    assert [path.name for path in places.weights(config)] == ["start.pt", "start.json"]
    assert places.weights(Config()) == []
    assert places.files(Data()) == []  # the bundled photographs come with packages


def test_moved_files_are_the_same_images_scenes_and_weights_after_the_others_are_gone(study, tmp_path):
    config, data = study
    before = digest(data), scenes(data)
    root = shipped(config, data, tmp_path / "base")
    (tmp_path / "here").rename(tmp_path / "gone")
    there, moved = places.moved(config, data, root)
    assert (digest(moved), scenes(moved)) == before
    assert scenes(moved) == [("set", "d", "garden")]
    assert Path(there.init).read_bytes() == b"weights"
    assert Path(there.init).with_suffix(".json").read_text() == "{}"
    assert root in Path(there.init).parents


def test_what_was_not_sent_is_named_as_before(study, tmp_path):
    config, data = study
    root = shipped(config, data, tmp_path / "base")
    settings = config.model_copy(update={"init": "/elsewhere/other.pt"})
    there, moved = places.moved(settings, data, root)
    assert there.init == "/elsewhere/other.pt"
    assert there.vgg.weights == "imagenet"
    assert moved.confirm == data.confirm
