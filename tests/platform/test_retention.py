"""Which checkpoints stay."""

import math

from platform.retention import Retention, delete


def test_the_best_of_each_variant_keep_theirs():
    kept = Retention(2, higher_is_better=True)
    assert kept.add("a", ["baseline"], 10.0) == []
    assert kept.add("b", ["baseline"], 12.0) == []
    assert kept.add("c", ["baseline"], 11.0) == ["a"]
    assert kept.add("d", ["baseline"], math.nan) == ["d"]
    assert kept.add("e", ["no_attention"], 1.0) == []


def test_where_lower_is_better_and_of_equals_the_earlier_stays():
    kept = Retention(1, higher_is_better=False)
    assert kept.add("a", ["x"], 5.0) == []
    assert kept.add("b", ["x"], 5.0) == ["b"]
    assert kept.add("c", ["x"], 4.0) == ["a"]


def test_a_trial_of_two_variants_stays_while_it_is_among_the_best_of_one():
    kept = Retention(1, higher_is_better=True)
    assert kept.add("a", ["x", "y"], 5.0) == []
    assert kept.add("b", ["x"], 6.0) == []
    assert kept.add("c", ["y"], 6.0) == ["a"]


def test_none_keeps_all_and_zero_none():
    assert Retention(None, higher_is_better=True).add("a", ["x"], 1.0) == []
    assert Retention(0, higher_is_better=True).add("a", ["x"], 1.0) == ["a"]


def test_only_checkpoints_are_deleted(tmp_path):
    folder = tmp_path / "trials" / "a"
    folder.mkdir(parents=True)
    for name in ("checkpoint-10.pt", "checkpoint-20.pt", "generator.pt", "generator.json"):
        (folder / name).touch()
    delete(tmp_path, ["a", "gone"])
    assert sorted(path.name for path in folder.iterdir()) == ["generator.json", "generator.pt"]
