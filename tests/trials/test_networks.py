import pytest
import torch
from torch.nn import functional

from tests.trials import official
from trials.networks import Discriminator, Generator, attention_map, initialise
from trials.randomness import Streams

ON_64 = [(0, 0, 0, 0), (0, 1, 31, 17), (1, 2, 63, 63), (1, 0, 20, 40)]
ON_50_70 = [(0, 0, 0, 0), (0, 1, 31, 17), (0, 2, 49, 69)]
ON_SCORES = [(0, 0, 0, 0), (1, 0, -1, -1), (1, 0, 2, 3)]


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("mode", "tolerance"), [("eval", 1e-5), ("train", 1e-4)])
@torch.no_grad()
def test_the_generator_returns_what_the_official_one_returns(align_corners, mode, tolerance):
    expected = official.FIGURES[f"generator {mode} align_corners={align_corners}"]
    upsampling = "bilinear_aligned" if align_corners else "bilinear"
    generator = official.filled(official.generator(upsampling=upsampling)).train(mode == "train")
    image = official.image(2, 64, 64)
    output = generator(image)
    assert official.pixels(output, ON_64) == pytest.approx(expected["px"], abs=tolerance)
    assert float(output.mean()) == pytest.approx(expected["mean"], abs=tolerance)
    assert float(output.std()) == pytest.approx(expected["std"], abs=tolerance)
    assert float((output - image).mean()) == pytest.approx(expected["latent_mean"], abs=tolerance)


@torch.no_grad()
def test_an_image_of_odd_size_is_padded_and_cropped_back_as_the_official_code_does():
    expected = official.FIGURES["generator eval odd 50x70 align_corners=True"]
    output = official.filled(Generator()).eval()(official.image(1, 50, 70))
    assert list(output.shape) == expected["shape"]
    assert official.pixels(output, ON_50_70) == pytest.approx(expected["px"], abs=1e-5)
    assert float(output.mean()) == pytest.approx(expected["mean"], abs=1e-5)


@pytest.mark.parametrize(("layers", "side"), [(5, 320), (4, 32)])
@torch.no_grad()
def test_a_discriminator_returns_what_the_official_one_returns(layers, side):
    expected = official.FIGURES[f"discriminator n_layers={layers} input {side}"]
    scores = official.filled(Discriminator(layers))(official.image(2, side, side))
    assert list(scores.shape) == expected["shape"]
    assert official.pixels(scores, ON_SCORES) == pytest.approx(expected["px"], abs=1e-5)
    assert float(scores.mean()) == pytest.approx(expected["mean"], abs=1e-5)
    assert float(scores.std()) == pytest.approx(expected["std"], abs=1e-5)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: Generator(), 8_636_675),
        (lambda: official.generator(attention="none"), 8_636_387),
        (lambda: Discriminator(5), 11_154_369),
        (lambda: Discriminator(4), 6_959_553),
        (lambda: Discriminator(3), 2_764_737),
    ],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(build, parameters):
    with torch.device("meta"):
        network = build()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_the_generators_state_has_the_official_names_in_the_official_order():
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = []
    for stage in range(1, 10):
        if stage > 5:
            expected += [f"deconv{stage - 1}.weight", f"deconv{stage - 1}.bias"]
        for block in (f"{stage}_1", f"{stage}_2"):
            expected += [f"conv{block}.weight", f"conv{block}.bias"]
            expected += [f"bn{block}.{entry}" for entry in norm if block != "9_2"]
    names = list(official.generator(width=2).state_dict())
    assert names == [*expected, "conv10.weight", "conv10.bias"]
    assert len(names) == 131


def test_a_discriminators_state_has_the_official_names_and_shapes():
    with torch.device("meta"):
        network = Discriminator(5)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if "weight" in name}
    assert shapes == {
        "model.0.weight": (64, 3, 4, 4),
        "model.2.weight": (128, 64, 4, 4),
        "model.4.weight": (256, 128, 4, 4),
        "model.6.weight": (512, 256, 4, 4),
        "model.8.weight": (512, 512, 4, 4),
        "model.10.weight": (512, 512, 4, 4),
        "model.12.weight": (1, 512, 4, 4),
    }


def test_attention_is_one_minus_luminance():
    black, white, red = (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), (1.0, -1.0, -1.0)
    image = torch.tensor([black, white, red]).T.reshape(1, 3, 1, 3)
    assert attention_map(image).flatten().tolist() == pytest.approx([1, 0, 0.701], abs=1e-6)


@torch.no_grad()
def test_with_attention_white_pixels_stay_and_without_it_nothing_spares_them():
    white = torch.ones(1, 3, 32, 32)
    for attention, spared in ((True, True), (False, False)):
        output = official.filled(
            official.generator(width=2, attention="self_regularised" if attention else "none")
        ).eval()(white)
        assert torch.allclose(output, white, atol=1e-6) == spared


@torch.no_grad()
def test_without_attention_the_output_is_the_input_plus_what_the_network_adds():
    generator = official.filled(official.generator(width=2, attention="none")).eval()
    image = official.image(1, 16, 16)
    added = generator(image) - image
    generator["conv10"].weight.mul_(2)
    generator["conv10"].bias.mul_(2)
    assert torch.allclose(generator(image) - image, 2 * added, atol=1e-6)


@torch.no_grad()
def test_of_an_odd_padding_the_smaller_half_comes_first():
    generator, image = official.filled(official.generator(width=2)).eval(), official.image(1, 17, 31)
    padded = functional.pad(image, (0, 1, 7, 8), mode="reflect")
    assert torch.equal(generator(image), generator(padded)[..., 7:24, 0:31])


@pytest.mark.parametrize("size", [(6, 6), (16, 33), (21, 300)])
@torch.no_grad()
def test_images_of_any_size_keep_their_size(size):
    assert official.generator(width=1).eval()(torch.zeros(1, 3, *size)).shape == (1, 3, *size)


def initialised(network, seed=3):
    for value in network.state_dict().values():
        value.fill_(float("nan") if value.is_floating_point() else 7)
    initialise(network, Streams(seed), "generator")
    return network.state_dict()


def test_initial_values_are_distributed_as_in_the_official_code():
    state = initialised(official.generator(width=8))
    weight, bias, scale = state["conv5_1.weight"], state["conv5_1.bias"], state["bn5_1.weight"]
    assert float(weight.mean()) == pytest.approx(0, abs=3e-4)
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    bound = (64 * 9) ** -0.5  # 64 channels in, 3 x 3
    assert bound * 0.9 < float(bias.abs().max()) <= bound
    assert float(scale.mean()) == pytest.approx(1, abs=0.01)
    assert float(scale.std()) == pytest.approx(0.02, rel=0.2)
    assert state["bn5_1.bias"].abs().max() == 0
    assert state["bn5_1.running_mean"].abs().max() == 0
    assert (state["bn5_1.running_var"] == 1).all()
    assert state["bn5_1.num_batches_tracked"] == 0
    assert not any(value.isnan().any() for value in state.values())


def test_initial_values_depend_on_the_seed_and_on_no_global_state():
    torch.manual_seed(1)
    first = initialised(official.generator(width=2))
    torch.manual_seed(2)
    again, other = initialised(official.generator(width=2)), initialised(official.generator(width=2), seed=4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1_1.weight"], other["conv1_1.weight"])


def test_taking_attention_out_changes_only_the_initial_weights_whose_shape_it_changes():
    with_attention, without = (
        initialised(official.generator(width=2)),
        initialised(official.generator(width=2, attention="none")),
    )
    shared = [name for name in without if torch.equal(without[name], with_attention[name])]
    assert without.keys() - shared == {"conv1_1.weight", "conv1_1.bias"}  # the bias's range follows the fan-in
