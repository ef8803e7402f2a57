"""The terms of EnlightenGAN's losses (arXiv 1906.06972, section III), and of remedies for its defects.

The paper sums both halves of an adversarial loss. The code takes their mean, but for the generator's least-squares
loss, which has one half only. `loss.convention` says which of these factors are used; the code's are the default:

    kind                         discriminator                                   generator
    relativistic_least_squares   (mean (r - F - 1)^2 + mean (f - R)^2) / 2       (mean (f - R - 1)^2 + mean (r - F)^2) / 2
    least_squares                (mean (r - 1)^2 + mean f^2) / 2                 mean (f - 1)^2
    hinge                        (mean max(0, 1 - r) + mean max(0, 1 + f)) / 2   -mean f
    logistic                     (mean log(1 + e^-r) + mean log(1 + e^f)) / 2    mean log(1 + e^-f)

with r and f the scores of real and generated images, R and F their means. `paper` leaves out each "/ 2".

Scores have shape (G, N, ...): G groups that are judged apart, such as patches cut at one offset, of N images each.
"""  # noqa: E501 (a table)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trials.config import Adversarial

__all__ = [
    "colour_constancy", "discriminator_loss", "feature_loss", "generator_loss", "gradient_loss", "right_share",
    "total_variation",
]  # fmt: skip

EPSILON = 1e-5
"""Added to variances, as torch's instance norm does."""

PART = 1 << 18
"""Values of feature maps that are compared at once on a CPU: 1 MiB, what a core's cache holds."""

BOUNDARY = {"least_squares": 0.5, "hinge": 0.0, "logistic": 0.0}
"""The score from which on a discriminator trained by such a loss says "real"."""


def discriminator_loss(kind: Adversarial, real: Tensor, fake: Tensor, *, halved: bool = True) -> Tensor:
    """Return what a discriminator minimises.

    Args:
        kind: see the table above.
        real: its scores of real images, (G, N, ...).
        fake: its scores of generated ones, (G, N, ...).
        halved: whether its two halves are averaged, as in the code; else they are summed, as in the paper.
    """
    if kind == "relativistic_least_squares":
        total = _relativistic(real, above=fake)
    elif kind == "least_squares":
        total = (real - 1).square().mean() + fake.square().mean()
    elif kind == "hinge":
        total = (1 - real).relu().mean() + (1 + fake).relu().mean()
    else:
        total = functional.softplus(-real).mean() + functional.softplus(fake).mean()
    return total / 2 if halved else total


def generator_loss(kind: Adversarial, real: Tensor, fake: Tensor, *, halved: bool = True) -> Tensor:
    """Return what the generator minimises, given a discriminator's scores; arguments as in `discriminator_loss`."""
    if kind == "relativistic_least_squares":
        total = _relativistic(fake, above=real)
        return total / 2 if halved else total
    if kind == "least_squares":
        return (fake - 1).square().mean()
    return -fake.mean() if kind == "hinge" else functional.softplus(-fake).mean()


def right_share(kind: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """Return the share of scores, (G, N, ...), by which a discriminator tells real from generated: 0.5 is chance.

    A score of a relativistic discriminator is right if it lies on its side of the mean of the others.
    """
    if kind == "relativistic_least_squares":
        above, below = real > _group_mean(fake), fake < _group_mean(real)
    else:
        above, below = real > BOUNDARY[kind], fake < BOUNDARY[kind]
    return (above.float().mean() + below.float().mean()) / 2


def _relativistic(scores: Tensor, *, above: Tensor) -> Tensor:
    """Relativistic average least squares: `scores` should lie 1 above the mean of `above`, and that 0 above theirs.

    Jolicoeur-Martineau, arXiv 1807.00734, with the targets 1 and 0 of EnlightenGAN. Means are taken within a group.
    """
    higher = scores - _group_mean(above) - 1
    lower = above - _group_mean(scores)
    return higher.square().mean() + lower.square().mean()


def _group_mean(scores: Tensor) -> Tensor:
    return scores.mean(dim=tuple(range(1, scores.ndim)), keepdim=True)


def feature_loss(features: Tensor, target: Tensor, *, instance_norm: bool, summed: bool = False) -> Tensor:
    """Return the self-feature-preserving loss: the mean squared difference of two feature maps (N, C, h, w).

    Args:
        features: of the generator's output.
        target: of its undarkened input; needs no gradient.
        instance_norm: whether each channel of each image is first brought to mean 0 and variance 1; needs maps
            of more than one pixel.
        summed: whether channels are summed, as the paper's 1 / (W H) says; else their mean is taken, as in the code.
    """
    if instance_norm:
        loss: Tensor = _NormalisedDifference.apply(_pixels(features), _pixels(target))
    else:
        loss = functional.mse_loss(features, target)
    return features.shape[1] * loss if summed else loss


class _NormalisedDifference(torch.autograd.Function):
    """mean((x' - t')^2) for x and t, (N, pixels, C), each channel of each image normalised; t takes no gradient.

    Value and slope are computed at once, part by part, so that what lies between stays in a CPU's cache: autograd
    would pass over these large maps many times. With c the centred x, v its variance, r = 1 / sqrt(v + EPSILON) and
    q = mean(c t') r, a channel of an image contributes v r^2 - 2 q + mean(t'^2). As c and t' have mean 0, its slope
    in x is 2 r / pixels * (r (q + EPSILON r^2) c - t').
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, target: Tensor) -> Tensor:
        """Return the mean, (), and keep its slope at `pixels`, which is all that `backward` needs."""
        total, slope = pixels.new_zeros(()), torch.empty_like(pixels)
        size = max(1, PART // pixels[0].numel()) if pixels.device.type == "cpu" else len(pixels)
        for x, t, out in zip(*(torch.split(maps, size) for maps in (pixels, target, slope)), strict=True):
            centred, variance, scale = _centred(x)
            aim, spread, shrink = _centred(t)
            aim.mul_(shrink)
            likeness = (centred * aim).mean(1, keepdim=True) * scale
            total += (variance * scale.square() - 2 * likeness + spread * shrink.square()).sum()
            outer = 2 / pixels.numel() * scale
            inner = outer * scale * (likeness + EPSILON * scale.square())
            torch.addcmul(centred.mul_(inner), outer, aim, value=-1, out=out)
        ctx.save_for_backward(slope)
        return total / (pixels.shape[0] * pixels.shape[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """Return the slope of what comes after at `pixels`, (N, pixels, C)."""
        (slope,) = ctx.saved_tensors
        return slopes[0] * slope, None


def _centred(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return maps (N, pixels, C) less their means, their variances, and what brings these to 1, (N, 1, C) each."""
    centred = pixels - pixels.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return centred, variance, (variance + EPSILON).rsqrt()


def _pixels(features: Tensor) -> Tensor:
    """Bring (N, C, h, w) to (N, h * w, C): a view where channels come last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def colour_constancy(image: Tensor) -> Tensor:
    """Return the sum of the squared differences of the channels' means, taken in 0..1; the mean over images.

    Guo et al., "Zero-Reference Deep Curve Estimation", arXiv 2001.06826, equation 5: after Buchsbaum's grey world.

    Args:
        image: (N, 3, H, W), in [-1, 1].
    """
    red, green, blue = ((image.mean((2, 3)) + 1) / 2).unbind(1)
    return ((red - green).square() + (green - blue).square() + (blue - red).square()).mean()


def gradient_loss(image: Tensor, low: Tensor) -> Tensor:
    """Return the mean absolute difference of the luminance's gradients, each image first brought to deviation 1.

    So neither brightness nor contrast matters, only where there is detail, and how much beside the rest.

    Args:
        image: the generator's output, (N, 3, H, W), in [-1, 1].
        low: its undarkened input, the same shape.
    """
    differences = zip(_gradients(_standardised(image)), _gradients(_standardised(low)), strict=True)
    down, right = ((a - b).abs().mean() for a, b in differences)
    return down + right


def total_variation(image: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, down plus right (Rudin, Osher, Fatemi 1992; anisotropic).

    Args:
        image: (N, 3, H, W), in [-1, 1].
    """
    down, right = _gradients(image)
    return down.abs().mean() + right.abs().mean()


def _gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    return image[..., 1:, :] - image[..., :-1, :], image[..., 1:] - image[..., :-1]


def _standardised(image: Tensor) -> Tensor:
    red, green, blue = image.unbind(1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    variance = luminance.var((1, 2), keepdim=True, correction=0)
    return luminance * (variance + EPSILON).rsqrt()
