"""The duality gap: how much either side of the game could still gain if the other stood still.

Grnarova et al., "A Domain Agnostic Measure for Monitoring and Evaluating GANs", NeurIPS 2019. Where the two sides'
losses are no mirror images of each other, as here, it is the sum of what each gains by its best response (Nikaido and
Isoda 1955), which is the same for those that are. At an equilibrium it is 0.
"""

from __future__ import annotations

import copy

from trials.batches import Batches
from trials.steps import Gan, adam, base_rate, discriminator_step, game, generator_step, make

__all__ = ["duality_gap"]

HELD_OUT = 8
"""Batches on which both sides are measured before and after; their responses are trained on others."""


def duality_gap(gan: Gan, batches: Batches, *, steps: int) -> float:
    """Estimate the gap at the current networks, which stay as they are. Best responses are copies, trained on.

    Args:
        gan: with at least one discriminator.
        batches: of a stream of their own. The first 8 are held out, the following `steps` trained on.
        steps: of each response; more of them estimate a larger gap, from below.

    Returns:
        What the discriminators' losses fall by, plus what the generator's falls by, each against the other side as it
        is; in units of the losses.
    """
    before = _losses(_copied(gan), batches)  # of a copy: spectral norm learns from every pass
    judged, made = _copied(gan), _copied(gan)
    for number in range(HELD_OUT + 1, HELD_OUT + steps + 1):
        batch = batches.at(number)
        with judged.generator.statistics_held():
            output = make(judged, batch)[1]
        discriminator_step(judged, batch, output)
        generator_step(made, batch)
    return (before[0] - _losses(judged, batches)[0]) + (before[1] - _losses(made, batches)[1])


def _copied(gan: Gan) -> Gan:
    """Return a copy that trains on by itself; VGG16 and what is only read are shared."""
    generator = copy.deepcopy(gan.generator)
    generator.__dict__.pop("train_forward", None)  # a compiled one is bound to the original
    copied = Gan(
        config=gan.config,
        generator=generator,
        average=None,
        views=copy.deepcopy(gan.views),
        features=gan.features,
        optimisers={},
        pool=None,
    )
    for name, network in copied.networks().items():
        copied.optimisers[name] = adam(network, gan.config, name)
        copied.optimisers[name].load_state_dict(copy.deepcopy(gan.optimisers[name].state_dict()))
        for group in copied.optimisers[name].param_groups:
            group["lr"] = base_rate(gan.config, name)  # whatever the schedule has left of it
    return copied


def _losses(gan: Gan, batches: Batches) -> tuple[float, float]:
    """Return the losses of both sides, the means over the held-out batches."""
    totals = [0.0, 0.0]
    with gan.generator.statistics_held():
        for number in range(1, HELD_OUT + 1):
            batch = batches.at(number)
            for side, loss in enumerate(game(gan, make(gan, batch)[1], batch)):
                totals[side] += float(loss) / HELD_OUT
    return totals[0], totals[1]
