"""EnlightenGAN's networks (arXiv 1906.06972, section III), as the official code builds them.

The names of parameters and buffers are the official ones, so that published weights load.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trials.randomness import Streams

__all__ = ["Discriminator", "Generator", "attention_map", "initialise"]

STRIDE = 16
"""The generator halves its input four times."""


class Generator(nn.ModuleDict):
    """The attention-guided U-Net: conv, LeakyReLU, BatchNorm (in this order), four levels, bilinear upsampling.

    A dictionary of layers, for the official names (`conv1_1.weight`) have no levels.

    Args:
        width: channels of the first stage, doubled at each of the four stages below (published: 32).
        attention: whether the map 1 - luminance is a fourth input channel and weighs skips, bottleneck and residual.
        align_corners: how upsampling places its samples; True in the torch of the published training.
    """

    def __init__(self, width: int = 32, *, attention: bool = True, align_corners: bool = True) -> None:
        super().__init__()
        self.attention = attention
        self.align_corners = align_corners
        widths = [width << level for level in range(5)]
        inputs = 4 if attention else 3
        for stage, outputs in enumerate(widths, 1):
            self._add_stage(stage, inputs, outputs)
            inputs = outputs
        for stage, outputs in enumerate(reversed(widths[:-1]), 6):
            self[f"deconv{stage - 1}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            self._add_stage(stage, inputs, outputs)
            inputs = outputs
        del self["bn9_2"]  # the last block has no norm
        self["conv10"] = nn.Conv2d(width, 3, 1)

    def _add_stage(self, stage: int, inputs: int, outputs: int) -> None:
        for name, channels in ((f"{stage}_1", inputs), (f"{stage}_2", outputs)):
            self[f"conv{name}"] = nn.Conv2d(channels, outputs, 3, padding=1)
            self[f"bn{name}"] = nn.BatchNorm2d(outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Return the enhanced image: the input plus what the U-Net adds.

        Args:
            image: (N, 3, H, W), in [-1, 1], sides of 6 pixels or more: padded by reflection to multiples of 16.

        Returns:
            The enhanced image, (N, 3, H, W), unbounded: clamp it to [-1, 1] to show it.
        """
        height, width = image.shape[-2:]
        left, top = -width % STRIDE // 2, -height % STRIDE // 2
        right, bottom = -width % STRIDE - left, -height % STRIDE - top
        if left or right or top or bottom:
            image = functional.pad(image, (left, right, top, bottom), mode="reflect")
        return self._enhance(image)[..., top : top + height, left : left + width]

    def _enhance(self, image: Tensor) -> Tensor:
        maps = _pyramid(attention_map(image)) if self.attention else [None] * 5
        x = torch.cat([image, maps[0]], 1) if maps[0] is not None else image
        skips = []
        for stage in range(1, 5):
            x = self._block(f"{stage}_2", self._block(f"{stage}_1", x))
            skips.append(_weigh(x, maps[stage - 1]))
            x = functional.max_pool2d(x, 2)
        x = self._block("5_2", _weigh(self._block("5_1", x), maps[4]))
        for stage in range(6, 10):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.align_corners)
            x = torch.cat([self[f"deconv{stage - 1}"](x), skips.pop()], 1)
            x = self._block(f"{stage}_2", self._block(f"{stage}_1", x))
        return image + _weigh(self["conv10"](x), maps[0])

    def _block(self, name: str, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self[f"conv{name}"](x), 0.2, inplace=True)
        return self[f"bn{name}"](x) if f"bn{name}" in self else x


def attention_map(image: Tensor) -> Tensor:
    """Return 1 - luminance, (N, 1, H, W) in [0, 1], of images (N, 3, H, W) in [-1, 1]. Dark pixels weigh most."""
    red, green, blue = image.unbind(1)
    luminance = 0.5 + 0.5 * (0.299 * red + 0.587 * green + 0.114 * blue)
    return (1 - luminance).unsqueeze(1)


def _pyramid(attention: Tensor) -> list[Tensor | None]:
    maps: list[Tensor | None] = [attention]
    for _ in range(4):
        attention = functional.max_pool2d(attention, 2)
        maps.append(attention)
    return maps


def _weigh(x: Tensor, attention: Tensor | None) -> Tensor:
    return x if attention is None else x * attention


class Discriminator(nn.Module):
    """A PatchGAN discriminator without norm: (N, 3, H, W) in [-1, 1] to a map of unbounded scores (N, 1, h, w).

    Args:
        layers: convolutions of stride 2; two of stride 1 follow (published: 5 global, 4 local).
        width: channels after the first convolution, doubled up to eight times this (published: 64).
    """

    def __init__(self, layers: int, width: int = 64) -> None:
        super().__init__()
        channels = [3] + [width * min(2**n, 8) for n in range(layers + 1)]
        blocks: list[nn.Module] = []
        for n, (inputs, outputs) in enumerate(pairwise(channels)):
            stride = 2 if n < layers else 1
            blocks += [nn.Conv2d(inputs, outputs, 4, stride, padding=2), nn.LeakyReLU(0.2, inplace=True)]
        self.model = nn.Sequential(*blocks, nn.Conv2d(channels[-1], 1, 4, padding=2))

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores of images."""
        scores: Tensor = self.model(image)
        return scores


@torch.no_grad()
def initialise(network: nn.Module, streams: Streams, name: str) -> None:
    """Set every parameter and buffer to its initial value, as the official code distributes them.

    Convolutions N(0, 0.02), their biases uniform within 1 / sqrt(fan-in) (torch's default), BatchNorm N(1, 0.02)
    and 0. Each parameter has its own stream, `init/NAME/PARAMETER`, so networks that share a parameter's name and
    shape begin with equal values.
    """
    for path, module in network.named_modules():
        address = f"init/{name}/{path}"
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.bias.zero_()
            module.weight.copy_(1 + 0.02 * _normal(streams, f"{address}.weight", module.weight))
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            bound = module.weight[0].numel() ** -0.5
            module.weight.copy_(0.02 * _normal(streams, f"{address}.weight", module.weight))
            module.bias.copy_(torch.from_numpy(streams.at(f"{address}.bias").uniform(-bound, bound, len(module.bias))))


def _normal(streams: Streams, name: str, like: Tensor) -> Tensor:
    return torch.from_numpy(streams.at(name).standard_normal(tuple(like.shape), dtype=np.float32))
