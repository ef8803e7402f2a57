import numpy as np
import pytest

from analysis.errors import StatisticsError
from analysis.sequential import LOOKS, rejected, shares
from analysis.statistics import holm, paired


def test_shares_are_those_of_the_published_simulation():
    assert shares(LOOKS, 12) == pytest.approx([0.0625, 0.111, 0.271, 0.556], abs=5e-4)
    assert sum(shares(LOOKS, 12)) == pytest.approx(1)
    assert sum(shares((3, 5), 10)) == pytest.approx(0.25)  # what was not looked for is not spent


@pytest.mark.parametrize(("looks", "most"), [((5, 3), 12), ((3, 3), 12), ((3, 13), 12), ((), 12), ((0, 3), 12)])
def test_looks_that_do_not_grow_up_to_the_most_are_refused(looks, most):
    with pytest.raises(StatisticsError, match="looks: expected growing numbers of seeds up to 12, got"):
        shares(looks, most)


def test_one_look_at_everything_is_holms_adjustment():
    p = dict(zip("abcde", [0.011, 0.2, 0.009, 0.013, 0.02], strict=True))
    adjusted = dict(zip(p, holm(list(p.values())), strict=True))
    assert set(rejected(p, share=1.0, declared=5)) == {name for name, value in adjusted.items() if value < 0.05}
    assert rejected(p, share=1.0, declared=5) == ["c", "a", "d", "e"]


def test_what_was_rejected_earlier_makes_room_and_what_stopped_otherwise_does_not():
    # At level 0.05 and a share of 0.5: 0.025 / 3 = 0.0083 with two rejected of five, 0.025 / 5 = 0.005 with none.
    assert rejected({"a": 0.007, "z": 0.0}, share=0.5, earlier=["z", "y"], declared=5) == ["a"]
    assert rejected({"a": 0.007}, share=0.5, declared=5) == []


def test_five_components_without_effect_are_seldom_rejected_at_any_look():
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(600):
        runs = rng.normal(0, 0.4, (6, 12, 1))
        wrong += any(
            rejected(
                {name: paired(runs[1 + place, :seeds] - runs[0, :seeds]).p() for place, name in enumerate("abcde")},
                share=share, declared=5,
            )
            for seeds, share in zip(LOOKS, shares(LOOKS, 12), strict=True)
        )  # fmt: skip
    assert wrong / 600 < 0.05 + 2 * 0.009  # published: 0.042
