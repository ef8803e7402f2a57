import os
import re
import socket
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

from trials import arrival, images, trainer
from trials.arrival import arrived, content_digests
from trials.config import Config, Data
from trials.progress import DataError
from trials.shipping import pack

NODE = re.escape(f"node {socket.gethostname()}")


@pytest.fixture
def data(tmp_path):
    for folder in ("low", "normal"):
        images.write(tmp_path / folder / "a.png", np.full((40, 40, 3), 9, np.uint8))
    return Data(
        source="folders", low=tmp_path / "low", normal=tmp_path / "normal", evaluate={"set": {"low": tmp_path / "low"}}
    )


def task(data, config=None, **changed):
    config = config or Config()
    return {
        "trainer": "trials.trainer",
        "settings": config.model_dump(mode="json", by_alias=True),
        "data": data.model_dump(mode="json", by_alias=True),
        "digest": trainer.digest(data),
        "weights": content_digests(trainer.weights(config)),
    } | changed


def test_the_planned_images_are_read_once_in_a_process(data, monkeypatch):
    asked, read = task(data), []
    digest = trainer.digest
    monkeypatch.setattr(trainer, "digest", lambda data: (read.append(data), digest(data))[1])
    for _ in range(3):
        assert arrived(asked, None, None)[2] == data
    assert len(read) == 1


def test_images_that_change_between_two_trials_of_a_worker_are_noticed(data, tmp_path):
    asked = task(data)
    arrived(asked, None, None)
    images.write(tmp_path / "low" / "a.png", np.full((40, 40, 3), 8, np.uint8))
    os.utime(tmp_path / "low" / "a.png", (1, 1))
    with pytest.raises(DataError, match=f"^{NODE}: expected the driver's images, of digest {asked['digest']}, but "):
        arrived(asked, None, None)


def test_an_image_too_many_is_noticed_and_the_sentence_names_folder_and_remedy(data, tmp_path):
    asked = task(data)
    arrived(asked, None, None)
    images.write(tmp_path / "normal" / "b.png", np.full((40, 40, 3), 8, np.uint8))
    seen = trainer.digest(data)
    said = re.escape(f"but {tmp_path / 'low'}, {tmp_path / 'normal'} gave {seen}; {arrival.ADVICE}")
    with pytest.raises(DataError, match=said):
        arrived(asked, None, None)


def test_images_that_a_node_does_not_see_are_named_with_the_node(data, tmp_path):
    asked = task(data)
    (tmp_path / "normal").rename(tmp_path / "gone")
    said = f"^{NODE} does not see the driver's images: {tmp_path}/normal: expected a folder of images, but it does not"
    with pytest.raises(DataError, match=said):
        arrived(asked, None, None)


def test_other_weights_and_missing_ones_are_refused(data, tmp_path):
    start = tmp_path / "start.pt"
    start.write_bytes(b"weights")
    asked = task(data, Config(init=str(start)))
    assert arrived(asked, None, None)[1].init == str(start)
    start.write_bytes(b"other weights")
    with pytest.raises(DataError, match=f"^{NODE}: expected the driver's weights, of digest .*, but {start} gave "):
        arrived(asked, None, None)
    start.unlink()
    with pytest.raises(DataError, match=f"^{NODE} does not see the driver's weights: {start}: the file cannot be read"):
        arrived(asked, None, None)


def test_the_bundled_photographs_are_compared_too():
    asked = task(Data(), digest="0" * 32)
    with pytest.raises(DataError, match=r"of digest 0{32}, but the packages installed gave \w{32}; "):
        arrived(asked, None, None)


def test_any_trainer_s_images_are_compared():
    other = SimpleNamespace(__name__="other", files=lambda data: [], digest=lambda data: "seen")
    with pytest.raises(DataError, match="of digest planned, but the packages installed gave seen"):
        arrival._require_images(other, Data(), "planned")


def test_a_shipped_file_that_is_damaged_here_is_unpacked_once_more(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asked, parcel = task(data), pack(trainer.files(data), lambda content: content)
    moved = arrived(asked, parcel, lambda content: content)[2]
    before, whole = moved.low.joinpath("a.png").stat(), moved.low.joinpath("a.png").read_bytes()
    moved.low.joinpath("a.png").write_bytes(bytes(before.st_size))
    os.utime(moved.low / "a.png", ns=(before.st_mtime_ns, before.st_mtime_ns))
    arrival._known.clear()  # as in another process
    assert arrived(asked, parcel, lambda content: content)[2] == moved
    assert moved.low.joinpath("a.png").read_bytes() == whole


def test_a_shipped_file_that_stays_another_one_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parcel = pack(trainer.files(data), lambda content: content)
    with pytest.raises(DataError, match="expected the driver's images, of digest other"):
        arrived(task(data, digest="other"), parcel, lambda content: content)
