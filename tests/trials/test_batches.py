import numpy as np
import pytest
import torch

from trials.batches import Batches, cut
from trials.progress import DataError
from trials.randomness import Streams

CPU = torch.device("cpu")


def numbered(count, height=40, width=48, first=0):
    """Images of which each pixel tells image (red), row (green) and column (blue)."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return [np.stack([np.full_like(rows, first + number), rows, columns], axis=2) for number in range(count)]


def batches(config, low=None, normal=None, seed=0):
    low = numbered(3) if low is None else low
    normal = numbered(5, first=100) if normal is None else normal
    return Batches(config, low=low, normal=normal, streams=Streams(seed), device=CPU)


def levels(images):
    return ((images + 1) * 127.5).round().long()


def members(images):
    return levels(images)[:, 0, 0, 0].tolist()


def paired(batch):
    return list(zip(members(batch.low), members(batch.normal), strict=True))


def epochs(config, kind, count, steps):
    found = [number for step in range(1, steps + 1) for number in members(getattr(batches(config).at(step), kind))]
    return [found[start : start + count] for start in range(0, len(found) - count + 1, count)]


def test_every_image_is_seen_once_in_each_pass_over_the_images(tiny):
    for kind, numbers in (("low", [0, 1, 2]), ("normal", [100, 101, 102, 103, 104])):
        passes = epochs(tiny({"batch": 2}), kind, len(numbers), steps=20)
        assert all(sorted(one) == numbers for one in passes)
        assert len({tuple(one) for one in passes}) > 1


def test_fixed_pairing_gives_every_image_the_same_partner_for_ever(tiny):
    made = batches(tiny({"pairing": "fixed"}))
    pairs = {pair for step in range(1, 30) for pair in paired(made.at(step))}
    assert pairs == {(item % 3, 100 + item) for item in range(5)}


def test_independent_pairing_lets_every_low_meet_every_normal_image(tiny):
    made = batches(tiny({"pairing": "independent"}))
    pairs = {pair for step in range(1, 80) for pair in paired(made.at(step))}
    assert len(pairs) == 15


def test_crops_are_whole_and_reach_every_border(tiny):
    made = batches(tiny({"augment.flip": False}))
    corners = set()
    for step in range(1, 400):
        for image in levels(made.at(step).low):
            rows, columns = image[1], image[2]
            top, left = int(rows[0, 0]), int(columns[0, 0])
            assert torch.equal(rows, torch.arange(top, top + 32)[:, None].expand(32, 32))
            assert torch.equal(columns, torch.arange(left, left + 32)[None].expand(32, 32))
            corners.add((top, left))
    assert {top for top, _ in corners} == set(range(9))  # 40 - 32 and both ends
    assert {left for _, left in corners} == set(range(17))


def test_an_image_of_the_crops_size_is_taken_whole(tiny):
    made = batches(tiny({"augment.flip": False}), low=numbered(1, 32, 32)).at(1)
    assert torch.equal(levels(made.low)[0, 1:, -1, -1], torch.tensor([31, 31]))


def test_flips_mirror_low_and_normal_apart_left_right_and_together_top_down(tiny):
    made = batches(tiny(), low=numbered(1, 32, 32), normal=numbered(1, 32, 32))
    seen = set()
    for step in range(1, 60):
        batch = made.at(step)
        for low, normal in zip(levels(batch.low), levels(batch.normal), strict=True):
            seen.add(tuple(bool(image[axis, 0, 0]) for image in (low, normal) for axis in (1, 2)))
    top_down = {(low, normal) for low, _, normal, _ in seen}
    left_right = {(low, normal) for _, low, _, normal in seen}
    assert top_down == {(False, False), (True, True)}
    assert len(left_right) == 4


def test_darkening_divides_about_half_of_the_inputs_by_two_to_four_and_leaves_the_target(tiny):
    made = batches(tiny({"batch": 8}), low=[np.full((32, 32, 3), 200, np.uint8)])
    factors = []
    for step in range(1, 60):
        batch = made.at(step)
        assert (levels(batch.low) == 200).all()
        factors += (batch.low + 1).div(batch.darkened + 1)[:, 0, 0, 0].tolist()
    darkened = [factor for factor in factors if factor > 1.001]
    assert 0.4 < len(darkened) / len(factors) < 0.6
    assert 2 <= min(darkened) < 2.1
    assert 3.9 < max(darkened) <= 4.0001


def test_without_darkening_the_input_is_the_target(tiny):
    batch = batches(tiny({"augment.darken": 0})).at(1)
    assert torch.allclose(batch.darkened, batch.low, atol=1e-6)


def test_patches_lie_in_the_crop_reach_its_borders_and_are_as_many_as_asked_for(tiny):
    made = batches(tiny({"local.patches": 3, "local.patch_px": 24}))
    offsets = [offset for step in range(1, 200) for offset in made.at(step).offsets]
    assert len(offsets) == 3 * 199
    assert {top for top, _ in offsets} == {left for _, left in offsets} == set(range(9))


def test_patches_are_cut_only_if_a_term_looks_at_them(tiny):
    features_only = tiny({"local.discriminator": False})
    neither = tiny({"local.discriminator": False, "loss.sfp_local": 0})
    assert len(batches(features_only).at(1).offsets) == 2
    assert batches(neither).at(1).offsets == []


def test_cut_takes_all_images_at_the_first_offset_then_all_at_the_next():
    images = torch.arange(2 * 1 * 4 * 4).reshape(2, 1, 4, 4)
    patches = cut(images, [(0, 1), (2, 2)], 2)
    assert patches[:, 0].tolist() == [
        [[1, 2], [5, 6]],
        [[17, 18], [21, 22]],
        [[10, 11], [14, 15]],
        [[26, 27], [30, 31]],
    ]


@pytest.mark.parametrize(
    "removed",
    [
        {"generator.attention": "none"},
        {"local.discriminator": False},
        {"local.discriminator": False, "loss.sfp_local": 0},
        {"loss.global_adversarial": "least_squares", "loss.sfp_global": 0},
        {"local.patches": 5},
    ],
    ids=str,
)
def test_taking_a_component_out_leaves_the_images_crops_flips_and_darkening(tiny, removed):
    full, variant = batches(tiny()), batches(tiny(removed))
    for step in (1, 2, 17):
        for name in ("low", "normal", "darkened"):
            assert torch.equal(getattr(full.at(step), name), getattr(variant.at(step), name))


def test_one_augmentation_taken_out_leaves_the_others(tiny):
    full, variant = batches(tiny()).at(5), batches(tiny({"augment.darken": 0})).at(5)
    assert torch.equal(full.low, variant.low)
    assert full.offsets == variant.offsets


def test_more_patches_begin_with_the_same_ones(tiny):
    few, many = batches(tiny()).at(3).offsets, batches(tiny({"local.patches": 5})).at(3).offsets
    assert many[:2] == few


def test_a_batch_depends_on_its_step_alone_and_on_the_seed(tiny):
    made = batches(tiny())
    first = made.at(9)
    made.at(2)
    assert torch.equal(made.at(9).low, first.low)
    assert not torch.equal(batches(tiny(), seed=1).at(9).low, first.low)


def test_an_image_smaller_than_the_crop_is_refused(tiny):
    with pytest.raises(DataError, match=r"low-light training image 2 of 2: .* crop_px = 32 .* has 48 x 31"):
        batches(tiny(), low=[*numbered(1), *numbered(1, 31, 48)])


def test_no_images_are_refused(tiny):
    with pytest.raises(DataError, match="training needs normal-light images, but there are none"):
        batches(tiny(), normal=[])
