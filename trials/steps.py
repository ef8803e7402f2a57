"""One training step: what is computed in what order, with which gradients.

The order is the official one: one forward of the generator; the generator moves; then the discriminators move,
judging what the generator made *before* it moved. So both halves of a step see the same scores, and no image passes
a network twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trials.batches import Batch, Offset, cut
from trials.config import Adversarial, Config
from trials.losses import discriminator_loss, feature_loss, generator_loss
from trials.networks import Discriminator, Generator, initialise
from trials.randomness import Streams
from trials.vgg import Features

__all__ = ["Gan", "Scores", "View", "build", "discriminator_step", "generator_step"]


@dataclass(frozen=True)
class View:
    """What is looked at, and the terms that look at it.

    Args:
        name: `global`, the whole crop, or `local`, patches of it.
        patch_px: side of the patches; None for the whole crop.
        discriminator: None if none is trained.
        adversarial: the kind of adversarial loss, on both sides.
        adversarial_weight: of the generator's adversarial term.
        feature_weight: of the self-feature-preserving term; 0 if there is none.
    """

    name: str
    patch_px: int | None
    discriminator: Discriminator | None
    adversarial: Adversarial
    adversarial_weight: float
    feature_weight: float

    def look(self, images: Tensor, offsets: Sequence[Offset]) -> Tensor:
        """Return the images, (N, 3, S, S), or all their patches, (G * N, 3, s, s)."""
        return images if self.patch_px is None else cut(images, offsets, self.patch_px)


@dataclass(frozen=True)
class Scores:
    """A discriminator's scores of one batch, (G, N, 1, h, w): N images, each seen G times. They carry gradients."""

    real: Tensor
    fake: Tensor


@dataclass(frozen=True)
class Gan:
    """Everything that a step changes.

    Args:
        generator: in train mode.
        views: those that any term looks at.
        features: VGG16, if any term compares features.
        instance_norm: whether features are normalised before they are compared.
        optimisers: one for each network, by its name as in `networks`.
    """

    generator: Generator
    views: tuple[View, ...]
    features: Features | None
    instance_norm: bool
    optimisers: dict[str, torch.optim.Adam]

    def networks(self) -> dict[str, torch.nn.Module]:
        """Return every network that is trained: `generator`, and the discriminators under their views' names."""
        discriminators = {view.name: view.discriminator for view in self.views if view.discriminator is not None}
        return {"generator": self.generator, **discriminators}


def build(config: Config, streams: Streams, device: torch.device) -> Gan:
    """Return freshly initialised networks with their optimisers.

    Raises:
        trials.progress.DataError: if VGG16's weights cannot be used.
    """
    with torch.device("meta"):  # `initialise` sets every value
        generator = Generator(config.generator.width, attention=config.generator.attention != "none")
        views = _views(config)
    features = Features(config.vgg) if config.compares_features else None
    if features is not None:
        features.to(device).to(memory_format=torch.channels_last)
    gan = Gan(generator, views, features, config.vgg.instance_norm, {})
    for name, network in gan.networks().items():
        network.to_empty(device=device).to(memory_format=torch.channels_last)  # convolutions are fastest in this order
        initialise(network, streams, name)
        gan.optimisers[name] = _adam(network, config)
    return gan


def _views(config: Config) -> tuple[View, ...]:
    sizes, patches, loss = config.global_, config.local, config.loss
    crop = Discriminator(sizes.layers, sizes.width) if config.trains_global else None
    patch = Discriminator(patches.layers, patches.width) if config.trains_local else None
    views = (
        View("global", None, crop, loss.global_adversarial, loss.global_weight, loss.sfp_global),
        View("local", patches.patch_px, patch, loss.local_adversarial, loss.local_weight, loss.sfp_local),
    )
    return tuple(view for view in views if view.discriminator is not None or view.feature_weight > 0)


def _adam(network: torch.nn.Module, config: Config) -> torch.optim.Adam:
    options = config.optimiser
    betas = (options.beta1, options.beta2)
    return torch.optim.Adam(network.parameters(), lr=options.learning_rate, betas=betas, fused=True)


def generator_step(gan: Gan, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Scores]]:
    """Move the generator once.

    Each term's gradient is taken down to the generated image and added up there, then runs through the generator
    once. The parameters of discriminators get none.

    Returns:
        The terms, unweighted and detached, `g_VIEW` adversarial and `sfp_VIEW` of features, and `generator`, their
        weighted sum; and each discriminator's scores, for `discriminator_step`.
    """
    made = gan.generator(batch.darkened)
    fake = made.detach().requires_grad_()
    losses: dict[str, Tensor] = {"generator": made.new_zeros(())}
    scores: dict[str, Scores] = {}

    def descend(name: str, term: Tensor, weight: float, *, keep: bool) -> None:
        torch.autograd.backward(weight * term, inputs=[fake], retain_graph=keep)
        losses[name] = term.detach()
        losses["generator"] = losses["generator"] + weight * losses[name]

    for view in gan.views:
        seen = view.look(fake, batch.offsets)
        if view.discriminator is not None:
            pair = scores[view.name] = _judge(view.discriminator, view.look(batch.normal, batch.offsets), seen, batch)
            term = generator_loss(view.adversarial, pair.real, pair.fake)
            descend(f"g_{view.name}", term, view.adversarial_weight, keep=True)
        if view.feature_weight > 0:
            term = _compare(gan, seen, view.look(batch.low, batch.offsets))
            descend(f"sfp_{view.name}", term, view.feature_weight, keep=False)
    optimiser = gan.optimisers["generator"]
    optimiser.zero_grad()
    torch.autograd.backward(made, fake.grad)
    optimiser.step()
    return losses, scores


def discriminator_step(gan: Gan, scores: dict[str, Scores]) -> dict[str, Tensor]:
    """Move each discriminator once, by the scores that it gave in `generator_step`; its graph is freed.

    Returns:
        The losses, detached: `d_VIEW`.
    """
    losses = {}
    for view in gan.views:
        if view.discriminator is None:
            continue
        loss = discriminator_loss(view.adversarial, scores[view.name].real, scores[view.name].fake)
        optimiser = gan.optimisers[view.name]
        optimiser.zero_grad()
        torch.autograd.backward(loss, inputs=list(view.discriminator.parameters()))
        optimiser.step()
        losses[f"d_{view.name}"] = loss.detach()
    return losses


def _judge(discriminator: Discriminator, real: Tensor, fake: Tensor, batch: Batch) -> Scores:
    groups = (-1, len(batch.low))
    return Scores(discriminator(real).unflatten(0, groups), discriminator(fake).unflatten(0, groups))


def _compare(gan: Gan, fake: Tensor, low: Tensor) -> Tensor:
    assert gan.features is not None  # built whenever a feature weight is above 0
    with torch.no_grad():
        target = gan.features(low)
    return feature_loss(gan.features(fake), target, instance_norm=gan.instance_norm)
