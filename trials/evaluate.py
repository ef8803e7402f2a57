"""Scoring a generator on whole images. Draws no random number and leaves the generator as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from trials import images
from trials.images import Pixels
from trials.metrics import score
from trials.networks import Generator
from trials.progress import DivergedError, ImageScore
from trials.sets import EvaluationImage

__all__ = ["enhance", "evaluate"]


@torch.inference_mode()
def enhance(generator: Generator, image: Pixels) -> Pixels:
    """Return an image as the generator in eval mode enhances it, at full size.

    The output is clamped to [-1, 1] and rounded to 8 bit (the official code cuts the decimals off, which darkens by
    half a grey level).

    Args:
        generator: its mode is restored afterwards.
        image: (H, W, 3) uint8, sides of 6 pixels or more.

    Raises:
        DivergedError: if the output is not finite.
    """
    device = next(generator.parameters()).device
    pixels = torch.tensor(image, device=device).permute(2, 0, 1).unsqueeze(0)  # a view: channels last
    training = generator.training
    generator.eval()
    output = generator(pixels.float() / 127.5 - 1)[0]
    generator.train(training)
    if not bool(torch.isfinite(output).all()):
        raise DivergedError("the generator's output is not finite")
    levels = ((output.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())


def evaluate(
    generator: Generator, members: Sequence[EvaluationImage], *, pictures: Path | None = None
) -> tuple[list[ImageScore], dict[str, Path]]:
    """Score each image, enhanced.

    Args:
        generator: see `enhance`.
        members: the images, some with a reference.
        pictures: where the enhanced images are written, as SET/NAME.png; None for nowhere.

    Returns:
        The scores, in the order of the images; and the pictures written, `SET/NAME` to their paths.

    Raises:
        DivergedError: if an output is not finite.
    """
    scores, written = [], {}
    for member in members:
        enhanced = enhance(generator, member.low)
        scores.append(ImageScore(member.set, member.name, member.scene, score(enhanced, member.normal)))
        if pictures is not None:
            path = pictures / member.set / f"{member.name}.png"
            images.write(path, enhanced)
            written[f"{member.set}/{member.name}"] = path
    return scores, written
