"""What a spec's text may be: plain values, not too many, not too deep; said with its line."""

import os

import pytest

from platform.errors import SpecError
from platform.yaml_file import parse_value, read, unprintable
from tests.platform.specs import written


def refused(tmp_path, text):
    with pytest.raises(SpecError) as caught:
        read(written(tmp_path, text))
    (problem,) = caught.value.problems
    return str(problem)


def laughs(levels):
    """Return the bomb of aliases: nine times nine times nine ..."""
    rows = ["a0: &a0 [x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (laughs(12), "line 6: expected at most 30000 values in a spec, but from here on it has more"),
        (f"a: &a {'x' * 50_000}\nb: [{', '.join(['*a'] * 100)}]", "line 2: expected at most 30000 values"),
        (f"a:\n  b: {'[' * 100_000}", "line 2: expected at most 30 sections within each other, but here are more"),
        ("\n".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else 1}]" for n in range(40)), "line 30: expected at most 30 "),
        ("a: &a\n  b: *a", "line 2: *a stands within what it stands for"),
        ("a: &a {<<: *a, b: 1}", "line 1: *a stands within what it stands for"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", "line 2: a spec holds plain values, but here is a tag ("),
        ("a: !!set x", "line 1: a spec holds plain values, but here is a tag (!!set); remove it"),
        ("? [a, b]\n: 1", "line 1: expected keys that are texts, but here is a list or a section as a key"),
        ("a: &a {b: 1}\nc: {*a : 1}", "line 2: expected keys that are texts"),
        ('a: 1\nb: {c: "\\ud800"}', "line 2: expected names and texts of one line that can be printed"),
        ('"\\e[31m": 1', "but here is the character U+001B"),
        ('"\\u202egnp": 1', "but here is the character U+202E"),
        ("a: |\n  one\n  two\n", "printed, but here is a line break"),
        ("a:\n  b: 1000000000000000000", "line 2: expected whole numbers of at most 18 digits, but here"),
        (f"a: [0x{'F' * 9000}]", "line 1: expected whole numbers of at most 18 digits"),
        ('a: 1\nb: {1: x, "1": y}', "line 2: the key `1` stands twice; remove one"),
        (f"a: {'x' * (1 << 20)}", "file: expected a spec of at most 1048576 bytes, but it has more"),
        ("a: *b", "line 1: this is not YAML: found undefined alias 'b'"),
    ],
)  # fmt: skip
def test_what_no_spec_needs_is_refused_where_it_stands(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_aliases_and_merged_keys_are_read_as_what_they_stand_for(tmp_path):
    text = "a: &a {steps: 2, flip: &f true, list: &l [1, *f]}\nb:\n  <<: *a\n  steps: 3\nc: *l\n"
    plain, lines = read(written(tmp_path, text))
    assert plain["b"] == {"steps": 3, "flip": True, "list": [1, True]}
    assert plain["b"]["flip"] is True  # not 1, though it has an anchor
    assert plain["c"] == [1, True]
    assert (lines["b", "steps"], lines["c",]) == (4, 5)


def test_keys_and_values_keep_their_kinds(tmp_path):
    text = "null: [1, 1.5, yes, 2024-01-01]\n1: {true: ~}\nbig: [-999999999999999999, 1e-300, .inf]\n"
    plain, _ = read(written(tmp_path, text))
    assert plain == {
        "null": [1, 1.5, "yes", "2024-01-01"], "1": {"true": None}, "big": [1 - 10**18, 1e-300, float("inf")],
    }  # fmt: skip


def test_as_many_seeds_as_a_study_may_have_are_read(tmp_path):
    plain, _ = read(written(tmp_path, f"seeds: [{', '.join(map(str, range(10_000)))}]"))
    assert len(plain["seeds"]) == 10_000


@pytest.mark.parametrize("text", ["&a [*a]", "!!python/name:os.system", "[" * 100_000, "0x" + "F" * 9000, "{[a]: b}"])
def test_a_value_is_held_to_the_same(text):
    with pytest.raises(ValueError, match=r"stands within|a tag|at most 30 sections|18 digits|keys that are texts"):
        parse_value(text)


def test_a_path_that_no_file_can_have_is_one_sentence(tmp_path):
    with pytest.raises(SpecError, match="expected a readable UTF-8 text"):
        read(tmp_path / "a\0b")


@pytest.mark.timeout(20)
def test_a_pipe_or_a_device_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("pipe.yaml", "zero.yaml"):
        with pytest.raises(SpecError, match="file: expected a text, but this is a pipe or a device; name a file"):
            read(tmp_path / name)


def test_letters_of_any_script_can_be_printed_and_what_a_terminal_obeys_cannot():
    assert unprintable("名前 é Ωμέγα 💩 a-b.c") == ""
    assert [unprintable(one) for one in ("a\x07", "\x9b31m", "a\u2028b", "\udcff")] == [
        "U+0007", "U+009B", "U+2028", "U+DCFF",
    ]  # fmt: skip
