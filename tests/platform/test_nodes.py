"""Nodes that come and go while a study runs, on clusters of Ray on this machine."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from platform import tune_run
from tests.platform.gathering_trainer import notes, wait_for
from tests.platform.test_capacity import prepared, states

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

STORE_B = 100_000_000
LISTS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip
"""What Ray's autoscaler insists on finding in its configuration, here all empty."""


def beside(work):
    """Start `work` in a thread; return what waits for it and raises what it raised."""
    raised = []

    def run():
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def wait():
        thread.join()
        if raised:
            raise raised[0]

    return wait


def outcomes(ledger):
    """Return how each attempt ended, those that have."""
    with sqlite3.connect(ledger.folder / "ledger.db") as db:
        return [one for (one,) in db.execute("SELECT outcome FROM attempt WHERE outcome IS NOT NULL")]


def test_a_node_that_comes_is_used_and_one_that_goes_is_missed_without_failure(tmp_path):
    head_has = {"num_cpus": 1, "object_store_memory": STORE_B}
    cluster = Cluster(initialize_head=True, head_node_args=head_has, shutdown_at_exit=False)
    job, opened = prepared(tmp_path, seeds=4, train={"pattern": "go"})

    def come_and_go():
        wait_for(tmp_path, "here-*.json", 1)  # the head is full
        node = cluster.add_node(num_cpus=2, object_store_memory=STORE_B)
        wait_for(tmp_path, "here-*.json", 3)
        cluster.remove_node(node, allow_graceful=False)
        for _ in range(600):  # a worker that is left over might still end its trial
            if outcomes(opened).count("lost") == 2:
                break
            time.sleep(0.1)
        (tmp_path / "go").touch()

    try:
        with tune_run.cluster(cluster.address):
            done = beside(come_and_go)
            assert tune_run.run(job) is True
            done()
    finally:
        cluster.shutdown()
    assert states(opened) == ["COMPLETED"]
    head, *others = [one["node"] for one in notes(tmp_path)]
    assert others[0] == others[1] != head
    assert others[2:] == [head] * 3  # the two that were lost, and the last
    assert sorted(outcomes(opened)) == ["COMPLETED"] * 4 + ["lost"] * 2
    opened.close()


@pytest.fixture
def growing(tmp_path):
    """Start a cluster of a head with 1 CPU that gets nodes of 1 CPU from Ray's autoscaler, two at most; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"
    config = {
        "cluster_name": "growing",
        "max_workers": 2,
        "idle_timeout_minutes": 10,
        "provider": {
            "type": "fake_multinode", "gcs_address": address, "launch_multiple": True, "use_node_id_as_ip": True,
            "disable_node_updaters": True, "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "one": {
                "resources": {"CPU": 1, "object_store_memory": STORE_B}, "node_config": {},
                "min_workers": 0, "max_workers": 2,
            },
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in LISTS},
        "file_mounts_sync_continuously": False,
    }  # fmt: skip
    (tmp_path / "growing.yaml").write_text(json.dumps(config))
    mark = f"GROWING={tmp_path}"
    name, value = mark.split("=")
    command = [
        Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={address.rsplit(':', 1)[1]}",
        "--num-cpus=1", f"--object-store-memory={STORE_B}", "--include-dashboard=false", "--disable-usage-stats",
        f"--autoscaling-config={tmp_path / 'growing.yaml'}", f"--temp-dir={os.environ['RAY_TMPDIR']}/grows",
    ]  # fmt: skip
    environment = {**os.environ, name: value, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with (tmp_path / "ray.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(120):
            if subprocess.run([command[0], "health-check", "--address", address], capture_output=True).returncode == 0:
                break
            assert head.poll() is None, (tmp_path / "ray.log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        while left := started(mark):  # the nodes that the autoscaler started are nobody's children
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            head.wait()
            time.sleep(0.2)


def started(mark):
    """Return the processes, by their ids, whose environment has this: those that a test started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"\0{mark}\0".encode() in b"\0" + (place / "environ").read_bytes() + b"\0":
                found.append(int(place.name))
        except OSError:
            continue
    return [one for one in found if one != os.getpid()]


def test_a_cluster_that_grows_is_shown_what_waits(growing, tmp_path):
    """The trials wait for one another: without two more nodes none would end."""
    job, opened = prepared(tmp_path, seeds=3, train={"gather": 3})
    with tune_run.cluster(growing):
        assert tune_run.fits(job) == 1
        assert tune_run.run(job, pending=2) is True
    assert states(opened) == ["COMPLETED"]
    assert len({one["node"] for one in notes(tmp_path)}) == 3
    opened.close()
