import hashlib

import pytest

from platform.references import digests, unscored

ALL = {"input": None, "normal": None, "official": "a1"}


@pytest.mark.parametrize(
    ("scored", "weights", "wanted"),
    [
        (ALL, {"official": "a1"}, None),
        (ALL, {}, None),
        (ALL, {"official": "b2"}, ["official"]),  # the file changed
        (ALL, {"official": "a1", "mine": "c3"}, ["mine"]),
        ({}, {}, []),  # those that learn nothing alone
        ({}, {"official": "a1"}, ["official"]),
        ({"official": "a1"}, {"official": "a1"}, []),
    ],
)
def test_what_is_scored_is_what_is_new_or_has_changed(scored, weights, wanted):
    assert unscored(scored, weights) == wanted


def test_a_file_is_known_by_its_content(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    assert digests({"official": str(tmp_path / "a.pth")}) == {"official": hashlib.sha256(b"weights").hexdigest()}
