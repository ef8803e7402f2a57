import pytest

from analysis.kept import kept


@pytest.fixture
def storage(tmp_path):
    folder = tmp_path / "storage"
    (folder / "trials").mkdir(parents=True)
    (folder / "trials" / "cat.png").write_bytes(b"")
    (folder / "cat.txt").write_bytes(b"")
    (folder / "folder.png").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "in.png").symlink_to(folder / "trials" / "cat.png")
    (folder / "other.png").symlink_to(folder / "cat.txt")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    return folder


@pytest.mark.parametrize("name", ["trials/cat.png", "trials/../trials/cat.png", "in.png"])
def test_a_file_of_the_storage_is_found(storage, name):
    assert kept(storage, name, ".png") == (storage / "trials" / "cat.png").resolve()


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "out.png",
        "cat.txt",
        "other.png",
        "folder.png",
        "gone.png",
        "circle.png",
        "a\0b.png",
        "",
        "n" * 999,
    ],
)
def test_whatever_lies_elsewhere_or_is_of_another_kind_is_not(storage, name):
    assert kept(storage, name, ".png") is None
    assert kept(storage, str(storage.parent / "secret.png"), ".png") is None
