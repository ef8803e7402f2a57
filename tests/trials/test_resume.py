"""Whatever has a state: a training that was stopped goes on to the last bit as if it had not been (on a CPU)."""

import math
import shutil

import numpy as np
import pytest
import torch

from trials import images
from trials.checkpoint import write
from trials.config import Data
from trials.progress import DivergedError
from trials.randomness import Streams
from trials.steps import build
from trials.train import train

SMALL = {"steps": 9, "evaluate_every": 3, "crop_px": 16, "local.patch_px": 8, "generator.depth": 2}
EVALUATIONS = (3, 6)
LONG = {"steps": 35, "evaluate_every": 7, "watch.spike_score": 0.1}
"""So long that gradient norms are judged, by a score so low that there are events."""

STATES = {
    "full model": {},
    "average": {"stabilise.ema": 0.8},
    "pool": {"stabilise.pool": 5},
    "spectral norm": {"stabilise.spectral_norm": True},
    "halving": {"optimiser.schedule": "halving", "optimiser.epoch_steps": 2},
    "restart": {"optimiser.period_steps": 4, "optimiser.after": "restart"},
    "hold": {"optimiser.period_steps": 4},
    "lazy R1": {"stabilise.r1": 5.0, "stabilise.r1_every": 4},
    "clipping": {"stabilise.clip_gradient": 0.05},
    "parts of a batch": {"generator.norm_splits": 2, "batch": 3},
    "identity": {"loss.identity": 1.0},
    "instance norm": {"generator.norm": "instance"},
    "apart": {"local.offsets": "apart", "local.border": "official"},
    "two rates": {"optimiser.discriminator_learning_rate": 5e-3},
    "bfloat16": {"compute.precision": "bfloat16"},
    "channels first": {"compute.channels_last": False, "stabilise.pool": 3},
    "fixed pairs": {"pairing": "fixed"},
    "gap": {"watch.duality_gap_steps": 2, "stabilise.spectral_norm": True},
    "no discriminators": {"global.discriminator": False, "local.discriminator": False},
}  # fmt: skip
TOGETHER = {
    "stabilise.ema": 0.8, "stabilise.pool": 5, "stabilise.spectral_norm": True, "optimiser.schedule": "halving",
    "optimiser.period_steps": 10, "optimiser.after": "restart", "stabilise.r1": 5.0, "stabilise.r1_every": 4,
    "stabilise.clip_gradient": 0.5, "generator.norm_splits": 2, "batch": 3, "loss.identity": 0.5,
    "local.offsets": "apart", "watch.window_steps": 20, "watch.duality_gap_steps": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return data of three low and two normal images, of which one is scored."""
    root, random = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    for name, brightest in (("low/0", 60), ("low/1", 60), ("low/2", 60), ("normal/0", 256), ("normal/1", 256)):
        images.write(root / f"{name}.png", random.integers(0, brightest, (20, 24, 3), dtype=np.uint8))
    images.write(root / "scored" / "0.png", random.integers(0, 60, (24, 24, 3), dtype=np.uint8))
    return Data(
        source="folders", low=root / "low", normal=root / "normal", evaluate={"scored": {"low": root / "scored"}}
    )


def run(config, data, folder, resume=None):
    """Train; return what must not depend on interruptions, and copies of the checkpoints by their steps."""
    found, checkpoints, ended = [], {}, ""
    folder.mkdir()
    try:
        for report in train(config, data, seed=3, folder=folder, resume=resume):
            metrics = {name: value for name, value in report.metrics.items() if not name.startswith("time/")}
            content = None
            if report.checkpoint is not None:
                checkpoints[report.step] = folder / f"kept-{report.step}"
                shutil.copy(folder / report.checkpoint, checkpoints[report.step])
                content = torch.load(checkpoints[report.step], weights_only=True)
            found.append((report.step, metrics, report.images, report.events, list(report.pictures), content))
    except DivergedError as error:
        ended = str(error)
    saved = folder / "generator.pt"
    found.append((ended, torch.load(saved, weights_only=True) if saved.exists() else None))
    return found, checkpoints


def difference(first, second, where="reports"):
    """Return where two nested values differ first; nothing if they are equal to the last bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        equal = first.dtype == second.dtype and first.shape == second.shape
        return "" if equal and torch.equal(first, second) else where
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return f"{where}: {first.keys() ^ second.keys()}"
        return next(filter(None, (difference(first[key], second[key], f"{where}.{key}") for key in first)), "")
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return f"{where}: {len(first)} and {len(second)}"
        pairs = enumerate(zip(first, second, strict=True))
        return next(filter(None, (difference(*pair, f"{where}.{number}") for number, pair in pairs)), "")
    if hasattr(first, "__dataclass_fields__") and type(first) is type(second):
        return difference(vars(first), vars(second), where)
    both = isinstance(first, float) and isinstance(second, float)
    return "" if first == second or (both and math.isnan(first) and math.isnan(second)) else where


def stopped_anywhere(config, data, folder, stops):
    """Return what a training reports, and where it differs if it is stopped and goes on: by the step of the stop."""
    whole, checkpoints = run(config, data, folder / "whole")
    differences = {}
    for stop in stops:
        done = [one for one in whole[:-1] if one[0] <= stop]
        rest, _ = run(config, data, folder / f"from-{stop}", resume=checkpoints[stop])
        differences[stop] = difference(whole, done + rest)
    return whole, {stop: where for stop, where in differences.items() if where}


@pytest.mark.parametrize("name", STATES)
def test_a_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tiny, small, tmp_path, name):
    stop = np.random.default_rng(list(STATES).index(name)).choice(EVALUATIONS)
    whole, differences = stopped_anywhere(tiny(SMALL | STATES[name]), small, tmp_path, [int(stop)])
    assert differences == {}
    assert [one[0] for one in whole[:-1]] == [3, 6, 9]
    assert whole[-1][1] is not None


@pytest.mark.parametrize("options", [{}, TOGETHER], ids=["full model", "all of it"])
def test_what_the_monitor_remembers_goes_on(tiny, small, tmp_path, options):
    whole, differences = stopped_anywhere(tiny(SMALL | LONG | options), small, tmp_path, [21])
    assert differences == {}
    kinds = {event.kind for one in whole[:-1] for event in one[3] if one[0] > 21}
    assert {"spike", "drop"} <= kinds  # else its state would not be put to the test


def test_all_of_it_together_at_every_evaluation(tiny, small, tmp_path):
    generator = build(tiny(SMALL), Streams(11), torch.device("cpu")).generator
    write(tmp_path / "start.pt", generator.state_dict())
    config = tiny(SMALL | TOGETHER | {"init": str(tmp_path / "start.pt")})
    _, differences = stopped_anywhere(config, small, tmp_path, EVALUATIONS)
    assert differences == {}


def test_a_start_from_a_file_that_has_moved_goes_on_too(tiny, small, tmp_path):
    generator = build(tiny(SMALL), Streams(11), torch.device("cpu")).generator
    settings = SMALL | {"steps": 8, "evaluate_every": 4}
    write(tmp_path / "start.pt", generator.state_dict())
    whole, checkpoints = run(tiny(settings | {"init": str(tmp_path / "start.pt")}), small, tmp_path / "whole")
    (tmp_path / "start.pt").rename(tmp_path / "moved.pt")
    config = tiny(settings | {"init": str(tmp_path / "moved.pt")})
    rest, _ = run(config, small, tmp_path / "rest", resume=checkpoints[4])
    assert difference(whole[1:], rest) == ""


@pytest.mark.parametrize("stop", EVALUATIONS)
def test_a_collapse_that_was_seen_before_the_stop_counts_after_it(tiny, small, tmp_path, stop):
    settings = SMALL | {"generator.input_weight": 0.0, "generator.attend.residual": False,
                        "optimiser.learning_rate": 1e-9, "watch.collapse.evaluations": 3}  # fmt: skip
    state = build(tiny(settings), Streams(0), torch.device("cpu")).generator.state_dict()
    state["conv6.weight"].zero_()  # the last convolution: what is left is its bias, one colour
    write(tmp_path / "flat.pt", state)
    whole, differences = stopped_anywhere(tiny(settings | {"init": str(tmp_path / "flat.pt")}), small, tmp_path, [stop])
    assert differences == {}
    assert whole[-1][0].startswith("step 9: collapsed, ")


def test_a_stop_within_a_row_of_unusual_steps_makes_no_second_event(tiny, small, tmp_path, monkeypatch):
    from trials.steps import step

    def loud(gan, batch):
        measures = step(gan, batch)
        factor = 1e6 if 22 <= batch.step <= 27 else 1
        return measures | {"health/gradient_norm_local": measures["health/gradient_norm_local"] * factor}

    monkeypatch.setattr("trials.train.step", loud)
    config = tiny(SMALL | {"steps": 30, "evaluate_every": 8})
    whole, differences = stopped_anywhere(config, small, tmp_path, [24])
    assert differences == {}
    spikes = [event.step for one in whole[:-1] for event in one[3] if (event.kind, event.subject) == ("spike", "local")]
    assert spikes == [22]
