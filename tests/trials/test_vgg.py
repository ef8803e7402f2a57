import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import VGG16_Weights, vgg16

from trials.config import Vgg
from trials.progress import DataError
from trials.vgg import Features


@pytest.fixture(scope="module")
def published():
    """A state dict of torchvision's VGG16 (random weights), its first two blocks."""
    torch.manual_seed(0)
    with torch.device("meta"):
        names = list(vgg16().state_dict())
    shapes = {"features.0": (64, 3), "features.2": (64, 64), "features.5": (128, 64), "features.7": (128, 128)}
    state = {}
    for name, (outputs, inputs) in shapes.items():
        state |= {f"{name}.weight": torch.randn(outputs, inputs, 3, 3) / 20, f"{name}.bias": torch.randn(outputs)}
    assert list(state) == names[:8]
    return state


@pytest.fixture
def file(published, tmp_path):
    path = tmp_path / "vgg16.pth"
    torch.save(published, path)
    return path


def test_torchvisions_weights_see_rgb_from_0_to_255_without_a_mean(published, file):
    image = torch.rand(1, 3, 12, 12) * 2 - 1
    x = (image + 1) / 2 * 255  # RGB
    for name in ("features.0", "features.2", "pool", "features.5"):
        if name == "pool":
            x = functional.max_pool2d(x, 2)
        else:
            x = functional.conv2d(x, published[f"{name}.weight"], published[f"{name}.bias"], padding=1).relu()
    features = Features(Vgg(weights=str(file), layer="relu2_1"))(image)
    assert torch.allclose(features, x, rtol=1e-4, atol=1e-3)


def test_the_official_codes_file_has_other_names_and_sees_bgr(published, file, tmp_path):
    names = {"features.0": "conv1_1", "features.2": "conv1_2", "features.5": "conv2_1", "features.7": "conv2_2"}
    renamed = {}
    for name, value in published.items():
        position, kind = name.rsplit(".", 1)
        renamed[f"{names[position]}.{kind}"] = value.flip(1) if name == "features.0.weight" else value
    torch.save(renamed, tmp_path / "vgg16.weight")
    image = torch.rand(1, 3, 8, 8) * 2 - 1
    theirs = Features(Vgg(weights=str(tmp_path / "vgg16.weight"), layer="relu2_2"))(image)
    assert torch.equal(theirs, Features(Vgg(weights=str(file), layer="relu2_2"))(image))


@pytest.mark.parametrize(
    ("layer", "max_pools", "shape"),
    [
        ("relu1_2", 3, (1, 64, 32, 32)),
        ("relu3_1", 3, (1, 256, 8, 8)),
        ("relu5_1", 3, (1, 512, 4, 4)),
        ("relu5_1", 4, (1, 512, 2, 2)),
        ("relu3_3", 0, (1, 256, 32, 32)),
    ],
)
def test_a_layer_has_vggs_channels_and_as_many_halvings_as_max_pools_are_run(layer, max_pools, shape):
    features = Features(Vgg(weights="random", layer=layer, max_pools=max_pools))
    assert features(torch.zeros(1, 3, 32, 32)).shape == shape


def test_only_the_layers_up_to_the_one_needed_are_built():
    features = Features(Vgg(weights="random", layer="relu3_2"))
    convolutions = [layer for layer in features.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 64, 128, 128, 256, 256]


def test_the_network_is_fixed_but_lets_gradients_through_to_the_image():
    features = Features(Vgg(weights="random", layer="relu1_2"))
    image = torch.zeros(1, 3, 8, 8, requires_grad=True)
    features(image).sum().backward()
    assert not any(parameter.requires_grad for parameter in features.parameters())
    assert image.grad.abs().sum() > 0


def test_random_weights_are_the_same_each_time_and_at_each_depth():
    shallow, deep = (Features(Vgg(weights="random", layer=layer)).state_dict() for layer in ("relu1_2", "relu5_1"))
    assert all(torch.equal(shallow[name], deep[name]) for name in shallow)


def test_random_weights_keep_the_features_of_sensible_size_at_every_depth():
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    for layer in ("relu1_1", "relu3_1", "relu5_3"):
        features = Features(Vgg(weights="random", layer=layer))(image)
        assert 0.05 < float(features.std()) < 5
        assert 0.2 < float((features > 0).float().mean()) < 0.8


def test_a_weight_of_the_wrong_shape_is_named(published, tmp_path):
    torch.save(published | {"features.2.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "a.pth")
    with pytest.raises(
        DataError, match=r"a\.pth: features\.2\.weight should be \(64, 64, 3, 3\) numbers, but is \(64,"
    ):
        Features(Vgg(weights=str(tmp_path / "a.pth"), layer="relu1_2"))


def test_a_state_dict_of_something_else_is_named_with_what_it_holds(tmp_path):
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"a\.pth has no tensor features\.0\.weight.*first entries are fc\.weight"):
        Features(Vgg(weights=str(tmp_path / "a.pth"), layer="relu1_1"))


def test_a_missing_file_says_what_may_stand_there():
    with pytest.raises(DataError, match=r"vgg\.weights: imagnet: no such file; expected `imagenet`, `random`"):
        Features(Vgg(weights="imagnet", layer="relu1_1"))


@pytest.mark.parametrize("content", [b"", b"not a file of torch", None])
def test_a_file_that_torch_cannot_read_as_numbers_is_refused(content, tmp_path):
    path = tmp_path / "a.pth"
    torch.save(nn.Conv2d(1, 1, 1), path) if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pth cannot be read .*; expected"):
        Features(Vgg(weights=str(path), layer="relu1_1"))


def test_weights_that_cannot_be_fetched_say_what_to_download_and_where_to_put_it(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError) as caught:
        Features(Vgg(weights="imagenet", layer="relu1_1"))
    for part in (
        "no route to host",
        VGG16_Weights.IMAGENET1K_FEATURES.url,
        str(tmp_path / "hub" / "checkpoints"),
        "set vgg.weights to the path",
        "`random`",
    ):
        assert part in str(caught.value)


def test_imagenet_weights_are_read_from_where_the_message_says(monkeypatch, published, tmp_path):
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(published, folder / VGG16_Weights.IMAGENET1K_FEATURES.url.rsplit("/", 1)[1])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    features = Features(Vgg(weights="imagenet", layer="relu1_1"))
    assert torch.equal(features.layers[0].weight, published["features.0.weight"].flip(1))
