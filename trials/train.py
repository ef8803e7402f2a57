"""The training loop of one trial: when to evaluate, at which learning rate, and what is reported."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trials import checkpoint
from trials.batches import Batches
from trials.checkpoint import Origin
from trials.config import Config, Data
from trials.data import load_evaluation, load_training
from trials.evaluate import evaluate
from trials.metrics import mean_scores
from trials.progress import DivergedError, Report
from trials.randomness import Streams
from trials.sets import EvaluationImage
from trials.steps import Gan, build, discriminator_step, generator_step

__all__ = ["device", "intervals", "learning_rate", "seconds", "train"]

CHECK_STEPS = 20
"""Steps between looks at whether the losses are finite: each look waits for the device."""

PROBE_STEPS = 4
PROBE_SECONDS = 20.0


def device() -> torch.device:
    """Return where training takes place: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def intervals(config: Config, done: int) -> Iterator[range]:
    """Yield the steps that remain after `done`, in runs that each end with an evaluation."""
    while done < config.steps:
        end = min(config.steps, (done // config.evaluate_every + 1) * config.evaluate_every)
        yield range(done + 1, end + 1)
        done = end


def learning_rate(config: Config, step: int) -> float:
    """Return the learning rate at `step`, 1 for the first.

    Full for the first `flat` share of the epochs and for one more, then falling by the same amount with each epoch:
    with 200 epochs and flat 0.5, epoch 101 has the full rate and epoch 200 a hundredth of it, as published.
    """
    options = config.optimiser
    epochs = math.ceil(config.steps / options.epoch_steps)
    epoch = math.ceil(step / options.epoch_steps)
    flat = options.flat * epochs
    fallen = max(0.0, epoch - 1 - flat) / (epochs - flat) if epochs > flat else 0.0
    return options.learning_rate * (1 - fallen)


def train(
    config: Config, data: Data, *, seed: int, stream: str = "", folder: Path, resume: Path | None = None
) -> Iterator[Report]:
    """Train, and yield a report at each evaluation.

    On a CPU, equal arguments give equal results to the last bit, whether a training was interrupted or not, for the
    same number of threads. The number of threads is the caller's.

    Args:
        config: what to train.
        data: what to train and to score on.
        seed: from which, with `stream`, every random number follows.
        stream: name of another family of random streams under the same seeds.
        folder: where checkpoints are written and, at the last step, `generator.pt` (a state dict) and pictures. The
            checkpoint before the last one is deleted when the next report is asked for.
        resume: a checkpoint of the same training, to go on from.

    Raises:
        TrainError: if the checkpoint is broken or of another training.
        DataError: if images or VGG16's weights cannot be used.
        DivergedError: if a loss or the generator's output is not finite.
    """
    streams = Streams(seed, stream)
    training, origin = _prepare(config, data, streams), Origin(config, streams)
    done = 0 if resume is None else checkpoint.restore(resume, training.gan, origin)
    folder.mkdir(parents=True, exist_ok=True)
    for steps in intervals(config, done):
        report = _interval(training, steps, folder)
        if report.step == config.steps:
            checkpoint.write(folder / "generator.pt", training.gan.generator.state_dict())
        yield replace(report, checkpoint=checkpoint.save(folder, training.gan, origin, report.step))
        checkpoint.prune(folder, before=report.step)


@dataclass(frozen=True)
class _Training:
    config: Config
    gan: Gan
    batches: Batches
    members: list[EvaluationImage]


def _prepare(config: Config, data: Data, streams: Streams) -> _Training:
    place = device()
    gan, pool = build(config, streams, place), load_training(data)
    batches = Batches(config, low=pool.low, normal=pool.normal, streams=streams, device=place)
    return _Training(config, gan, batches, load_evaluation(data))


def _interval(training: _Training, steps: range, folder: Path) -> Report:
    """Train for some steps, then evaluate; the report has no checkpoint yet."""
    begun, last = time.perf_counter(), steps[-1]
    losses = _advance(training, steps)
    trained = time.perf_counter()
    pictures = folder / "pictures" if last == training.config.steps else None
    try:
        scores, written = evaluate(training.gan.generator, training.members, pictures=pictures)
    except DivergedError as error:
        raise DivergedError(f"step {last}: {error}") from error
    progress = {
        "time/step_s": (trained - begun) / len(steps),
        "time/evaluation_s": time.perf_counter() - trained,
        "progress/images": float(last * training.config.batch),
    }
    paths = {name: path.relative_to(folder) for name, path in written.items()}
    return Report(last, mean_scores(scores) | losses | progress, scores, pictures=paths)


def _advance(training: _Training, steps: range) -> dict[str, float]:
    """Train for some steps.

    Returns:
        The mean of each loss over the steps, as `loss/NAME`.

    Raises:
        DivergedError: if a loss is not finite; looked at every CHECK_STEPS steps and at the end.
    """
    sums: dict[str, Tensor] = {}
    unseen = steps[0]
    for step in steps:
        for name, loss in _step(training, step).items():
            sums[name] = sums[name] + loss if name in sums else loss
        if step % CHECK_STEPS == 0 or step == steps[-1]:
            _require_finite(sums, range(unseen, step + 1))
            unseen = step + 1
    return {f"loss/{name}": float(total) / len(steps) for name, total in sums.items()}


def _step(training: _Training, step: int) -> dict[str, Tensor]:
    gan, rate = training.gan, learning_rate(training.config, step)
    for optimiser in gan.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = rate
    losses, scores = generator_step(gan, training.batches.at(step))
    return losses | discriminator_step(gan, scores)


def _require_finite(sums: dict[str, Tensor], steps: range) -> None:
    broken = [f"loss/{name}" for name, total in sums.items() if not math.isfinite(float(total))]
    if broken:
        raise DivergedError(f"steps {steps[0]} to {steps[-1]}: {', '.join(broken)} became infinite or not a number")


def seconds(config: Config, data: Data, *, threads: int) -> float:
    """Estimate the seconds that one trial takes on this machine, from a few steps and one evaluation.

    The first step warms up and is left out, unless it is so slow that it has to do.

    Raises:
        DataError: if images or VGG16's weights cannot be used.
        DivergedError: if the generator's output is not finite after these few steps.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        begun = time.perf_counter()
        training = _prepare(config, data, Streams(seed=0))
        setup = time.perf_counter() - begun
        steps = _probe(training)
        begun = time.perf_counter()
        evaluate(training.gan.generator, training.members)
        evaluation = time.perf_counter() - begun
    finally:
        torch.set_num_threads(before)
    step = statistics.mean(steps[1:] or steps)
    return setup + config.steps * step + len(list(intervals(config, 0))) * evaluation


def _probe(training: _Training) -> list[float]:
    """Return the seconds of each of a few steps."""
    durations: list[float] = []
    while len(durations) < PROBE_STEPS and sum(durations) < PROBE_SECONDS:
        begun = time.perf_counter()
        float(_step(training, step=1)["generator"])  # waits for the device
        durations.append(time.perf_counter() - begun)
    return durations
