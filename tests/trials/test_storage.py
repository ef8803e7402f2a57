"""Files under an address: the same operations on a folder, in memory and on an S3 server."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.far_storages import BUCKET, failing, s3_server, silent_s3
from trials import storage
from trials.storage import Storage, StorageError, is_address

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def s3():
    with s3_server() as environment:
        yield environment


@pytest.fixture(params=["file", "memory", "s3"])
def address(request, tmp_path, monkeypatch):
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        return f"s3://{BUCKET}/study"
    return f"file://{tmp_path}/far/study" if request.param == "file" else "memory://far/study"


@pytest.fixture
def pauses(monkeypatch):
    """Return the pauses that were made, without making them."""
    made = []
    monkeypatch.setattr(storage.time, "sleep", made.append)
    return made


def written(folder, **files):
    for name, text in files.items():
        (folder / name).write_text(text)
    return {f"trials/a/{name}": folder / name for name in files}


def test_what_is_put_is_listed_fetched_replaced_and_deleted(address, tmp_path):
    far = Storage(f"{address}/", pauses_s=())
    assert far.address == address
    assert far.names("trials/a") == []
    far.put(written(tmp_path, first="1", second="2"))
    assert sorted(Storage(address).names("trials/a")) == ["trials/a/first", "trials/a/second"]
    assert far.names("trials/b") == []
    far.put(written(tmp_path, second="two"))
    place = tmp_path / "back" / "second"
    assert far.get({"trials/a/second": place, "trials/a/third": tmp_path / "back" / "third"}) == ["trials/a/third"]
    assert place.read_text() == "two"
    assert [path.name for path in place.parent.iterdir()] == ["second"]
    far.delete(["trials/a/first", "trials/a/gone"])
    assert far.names("trials") == ["trials/a/second"]


def test_a_file_that_is_half_written_shows_the_one_before(tmp_path, monkeypatch):
    far = Storage(f"file://{tmp_path}/far", pauses_s=())
    far.put(written(tmp_path, weights="old"))

    def broken(source, to):
        Path(to).write_text("n")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", broken)
        with pytest.raises(StorageError, match="No space left on device"):
            far.put(written(tmp_path, weights="new"))
    assert far.get({"trials/a/weights": tmp_path / "back"}) == []
    assert (tmp_path / "back").read_text() == "old"


def test_a_write_that_fails_twice_is_tried_again_after_growing_pauses(tmp_path, pauses):
    files = failing(2)
    Storage("failing://far").put(written(tmp_path, weights="w"))
    assert pauses == [1, 4]
    assert [bytes(one.getvalue()) for one in files.values()] == [b"w"]


def test_a_write_that_always_fails_is_a_sentence_with_the_address_and_the_reason(tmp_path, pauses):
    failing(1000)
    said = r"cannot write trials/a/weights in the storage failing://far \(PermissionError: 503 slow down\)"
    with pytest.raises(StorageError, match=said):
        Storage("failing://far").put(written(tmp_path, weights="w"))
    assert pauses == [1, 4, 15]


def test_a_package_that_is_missing_is_named():
    with pytest.raises(StorageError, match=r"gs://bucket: gs:// needs the package gcsfs, which is not installed"):
        Storage("gs://bucket")


@pytest.mark.parametrize(
    ("place", "far"),
    [("s3://b/x", True), ("file:///x", True), ("zip::s3://b", True), ("/mnt/x", False), ("a/b", False), ("", False)],
)
def test_an_address_is_what_has_a_scheme(place, far):
    assert is_address(place) is far


def test_a_folder_loads_no_fsspec():
    code = (
        "import sys; from trials.scratch import carried\n"
        "with carried('/mnt/x', 'trials/a', None) as (root, carry): carry()\n"
        "print(root, 'fsspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "/mnt/x False\n"


def test_a_store_that_takes_a_connection_and_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ANSWER_S", 0.5)
    with silent_s3() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        small = tmp_path / "small"
        small.write_text("x")
        said = r"cannot write a in the storage s3://bucket/x \(FSTimeoutError: no answer in time\)"
        with pytest.raises(StorageError, match=said):
            Storage("s3://bucket/x", pauses_s=()).put({"a": small})
