"""How many trials run at once, on real Rays: started together, capped by shares of GPUs, following nodes."""

import json
import os
import time

import pytest
import ray

from platform import tune_run
from platform.design import variants
from platform.job import Job
from platform.ledger import Ledger
from platform.plan import cells
from platform.probing import probe
from platform.spec import Spec, Study
from tests.platform import gathering_trainer as trainer
from tests.platform.gathering_trainer import notes


def prepared(folder, *, seeds, train=None, by_hand=None, **resources):
    """Return a job of so many trials at once as fit, with its ledger open; marks lie in the folder."""
    spec = Spec(
        study="gathered", seeds=seeds, resources={"cpu": 1, **resources}, variants=by_hand or {},
        design="list" if by_hand else "leave-one-out",
    )  # fmt: skip
    spec = spec.model_copy(update={"trainer": trainer.__name__})
    study = Study(spec, trainer, trainer.Config(**(train or {})), trainer.Data(marks=folder))
    opened = Ledger(folder / "gathered")
    planned = cells(study, trainer.digest(study.data))
    opened.accept(study.resolved(), variants(spec), planned, now=time.time())
    opened.begin_driver({}, time.time())
    job = Job(study, planned, opened, folder / "gathered", lambda: tune_run.slots(job))
    return job, opened


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A Ray of 8 CPUs and a GPU, counted ones; the folder where slow starts leave their marks."""
    folder = tmp_path_factory.mktemp("starts")
    os.environ["SLOW_START"] = str(folder)  # which workers inherit
    ray.init("local", num_cpus=8, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield folder
    ray.shutdown()
    del os.environ["SLOW_START"]


def test_as_many_trials_wait_for_room_as_have_still_to_start(tmp_path):
    job, opened = prepared(tmp_path, seeds=5)
    first, second, third, fourth, fifth = (cell.trial for cell in job.cells)
    assert job.more([]) == 5
    assert job.more([first]) == 0  # it was handed out, but runs not yet: there may be room
    opened.begin(first, {}, time.time())
    assert job.more([first]) == 4
    opened.begin(second, {}, time.time())
    assert job.more([first, second]) == 3
    opened.end(second, "COMPLETED", time.time())
    job.alone.add(third)  # waits for the others to end, not for room
    assert job.more([first]) == 2
    job.halt = "too many failed"
    assert job.more([first]) == 0
    job.halt = ""
    for trial in (fourth, fifth):
        opened.begin(trial, {}, time.time())
    assert job.more([first, fourth, fifth]) == 0
    opened.close()


def states(ledger):
    return sorted(set(ledger.states.values()))


def test_with_many_free_devices_all_trials_start_together(machine, tmp_path, monkeypatch):
    for name, text in (("driver", os.getpid()), ("count", 8)):  # no worker is up before eight are starting
        (machine / name).write_text(str(text))
    from tests.platform import slow_start

    monkeypatch.setattr("trials.trainable.trainable", slow_start.trainable)
    job, opened = prepared(tmp_path, seeds=8, train={"gather": 8})
    assert tune_run.run(job) is True
    assert states(opened) == ["COMPLETED"]
    assert len({one["pid"] for one in notes(tmp_path)}) == 8
    opened.close()


@pytest.mark.usefixtures("machine")
def test_shares_of_a_gpu_run_beside_each_other(tmp_path):
    job, opened = prepared(tmp_path, seeds=4, train={"gather": 4}, gpu=0.25)
    assert tune_run.fits(job) == 4
    assert tune_run.run(job) is True
    assert states(opened) == ["COMPLETED"]
    assert [one["has"] for one in notes(tmp_path)] == [{"CPU": 1, "GPU": 0.25}] * 4
    opened.close()


@pytest.mark.usefixtures("machine")
def test_a_trial_that_lacks_memory_comes_again_with_the_whole_device(tmp_path):
    job, opened = prepared(tmp_path, seeds=2, by_hand={"large": {"lacks_memory": True}}, gpu=0.25)
    assert tune_run.run(job) is True
    small, large = (next(one for one in job.cells if one.variant == name) for name in ("baseline", "large"))
    assert json.loads(job.task(small))["gpu"] == 0.25
    assert json.loads(job.task(large))["gpu"] == 1  # no cap
    assert states(opened) == ["COMPLETED"]
    shares = [one["has"]["GPU"] for one in notes(tmp_path)]
    assert sorted(shares) == [0.25] * 4 + [1, 1]
    assert shares[-2:] == [1, 1]  # Ray gives it when no other worker has any of the device
    opened.close()


@pytest.mark.usefixtures("machine")
def test_what_samples_take_of_a_gpu_decides_on_the_share(tmp_path):
    sizes = {"small": {"takes_b": 500_000_000}, "large": {"takes_b": 1_500_000_000}}
    job, opened = prepared(tmp_path, seeds=2, train={"takes_b": 1_000_000_000}, by_hand=sizes, gpu="auto")
    assert job.untried()
    assert tune_run.fits(job) == 1  # until it is known, a whole device
    assert probe(job)() == ""
    assert not job.untried()
    # the largest, 1.5 GB and 0.5 of the context, with a tenth to spare: three in 8 GB
    assert opened.get("packing") == {
        "peak_b": 1_500_000_000, "context_b": 500_000_000, "device_b": 8_000_000_000, "share": 0.3333,
        "probed": [cell.trial for cell in job.samples()],
    }  # fmt: skip
    assert tune_run.fits(job) == 3
    tried = {int(one.name.removeprefix("tried-")) for one in tmp_path.glob("tried-*")}
    assert tried == {500_000_000, 1_000_000_000, 1_500_000_000}
    task = json.loads(job.task(job.cells[0]))
    assert (task["gpu"], task["context_b"]) == (0.3333, 500_000_000)
    opened.close()
    again, opened = prepared(tmp_path, seeds=2, train={"takes_b": 1_000_000_000}, by_hand=sizes, gpu="auto")
    assert again.share == 0.3333
    assert not again.untried()
    opened.close()
    other, opened = prepared(tmp_path, seeds=2, train={"takes_b": 2_000_000_000}, by_hand=sizes, gpu="auto")
    assert other.untried()  # another full model may take more
    opened.close()


@pytest.mark.usefixtures("machine")
def test_a_share_that_is_to_be_found_needs_a_gpu_that_torch_can_use(tmp_path):
    job, opened = prepared(tmp_path, seeds=1, gpu="auto")
    assert probe(job)() == "resources.gpu: auto needs a GPU that PyTorch can use, but there is none; give a number"
    opened.close()
