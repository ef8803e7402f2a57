import re

import numpy as np
import pytest

from trials import images, sets
from trials.config import EvaluationSet
from trials.progress import DataError


def pixels(height=20, width=30, *, level=100):
    return np.full((height, width, 3), level, dtype=np.uint8)


@pytest.fixture
def paired(tmp_path):
    for number, name in enumerate(("b", "a", "a-1")):
        images.write(tmp_path / "low" / f"{name}.png", pixels(level=number))
        images.write(tmp_path / "normal" / f"{name}.png", pixels(level=100 + number))
    return EvaluationSet(low=tmp_path / "low", normal=tmp_path / "normal")


def test_references_belong_to_images_of_their_name_and_images_come_by_name(paired):
    (paired.normal / "b.png").rename(paired.normal / "b.bmp")
    images.write(paired.normal / "extra.png", pixels())
    members = [sets.read("LOL", member) for member in sets.members(paired)]
    assert [(image.set, image.name, image.scene) for image in members] == [
        ("LOL", "a", "a"),
        ("LOL", "a-1", "a-1"),
        ("LOL", "b", "b"),
    ]
    assert [(image.low[0, 0, 0], image.normal[0, 0, 0]) for image in members] == [(1, 101), (2, 102), (0, 100)]
    assert all(image.hair is None for image in members)
    assert sets.problems("LOL", paired) == []


def test_a_set_without_references_has_none(paired):
    unpaired = EvaluationSet(low=paired.low, scenes="^(.)")
    assert {member.scene for member in sets.members(unpaired)} == {"a", "b"}
    assert all(sets.read("DICM", member).normal is None for member in sets.members(unpaired))


def refused(wanted):
    """Return the one problem of a set that cannot be loaded either, for the same reason."""
    [problem] = sets.problems("LOL", wanted)
    with pytest.raises(DataError, match=re.escape(problem)):
        _ = [sets.read("LOL", member) for member in sets.members(wanted)]
    return problem


def test_a_missing_reference_is_named(paired):
    (paired.normal / "a.png").unlink()
    said = refused(paired)
    assert "expected a reference for every low-light image, under the same name (extension apart)" in said
    assert "but there is none for a.png" in said


def test_a_reference_of_another_size_is_named_with_both_sizes(paired):
    images.write(paired.normal / "b.png", pixels(21, 30))
    assert "b.png, 30 x 21 px, got 30 x 20" in refused(paired)


def test_two_files_of_one_name_are_named(paired):
    (paired.low / "a.jpg").write_bytes((paired.low / "a.png").read_bytes())
    assert "expected one file of each name (extension apart), got a.jpg, a.png" in refused(paired)


def test_an_image_too_small_for_the_generator_is_named(paired):
    images.write(paired.low / "a.png", pixels(15, 30))
    assert "a.png: expected at least 16 x 16 px, got 30 x 15" in refused(EvaluationSet(low=paired.low))


def test_every_problem_of_a_set_is_listed(paired, tmp_path):
    wanted = EvaluationSet(low=paired.low, normal=tmp_path / "nowhere", scenes="x")
    (paired.low / "a.png").write_bytes(b"")
    found = sets.problems("a/b", wanted)
    for message in ("set's name", "nowhere", "x: expected a regular expression", "a.png: the file is empty"):
        assert sum(message in problem for problem in found) == 1
    assert len(found) == 4


@pytest.mark.parametrize("name", ["", ".", "../up", "a\\b", ".hidden", 81 * "a"])
def test_a_sets_name_must_serve_as_a_folders_name(paired, name):
    assert len(sets.problems(name, paired)) == 1


def test_a_name_too_long_for_its_picture_is_named_before_there_is_one(paired):
    long = paired.low / f"{'é' * 119}.png"  # 238 bytes and the extension
    (paired.low / "a.png").rename(long)
    found = sets.problems("night", EvaluationSet(low=paired.low))
    assert found == [
        f"{long}: expected a name of at most 237 bytes (extension apart), since its picture is written under it; "
        "give it a shorter one"
    ]
    long.rename(paired.low / f"{'e' * 237}.png")
    assert sets.problems("night", EvaluationSet(low=paired.low)) == []


def test_many_broken_files_are_counted(paired):
    for number in range(7):
        (paired.low / f"{number}.png").touch()
    found = sets.problems("DICM", EvaluationSet(low=paired.low))
    assert ["0.png" in found[0], "1.png" in found[1], "2.png" in found[2]] == [True] * 3
    assert found[3:] == ["4 more images have such problems"]
