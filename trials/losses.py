"""The terms of EnlightenGAN's losses (arXiv 1906.06972, section III), with the factors of the official code.

The paper sums both halves of an adversarial loss; the code takes their mean in the relativistic loss and in the
discriminator's least-squares loss, but not in the generator's least-squares loss. The code's factors are used.

Scores have shape (G, N, ...): G groups that are judged apart, such as patches cut at one offset, of N images each.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from trials.config import Adversarial

__all__ = ["discriminator_loss", "feature_loss", "generator_loss"]

EPSILON = 1e-5
"""Added to variances, as torch's instance norm does."""


def discriminator_loss(kind: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """Return what a discriminator minimises, given its scores of real and of generated images, each (G, N, ...)."""
    if kind == "relativistic_least_squares":
        return _relativistic(real, above=fake)
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator_loss(kind: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """Return what the generator minimises, given a discriminator's scores, each (G, N, ...)."""
    if kind == "relativistic_least_squares":
        return _relativistic(fake, above=real)
    return (fake - 1).square().mean()


def _relativistic(scores: Tensor, *, above: Tensor) -> Tensor:
    """Relativistic average least squares: `scores` should lie 1 above the mean of `above`, and that 0 above theirs.

    Jolicoeur-Martineau, arXiv 1807.00734, with the targets 1 and 0 of EnlightenGAN. Means are taken within a group.
    """
    higher = scores - _group_mean(above) - 1
    lower = above - _group_mean(scores)
    return (higher.square().mean() + lower.square().mean()) / 2


def _group_mean(scores: Tensor) -> Tensor:
    return scores.mean(dim=tuple(range(1, scores.ndim)), keepdim=True)


def feature_loss(features: Tensor, target: Tensor, *, instance_norm: bool) -> Tensor:
    """Return the self-feature-preserving loss: the mean squared difference of two feature maps (N, C, h, w).

    Args:
        features: of the generator's output.
        target: of its undarkened input; needs no gradient.
        instance_norm: whether each channel of each image is first brought to mean 0 and variance 1; needs maps
            of more than one pixel.
    """
    if not instance_norm:
        return functional.mse_loss(features, target)
    # With t normalised and x centred, mean((x / s - t)^2) = mean(x^2) / s^2 - 2 mean(x t) / s + mean(t^2): half the
    # passes over memory. Centring by a constant is enough, since no term's gradient depends on it.
    features, target = _pixels(features), _normalised(_pixels(target))
    centred = features - features.detach().mean(1, keepdim=True)
    variance = centred.square().mean(1)
    likeness = (centred * target).mean(1) * (variance + EPSILON).rsqrt()
    return (variance / (variance + EPSILON) - 2 * likeness).mean() + target.square().mean()


def _pixels(features: Tensor) -> Tensor:
    """Bring (N, C, h, w) to (N, h * w, C): a view where channels come last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def _normalised(pixels: Tensor) -> Tensor:
    centred = pixels - pixels.mean(1, keepdim=True)
    return centred * (centred.square().mean(1, keepdim=True) + EPSILON).rsqrt()
