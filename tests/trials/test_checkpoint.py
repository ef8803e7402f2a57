import contextlib
import dataclasses
import errno
import pickle
import resource
import signal
from pathlib import Path

import pytest
import torch

from trials import checkpoint
from trials.batches import Batch
from trials.checkpoint import Origin, prune, write
from trials.health import Monitor
from trials.progress import CheckpointError, TrainError
from trials.randomness import Streams
from trials.steps import build, step

CPU = torch.device("cpu")


def save(folder, gan, origin, step):
    return checkpoint.save(folder, gan, Monitor(origin.config.watch), origin, step)


def restore(path, gan, origin):
    return checkpoint.restore(path, gan, Monitor(origin.config.watch), origin)


def trained(config, seed=0, steps=2):
    origin = Origin(config, Streams(seed))
    gan = build(config, origin.streams, CPU)
    for _ in range(steps):
        advance(gan)
    return gan, origin


def advance(gan):
    images = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    step(gan, Batch(images[0], images[0], images[1], [(0, 0), (3, 9)]))


def states(gan):
    networks = {
        f"{name}.{key}": value for name, one in gan.networks().items() for key, value in one.state_dict().items()
    }
    moments = {
        f"{name}.{number}.{key}": value
        for name, optimiser in gan.optimisers.items()
        for number, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
    }
    return networks | moments


def test_everything_comes_back_and_goes_on_as_before_to_the_last_bit(tiny, tmp_path):
    gan, origin = trained(tiny())
    name = save(tmp_path, gan, origin, step=2)
    fresh = build(origin.config, Streams(99), CPU)
    assert restore(tmp_path / name, fresh, origin) == 2
    for _ in range(2):
        expected, found = states(gan), states(fresh)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
        advance(gan)
        advance(fresh)


def test_the_optimisers_moments_are_in_it(tiny, tmp_path):
    gan, origin = trained(tiny())
    content = torch.load(tmp_path / save(tmp_path, gan, origin, step=2), weights_only=True)
    for name in ("generator", "global", "local"):
        moments = content["optimisers"][name]["state"]
        assert len(moments) == len(list(gan.networks()[name].parameters()))
        assert all(one["exp_avg_sq"].abs().sum() > 0 and one["step"] == 2 for one in moments.values())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"loss.sfp_local": 0.5}, r"loss\.sfp_local is 0\.5, there 1\.0"),
        ({"steps": 5}, r"steps is 5, there 4"),
        ({"local.discriminator": False}, r"local\.discriminator is False, there True; local\.layers is None, there 2"),
        ({"loss.sfp_local": 2, "loss.sfp_global": 2, "steps": 9, "batch": 3}, r"batch is 3, .* and 1 more"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_configuration_is_refused_with_what_differs(tiny, tmp_path, change, named):
    gan, origin = trained(tiny())
    name = save(tmp_path, gan, origin, step=2)
    other, another = trained(tiny(change), steps=0)
    with pytest.raises(TrainError, match=rf"checkpoint-2\.pt belongs to another training: {named}"):
        restore(tmp_path / name, other, another)


@pytest.mark.parametrize(("streams", "named"), [(Streams(1), "seed is 1, there 0"), (Streams(0, "b"), "stream is 'b'")])
def test_a_checkpoint_of_another_seed_is_refused(tiny, tmp_path, streams, named):
    gan, origin = trained(tiny())
    name = save(tmp_path, gan, origin, step=2)
    with pytest.raises(TrainError, match=named):
        restore(tmp_path / name, gan, dataclasses.replace(origin, streams=streams))


def test_settings_that_change_nothing_do_not_matter(tiny, tmp_path):
    without = {"local.discriminator": False, "loss.sfp_local": 0}
    gan, origin = trained(tiny(without))
    name = save(tmp_path, gan, origin, step=2)
    assert restore(tmp_path / name, gan, Origin(tiny(without | {"local.patches": 5}), origin.streams)) == 2


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda _: b"x" * 99]
)
def test_a_broken_checkpoint_is_named(tiny, tmp_path, damage):
    gan, origin = trained(tiny())
    path = tmp_path / save(tmp_path, gan, origin, step=2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainError, match=r"checkpoint-2\.pt is broken .*start the training anew, or from another one"):
        restore(path, gan, origin)


class Code:
    """What makes an unpickler that is not restricted write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "it ran")


@pytest.mark.parametrize("made", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_checkpoint_with_code_in_it_counts_as_broken_and_nothing_runs(tiny, tmp_path, made):
    gan, origin = trained(tiny())
    path = tmp_path / save(tmp_path, gan, origin, step=2)
    made({"origin": Code(tmp_path / "proof"), "step": 2}, path)
    with pytest.raises(CheckpointError, match=r"checkpoint-2\.pt is broken"):
        restore(path, gan, origin)
    assert not (tmp_path / "proof").exists()
    with contextlib.suppress(RuntimeError):
        torch.load(path, weights_only=False)
    assert (tmp_path / "proof").exists()  # so something would have


def test_a_missing_checkpoint_is_named(tiny, tmp_path):
    gan, origin = trained(tiny(), steps=0)
    with pytest.raises(TrainError, match=r"checkpoint-9\.pt does not exist"):
        restore(tmp_path / "checkpoint-9.pt", gan, origin)


def test_a_state_dict_is_no_checkpoint(tiny, tmp_path):
    gan, origin = trained(tiny(), steps=0)
    write(tmp_path / "generator.pt", gan.generator.state_dict())
    with pytest.raises(TrainError, match=r"generator\.pt is no checkpoint of this trainer"):
        restore(tmp_path / "generator.pt", gan, origin)


def test_a_full_disk_is_an_error_of_the_disk_and_leaves_the_old_file_whole(tmp_path):
    """Under the real torch.save, whose archive writer hides the cause, with a limit on the size of files."""
    path = tmp_path / "checkpoint-1.pt"
    write(path, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match="File too large") as raised:
            write(path, {"step": 2, "weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint-1.pt"]


def test_a_write_that_breaks_off_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint-1.pt"
    write(path, {"step": 1})

    def half(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        write(path, {"step": 2})
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_two_writers_of_one_file_do_not_break_each_other(tmp_path, monkeypatch):
    """A node that was cut off goes on with a trial while another one trains it, too."""
    path, save = tmp_path / "checkpoint-2.pt", torch.save

    def slowly(content, file):
        file.write(b"")
        monkeypatch.setattr(torch, "save", save)
        write(path, {"of": "the other"})
        assert torch.load(path, weights_only=True) == {"of": "the other"}
        save(content, file)

    monkeypatch.setattr(torch, "save", slowly)
    write(path, {"of": "the first"})
    assert torch.load(path, weights_only=True) == {"of": "the first"}
    assert list(tmp_path.iterdir()) == [path]


def test_prune_deletes_older_checkpoints_alone(tmp_path):
    for name in ("checkpoint-2.pt", "checkpoint-10.pt", "checkpoint-9.pt", "checkpoint-best.pt", "generator.pt"):
        (tmp_path / name).touch()
    prune(tmp_path, before=10)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-10.pt", "checkpoint-best.pt", "generator.pt"}
