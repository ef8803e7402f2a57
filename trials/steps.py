"""One training step: what is computed in what order, with which gradients.

The order is the official one: one forward of the generator; the generator moves; then the discriminators move,
judging what the generator made *before* it moved. So both halves of a step see the same scores, and no image passes
a network twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trials import losses
from trials.batches import Batch, Place, cut
from trials.config import Adversarial, Config
from trials.image_pool import ImagePool
from trials.images import listed
from trials.losses import discriminator_loss, feature_loss, generator_loss
from trials.networks import Discriminator, Generator, initialise
from trials.progress import DataError
from trials.randomness import Streams
from trials.sets import noting
from trials.vgg import Features
from trials.weights import read_state

__all__ = [
    "Gan", "Made", "Scores", "View", "adam", "base_rate", "build", "check_weights", "discriminator_step", "game",
    "generator_step", "make", "step",
]  # fmt: skip

Measures = dict[str, Tensor]
"""Scalars on the device, detached: `loss/...` and `health/...`."""

PIXEL_TERMS: dict[str, Callable[[Tensor, Batch], Tensor]] = {
    "colour_constancy": lambda fake, batch: losses.colour_constancy(fake),
    "gradient": lambda fake, batch: losses.gradient_loss(fake, batch.low),
    "total_variation": lambda fake, batch: losses.total_variation(fake),
}
"""The generator's terms that look at the output's pixels alone, by the names of their weights."""


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

    def look(self, images: Tensor, offsets: Sequence[Place]) -> Tensor:
        """Return the images, (N, 3, S, S), or all their patches, (G * N, 3, s, s)."""
        return images if self.patch_px is None else cut(images, offsets, self.patch_px)


@dataclass(frozen=True)
class Scores:
    """A discriminator's scores of one batch, (G, N, 1, h, w): N images, each seen G times. They carry gradients."""

    real: Tensor
    fake: Tensor


@dataclass(frozen=True)
class Made:
    """What the generator made of a batch: `fake`, (N, 3, S, S), a leaf that takes gradients; and how it was judged."""

    fake: Tensor
    scores: dict[str, Scores]


@dataclass(frozen=True)
class Gan:
    """Everything that a step changes.

    Args:
        config: what is trained.
        generator: in train mode.
        average: the exponential moving average of the generator, if one is kept.
        views: those that any term looks at.
        features: VGG16, if any term compares features.
        optimisers: one for each network, by its name as in `networks`.
        pool: images made before, if discriminators are shown some.
    """

    config: Config
    generator: Generator
    average: Generator | None
    views: tuple[View, ...]
    features: Features | None
    optimisers: dict[str, torch.optim.Adam]
    pool: ImagePool | None

    @property
    def result(self) -> Generator:
        """The generator that is evaluated and saved: the average, if one is kept."""
        return self.generator if self.average is None else self.average

    def networks(self) -> dict[str, nn.Module]:
        """Return every network that is trained: `generator`, and the discriminators under their views' names."""
        return {"generator": self.generator, **{view.name: network for view, network in self.judges()}}

    def judges(self) -> Iterator[tuple[View, Discriminator]]:
        """Yield each view that is judged, with its discriminator."""
        yield from ((view, view.discriminator) for view in self.views if view.discriminator is not None)

    def mixed(self) -> torch.autocast:
        """Return the context in which networks run: of mixed precision, if that is asked for."""
        device = next(self.generator.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.config.compute.precision == "bfloat16")


def build(config: Config, streams: Streams, device: torch.device) -> Gan:
    """Return freshly initialised networks with their optimisers; the generator from `config.init`, if that is given.

    Raises:
        trials.progress.DataError: if weights, VGG16's or the generator's, cannot be used.
    """
    with torch.device("meta"):  # `initialise` sets every value
        generator = Generator(config.generator)
        views = _views(config)
    features = Features(config.vgg) if config.compares_features else None
    layout = torch.channels_last if config.compute.channels_last else torch.contiguous_format
    if features is not None:
        features.to(device).to(memory_format=layout)
    pool = ImagePool(config.stabilise.pool, streams) if config.stabilise.pool else None
    gan = Gan(config, generator, None, views, features, {}, pool)
    for name, network in gan.networks().items():
        network.to_empty(device=device).to(memory_format=layout)
        initialise(network, streams, name)
        gan.optimisers[name] = adam(network, config, name)
    if config.init is not None:
        generator.load_state_dict(_initial(generator, Path(config.init)))
    average = copy.deepcopy(generator) if config.stabilise.ema is not None else None
    if config.compute.compile:
        # Not the discriminators: a compiled graph can be descended only once, and theirs serves both halves of a step.
        # Not what evaluates either: it would be compiled anew for every size of image.
        generator.train_forward = torch.compile(generator.train_forward)  # type: ignore[method-assign]
        if features is not None:
            features.compile()
    return Gan(config, generator, average, views, features, gan.optimisers, pool)


def _views(config: Config) -> tuple[View, ...]:
    sizes, patches, loss, spectral = config.global_, config.local, config.loss, config.stabilise.spectral_norm
    crop = Discriminator(sizes.layers, sizes.width, spectral_norm=spectral) if config.trains_global else None
    patch = Discriminator(patches.layers, patches.width, spectral_norm=spectral) if config.trains_local else None
    views = (
        View("global", None, crop, loss.global_adversarial, loss.global_weight, loss.sfp_global),
        View("local", patches.patch_px, patch, loss.local_adversarial, loss.local_weight, loss.sfp_local),
    )
    return tuple(view for view in views if view.discriminator is not None or view.feature_weight > 0)


def _initial(generator: Generator, path: Path) -> dict[str, Tensor]:
    """Return the weights in a file, which fit the generator; without an attention channel those of theirs are left out.

    So published weights can start a training without attention.
    """
    try:
        theirs, ours = read_state(path), generator.state_dict()
    except DataError as error:
        raise DataError(f"init: {error}") from error
    first = "conv1_1.weight"
    if theirs[first].shape[1] == 4 and ours[first].shape[1] == 3:
        theirs[first] = theirs[first][:, :3]
    mine, other = ({name: tuple(value.shape) for name, value in state.items()} for state in (ours, theirs))
    differing = [
        f"{name} is {mine.get(name)}, there {other.get(name)}"
        for name in mine | other
        if mine.get(name) != other.get(name)
    ]
    if differing:
        raise DataError(
            f"init: {path} holds another generator than train.generator asks for: {listed(differing)}; "
            "make the settings fit the file, or leave init out"
        )
    return theirs


def check_weights(config: Config) -> list[str]:
    """Return what is wrong with the files of weights that a configuration names: `train.SETTING: what` each."""
    problems: list[str] = []
    if config.compares_features:
        with noting(problems):
            Features(config.vgg)
    if config.init is not None:
        with noting(problems), torch.device("meta"):
            _initial(Generator(config.generator), Path(config.init))
    return [f"train.{problem}" for problem in problems]


def adam(network: nn.Module, config: Config, name: str) -> torch.optim.Adam:
    """Return the optimiser of the network called so, as in `Gan.networks`."""
    options, rate = config.optimiser, base_rate(config, name)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=(options.beta1, options.beta2), fused=True)


def base_rate(config: Config, name: str) -> float:
    """Return the full learning rate of the network called so, as in `Gan.networks`."""
    other = config.optimiser.discriminator_learning_rate
    return config.optimiser.learning_rate if name == "generator" or other is None else other


def step(gan: Gan, batch: Batch) -> Measures:
    """Move the generator once, then each discriminator once.

    Returns:
        The measures of `generator_step` and `discriminator_step`.
    """
    measures, made = generator_step(gan, batch)
    return measures | discriminator_step(gan, batch, made)


def make(gan: Gan, batch: Batch) -> tuple[Tensor, Made]:
    """Return what the generator makes, with its gradients' graph, and what each discriminator says of it."""
    with gan.mixed():
        output = gan.generator.train_forward(batch.darkened)
        fake = output.detach().float().requires_grad_()
        scores = {
            view.name: Scores(
                real=_judged(network, view.look(batch.normal, batch.offsets), batch),
                fake=_judged(network, view.look(fake, batch.offsets), batch),
            )
            for view, network in gan.judges()
        }
    return output, Made(fake, scores)


def _judged(discriminator: Discriminator, images: Tensor, batch: Batch) -> Tensor:
    scores: Tensor = discriminator(images).float()
    return scores.reshape(-1, len(batch.low), *scores.shape[1:])


def generator_step(gan: Gan, batch: Batch) -> tuple[Measures, Made]:
    """Move the generator once.

    Each term's gradient is taken down to the generated image and added up there, then runs through the generator
    once. The parameters of discriminators get none.

    Returns:
        `loss/TERM`, unweighted: `g_VIEW` adversarial, `sfp_VIEW` of features, those of remedies by the names of their
        weights, and `generator`, their weighted sum; `health/gradient_at_output_TERM`, the norm of the weighted
        term's gradient at the generated image; `health/gradient_norm_generator`; `health/output_distance` and
        `health/output_spread`, the mean absolute difference from the input and the deviation over the batch, in
        -1..1. And what was made, for `discriminator_step`.
    """
    output, made = make(gan, batch)
    descent = _Descent(made.fake)
    for name, term, weight in _terms(gan, made, batch):
        descent.take(name, term, weight)
    optimiser = gan.optimisers["generator"]
    optimiser.zero_grad()
    if descent.gradient is not None:
        torch.autograd.backward(output, descent.gradient.to(output.dtype))
    if gan.config.loss.identity > 0:
        _keep_normal(gan, batch, descent)
    norm = _clipped(gan, gan.generator)
    optimiser.step()
    if gan.average is not None:
        _follow(gan.average, gan.generator, decay=gan.config.stabilise.ema or 0.0)
    fake = made.fake.detach()
    measures = {
        **descent.measures,
        "loss/generator": descent.total,
        "health/gradient_norm_generator": norm,
        "health/output_distance": (fake - batch.darkened).abs().mean(),
        "health/output_spread": (fake - fake.mean(0)).square().mean(0).sqrt().mean(),
    }
    return measures, made


def game(gan: Gan, made: Made, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the losses of both sides, detached: the discriminators' summed, and the generator's whole one."""
    theirs, ours = made.fake.new_zeros(()), made.fake.new_zeros(())
    for view, _ in gan.judges():
        pair = made.scores[view.name]
        theirs = theirs + discriminator_loss(view.adversarial, pair.real, pair.fake, halved=_halved(gan)).detach()
    for _, term, weight in _terms(gan, made, batch):
        ours = ours + weight * term.detach()
    if gan.config.loss.identity > 0:
        ours = ours + gan.config.loss.identity * _identity(gan, batch)[2].detach()
    return theirs, ours


def _terms(gan: Gan, made: Made, batch: Batch) -> Iterator[tuple[str, Tensor, float]]:
    """Yield name, term and weight of what looks at the generated image; each is computed when it is asked for."""
    for view in gan.views:
        if view.discriminator is not None:
            pair = made.scores[view.name]
            term = generator_loss(view.adversarial, pair.real, pair.fake, halved=_halved(gan))
            yield f"g_{view.name}", term, view.adversarial_weight
        if view.feature_weight > 0:
            yield f"sfp_{view.name}", _compare(gan, view, made.fake, batch), view.feature_weight
    for name, pixel_term in PIXEL_TERMS.items():
        if weight := getattr(gan.config.loss, name):
            yield name, pixel_term(made.fake, batch), weight


class _Descent:
    """Takes terms of the generator's loss down to the generated image, one by one."""

    def __init__(self, fake: Tensor) -> None:
        self.fake = fake
        self.gradient: Tensor | None = None
        self.total = fake.new_zeros(())
        self.measures: Measures = {}

    def take(self, name: str, term: Tensor, weight: float) -> None:
        """Add the gradient of a weighted term. An adversarial one's graph is kept, for the discriminator."""
        (gradient,) = torch.autograd.grad(weight * term, self.fake, retain_graph=name.startswith("g_"))
        self.record(name, term, weight, gradient)
        self.gradient = gradient if self.gradient is None else self.gradient.add_(gradient)

    def record(self, name: str, term: Tensor, weight: float, gradient: Tensor) -> None:
        """Record a term and the norm of its gradient at the image that it looks at."""
        self.measures[f"loss/{name}"] = term.detach()
        self.measures[f"health/gradient_at_output_{name}"] = torch.linalg.vector_norm(gradient)
        self.total = self.total + weight * term.detach()


def _halved(gan: Gan) -> bool:
    return gan.config.loss.convention == "code"


def _compare(gan: Gan, view: View, fake: Tensor, batch: Batch) -> Tensor:
    """Return the self-feature-preserving loss of a view."""
    assert gan.features is not None  # built whenever a feature weight is above 0
    config = gan.config
    low = batch.low if config.loss.sfp_target == "undarkened" else batch.darkened
    with gan.mixed():
        with torch.no_grad():
            target = gan.features(view.look(low, batch.offsets))
        features = gan.features(view.look(fake, batch.offsets))
    return feature_loss(
        features.float(), target.float(), instance_norm=config.vgg.instance_norm, summed=not _halved(gan)
    )


def _identity(gan: Gan, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the generator makes of normal-light images, the same as a leaf, and its distance from them.

    The running statistics stay those of low-light images, for which the generator is used.
    """
    with gan.mixed(), gan.generator.statistics_held():
        output = gan.generator.train_forward(batch.normal)
    kept = output.detach().float().requires_grad_()
    return output, kept, (kept - batch.normal).abs().mean()


def _keep_normal(gan: Gan, batch: Batch, descent: _Descent) -> None:
    """Add the gradient of the identity loss: a normal-light image should come out as it went in."""
    weight = gan.config.loss.identity
    output, kept, term = _identity(gan, batch)
    (gradient,) = torch.autograd.grad(weight * term, kept)
    descent.record("identity", term, weight, gradient)
    torch.autograd.backward(output, gradient.to(output.dtype))


@torch.no_grad()
def _clipped(gan: Gan, network: nn.Module) -> Tensor:
    """Return the norm of a network's gradient; if it is larger than allowed, shorten the gradient."""
    parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
    if gan.config.stabilise.clip_gradient is not None:
        nn.utils.clip_grads_with_norm_(parameters, gan.config.stabilise.clip_gradient, norm)
    return norm


@torch.no_grad()
def _follow(average: Generator, generator: Generator, *, decay: float) -> None:
    """Move the average's parameters towards the generator's; it takes over the running statistics as they are."""
    torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - decay)
    for theirs, buffer in zip(average.buffers(), generator.buffers(), strict=True):
        theirs.copy_(buffer)


def discriminator_step(gan: Gan, batch: Batch, made: Made) -> Measures:
    """Move each discriminator once, by the scores that it gave in `generator_step`; their graphs are freed.

    With a pool it judges some of the images made before instead.

    Returns:
        For each view `loss/d_VIEW`; `loss/r1_VIEW`, the penalty unweighted, at steps that have one;
        `health/gradient_norm_VIEW`; `health/margin_VIEW`, the mean score of real images less that of generated ones;
        `health/accuracy_VIEW`, the share of scores that tell them apart.
    """
    measures: Measures = {}
    shown = None if gan.pool is None else gan.pool.exchange(made.fake, batch.step)
    for view, network in gan.judges():
        pair, name = made.scores[view.name], view.name
        if shown is not None:
            with gan.mixed():
                pair = Scores(pair.real, _judged(network, view.look(shown, batch.offsets), batch))
        loss = discriminator_loss(view.adversarial, pair.real, pair.fake, halved=_halved(gan))
        optimiser, parameters = gan.optimisers[name], list(network.parameters())
        optimiser.zero_grad()
        torch.autograd.backward(loss, inputs=parameters)
        options = gan.config.stabilise
        if options.r1 > 0 and batch.step % options.r1_every == 0:
            penalty = _penalty(network, view.look(batch.normal, batch.offsets))
            torch.autograd.backward(options.r1 / 2 * options.r1_every * penalty, inputs=parameters)
            measures[f"loss/r1_{name}"] = penalty.detach()
        measures[f"health/gradient_norm_{name}"] = _clipped(gan, network)
        optimiser.step()
        real, fake = pair.real.detach(), pair.fake.detach()
        measures[f"loss/d_{name}"] = loss.detach()
        measures[f"health/margin_{name}"] = real.mean() - fake.mean()
        measures[f"health/accuracy_{name}"] = losses.right_share(view.adversarial, real, fake)
    return measures


def _penalty(discriminator: Discriminator, real: Tensor) -> Tensor:
    """Return the squared norm of the gradient of an image's mean score; the mean over images.

    Mescheder, Geiger, Nowozin, arXiv 1801.04406, equation 9; a map of scores counts by its mean.
    """
    real = real.detach().requires_grad_()
    score = discriminator(real).mean((1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(score, real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()
