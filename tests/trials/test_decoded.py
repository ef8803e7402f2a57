"""Decoded images are shared among readers, and are always those of the file as it is now."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from trials import canonical, decoded, images
from trials.decoded import Decoded
from trials.progress import DataError


def picture(path, seed=0, height=12, width=16):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    images.write(path, pixels)
    return pixels


@pytest.fixture
def counted(monkeypatch):
    """Return the paths that were decoded so far."""
    read, paths = images.read, []
    monkeypatch.setattr(images, "read", lambda path: paths.append(path) or read(path))
    return paths


def test_whoever_asks_first_decodes_and_all_map_the_same_file(tmp_path, counted):
    pixels = picture(tmp_path / "a.png")
    readers = [Decoded(tmp_path / "decoded") for _ in range(2)]  # of two trials
    found = [reader.read(tmp_path / "a.png") for reader in (*readers, *readers)]
    assert counted == [tmp_path / "a.png"]
    for one in found:
        np.testing.assert_array_equal(one, pixels)
    files = {(one.filename, os.stat(one.filename).st_ino) for one in found if isinstance(one, np.memmap)}
    assert len(files) == 1
    assert len(list((tmp_path / "decoded").iterdir())) == 1


def test_decoded_pixels_cannot_be_changed(tmp_path):
    picture(tmp_path / "a.png")
    reader = Decoded(tmp_path / "decoded")
    for one in (reader.read(tmp_path / "a.png"), reader.read(tmp_path / "a.png")):
        with pytest.raises(ValueError, match="read-only"):
            one[0, 0, 0] = 1


@pytest.mark.parametrize("folder", [None, "decoded"])
def test_a_file_that_changed_is_decoded_anew(tmp_path, folder):
    reader = Decoded(folder and tmp_path / folder)
    picture(tmp_path / "a.png", seed=1)
    before = reader.read(tmp_path / "a.png")
    changed = picture(tmp_path / "a.png", seed=2)
    os.utime(tmp_path / "a.png", ns=(5, 5))  # whatever the clock's ticks
    after = reader.read(tmp_path / "a.png")
    np.testing.assert_array_equal(after, changed)
    assert not np.array_equal(before, after)


def test_files_of_one_name_in_two_folders_are_two(tmp_path):
    expected = [picture(tmp_path / name / "a.png", seed=seed) for seed, name in enumerate(("low", "normal"))]
    for folder in ("low", "normal"):
        os.utime(tmp_path / folder / "a.png", ns=(5, 5))
    reader = Decoded(tmp_path / "decoded")
    for name, pixels in zip(("low", "normal"), expected, strict=True):
        np.testing.assert_array_equal(reader.read(tmp_path / name / "a.png"), pixels)


def test_what_is_made_of_a_file_is_known_by_its_kind(tmp_path):
    picture(tmp_path / "a.png")
    reader, dark = Decoded(tmp_path / "decoded"), np.zeros((2, 2, 3), np.uint8)
    for _ in range(2):
        np.testing.assert_array_equal(reader.get(tmp_path / "a.png", "dark", lambda: dark), dark)
        np.testing.assert_array_equal(reader.read(tmp_path / "a.png"), picture(tmp_path / "b.png"))


def test_where_the_folder_cannot_be_written_a_warning_says_so_and_images_are_right(tmp_path):
    pixels = picture(tmp_path / "a.png")
    (tmp_path / "decoded").write_text("a file in the folder's place")
    for _ in range(2):
        with pytest.warns(
            UserWarning, match=r"decoded/\w+\.npy: images are decoded for each trial apart, since .*exists"
        ):
            found = Decoded(tmp_path / "decoded").read(tmp_path / "a.png")
        np.testing.assert_array_equal(found, pixels)


def test_a_disk_that_fills_up_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    pixels, save = picture(tmp_path / "a.png"), np.save

    def full(file, content):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        np.testing.assert_array_equal(Decoded(tmp_path / "decoded").read(tmp_path / "a.png"), pixels)
    assert list((tmp_path / "decoded").iterdir()) == []
    monkeypatch.setattr(np, "save", save)
    np.testing.assert_array_equal(Decoded(tmp_path / "decoded").read(tmp_path / "a.png"), pixels)
    assert len(list((tmp_path / "decoded").iterdir())) == 1


def test_a_file_that_is_half_written_is_seen_by_nobody(tmp_path, monkeypatch):
    """Another reader comes while the first one writes."""
    pixels, save, seen = picture(tmp_path / "a.png"), np.save, []

    def slowly(file, content):
        save(file, content)
        file.truncate(100)
        monkeypatch.setattr(np, "save", save)
        seen.append(np.array(Decoded(tmp_path / "decoded").read(tmp_path / "a.png")))
        file.seek(0)
        save(file, content)

    monkeypatch.setattr(np, "save", slowly)
    first = Decoded(tmp_path / "decoded").read(tmp_path / "a.png")
    np.testing.assert_array_equal(first, pixels)
    np.testing.assert_array_equal(seen[0], pixels)


def test_a_file_gets_its_name_when_it_is_whole(tmp_path, monkeypatch):
    pixels, replace, whole = picture(tmp_path / "a.png"), os.replace, []

    def checking(aside, path):
        whole.append(np.array_equal(np.load(aside), pixels) and not path.exists())
        replace(aside, path)

    monkeypatch.setattr(os, "replace", checking)
    Decoded(tmp_path / "decoded").read(tmp_path / "a.png")
    assert whole == [True]


def test_many_readers_at_once_all_see_whole_images(tmp_path):
    expected = [picture(tmp_path / f"{number}.png", seed=number) for number in range(6)]
    gate = threading.Barrier(4)

    def reader(number):
        gate.wait()
        found = [Decoded(tmp_path / "decoded").read(tmp_path / f"{name}.png") for name in range(6)]
        return all(map(np.array_equal, found, expected))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(reader, range(4)))
    assert sorted(path.suffix for path in (tmp_path / "decoded").iterdir()) == [".npy"] * 6


@pytest.mark.parametrize("folder", [None, "decoded"])
def test_what_is_wrong_with_a_file_is_said_as_without_the_folder(tmp_path, folder):
    reader = Decoded(folder and tmp_path / folder)
    (tmp_path / "a.png").write_bytes(b"no picture")
    for path in (tmp_path / "a.png", tmp_path / "missing.png"):
        with pytest.raises(DataError) as expected:
            images.read(path)
        with pytest.raises(DataError) as found:
            reader.read(path)
        assert str(found.value) == str(expected.value)
    assert decoded.__all__ == ["Decoded"]
    assert not list(tmp_path.glob("decoded/*"))


def test_another_image_of_the_same_name_size_and_time_is_decoded_anew(tmp_path):
    path = tmp_path / "a.bmp"  # whose size tells nothing of what it shows
    picture(path, seed=1)
    os.utime(path, ns=(5, 5))
    Decoded(tmp_path / "decoded").read(path)
    changed = picture(path, seed=2)
    os.utime(path, ns=(5, 5))
    canonical._digest.cache_clear()  # as in another process
    np.testing.assert_array_equal(Decoded(tmp_path / "decoded").read(path), changed)
