"""EnlightenGAN's networks (arXiv 1906.06972, section III), as the official code builds them.

With the published settings the names of parameters and buffers are the official ones, so that published weights load.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trials import config
from trials.progress import DataError
from trials.randomness import Streams

__all__ = ["Discriminator", "Generator", "attention_map", "initialise"]


class Generator(nn.ModuleDict):
    """The attention-guided U-Net: conv, LeakyReLU, norm (in this order), `depth` levels, upsampling.

    A dictionary of layers, for the official names (`conv1_1.weight`) have no levels.
    """

    def __init__(self, settings: config.Generator | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or config.Generator()
        self.stride = 1 << settings.depth
        widths = [settings.width << level for level in range(settings.depth + 1)]
        inputs = 4 if settings.attention != "none" and settings.attend.input else 3
        for stage, outputs in enumerate(widths, 1):
            self._add_stage(stage, inputs, outputs)
            inputs = outputs
        for stage, outputs in enumerate(reversed(widths[:-1]), settings.depth + 2):
            if settings.upsampling == "transposed":
                self[f"deconv{stage - 1}"] = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
            else:
                self[f"deconv{stage - 1}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            self._add_stage(stage, inputs if settings.skips else outputs, outputs)
            inputs = outputs
        if settings.norm != "none":
            del self[f"bn{self._last}_2"]  # the last block has no norm
        self[f"conv{self._last + 1}"] = nn.Conv2d(settings.width, 3, 1)

    @property
    def _last(self) -> int:
        """The number of the decoder's last stage."""
        return 2 * self.settings.depth + 1

    def _add_stage(self, stage: int, inputs: int, outputs: int) -> None:
        for name, channels in ((f"{stage}_1", inputs), (f"{stage}_2", outputs)):
            self[f"conv{name}"] = nn.Conv2d(channels, outputs, 3, padding=1)
            if self.settings.norm == "batch":
                self[f"bn{name}"] = nn.BatchNorm2d(outputs)
            elif self.settings.norm == "instance":
                self[f"bn{name}"] = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, image: Tensor) -> Tensor:
        """Return the enhanced image: the input plus what the U-Net adds.

        Args:
            image: (N, 3, H, W), in [-1, 1]: padded by reflection to multiples of the generator's stride, 16 as
                published, so its sides must be longer than the padding.

        Returns:
            The enhanced image, (N, 3, H, W), unbounded: clamp it to [-1, 1] to show it.

        Raises:
            DataError: if the image is too small for instance norm.
        """
        height, width = image.shape[-2:]
        left, top = -width % self.stride // 2, -height % self.stride // 2
        right, bottom = -width % self.stride - left, -height % self.stride - top
        if self.settings.norm == "instance" and max(height + top + bottom, width + left + right) == self.stride:
            raise DataError(
                f"an image of {width} x {height} px leaves instance norm one value at the generator's bottleneck; "
                f"expected a side of more than {self.stride} px"
            )
        if left or right or top or bottom:
            image = functional.pad(image, (left, right, top, bottom), mode="reflect")
        return self._enhance(image)[..., top : top + height, left : left + width]

    def train_forward(self, image: Tensor) -> Tensor:
        """Return the enhanced image in train mode; batch norm normalises each of `norm_splits` parts apart.

        As under DataParallel, running statistics are those of the first part.
        """
        first, *rest = image.chunk(self.settings.norm_splits if self.settings.norm == "batch" else 1)
        made = self(first)
        if not rest:
            return made  # type: ignore[no-any-return]
        with self.statistics_held():
            return torch.cat([made, *(self(part) for part in rest)])

    @contextmanager
    def statistics_held(self) -> Iterator[None]:
        """Keep what is passed through in train mode from moving the running statistics."""
        norms = [layer for layer in self.values() if isinstance(layer, nn.BatchNorm2d)]
        before = [norm.track_running_stats for norm in norms]
        for norm in norms:
            norm.track_running_stats = False  # in train mode neither the statistics nor their count move then
        try:
            yield
        finally:
            for norm, tracked in zip(norms, before, strict=True):
                norm.track_running_stats = tracked

    def _enhance(self, image: Tensor) -> Tensor:
        depth, attend = self.settings.depth, self.settings.attend
        maps = self._maps(image)
        x = image if maps is None or not attend.input else torch.cat([image, maps[0]], 1)
        skips = []
        for stage in range(1, depth + 1):
            x = self._block(f"{stage}_2", self._block(f"{stage}_1", x))
            skips.append(_weigh(x, maps[stage - 1] if maps and attend.skips else None))
            x = functional.max_pool2d(x, 2) if self.settings.pool == "max" else functional.avg_pool2d(x, 2)
        x = self._block(f"{depth + 1}_1", x)
        x = self._block(f"{depth + 1}_2", _weigh(x, maps[depth] if maps and attend.bottleneck else None))
        for stage in range(depth + 2, self._last + 1):
            x, skip = self._upsampled(stage, x), skips.pop()
            x = torch.cat([x, skip], 1) if self.settings.skips else x
            x = self._block(f"{stage}_2", self._block(f"{stage}_1", x))
        latent = self[f"conv{self._last + 1}"](x)
        if self.settings.output == "tanh":
            latent = latent.tanh()
        latent = _weigh(latent, maps[0] if maps and attend.residual else None)
        if self.settings.input_weight == 0:
            return latent
        return latent + (image if self.settings.input_weight == 1 else self.settings.input_weight * image)

    def _maps(self, image: Tensor) -> list[Tensor] | None:
        """Return the attention map at every level, or None if there is no attention."""
        kind = self.settings.attention
        if kind == "none":
            return None
        attention = attention_map(image)
        if kind == "turned":
            attention = attention.flip(2, 3)
        elif kind == "constant":
            attention = torch.ones_like(attention)
        maps = [attention]
        for _ in range(self.settings.depth):
            maps.append(functional.max_pool2d(maps[-1], 2))
        return maps

    def _block(self, name: str, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self[f"conv{name}"](x), 0.2, inplace=True)
        return self[f"bn{name}"](x) if f"bn{name}" in self else x

    def _upsampled(self, stage: int, x: Tensor) -> Tensor:
        way = self.settings.upsampling
        if way == "nearest":
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        elif way != "transposed":
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=way == "bilinear_aligned")
        made: Tensor = self[f"deconv{stage - 1}"](x)
        return made


def attention_map(image: Tensor) -> Tensor:
    """Return 1 - luminance, (N, 1, H, W) in [0, 1], of images (N, 3, H, W) in [-1, 1]. Dark pixels weigh most."""
    red, green, blue = image.unbind(1)
    luminance = 0.5 + 0.5 * (0.299 * red + 0.587 * green + 0.114 * blue)
    return (1 - luminance).unsqueeze(1)


def _weigh(x: Tensor, attention: Tensor | None) -> Tensor:
    return x if attention is None else x * attention


class Discriminator(nn.Module):
    """A PatchGAN discriminator without norm: (N, 3, H, W) in [-1, 1] to a map of unbounded scores (N, 1, h, w).

    Args:
        layers: convolutions of stride 2; two of stride 1 follow (published: 5 global, 4 local).
        width: channels after the first convolution, doubled up to eight times this (published: 64).
        spectral_norm: whether each convolution is divided by its largest singular value.
    """

    def __init__(self, layers: int, width: int = 64, *, spectral_norm: bool = False) -> None:
        super().__init__()
        convolution = SpectralConv2d if spectral_norm else nn.Conv2d
        channels = [3] + [width * min(2**n, 8) for n in range(layers + 1)]
        blocks: list[nn.Module] = []
        for n, (inputs, outputs) in enumerate(pairwise(channels)):
            stride = 2 if n < layers else 1
            blocks += [convolution(inputs, outputs, 4, stride, padding=2), nn.LeakyReLU(0.2, inplace=True)]
        self.model = nn.Sequential(*blocks, convolution(channels[-1], 1, 4, padding=2))

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores of images."""
        scores: Tensor = self.model(image)
        return scores


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weight, as a matrix of rows for each output, is divided by its largest singular value.

    Miyato et al., arXiv 1802.05957: one step of the power iteration at each pass in train mode. The buffer `u` is the
    left singular vector as far as it is known.
    """

    u: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, size, stride, padding)
        self.register_buffer("u", torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x, (N, C, H, W), with the normalised weight."""
        convolved: Tensor = self._conv_forward(x, self.weight / self._largest(), self.bias)
        return convolved

    def _largest(self) -> Tensor:
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = functional.normalize(matrix.T @ self.u, dim=0)
            u = functional.normalize(matrix @ v, dim=0)
            if self.training:
                self.u.copy_(u)
        largest: Tensor = u @ (matrix @ v)
        return largest


@torch.no_grad()
def initialise(network: nn.Module, streams: Streams, name: str) -> None:
    """Set every parameter and buffer to its initial value, as the official code distributes them.

    Convolutions N(0, 0.02), their biases uniform within 1 / sqrt(fan-in) (torch's default), norms N(1, 0.02)
    and 0. Each parameter has its own stream, `init/NAME/PARAMETER`, so networks that share a parameter's name, shape
    and fan-in begin with equal values.
    """
    for path, module in network.named_modules():
        address = f"init/{name}/{path}"
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
            module.bias.zero_()
            module.weight.copy_(1 + 0.02 * _normal(streams, f"{address}.weight", module.weight))
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            bound = module.weight[0].numel() ** -0.5
            module.weight.copy_(0.02 * _normal(streams, f"{address}.weight", module.weight))
            module.bias.copy_(torch.from_numpy(streams.at(f"{address}.bias").uniform(-bound, bound, len(module.bias))))
        if isinstance(module, SpectralConv2d):
            module.u.copy_(functional.normalize(_normal(streams, f"{address}.u", module.u), dim=0))


def _normal(streams: Streams, name: str, like: Tensor) -> Tensor:
    return torch.from_numpy(streams.at(name).standard_normal(tuple(like.shape), dtype=np.float32))
