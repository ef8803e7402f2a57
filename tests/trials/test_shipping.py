import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trials.progress import DataError
from trials.shipping import pack, unpack


def sent(folder, **contents):
    """Return a parcel of files of these contents, and how to fetch them; each fetch is counted."""
    store, fetched = [], []
    for name, content in contents.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    def send(content):
        store.append(content)
        return len(store) - 1

    def fetch(place):
        fetched.append(place)
        return store[place]

    return pack([folder / name for name in contents], send), fetch, fetched


def test_files_arrive_with_their_content_and_time_and_are_fetched_once(tmp_path):
    parcel, fetch, fetched = sent(tmp_path / "images", a=b"one", b=b"two")
    root = unpack(parcel, fetch, tmp_path / "base")
    for name, content in (("a", b"one"), ("b", b"two")):
        there = root / str(tmp_path / "images" / name)[1:]
        assert there.read_bytes() == content
        assert there.stat().st_mtime_ns == (tmp_path / "images" / name).stat().st_mtime_ns
    assert unpack(parcel, fetch, tmp_path / "base") == root
    assert len(fetched) == 2


def test_other_contents_or_times_are_another_parcel(tmp_path):
    first = sent(tmp_path / "images", a=b"one")[0]
    os.utime(tmp_path / "images" / "a", (1, 1))
    same = pack([tmp_path / "images" / "a"], lambda content: 0)
    other = sent(tmp_path / "images", a=b"two")[0]
    assert len({first.digest, same.digest, other.digest}) == 3


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"on")])
def test_what_was_cleared_away_or_cut_off_is_written_again(tmp_path, harm):
    parcel, fetch, fetched = sent(tmp_path / "images", a=b"one", b=b"two")
    base = tmp_path / "base"
    root = unpack(parcel, fetch, base)
    harm(root / str(tmp_path / "images" / "a")[1:])
    (base / f"{parcel.digest}.part").mkdir()  # as somebody who was killed leaves it
    (base / f"{parcel.digest}.part" / "stray").touch()
    assert unpack(parcel, fetch, base) == root
    assert (root / str(tmp_path / "images" / "a")[1:]).read_bytes() == b"one"
    assert not (root / "stray").exists()
    assert len(fetched) == 4


def test_two_at_once_write_it_once_and_both_see_it_whole(tmp_path):
    parcel, fetch, fetched = sent(tmp_path / "images", a=b"one", b=b"two")

    def slowly(place):
        time.sleep(0.1)
        return fetch(place)

    seen = []

    def ask():
        root = unpack(parcel, slowly, tmp_path / "base")
        seen.append([(root / str(tmp_path / "images" / name)[1:]).read_bytes() for name in "ab"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[b"one", b"two"]] * 4
    assert len(fetched) == 2


def test_a_killed_writer_holds_up_nobody(tmp_path):
    """Another process dies in the middle of writing, with the lock in its hands."""
    parcel, fetch, _ = sent(tmp_path / "images", a=b"one", b=b"two")
    code = """
import os, sys
from pathlib import Path
from trials.shipping import pack, unpack
def fetch(place):
    if place == 1:
        os._exit(9)
    return b"one"
places = iter(range(9))
unpack(pack([Path(one) for one in sys.argv[2:]], lambda content: next(places)), fetch, Path(sys.argv[1]))
"""
    paths = [str(tmp_path / "images" / name) for name in "ab"]
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "base"), *paths], cwd=Path(__file__).parents[2])
    assert died.returncode == 9
    root = unpack(parcel, fetch, tmp_path / "base")
    assert (root / paths[1][1:]).read_bytes() == b"two"


def test_a_folder_that_others_could_fill_is_refused(tmp_path):
    parcel, fetch, _ = sent(tmp_path / "images", a=b"one")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for base in ("theirs", "link"):
        said = f"{base}: expected a folder that nobody but this user can write to, got another; remove it"
        with pytest.raises(DataError, match=said):
            unpack(parcel, fetch, tmp_path / base)


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: the file cannot be read \(No such file or directory\)"):
        pack([tmp_path / "gone.png"], lambda content: 0)


def test_a_full_disk_is_told_with_its_place_and_leaves_nothing_that_looks_whole(tmp_path):
    parcel, fetch, _ = sent(tmp_path / "images", a=b"one", b=b"two")

    def fetch_onto_a_full_disk(place):
        if place == 1:
            (tmp_path / "base" / f"{parcel.digest}.part" / str(tmp_path / "images" / "b")[1:]).symlink_to("/dev/full")
        return fetch(place)

    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/base/{parcel.digest}.part/"):
        unpack(parcel, fetch_onto_a_full_disk, tmp_path / "base")
    assert (unpack(parcel, fetch, tmp_path / "base") / str(tmp_path / "images" / "b")[1:]).read_bytes() == b"two"
