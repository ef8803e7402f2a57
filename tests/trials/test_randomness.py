import hashlib

import numpy as np
import pytest

from trials.randomness import Streams


def draws(streams, name, step=0):
    return streams.at(name, step).random(50)


def test_a_draw_depends_on_its_address_alone():
    first = draws(Streams(1), "crops", 7)
    draws(Streams(1), "flips", 7)
    assert (draws(Streams(1), "crops", 7) == first).all()


@pytest.mark.parametrize(
    "other",
    [
        lambda: draws(Streams(2), "crops", 7),
        lambda: draws(Streams(1, "placebo"), "crops", 7),
        lambda: draws(Streams(1), "flips", 7),
        lambda: draws(Streams(1), "crops", 8),
    ],
    ids=["seed", "stream", "name", "step"],
)
def test_each_part_of_the_address_counts(other):
    assert np.intersect1d(draws(Streams(1), "crops", 7), other()).size == 0


def test_parts_of_an_address_do_not_run_together():
    assert (draws(Streams(1, "1"), "a") != draws(Streams(11, ""), "a")).all()
    assert (draws(Streams(1, "a"), "b") != draws(Streams(1, ""), "ab")).all()


def test_a_seed_that_comes_from_an_array_is_the_same_seed():
    assert (draws(Streams(np.int64(3)), "a") == draws(Streams(3), "a")).all()


def test_draws_are_the_same_on_every_machine_and_tomorrow():
    key = hashlib.sha256(b"(5, 'placebo', 'order/low')").digest()[:16]
    expected = np.random.Philox(key=int.from_bytes(key, "little"), counter=[0, 0, 0, 3])
    found = Streams(5, "placebo").at("order/low", 3)
    assert found.integers(0, 2**63, 4).tolist() == np.random.Generator(expected).integers(0, 2**63, 4).tolist()
    assert Streams(0).at("crops", 1).random(3).tolist() == [
        0.7939493388305047,
        0.16683994218810505,
        0.12080276723723338,
    ]
