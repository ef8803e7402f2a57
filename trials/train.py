"""The training loop of one trial: when to evaluate, at which learning rate, and what is reported.

    python -m trials.train CONFIG

trains from the command line; see `trials.train_command`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from trials import checkpoint
from trials.allocator import keep_freed_memory
from trials.batches import Batches
from trials.checkpoint import Origin
from trials.config import Config, Data
from trials.cost import inference_ms, parameters_m
from trials.data import TrainingImages, load_evaluation, load_training
from trials.decoded import Decoded
from trials.duality import duality_gap
from trials.evaluate import evaluate
from trials.health import Monitor, loss_ratio_log2
from trials.metrics import mean_scores
from trials.progress import DivergedError, Event, ImageScore, Report
from trials.randomness import Streams
from trials.sets import EvaluationImage
from trials.steps import Gan, base_rate, build, step

__all__ = ["device", "intervals", "learning_rate", "seconds", "train"]

CHECK_STEPS = 20
"""Steps between looks at what the steps measured: each look waits for the device."""

HALVINGS = ((0.0, 1), (0.2, 1), (0.7, 1), (0.9, 4))
"""After which share of the falling epochs the learning rate is halved, and how often (the official new_lr)."""
ROUNDING = 1e-9

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


def learning_rate(config: Config, step: int, network: str = "generator") -> float:
    """Return the learning rate of a network at `step`, 1 for the first.

    Linear: full for the first `flat` share of the epochs and for one more, then falling by the same amount with each
    epoch: with 200 epochs and flat 0.5, epoch 101 has the full rate and epoch 200 a hundredth of it, as published.
    """
    options = config.optimiser
    period = options.period_steps or config.steps
    if step > period:
        step = period if options.after == "hold" else (step - 1) % period + 1
    epochs = math.ceil(period / options.epoch_steps)
    flat = options.flat * epochs
    fallen = (math.ceil(step / options.epoch_steps) - 1 - flat) / (epochs - flat) if epochs > flat else -1.0
    return base_rate(config, network) * _share(options.schedule, fallen)


def _share(schedule: str, fallen: float) -> float:
    """Return the share of the learning rate that is left after a share `fallen` of the falling epochs."""
    if schedule == "linear":
        return 1 - max(0.0, fallen)
    if schedule == "halving":
        return 0.5 ** sum(times for after, times in HALVINGS if fallen > after - ROUNDING)
    return 1.0


def train(
    config: Config,
    data: Data,
    *,
    seed: int,
    stream: str = "",
    folder: Path,
    resume: Path | None = None,
    tick: Callable[[int], None] | None = None,
) -> Iterator[Report]:
    """Train, and yield a report at each evaluation.

    On a CPU, equal arguments give equal results to the last bit, whether a training was interrupted or not, for the
    same number of threads. The number of threads is the caller's.

    Args:
        config: what to train.
        data: what to train and to score on.
        seed: from which, with `stream`, every random number follows.
        stream: name of another family of random streams under the same seeds.
        folder: where checkpoints are written and, at the last step, `generator.pt` (a state dict), `generator.json`
            (its settings) and pictures. When the next report is asked for, all checkpoints but the last two are
            deleted, at the end all but the last: should one be damaged, there is another. Beside it, in `decoded`, lie
            the decoded images, for all trainings there.
        resume: a checkpoint of the same training, to go on from.
        tick: called after each step with its number.

    Raises:
        TrainError: if the checkpoint is broken or of another training.
        DataError: if images or weights cannot be used.
        DivergedError: if a loss or the generator's output is not finite, or the output has collapsed; after a last
            report, without images or checkpoint, of what was measured until then.
    """
    keep_freed_memory()
    _set_precision(config)
    streams, decoded = Streams(seed, stream), Decoded(folder.parent / "decoded")
    training, origin = _prepare(config, data, streams, decoded), Origin(config, streams)
    done = 0
    if resume is not None:
        done = checkpoint.restore(resume, training.gan, training.monitor, origin)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.clear(folder)
    if done >= config.steps:  # it was cut off between its last report and its end
        if not (folder / "generator.pt").exists():
            checkpoint.save_generator(folder, training.gan)
        checkpoint.prune(folder, before=config.steps)
    for steps in intervals(config, done):
        tally = _Tally(steps[0] - 1)
        try:
            report = _interval(training, steps, folder, tally, tick or (lambda step: None))
        except DivergedError as error:
            yield Report(tally.step, tally.means(training), events=tally.events + error.events)
            raise
        if report.step == config.steps:
            checkpoint.save_generator(folder, training.gan)
        yield replace(report, checkpoint=checkpoint.save(folder, training.gan, training.monitor, origin, report.step))
        checkpoint.prune(folder, before=report.step if report.step == config.steps else steps[0] - 1)


@dataclass(frozen=True)
class _Training:
    config: Config
    gan: Gan
    images: TrainingImages
    batches: Batches
    streams: Streams
    members: list[EvaluationImage]
    monitor: Monitor


@dataclass
class _Tally:
    """What was measured since the last report: sums over steps, events, the evaluation's means."""

    step: int
    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    events: list[Event] = field(default_factory=list)
    evaluation: dict[str, float] = field(default_factory=dict)

    def means(self, training: _Training) -> dict[str, float]:
        """Return every metric of a report, but those of time."""
        means = {name: math.fsum(values) / len(values) for name, values in self.sums.items()}
        ratio = loss_ratio_log2(means)
        health = training.monitor.measures()
        if ratio is not None:
            health["health/loss_ratio_log2"] = ratio
        progress = {"progress/images": float(self.step * training.config.batch)}
        return self.evaluation | means | health | progress


def _set_precision(config: Config) -> None:
    """Set what PyTorch keeps for the whole process: whether float32 products on a GPU may be of 10 bits."""
    precision = "tf32" if config.compute.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]


def _prepare(config: Config, data: Data, streams: Streams, decoded: Decoded) -> _Training:
    place = device()
    gan, images = build(config, streams, place), load_training(data, decoded)
    batches = Batches(config, low=images.low, normal=images.normal, streams=streams, device=place)
    members = load_evaluation(data, decoded)
    return _Training(config, gan, images, batches, streams, members, Monitor(config.watch))


def _interval(training: _Training, steps: range, folder: Path, tally: _Tally, tick: Callable[[int], None]) -> Report:
    """Train for some steps, then evaluate; the report has no checkpoint yet."""
    begun, last = time.perf_counter(), steps[-1]
    _advance(training, steps, tally, tick)
    trained = time.perf_counter()
    scores, pictures = _evaluated(training, last, folder)
    tally.evaluation |= mean_scores(scores) | {"cost/generator_parameters_m": parameters_m(training.gan.result)}
    tally.events += training.monitor.evaluated(last, tally.evaluation)
    if last == training.config.steps and training.config.watch.duality_gap_steps and any(training.gan.judges()):
        tally.evaluation["health/duality_gap"] = _duality_gap(training, steps=training.config.watch.duality_gap_steps)
    times = {
        "time/step_s": (trained - begun) / len(steps),
        "time/evaluation_s": time.perf_counter() - trained,
    }
    if last == training.config.steps:
        times["time/inference_ms"] = inference_ms(training.gan.result)
    return Report(last, tally.means(training) | times, scores, pictures=pictures, events=tally.events)


def _evaluated(training: _Training, step: int, folder: Path) -> tuple[list[ImageScore], dict[str, Path]]:
    """Score the generator; at the last step write its pictures, whose paths are relative to the folder."""
    pictures = folder / "pictures" if step == training.config.steps else None
    try:
        scores, written = evaluate(training.gan.result, training.members, pictures=pictures)
    except DivergedError as error:
        text = f"step {step}: {error}"
        raise DivergedError(text, [Event(step, "nonfinite", "output", math.nan, text)]) from error
    return scores, {name: path.relative_to(folder) for name, path in written.items()}


def _duality_gap(training: _Training, *, steps: int) -> float:
    streams = replace(training.streams, stream=f"{training.streams.stream}/duality_gap")
    images, place = training.images, device()
    batches = Batches(training.config, low=images.low, normal=images.normal, streams=streams, device=place)
    return duality_gap(training.gan, batches, steps=steps)


def _advance(training: _Training, steps: range, tally: _Tally, tick: Callable[[int], None]) -> None:
    """Train for some steps, and put what they measure into the tally.

    Raises:
        DivergedError: if a loss is not finite; looked at every CHECK_STEPS steps and at the end.
    """
    unseen: list[dict[str, Tensor]] = []
    for number in steps:
        unseen.append(_step(training, number))
        tick(number)
        if number % CHECK_STEPS == 0 or number == steps[-1]:
            _look(training, _fetched(unseen), tally)
            unseen = []


def _step(training: _Training, number: int) -> dict[str, Tensor]:
    gan = training.gan
    for name, optimiser in gan.optimisers.items():
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(training.config, number, name)
    return step(gan, training.batches.at(number))


def _fetched(measured: list[dict[str, Tensor]]) -> list[dict[str, float]]:
    """Return scalars of the device as numbers, all in one transfer."""
    values = iter(torch.stack([value.float() for one in measured for value in one.values()]).tolist())
    return [{name: next(values) for name in one} for one in measured]


def _look(training: _Training, measured: list[dict[str, float]], tally: _Tally) -> None:
    """Add the measures of the steps after `tally.step`, up to one whose loss is not finite."""
    for measures in measured:
        number = tally.step = tally.step + 1
        tally.events += training.monitor.look(number, [measures])
        broken = {name: value for name, value in measures.items() if name[:5] == "loss/" and not math.isfinite(value)}
        if broken:
            text = f"step {number}: {', '.join(broken)} became infinite or not a number"
            raise DivergedError(text, [Event(number, "nonfinite", "losses", next(iter(broken.values())), text)])
        for name, value in measures.items():
            tally.sums[name].append(value)


def seconds(config: Config, data: Data, *, threads: int) -> float:
    """Estimate the seconds that one trial takes on this machine, from a few steps and one evaluation.

    The first step warms up and is left out, unless it is so slow that it has to do.

    Raises:
        DataError: if images or weights cannot be used.
        DivergedError: if the generator's output is not finite after these few steps.
    """
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        begun = time.perf_counter()
        training = _prepare(config, data, Streams(seed=0), Decoded())
        setup = time.perf_counter() - begun
        steps = _probe(training)
        begun = time.perf_counter()
        evaluate(training.gan.result, training.members)
        evaluation = time.perf_counter() - begun
        if device().type == "cuda" and config.watch.duality_gap_steps and any(training.gan.judges()):
            _duality_gap(training, steps=1)  # with its copies of all networks it may take most of the device's memory
    finally:
        torch.set_num_threads(before)
    one = statistics.mean(steps[1:] or steps)
    return setup + config.steps * one + len(list(intervals(config, 0))) * evaluation


def _probe(training: _Training) -> list[float]:
    """Return the seconds of each of a few steps."""
    durations: list[float] = []
    while len(durations) < PROBE_STEPS and sum(durations) < PROBE_SECONDS:
        begun = time.perf_counter()
        float(_step(training, 1)["loss/generator"])  # waits for the device
        durations.append(time.perf_counter() - begun)
    return durations


if __name__ == "__main__":
    import sys

    from trials.train_command import main

    sys.exit(main())
