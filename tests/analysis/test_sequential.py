import numpy as np
import pytest

from analysis.errors import StatisticsError
from analysis.sequential import LOOKS, adjusted, shares
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
    found = adjusted(p, share=1.0, declared=5)
    assert [found[name] for name in p] == pytest.approx(holm(list(p.values())))


def rejected(level, p, *, share, earlier=(), declared=5):
    """The rule as it is published, at one level: Holm's steps through what is open, at a share of the level."""
    found = list(earlier)
    for name in sorted((one for one in p if one not in found), key=p.__getitem__):
        if p[name] >= level * share / (declared - len(found)):
            break
        found.append(name)
    return found


def test_adjusted_values_reject_at_every_level_what_the_published_steps_reject_at_it():
    rng = np.random.default_rng(5)
    for _ in range(50):
        looks = [dict(zip("abcde", rng.uniform(0, 0.2, 5) ** 2, strict=True)) for _ in LOOKS]
        del looks[2]["c"]  # tested no more, but it counts
        adjusted_values, steps = {}, {level: [] for level in (0.01, 0.05, 0.2)}
        for p, share in zip(looks, shares(LOOKS, 12), strict=True):
            adjusted_values = adjusted(p, share=share, earlier=adjusted_values, declared=5)
            for level in steps:
                steps[level] = rejected(level, p, share=share, earlier=steps[level])
                assert {name for name, value in adjusted_values.items() if value < level} == set(steps[level])


def test_what_was_rejected_earlier_makes_room_and_what_stopped_otherwise_does_not():
    # At a share of 0.5: 2 * 3 * 0.007 with two rejected of five at that level, 2 * 5 * 0.007 with none.
    assert adjusted({"a": 0.007}, share=0.5, earlier={"z": 0.01, "y": 0.02}, declared=5)["a"] == pytest.approx(0.042)
    assert adjusted({"a": 0.007}, share=0.5, declared=5)["a"] == pytest.approx(0.07)


def test_five_components_without_effect_are_seldom_rejected_at_any_look():
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(600):
        runs, found = rng.normal(0, 0.4, (6, 12, 1)), {}
        for seeds, share in zip(LOOKS, shares(LOOKS, 12), strict=True):
            p = {name: paired(runs[1 + place, :seeds] - runs[0, :seeds]).p() for place, name in enumerate("abcde")}
            found = adjusted(p, share=share, earlier=found, declared=5)
        wrong += min(found.values()) < 0.05
    assert wrong / 600 < 0.05 + 2 * 0.009  # published: 0.042
