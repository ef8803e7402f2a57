"""The duality gap: against a game that is solved by hand, and as a measure of the real one that leaves no trace."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trials import duality
from trials.batches import Batches
from trials.duality import duality_gap
from trials.randomness import Streams
from trials.steps import Gan, Made, View, adam, build, game, generator_step, make, step

CPU = torch.device("cpu")


class Player(nn.Module):
    """One number, which is a whole network."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))

    def statistics_held(self):
        return nullcontext()


class NoBatches:
    """Batches of nothing, which remember what was asked for."""

    def __init__(self):
        self.asked = []

    def at(self, number):
        self.asked.append(number)
        return number


def losses(gan):
    """A game on two numbers: the discriminator's loss d^2 / 2 - d (1 - g), the generator's (g - d)^2 / 2."""
    d, g = gan.views[0].discriminator.value, gan.generator.value
    return d**2 / 2 - d * (1 - g), (g - d) ** 2 / 2


def moved(gan, name, loss):
    gan.optimisers[name].zero_grad()
    loss.backward()
    gan.optimisers[name].step()


def game_of(tiny, monkeypatch, d, g):
    config = tiny({"optimiser.learning_rate": 0.02, "optimiser.beta1": 0.0})
    view = View("global", None, Player(d), "least_squares", 1.0, 0.0)
    gan = Gan(config, Player(g), None, (view,), None, {}, None)
    for name, network in gan.networks().items():
        gan.optimisers[name] = adam(network, config, name)
    monkeypatch.setattr(duality, "make", lambda gan, batch: (None, None))
    monkeypatch.setattr(duality, "game", lambda gan, made, batch: tuple(loss.detach() for loss in losses(gan)))
    monkeypatch.setattr(duality, "generator_step", lambda gan, batch: moved(gan, "generator", losses(gan)[1]))
    monkeypatch.setattr(duality, "discriminator_step", lambda gan, batch, made: moved(gan, "global", losses(gan)[0]))
    return gan


@pytest.mark.parametrize(("d", "g"), [(0.5, 0.5), (0.0, 0.0), (1.0, 0.0), (0.2, 0.9), (-0.5, 0.3)])
def test_the_gap_of_a_game_that_is_solved_by_hand(tiny, monkeypatch, d, g):
    """The best answer to g is d = 1 - g, that to d is g = d; each gains half a square; at 1/2, 1/2 nobody does."""
    gan, batches = game_of(tiny, monkeypatch, d, g), NoBatches()
    gap = duality_gap(gan, batches, steps=400)
    assert gap == pytest.approx((d - (1 - g)) ** 2 / 2 + (g - d) ** 2 / 2, abs=2e-3)
    assert tuple(network.value.item() for network in (gan.views[0].discriminator, gan.generator)) == pytest.approx(
        (d, g)
    )


def test_both_sides_are_measured_on_eight_batches_and_answer_on_others(tiny, monkeypatch):
    gan, batches = game_of(tiny, monkeypatch, 1.0, 0.0), NoBatches()
    duality_gap(gan, batches, steps=5)
    held_out = list(range(1, 9))
    assert batches.asked == [*held_out, 9, 10, 11, 12, 13, *held_out, *held_out]


@pytest.fixture
def small(tiny):
    """Return a maker of configurations that are smaller yet."""
    shared = {"crop_px": 16, "local.patch_px": 8, "generator.depth": 2, "optimiser.learning_rate": 3e-3}
    return lambda overrides=None: tiny(shared | (overrides or {}))


def batches_of(config, stream="gap"):
    random = np.random.default_rng(4)
    low = [random.integers(0, 60, (40, 40, 3), dtype=np.uint8) for _ in range(4)]
    normal = [random.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(4)]
    return Batches(config, low=low, normal=normal, streams=Streams(6, stream), device=CPU)


def trained(config, steps):
    gan, batches = build(config, Streams(6), CPU), batches_of(config, "")
    for number in range(1, steps + 1):
        step(gan, batches.at(number))
    return gan


def test_the_game_is_the_one_that_is_trained(small):
    for options in ({}, {"loss.identity": 0.5, "loss.total_variation": 2.0}, {"loss.convention": "paper"}):
        config = small(options)
        gan, batch = trained(config, 2), batches_of(config).at(3)
        theirs, ours = game(gan, make(copy.deepcopy(gan), batch)[1], batch)
        gan_step = step(gan, batch)
        assert float(ours) == pytest.approx(float(gan_step["loss/generator"]), rel=1e-5)
        judged = float(gan_step["loss/d_global"] + gan_step["loss/d_local"])
        assert float(theirs) == pytest.approx(judged, rel=1e-5)


def test_the_gap_is_larger_the_worse_a_side_plays_and_the_longer_its_answer_is_sought(small):
    config = small()
    gan = trained(config, 30)
    reset = copy.deepcopy(gan)
    for view, network in build(config, Streams(6), CPU).judges():
        reset.networks()[view.name].load_state_dict(network.state_dict())
    gaps = [duality_gap(gan, batches_of(config), steps=steps) for steps in (0, 4, 12)]
    assert gaps[0] == 0
    assert gaps[0] < gaps[1] < gaps[2]
    assert duality_gap(reset, batches_of(config), steps=12) > 1.2 * gaps[2]


@pytest.mark.parametrize("view", ["global", "local"])
def test_the_gap_of_a_game_with_one_discriminator(small, view):
    other = {"global": "local", "local": "global"}[view]
    config = small({f"{other}.discriminator": False})
    assert duality_gap(trained(config, 5), batches_of(config), steps=10) > 0


def test_the_full_learning_rate_is_used_whatever_the_schedule_has_left_of_it(small):
    config = small()
    gan, slow = trained(config, 5), trained(config, 5)
    for optimiser in slow.optimisers.values():
        optimiser.param_groups[0]["lr"] = 1e-12
    assert duality_gap(gan, batches_of(config), steps=5) == duality_gap(slow, batches_of(config), steps=5)
    assert {optimiser.param_groups[0]["lr"] for optimiser in slow.optimisers.values()} == {1e-12}


def state_of(gan):
    """Return everything that a gap must leave alone."""
    state = {
        f"{name}.{key}": value.clone()
        for name, network in [*gan.networks().items(), ("average", gan.average)]
        if network is not None
        for key, value in network.state_dict().items()
    }
    for name, optimiser in gan.optimisers.items():
        for number, moments in optimiser.state_dict()["state"].items():
            state |= {f"{name}.{number}.{key}": value.clone() for key, value in moments.items()}
    for number, image in enumerate([] if gan.pool is None else gan.pool.images):
        state[f"pool.{number}"] = image.clone()
    return state


def changed(first, second):
    return {key for key in first.keys() | second.keys() if not torch.equal(first[key], second[key])}


EVERYTHING = {"stabilise.ema": 0.9, "stabilise.pool": 3, "loss.identity": 1.0, "stabilise.r1": 1.0,
              "generator.norm_splits": 2}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"stabilise.spectral_norm": True}, EVERYTHING], ids=str)
def test_the_gap_leaves_everything_as_it_was_and_the_training_goes_on_equally(small, options):
    config = small(options)
    gan, plain = trained(config, 3), trained(config, 3)
    momenta = [layer.momentum for layer in gan.generator.values() if hasattr(layer, "momentum")]
    random = torch.get_rng_state()
    duality_gap(gan, batches_of(config), steps=3)
    assert changed(state_of(plain), state_of(gan)) == set()
    assert torch.equal(torch.get_rng_state(), random)
    assert [layer.momentum for layer in gan.generator.values() if hasattr(layer, "momentum")] == momenta
    assert all(network.training for network in gan.networks().values())
    for number in (4, 5):
        for one in (gan, plain):
            step(one, batches_of(config, "").at(number))
    assert changed(state_of(plain), state_of(gan)) == set()


def test_compiled_networks_have_the_same_gap_and_stay_as_they_were_too(small, monkeypatch):
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: compiler(call, backend="eager"))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: None)
    gan, plain = trained(small({"compute.compile": True}), 3), trained(small(), 3)
    assert changed(state_of(plain), state_of(gan)) == set()
    gap = duality_gap(gan, batches_of(small()), steps=3)
    assert changed(state_of(plain), state_of(gan)) == set()
    assert gap == pytest.approx(duality_gap(plain, batches_of(small()), steps=3), rel=1e-4)


def test_the_same_gap_is_found_again(small):
    config = small(EVERYTHING)
    gan = trained(config, 3)
    assert duality_gap(gan, batches_of(config), steps=3) == duality_gap(gan, batches_of(config), steps=3)


def test_running_statistics_stay_where_they_are_held_and_come_back_after_an_error(small):
    generator = build(small(), Streams(0), CPU).generator
    image, before = batches_of(small()).at(1).low, {}

    def held_by():
        with generator.statistics_held():
            generator(image)
            raise KeyboardInterrupt

    before = {name: value.clone() for name, value in generator.named_buffers()}
    with pytest.raises(KeyboardInterrupt):
        held_by()
    assert all(torch.equal(value, before[name]) for name, value in generator.named_buffers())
    generator(image)
    assert not torch.equal(generator["bn1_1"].running_mean, before["bn1_1.running_mean"])


def test_normalisation_does_not_change_while_statistics_are_held(small):
    generator = build(small(), Streams(0), CPU).generator
    image = batches_of(small()).at(1).low
    with generator.statistics_held():
        held = generator(image)
    assert torch.equal(held, generator(image))


def test_a_generators_answer_is_sought_against_the_discriminators_as_they_are(small, monkeypatch):
    config = small()
    gan, seen = trained(config, 2), []

    def remembering(one, batch):
        seen.append({name: network.state_dict() for name, network in one.networks().items() if name != "generator"})
        return generator_step(one, batch)

    monkeypatch.setattr(duality, "generator_step", remembering)
    duality_gap(gan, batches_of(config), steps=2)
    for networks in seen:
        for name, state in networks.items():
            assert all(torch.equal(value, state[key]) for key, value in gan.networks()[name].state_dict().items())


def test_scores_that_are_made_belong_to_the_copies(small):
    """A frozen Gan cannot be changed, so the copies are whole ones."""
    gan = trained(small(), 1)
    copied = duality._copied(gan)
    assert isinstance(make(copied, batches_of(small()).at(1))[1], Made)
    assert copied.generator is not gan.generator
    assert {id(network) for _, network in copied.judges()}.isdisjoint(id(network) for _, network in gan.judges())
    assert copied.features is gan.features
    assert replace(gan, pool=None).pool is None
