import pytest
import torch

from trials import steps
from trials.batches import Batch, cut
from trials.losses import discriminator_loss, feature_loss, generator_loss
from trials.networks import Discriminator, Generator
from trials.randomness import Streams
from trials.steps import build, discriminator_step, generator_step

CPU = torch.device("cpu")
OFFSETS = [(0, 3), (16, 9)]


def gan_of(config, seed=0):
    return build(config, Streams(seed), CPU)


def batch_of(offsets=OFFSETS):
    images = torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(low=images[0], darkened=(images[0] + 1) / 3 - 1, normal=images[1], offsets=offsets)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def step(gan, batch):
    """Take a step; return its losses."""
    measures = steps.step(gan, batch)
    return {name.removeprefix("loss/"): value for name, value in measures.items() if name.startswith("loss/")}


def test_each_step_moves_only_its_own_networks(tiny):
    gan, batch = gan_of(tiny()), batch_of()
    start = {name: weights(network) for name, network in gan.networks().items()}
    _, made = generator_step(gan, batch)
    moved = [name for name, network in gan.networks().items() if not torch.equal(weights(network), start[name])]
    assert moved == ["generator"]
    middle = {name: weights(network) for name, network in gan.networks().items()}
    discriminator_step(gan, batch, made)
    moved = [name for name, network in gan.networks().items() if not torch.equal(weights(network), middle[name])]
    assert moved == ["global", "local"]


def reference_step(config, gan, batch):
    """The official loop, written out: every network run anew for each half of the step, patch after patch."""
    networks, loss, px = gan.networks(), config.loss, config.local.patch_px
    made = networks["generator"](batch.darkened)

    def feature(image, low):
        return feature_loss(gan.features(image), gan.features(low), instance_norm=config.vgg.instance_norm)

    def scores(name, image):
        return networks[name](image).unsqueeze(0)

    def patches(images):
        return [cut(images, [offset], px) for offset in batch.offsets]

    def mean(values):
        return sum(values) / len(values)

    pairs = list(zip(patches(batch.normal), patches(made), patches(batch.low), strict=True))
    terms = {
        "g_global": generator_loss(loss.global_adversarial, scores("global", batch.normal), scores("global", made)),
        "sfp_global": feature(made, batch.low),
        "g_local": mean(
            [
                generator_loss(loss.local_adversarial, scores("local", real), scores("local", fake))
                for real, fake, _ in pairs
            ]
        ),
        "sfp_local": mean([feature(fake, low) for _, fake, low in pairs]),
    }
    factors = (loss.global_weight, loss.sfp_global, loss.local_weight, loss.sfp_local)
    total = sum(factor * term for factor, term in zip(factors, terms.values(), strict=True))
    gan.optimisers["generator"].zero_grad()
    total.backward()
    gan.optimisers["generator"].step()
    made = made.detach()
    terms["d_global"] = discriminator_loss(
        loss.global_adversarial, scores("global", batch.normal), scores("global", made)
    )
    terms["d_local"] = mean(
        [
            discriminator_loss(loss.local_adversarial, scores("local", real), scores("local", fake))
            for real, fake in zip(patches(batch.normal), patches(made), strict=True)
        ]
    )
    for name in ("global", "local"):
        gan.optimisers[name].zero_grad()
        terms[f"d_{name}"].backward()
        gan.optimisers[name].step()
    return {"generator": total, **terms}


@pytest.mark.parametrize("local", ["least_squares", "relativistic_least_squares"])
def test_a_step_is_the_official_loops_step(tiny, local):
    config = tiny(
        {
            "loss.local_adversarial": local,
            "loss.global_weight": 0.7,
            "loss.local_weight": 1.3,
            "loss.sfp_global": 0.4,
            "loss.sfp_local": 2.0,
        }
    )
    ours, theirs = gan_of(config), gan_of(config)
    for gan in (ours, theirs):
        for parameter in gan.networks()["local"].parameters():
            parameter.data.mul_(5)  # fresh scores are all but equal: patches must differ to be told apart
    for _ in range(3):
        found, expected = step(ours, batch_of()), reference_step(config, theirs, batch_of())
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(float(value.detach()), rel=1e-4), name
    for name, network in ours.networks().items():
        # Adam turns rounding into full steps where a gradient is nearly 0, so the mean counts, not the largest.
        assert (weights(network) - weights(theirs.networks()[name])).abs().mean() < 1e-5, name


@pytest.mark.parametrize(
    ("removed", "losses", "networks"),
    [
        ({}, "generator g_global sfp_global g_local sfp_local d_global d_local", "generator global local"),
        ({"local.discriminator": False}, "generator g_global sfp_global sfp_local d_global", "generator global"),
        ({"loss.local_weight": 0}, "generator g_global sfp_global sfp_local d_global", "generator global"),
        ({"global.discriminator": False}, "generator sfp_global g_local sfp_local d_local", "generator local"),
        ({"loss.sfp_local": 0}, "generator g_global sfp_global g_local d_global d_local", "generator global local"),
        ({"loss.sfp_global": 0}, "generator g_global g_local sfp_local d_global d_local", "generator global local"),
        (
            {"loss.sfp_local": 0, "local.discriminator": False},
            "generator g_global sfp_global d_global",
            "generator global",
        ),
    ],
    ids=str,
)
def test_a_term_that_is_off_is_neither_computed_nor_trained(tiny, removed, losses, networks):
    gan = gan_of(tiny(removed))
    assert list(gan.networks()) == list(gan.optimisers) == networks.split()
    assert set(step(gan, batch_of())) == set(losses.split())


def test_without_feature_losses_there_is_no_vgg(tiny):
    assert gan_of(tiny({"loss.sfp_global": 0, "loss.sfp_local": 0})).features is None


def test_all_patches_of_a_step_pass_through_each_network_at_once_and_once(tiny, monkeypatch):
    seen = []
    for kind in (Generator, Discriminator):
        forward = kind.forward
        monkeypatch.setattr(kind, "forward", lambda self, x, f=forward: seen.append(tuple(x.shape)) or f(self, x))
    gan = gan_of(tiny())
    gan.features.register_forward_pre_hook(lambda module, inputs: seen.append(("vgg", *inputs[0].shape)))
    step(gan, batch_of())
    crop, patches = (2, 3, 32, 32), (4, 3, 16, 16)
    vgg = [("vgg", *crop)] * 2 + [("vgg", *patches)] * 2
    assert sorted(seen, key=str) == sorted([crop] * 3 + [patches] * 2 + vgg, key=str)


def test_the_discriminators_get_no_gradient_in_the_generators_step(tiny):
    gan = gan_of(tiny())
    generator_step(gan, batch_of())
    for name in ("global", "local"):
        assert all(parameter.grad is None for parameter in gan.networks()[name].parameters())


@pytest.mark.parametrize("name", ["global_weight", "local_weight", "sfp_global", "sfp_local"])
def test_each_weight_changes_what_the_generator_learns(tiny, name):
    plain, heavy = gan_of(tiny()), gan_of(tiny({f"loss.{name}": 50}))
    for gan in (plain, heavy):
        step(gan, batch_of())
    assert not torch.allclose(weights(plain.generator), weights(heavy.generator), atol=1e-4)


def test_two_trainings_from_one_seed_are_equal_and_from_two_seeds_are_not(tiny):
    first, again, other = gan_of(tiny()), gan_of(tiny()), gan_of(tiny(), seed=1)
    for gan in (first, again, other):
        step(gan, batch_of())
        step(gan, batch_of())
    assert torch.equal(weights(first.generator), weights(again.generator))
    assert not torch.equal(weights(first.generator), weights(other.generator))


def test_a_variant_begins_with_the_same_weights_in_the_networks_that_it_shares(tiny):
    full, variant = gan_of(tiny()), gan_of(tiny({"local.discriminator": False, "generator.attention": "none"}))
    assert torch.equal(weights(full.networks()["global"]), weights(variant.networks()["global"]))
