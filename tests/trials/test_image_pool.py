"""The pool: what discriminators are shown, and what is kept."""

import pytest
import torch

from trials.batches import Batch
from trials.image_pool import ImagePool
from trials.randomness import Streams
from trials.steps import build, step

CPU = torch.device("cpu")


def numbered(*numbers):
    """Images of which every value is the image's number."""
    return torch.stack([torch.full((3, 2, 2), float(number)) for number in numbers])


def names(images):
    return [int(image[0, 0, 0]) for image in images]


def steps_of(pool, count, batch=2):
    """Return which images are shown and kept at each step; image n is the n-th that was made."""
    for number in range(1, count + 1):
        made = list(range((number - 1) * batch, number * batch))
        yield made, names(pool.exchange(numbered(*made), number)), names(pool.images)


def test_until_it_is_full_images_are_taken_in_and_shown_as_they_are():
    found = list(steps_of(ImagePool(5, Streams(0)), 3))[:2]
    assert found == [([0, 1], [0, 1], [0, 1]), ([2, 3], [2, 3], [0, 1, 2, 3])]


def test_a_pool_that_is_full_within_a_batch_keeps_the_first_of_it():
    pool = ImagePool(3, Streams(0))
    pool.exchange(numbered(0, 1, 2, 3, 4, 5), 1)
    assert len(pool.images) == 3


def test_an_image_that_is_shown_from_the_pool_leaves_it_for_the_new_one():
    kept = []
    for number, (made, shown, after) in enumerate(steps_of(ImagePool(4, Streams(1)), 200), 1):
        assert len(shown) == len(made)
        if number > 2:
            taken = [one for one in shown if one not in made]
            assert sorted(kept + made) == sorted(after + shown)  # nothing is lost, nothing doubled
            assert set(taken) <= set(kept)
        kept = after


def test_what_is_shown_is_what_cyclegans_pool_shows_for_the_same_draws():
    pool, kept = ImagePool(3, Streams(7)), []
    for number, (made, shown, after) in enumerate(steps_of(pool, 50, batch=4), 1):
        expected = []
        for image, (chance, place) in zip(made, Streams(7).at("pool", number).random((4, 2)), strict=True):
            if len(kept) < 3:
                kept.append(image)
                expected.append(image)
            elif chance < 0.5:
                index = int(3 * place)
                expected.append(kept[index])
                kept[index] = image
            else:
                expected.append(image)
        assert (shown, after) == (expected, kept)


def test_half_of_the_images_come_from_every_place_of_the_pool():
    old, places, pool = 0, set(), ImagePool(4, Streams(2))
    for number in range(1, 1001):
        before = names(pool.images)
        (shown,) = names(pool.exchange(numbered(number), number))
        if number > 4 and shown != number:
            old += 1
            places.add(before.index(shown))
    assert old / 996 == pytest.approx(0.5, abs=0.05)
    assert places == {0, 1, 2, 3}


def test_draws_depend_on_the_step_alone():
    first, second = (ImagePool(2, Streams(3)) for _ in range(2))
    for number in range(1, 9):
        first.exchange(numbered(number, 10 + number), number)
    second.images = [image.clone() for image in first.images]
    assert names(first.exchange(numbered(90, 91), 9)) == names(second.exchange(numbered(90, 91), 9))
    assert names(first.images) == names(second.images)


def test_the_pool_keeps_copies_without_gradients():
    pool, made = ImagePool(2, Streams(0)), numbered(1, 2).requires_grad_()
    shown = pool.exchange(made, 1)
    assert not shown.requires_grad
    assert not any(image.requires_grad for image in pool.images)
    made.data.zero_()
    assert names(pool.images) == [1, 2]
    assert names(shown) == [1, 2]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_layout_in_memory_stays(layout):
    made = torch.rand(4, 3, 6, 8).contiguous(memory_format=layout)
    shown = ImagePool(2, Streams(0)).exchange(made, 1)
    assert shown.is_contiguous(memory_format=layout)
    assert shown.shape == made.shape


def batch_of(step_number=1):
    images = torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(step_number)) * 2 - 1
    return Batch(images[0], images[0], images[1], [(0, 3), (16, 9)], step_number)


def test_discriminators_judge_what_the_pool_shows_and_the_generator_does_not_know(tiny, monkeypatch):
    other = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    monkeypatch.setattr(ImagePool, "exchange", lambda self, fake, number: other)
    plain, pooled = build(tiny(), Streams(0), CPU), build(tiny({"stabilise.pool": 9}), Streams(0), CPU)
    for gan in (plain, pooled):
        for _, network in gan.judges():
            for parameter in network.parameters():
                parameter.data.mul_(5)
    judged, patches = {}, torch.cat([other[..., 0:16, 3:19], other[..., 16:32, 9:25]])
    with torch.no_grad():
        for name, (seen, real) in {
            "global": (other, batch_of().normal),
            "local": (patches, torch.cat([batch_of().normal[..., 0:16, 3:19], batch_of().normal[..., 16:32, 9:25]])),
        }.items():
            judged[name] = pooled.networks()[name](real), pooled.networks()[name](seen)
    first, second = step(plain, batch_of()), step(pooled, batch_of())
    real, fake = judged["local"]
    assert float(second["loss/d_local"]) == pytest.approx(
        float(((real - 1) ** 2).mean() + (fake**2).mean()) / 2, rel=1e-5
    )
    real, fake = judged["global"]
    assert float(second["health/margin_global"]) == pytest.approx(float(real.mean() - fake.mean()), rel=1e-3)
    assert float(first["loss/d_global"]) != float(second["loss/d_global"])
    assert float(first["loss/generator"]) == float(second["loss/generator"])
    assert all(map(torch.equal, plain.generator.parameters(), pooled.generator.parameters()))
