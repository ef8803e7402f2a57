"""VGG16's features (Simonyan and Zisserman, arXiv 1409.1556), for the self-feature-preserving loss.

As in the official code of EnlightenGAN the network sees BGR in 0..255 without subtraction of a mean, and the
fourth max-pool is left out, unless `vgg.input` and `vgg.max_pools` say otherwise.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trials import torch_file
from trials.canonical import content
from trials.config import VGG_LAYERS, Vgg
from trials.progress import DataError
from trials.randomness import Streams
from trials.torch_file import DamagedError

__all__ = ["Features"]

RANDOM = Streams(seed=0, stream="vgg")
"""Where `weights: random` come from: the same for every trial."""


class Features(nn.Module):
    """VGG16 up to one layer, with fixed weights.

    Args:
        vgg: which weights, which layer, how many max-pools are run, and on which scale images are seen.

    Raises:
        DataError: if the weights cannot be fetched, read or used.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, vgg: Vgg) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for name, (weight, bias) in _parameters(vgg).items():
            block, number = name.removeprefix("conv").split("_")
            if number == "1" and 1 < int(block) <= vgg.max_pools + 1:
                blocks.append(nn.MaxPool2d(2))
            blocks += [_convolution(weight, bias), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*blocks).requires_grad_(False)
        scale, shift = _range(vgg)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the features (N, C, h, w) of images (N, 3, H, W) in [-1, 1]."""
        features: Tensor = self.layers(image.flip(1) * self.scale + self.shift)
        return features


CENTRE = (103.939, 116.779, 123.68)
"""ImageNet's mean blue, green and red in 0..255, as the first VGG16 (in Caffe) was trained with."""
MEAN, DEVIATION = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)
"""ImageNet's mean and standard deviation of blue, green and red in 0..1, as torchvision trains with."""


def _range(vgg: Vgg) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (3, 1, 1) each, from [-1, 1] to what VGG16 sees."""
    scale, shift = torch.full((3, 1, 1), 127.5), torch.full((3, 1, 1), 127.5)
    if vgg.input == "centred":
        shift = shift - torch.tensor(CENTRE)[:, None, None]
    elif vgg.input == "torchvision":
        mean, deviation = torch.tensor([MEAN, DEVIATION])[:, :, None, None]
        scale, shift = 0.5 / deviation, (0.5 - mean) / deviation
    return scale, shift


def _convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, device="meta")
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _shapes(last: str) -> dict[str, tuple[int, int, int, int]]:
    """Return the convolutions up to ReLU layer `last`, and the shapes of their weights."""
    shapes, inputs = {}, 3
    for layer in VGG_LAYERS[: VGG_LAYERS.index(last) + 1]:
        outputs = min(64 << int(layer[4]) - 1, 512)
        shapes[layer.replace("relu", "conv")] = (outputs, inputs, 3, 3)
        inputs = outputs
    return shapes


def _parameters(vgg: Vgg) -> dict[str, tuple[Tensor, Tensor]]:
    shapes = _shapes(vgg.layer)
    if vgg.weights == "random":
        first = 1 if vgg.input == "torchvision" else 255
        return {name: _random(name, shape, scale=first if name == "conv1_1" else 1) for name, shape in shapes.items()}
    state = _download(vgg) if vgg.weights == "imagenet" else _read(Path(vgg.weights), vgg)
    return _select(state, shapes, origin=f"vgg.weights: {vgg.weights}")


def _random(name: str, shape: tuple[int, int, int, int], *, scale: float) -> tuple[Tensor, Tensor]:
    """Return He's initialisation (arXiv 1502.01852), which keeps the variance, for an input of range `scale`."""
    deviation = (2 / np.prod(shape[1:])) ** 0.5 / scale
    weight = RANDOM.at(name).standard_normal(shape, dtype=np.float32) * np.float32(deviation)
    return torch.from_numpy(weight), torch.zeros(shape[0])


def _download(vgg: Vgg) -> Mapping[str, Any]:
    """Return VGG16 as torchvision publishes it.

    The original, trained on 0..255 like the official code's copy; or, if that is what it shall see, torchvision's own.
    """
    from torchvision.models import VGG16_Weights

    own = vgg.input == "torchvision"
    weights = VGG16_Weights.IMAGENET1K_V1 if own else VGG16_Weights.IMAGENET1K_FEATURES
    try:
        state: Mapping[str, Any] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise DataError(
            f"vgg.weights: imagenet could not be fetched ({error}). Download {weights.url} (528 MB) into {folder}, "
            "or set vgg.weights to the path of such a file, or to `random`"
        ) from error
    return state


SCALES = {"397923af": ("torchvision",), "88682ab5": ("raw", "centred")}
"""The published files of torchvision by the beginning of their SHA-256: on which scales they see images."""


def _read(path: Path, vgg: Vgg) -> Mapping[str, Any]:
    expected = "expected `imagenet`, `random`, or a file of torch.save with the state dict of VGG16"
    try:
        state = torch_file.read(path)
    except FileNotFoundError as error:
        raise DataError(f"vgg.weights: {path}: no such file; {expected}") from error
    except (OSError, DamagedError) as error:
        raise DataError(f"vgg.weights: {path} cannot be read ({type(error).__name__}); {expected}") from error
    if not isinstance(state, Mapping):
        raise DataError(f"vgg.weights: {path} holds a {type(state).__name__}; {expected}")
    scales = SCALES.get(content(path)[:8], (vgg.input,))
    if vgg.input not in scales:
        raise DataError(
            f"vgg.input: {path} was trained on another scale than {vgg.input}; set it to {' or '.join(scales)}"
        )
    return state


def _select(
    state: Mapping[str, Any], shapes: dict[str, tuple[int, int, int, int]], *, origin: str
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return weight and bias of each convolution, from a state dict that is named in either of two ways.

    `conv1_1.weight` (the file of the official code) takes BGR; `features.0.weight` (torchvision) takes RGB, and is
    turned round here. Both take 0..255.
    """
    ours = "conv1_1.weight" in state
    parameters = {}
    for (name, shape), number in zip(shapes.items(), _torchvision_numbers(), strict=False):
        key = name if ours else f"features.{number}"
        weight = _tensor(state, f"{key}.weight", shape=shape, origin=origin)
        bias = _tensor(state, f"{key}.bias", shape=shape[:1], origin=origin)
        parameters[name] = (weight.flip(1) if name == "conv1_1" and not ours else weight, bias)
    return parameters


def _torchvision_numbers() -> list[int]:
    """Return the positions of the 13 convolutions in torchvision's `features`, which counts ReLUs and max-pools."""
    blocks = [int(layer[4]) for layer in VGG_LAYERS]
    return [2 * i + block - 1 for i, block in enumerate(blocks)]


def _tensor(state: Mapping[str, Any], key: str, *, shape: tuple[int, ...], origin: str) -> Tensor:
    value = state.get(key)
    if not isinstance(value, Tensor):
        raise DataError(
            f"{origin} has no tensor {key}; expected VGG16's `features.0.weight`, ... or `conv1_1.weight`, ..., "
            f"but its first entries are {', '.join(map(str, list(state)[:3])) or 'none'}"
        )
    if tuple(value.shape) != shape or not value.is_floating_point():
        raise DataError(f"{origin}: {key} should be {shape} numbers, but is {tuple(value.shape)} of {value.dtype}")
    return value.float()
