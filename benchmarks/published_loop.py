"""The rival of train_step.py: the published training loop's order, in plain PyTorch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trials import steps
from trials.batches import Offset
from trials.config import Config
from trials.data import TrainingImages

__all__ = ["PublishedLoop"]

PRINT_EVERY = 100


class PublishedGenerator(nn.Module):
    """The U-Net of the published code with attention; its parameters bear the same names as ours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths, inputs = [width << level for level in range(5)], 4
        for stage, outputs in enumerate([*widths, *reversed(widths[:-1])], 1):
            if stage > 5:
                self.add_module(f"deconv{stage - 1}", nn.Conv2d(inputs, outputs, 3, padding=1))
            for name, channels in ((f"{stage}_1", inputs), (f"{stage}_2", outputs)):
                self.add_module(f"conv{name}", nn.Conv2d(channels, outputs, 3, padding=1))
                if name != "9_2":
                    self.add_module(f"bn{name}", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.conv10 = nn.Conv2d(width, 3, 1)

    def forward(self, image: Tensor, grey: Tensor) -> Tensor:
        """Return the enhanced image."""
        maps = [grey]
        for _ in range(4):
            maps.append(functional.max_pool2d(maps[-1], 2))
        x, skips = torch.cat([image, grey], 1), []
        for stage in range(1, 5):
            x = self._block(f"{stage}_2", self._block(f"{stage}_1", x))
            skips.append(x * maps[stage - 1])
            x = functional.max_pool2d(x, 2)
        x = self._block("5_2", self._block("5_1", x) * maps[4])
        for stage in range(6, 10):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = torch.cat([getattr(self, f"deconv{stage - 1}")(x), skips.pop()], 1)
            x = self._block(f"{stage}_2", self._block(f"{stage}_1", x))
        made: Tensor = self.conv10(x) * grey + image
        return made

    def _block(self, name: str, x: Tensor) -> Tensor:
        x = functional.leaky_relu(getattr(self, f"conv{name}")(x), 0.2, inplace=True)
        made: Tensor = getattr(self, f"bn{name}")(x) if hasattr(self, f"bn{name}") else x
        return made


class PublishedLoop:
    """The rival: weights copied from `gan`, images held as float32."""

    def __init__(self, config: Config, gan: steps.Gan, images: TrainingImages, device: torch.device) -> None:
        self.config, self.device = config, device
        self.low, self.normal = ([_as_numbers(image) for image in kind] for kind in (images.low, images.normal))
        self.random = random.Random(0)
        self.generator = PublishedGenerator(config.generator.width).to(device)
        self.generator.load_state_dict(gan.generator.state_dict())
        self.judges = {view.name: _plain(network.model) for view, network in gan.judges()}
        assert gan.features is not None
        self.vgg = _plain(gan.features.layers).requires_grad_(False)
        self.norm, self.mse = nn.InstanceNorm2d(self.vgg[-2].out_channels, affine=False), nn.MSELoss()
        self.optimisers = {name: self._adam(network) for name, network in self.judges.items()}
        self.optimiser = self._adam(self.generator)
        self.done = 0

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        options = self.config.optimiser
        return torch.optim.Adam(network.parameters(), lr=options.learning_rate, betas=(options.beta1, options.beta2))

    def advance(self) -> None:
        """Take one step; losses are read every so many, to be printed."""
        losses = self.step(*self.batch())
        self.done += 1
        if self.done % PRINT_EVERY == 0:
            for loss in losses.values():
                loss.detach().item()

    def batch(self) -> tuple[Tensor, Tensor, Tensor, list[Offset]]:
        """Return low, darkened and normal crops, and where patches are cut."""
        augment, draw, kinds = self.config.augment, self.random, ([], [], [])
        for _ in range(self.config.batch):
            low, normal = self._crop(draw.choice(self.low)), self._crop(draw.choice(self.normal))
            for axis in (2, 1):
                if draw.random() < 0.5 * augment.flip:
                    low, normal = low.flip(axis), normal.flip(axis)
            dark = low
            if draw.random() < augment.darken:
                dark = (low + 1) / draw.uniform(augment.darken_min, augment.darken_max) - 1
            for kind, image in zip(kinds, (low, dark, normal), strict=True):
                kind.append(image)
        low, dark, normal = (torch.stack(kind).to(self.device) for kind in kinds)
        room = self.config.crop_px - self.config.local.patch_px
        offsets = [(draw.randint(0, room), draw.randint(0, room)) for _ in range(self.config.local.patches)]
        return low, dark, normal, offsets

    def _crop(self, image: Tensor) -> Tensor:
        side = self.config.crop_px
        top, left = (self.random.randint(0, length - side) for length in image.shape[1:])
        crop = image[:, top : top + side, left : left + side]
        return crop.flip(2) if self.random.random() < 0.5 * self.config.augment.flip else crop

    def step(self, low: Tensor, dark: Tensor, normal: Tensor, offsets: Sequence[Any]) -> dict[str, Tensor]:
        """Move all networks once; returns the losses."""
        side, weights, judges = self.config.local.patch_px, self.config.loss, self.judges
        red, green, blue = dark[:, 0] + 1, dark[:, 1] + 1, dark[:, 2] + 1
        grey = (1 - (0.299 * red + 0.587 * green + 0.114 * blue) / 2).unsqueeze(1)
        fake = self.generator(dark, grey)
        fakes, reals, lows = (
            [image[:, :, top : top + side, left : left + side] for top, left in offsets]
            for image in (fake, normal, low)
        )
        self.optimiser.zero_grad()
        told, real = judges["global"](fake), judges["global"](normal)
        losses = {"g_global": (self._to(real - told.mean(), 0) + self._to(told - real.mean(), 1)) / 2}
        losses["g_local"] = sum(self._to(judges["local"](patch), 1) for patch in fakes) / len(fakes)
        losses["sfp_global"] = self._features_apart(fake, low)
        losses["sfp_local"] = sum(map(self._features_apart, fakes, lows)) / len(fakes)
        total = weights.global_weight * losses["g_global"] + weights.local_weight * losses["g_local"]
        total = total + weights.sfp_global * losses["sfp_global"] + weights.sfp_local * losses["sfp_local"]
        total.backward()
        self.optimiser.step()

        self.optimisers["global"].zero_grad()
        real, told = judges["global"](normal), judges["global"](fake.detach())
        losses["d_global"] = (self._to(real - told.mean(), 1) + self._to(told - real.mean(), 0)) / 2
        losses["d_global"].backward()
        self.optimisers["local"].zero_grad()
        halves = [
            (self._to(judges["local"](real), 1) + self._to(judges["local"](patch.detach()), 0)) * 0.5
            for patch, real in zip(fakes, reals, strict=True)
        ]
        losses["d_local"] = sum(halves) / len(halves)
        losses["d_local"].backward()
        for optimiser in self.optimisers.values():
            optimiser.step()
        return losses

    def _to(self, scores: Tensor, target: float) -> Tensor:
        apart: Tensor = self.mse(scores, torch.full_like(scores, target))
        return apart

    def _features_apart(self, image: Tensor, low: Tensor) -> Tensor:
        apart: Tensor = self.mse(self.norm(self._features(image)), self.norm(self._features(low)))
        return apart

    def _features(self, image: Tensor) -> Tensor:
        features: Tensor = self.vgg((image[:, [2, 1, 0]] + 1) * 127.5)
        return features


def _as_numbers(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float().div(127.5).sub(1)


def _plain(layers: nn.Sequential) -> nn.Sequential:
    """Return a copy of a network's layers, channels first."""
    copies: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            copy = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
            copy.load_state_dict({name: value.contiguous() for name, value in layer.state_dict().items()})
            copies.append(copy.to(layer.weight.device))
        else:
            copies.append(layer)
    return nn.Sequential(*copies)
