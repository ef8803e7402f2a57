"""Where re-implementations of EnlightenGAN go wrong: each trap as one test, with a figure.

Where a figure of the official code exists (`official.json`), the wrong way is shown to miss it.
"""

import pytest
import torch
from torch.nn import functional

from tests.trials import official
from trials import steps
from trials.batches import Batch, Batches
from trials.checkpoint import Origin, save
from trials.config import Config, Vgg
from trials.health import Monitor
from trials.losses import discriminator_loss, feature_loss, generator_loss
from trials.networks import Discriminator, Generator, attention_map
from trials.randomness import Streams
from trials.steps import build, generator_step
from trials.vgg import Features

CPU = torch.device("cpu")
MEAN = official.FIGURES["generator eval align_corners=True"]["mean"]


@torch.no_grad()
def mean_of(generator):
    return float(official.filled(generator).eval()(official.image(2, 64, 64)).mean())


def test_convolution_then_leaky_relu_then_norm():
    class NormFirst(Generator):
        def _block(self, name, x):
            x = self[f"conv{name}"](x)
            return functional.leaky_relu(self[f"bn{name}"](x) if f"bn{name}" in self else x, 0.2)

    assert mean_of(Generator()) == pytest.approx(MEAN, abs=1e-5)
    assert abs(mean_of(NormFirst()) - MEAN) > 0.01


def test_the_last_block_has_no_norm():
    names = official.generator(width=1).state_dict()
    assert sum(name.endswith("running_mean") for name in names) == 17  # of 18 blocks
    assert "bn9_1.weight" in names
    assert "bn9_2.weight" not in names


def test_upsampling_aligns_corners():
    assert Config().generator.upsampling == "bilinear_aligned"
    assert abs(mean_of(official.generator(upsampling="bilinear")) - MEAN) > 0.001


@torch.no_grad()
def test_attention_shrinks_by_its_maximum_not_its_mean(monkeypatch):
    assert mean_of(Generator()) == pytest.approx(MEAN, abs=1e-5)
    pool = functional.max_pool2d

    def mean_of_maps(x, size):
        return functional.avg_pool2d(x, size) if x.shape[1] == 1 else pool(x, size)

    monkeypatch.setattr(functional, "max_pool2d", mean_of_maps)
    assert abs(mean_of(Generator()) - MEAN) > 0.001


def test_only_the_generators_input_is_darkened(tiny):
    """The features are compared with the undarkened image, the attention is the darkened one's."""
    gan = build(tiny({"vgg.instance_norm": False}), Streams(0), CPU)
    low = official.image(2, 32, 32)
    batch = Batch(low=low, darkened=(low + 1) / 4 - 1, normal=low.flip(0), offsets=[(0, 0)])
    seen = []
    gan.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        made = gan.generator(batch.darkened)
    losses, _ = generator_step(gan, batch)
    assert torch.equal(seen[1], batch.darkened)
    assert float(attention_map(seen[1]).min()) > 0.75  # a quarter of the light
    to_low, to_darkened = (
        feature_loss(gan.features(made), gan.features(x), instance_norm=False) for x in (low, seen[1])
    )
    assert float(losses["loss/sfp_global"]) == pytest.approx(float(to_low), rel=1e-4)
    assert float(to_darkened) < 0.25 * float(to_low)


def test_vgg_sees_blue_green_red_from_0_to_255_without_a_mean():
    seen = []
    features = Features(Vgg(weights="random", layer="relu1_1"))
    features.layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    features(torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1))  # red 255, green 127.5, blue 0
    assert seen[0].flatten().tolist() == [0, 127.5, 255]


def test_the_fourth_max_pool_of_vgg_is_skipped():
    features = Features(Vgg(weights="random", layer=Config().vgg.layer))
    assert features(torch.zeros(1, 3, 32, 32)).shape[2:] == (4, 4)  # 2 x 2 with the fourth


def test_features_are_normalised_by_image_and_channel():
    features, target = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[60.0, 20.0]]]])
    assert Config().vgg.instance_norm
    assert float(feature_loss(features, target, instance_norm=True)) == pytest.approx(4, rel=1e-4)


def test_six_patches_share_their_offsets_across_the_batch_and_across_fake_real_and_low():
    config = Config(
        crop_px=32,
        batch=2,
        generator={"width": 1},
        local={"patch_px": 8, "discriminator": False},
        loss={"global_weight": 0},
        vgg={"weights": "random", "layer": "relu1_1"},
    )
    image = official.image(1, 40, 40)[0].add(1).mul(127.5).permute(1, 2, 0).numpy().astype("uint8")
    offsets = Batches(config, low=[image], normal=[image], streams=Streams(0), device=CPU).at(1).offsets
    assert len(offsets) == 6
    images = official.image(2, 32, 32)
    local = build(config, Streams(0), CPU).views[-1]
    patches = local.look(images, offsets).unflatten(0, (6, 2))
    for (top, left), patch in zip(offsets, patches, strict=True):
        assert torch.equal(patch, images[:, :, top : top + 8, left : left + 8])


def test_half_of_the_sum_but_not_for_the_generators_local_loss():
    real, fake = torch.full((1, 4), 0.8), torch.full((1, 4), 0.1)  # relativistic: +0.7 and -0.7
    relativistic, squares = "relativistic_least_squares", "least_squares"
    found = [
        loss(kind, real, fake) for kind in (relativistic, squares) for loss in (discriminator_loss, generator_loss)
    ]
    assert [float(one) for one in found] == pytest.approx(
        [(0.3**2 + 0.7**2) / 2, (0.7**2 + 1.7**2) / 2, (0.2**2 + 0.1**2) / 2, 0.9**2]
    )


@torch.no_grad()
def test_the_output_is_not_clamped():
    output = official.filled(Generator()).eval()(official.image(2, 64, 64))
    assert float(output.abs().max()) > 1.5


def test_discriminators_pad_by_two():
    with torch.no_grad():
        assert Discriminator(4, width=1)(torch.zeros(1, 3, 32, 32)).shape[2:] == (5, 5)  # 1 x 1 with padding 1


@pytest.mark.parametrize(("layers", "px", "side", "map_side"), [(5, 286, 320, 13), (5, 286, 256, 11), (4, 142, 32, 5)])
def test_a_score_depends_on_a_field_of_the_published_size_and_maps_have_the_published_sides(layers, px, side, map_side):
    with torch.device("meta"):
        assert Discriminator(layers)(torch.zeros(1, 3, side, side)).shape[2:] == (map_side, map_side)
    judge = Discriminator(layers, width=1)
    for name, parameter in judge.named_parameters():
        parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)  # all paths count, none cancels
    image = torch.ones(1, 3, 800, 800, requires_grad=True)
    scores = judge(image)
    middle = scores.shape[2] // 2
    scores[0, 0, middle, middle].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == px


def test_the_generator_moves_first_and_both_discriminators_judge_what_it_made_before(tiny, monkeypatch):
    gan = build(tiny(), Streams(0), CPU)
    moved, judged = [], []
    for name, optimiser in gan.optimisers.items():
        monkeypatch.setattr(optimiser, "step", lambda name=name, take=optimiser.step: moved.append(name) or take())
    for view, judge in gan.judges():
        judge.register_forward_pre_hook(lambda module, inputs, name=view.name: judged.append((name, inputs[0])))
    low = official.image(2, 32, 32)
    made = []
    gan.generator.register_forward_hook(lambda module, inputs, output: made.append(output.detach().clone()))
    steps.step(gan, Batch(low, low, low.flip(0), [(0, 0)]))
    assert moved == ["generator", "global", "local"]
    assert len(made) == 1
    fakes = [images for name, images in judged if name == "global"][1:]  # the real ones come first
    assert len(fakes) == 1
    assert torch.equal(fakes[0], made[0])


def test_low_and_normal_images_are_paired_for_good():
    assert Config().pairing == "fixed"
    shades = [torch.full((32, 32, 3), shade, dtype=torch.uint8).numpy() for shade in range(5)]
    made = Batches(Config(crop_px=32, batch=5), low=shades[:3], normal=shades, streams=Streams(0), device=CPU)
    for step in (1, 2, 3):
        batch = made.at(step)
        low, normal = (((x[:, 0, 0, 0] + 1) * 127.5).round().long().tolist() for x in (batch.low, batch.normal))
        assert sorted(zip(low, normal, strict=True)) == [(0, 0), (0, 3), (1, 1), (1, 4), (2, 2)]


def test_the_state_of_the_optimisers_is_saved(tiny, tmp_path):
    origin = Origin(tiny(), Streams(0))
    gan = build(origin.config, origin.streams, CPU)
    images = official.image(2, 32, 32)
    steps.step(gan, Batch(images, images, images.flip(0), [(0, 0)]))
    content = torch.load(
        tmp_path / save(tmp_path, gan, Monitor(origin.config.watch), origin, step=1), weights_only=True
    )
    assert {name: len(one["state"]) for name, one in content["optimisers"].items()} == {
        "generator": 80, "global": 8, "local": 8,
    }  # fmt: skip
