"""Ray's memory monitor kills a worker: the trial comes again, alone; the study goes on."""

import time
from types import SimpleNamespace

import ray
from ray.air.execution._internal import event_manager
from ray.exceptions import OutOfMemoryError, RayActorError

from platform import tune_run
from platform.memory_monitor import KILLED
from tests.platform.test_tune_run import attempts, ends, prepared

LOW = "1 worker(s) were killed due to the node running low on memory.\nTo adjust the kill threshold ..."


def run(job, opened, monkeypatch, get):
    """Train, Tune hearing of its workers by `get`."""
    monkeypatch.setattr(event_manager, "ray", SimpleNamespace(get=get, wait=ray.wait, ObjectRef=ray.ObjectRef))
    with tune_run.cluster(None):
        assert tune_run.run(job) is True
    opened.end_driver(time.time())


def test_a_trial_whose_worker_the_memory_monitor_kills_comes_again_and_the_others_go_on(tmp_path, monkeypatch):
    def get(future):
        try:
            return ray.get(future)
        except RayActorError:  # as the monitor's kills come
            raise OutOfMemoryError(LOW) from None

    job, opened = prepared(tmp_path, ("die once", "die always"), seeds=[1], at_once=2)
    run(job, opened, monkeypatch, get)
    assert ends(opened, "baseline")[0][0] == "COMPLETED"
    assert attempts(opened, "die_once") == [(0, "memory"), (1, "COMPLETED")]
    assert attempts(opened, "die_always") == [(0, "memory"), (1, "FAILED")]
    assert ends(opened, "die_always")[0] == ("FAILED", "memory", f"{KILLED}{LOW.partition(chr(10))[0]}")
    opened.close()


def test_a_worker_killed_before_it_can_say_that_it_began_has_made_an_attempt(tmp_path, monkeypatch):
    killed = []

    def get(future):
        found = ray.get(future)
        if not killed and "began" in str(found):
            killed.append(future)
            raise OutOfMemoryError(LOW)
        return found

    job, opened = prepared(tmp_path, ("well",), seeds=[1], at_once=1)
    run(job, opened, monkeypatch, get)
    assert sorted([*attempts(opened, "baseline"), *attempts(opened, "well")]) == [
        (0, "COMPLETED"), (0, "COMPLETED"), (0, "memory"),
    ]  # fmt: skip
    opened.close()
