import os
from pathlib import Path

import pytest

from trials.progress import DataError
from trials.scenes import scenes

FILES = [Path("low/0011_1.png"), Path("low/0011_2.png"), Path("low/0020_1.jpg")]


def test_without_a_rule_each_image_is_its_own_scene():
    assert list(scenes(None, FILES).values()) == ["0011_1", "0011_2", "0020_1"]


def test_an_expression_takes_the_scene_from_the_name():
    assert list(scenes(r"^(\d+)_", FILES).values()) == ["0011", "0011", "0020"]
    assert list(scenes(r"(\d+)_(?:1|2)\.(?:png|jpg)$", FILES).values()) == ["0011", "0011", "0020"]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_table_names_files_with_or_without_extension(tmp_path, bom):
    path = tmp_path / "scenes.csv"
    path.write_text(f"{bom}file,scene\n0011_1.png,church\n0011_2,church\n0020_1,sea\nother,x\n", encoding="utf-8")
    assert list(scenes(str(path), FILES).values()) == ["church", "church", "sea"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (r"(\d+", r"\(\\d\+: not a regular expression"),
        (r"\d+", "expected a regular expression with one group, the scene, but it has 0"),
        (r"(\d)(\d)", "but it has 2"),
        (r"^(\d+)_2", r"there is none for 0011_1\.png, 0020_1\.jpg"),
        (r"^0011(x)?", r"there is none for 0011_1\.png, 0011_2\.png, 0020_1\.jpg"),
    ],
)
def test_a_wrong_expression_is_named(rule, message):
    with pytest.raises(DataError, match=message):
        scenes(rule, FILES)


def test_an_expression_that_never_ends_is_named(monkeypatch):
    monkeypatch.setattr("trials.scenes.MATCHING_S", 1.0)
    with pytest.raises(DataError, match=r"matching 1 names takes more than 1 s; write the expression without a repeat"):
        scenes(r"((?:a+)+)$", [Path("a" * 60 + "b.png")])


def test_names_that_are_no_utf_8_are_matched_as_they_are():
    name = Path("0011_\udcff.png")  # how Python spells a byte that is no UTF-8
    assert scenes(r"^(\d+_.)", [name]) == {name: "0011_\udcff"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file;scene\n0011_1;a\n", "expected the columns file,scene, got file;scene"),
        ("", "expected the columns file,scene, got"),
        ("file,scene\n0011_1,a\n0011_2,\n", r"there is none for 0011_2\.png, 0020_1\.jpg"),
        ("file,scene\n0011_1\n", r"there is none for 0011_1\.png"),
        ("file,scene\n0011_1,a\n0011_1,b\n", "expected one scene for 0011_1, got a and b"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, table, message):
    path = tmp_path / "scenes.csv"
    path.write_text(table)
    with pytest.raises(DataError, match=message):
        scenes(str(path), FILES)


@pytest.mark.timeout(20)
def test_a_table_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scenes.csv")
    with pytest.raises(DataError, match=r"scenes\.csv: expected a CSV table .*, but this is a pipe or a device"):
        scenes(str(tmp_path / "scenes.csv"), FILES)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: expected a CSV table file,scene, but it cannot be read"):
        scenes(str(tmp_path / "gone.csv"), FILES)
