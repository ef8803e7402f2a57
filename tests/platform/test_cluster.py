"""Clusters of machines that see neither the repository nor, if not told to, the images; machines go and come."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from tests.platform import namespaces
from tests.platform.namespaces import HEAD, ROOT, wait_for
from tests.platform.simulated import everything, rows
from tests.platform.test_sweep import command, lay_out
from trials import images

SETTINGS = ("--set", "train.steps=12")
PHOTOS = "data={source: photos}"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]


@pytest.fixture
def machines():
    reason = namespaces.lacking()
    if reason:
        pytest.skip(reason)
    with namespaces.machines() as made:
        yield made


def drive(machines, folder, *arguments):
    """Start the sweep on a machine of its own, a node without CPUs that sees the repository and the images."""
    asked = [sys.executable, "-m", "platform.sweep", str(folder / "spec.yaml"), "--address", f"{HEAD}:6379"]
    places = ["--results", str(folder / "results"), "--storage", str(machines.storage)]
    return machines.drive("driver", [*asked, *places, *arguments])


def finished(driver, seconds=900):
    status = driver.process.wait(timeout=seconds)
    return status, driver.said()


def attempts(folder):
    """Return node, outcome and number of reports of each attempt; none if the ledger is not there yet."""
    try:
        found = rows(
            folder / "results" / "tiny",
            "SELECT record, outcome, (SELECT count(*) FROM step WHERE step.trial = attempt.trial) FROM attempt",
        )
    except sqlite3.OperationalError:
        return []
    return [(json.loads(record).get("node"), outcome, count) for record, outcome, count in found]


def trains(folder, node):
    """Whether a trial that has reported already is being trained on this node."""
    return any((name, outcome) == (node, None) and count for name, outcome, count in attempts(folder))


def undisturbed(folder, *arguments):
    """Run the same study on a Ray of this machine's own; return its folder."""
    done = subprocess.run(command(lay_out(folder), *arguments), cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "tiny"


def tables(study):
    """Return what the ledger holds of a study, times, nodes and attempts apart."""
    found = everything(study)
    found["report"] = [row for row in found["report"] if not row[2].startswith("time/")]
    query = 'SELECT id, step, "set", image, metric, value FROM image JOIN trial ON trial.number = image.trial'
    return found | {"image": sorted(rows(study, query), key=repr)}


def run_while_a_node_is_lost_and_another_comes(machines, folder, nodes, *arguments, unplugged):
    """Run a study to its end; the last node is lost while it trains, another joins, and has to train, too.

    Args:
        unplugged: whether it vanishes from the network first, so that nobody hears that its processes ended.
    """
    driver, (*others, lost) = drive(machines, folder, *arguments), nodes

    def caught():
        for node in others:  # who trains waits, so that every node does, and there is work left for the one that comes
            if trains(folder, node.name):
                node.signal(signal.SIGSTOP)
        if not trains(folder, lost.name):
            return False
        lost.signal(signal.SIGSTOP)
        if trains(folder, lost.name):
            return True
        lost.signal(signal.SIGCONT)
        return False

    wait_for(lambda: caught() and all(trains(folder, node.name) for node in others), driver)
    if unplugged:
        machines.unplug(lost)
    lost.kill()
    joined = machines.join("late")
    wait_for(lambda: trains(folder, joined.name), driver)
    for node in others:
        node.signal(signal.SIGCONT)
    status, said = finished(driver)
    assert status == 0, said
    assert (lost.name, "lost") in {(node, outcome) for node, outcome, _ in attempts(folder)}
    assert (joined.name, "COMPLETED") in {(node, outcome) for node, outcome, _ in attempts(folder)}
    return joined


def test_two_nodes_without_the_images_are_told_of_and_with_ship_data_train_as_one_machine_does(machines, tmp_path):
    folder = lay_out(tmp_path / "cluster")
    nodes = [machines.head("one"), machines.join("two")]
    status, said = finished(drive(machines, folder, *SETTINGS))
    assert status == 1
    assert "a few steps of the first trial fail on a worker, so nothing was started: DataError: node " in said
    assert (
        f" does not see the driver's images: {folder}/low: expected a folder of images, but it does not exist" in said
    )
    assert "or send them with --ship-data" in said

    for node in nodes:  # other images at the same place
        for name in ("low", "normal", "eval/low", "eval/normal"):
            shutil.copytree(folder / name, node.place(folder / name))
        images.write(node.place(folder / "low" / "coffee.png"), np.full((64, 64, 3), 99, np.uint8))
    status, said = finished(drive(machines, folder, *SETTINGS))
    assert status == 1
    assert ": expected the driver's images, of digest " in said
    assert f"{folder}/low" in said
    assert not [node for node, _, _ in attempts(folder) if node]

    asked = (*SETTINGS, "--ship-data")
    joined = run_while_a_node_is_lost_and_another_comes(machines, folder, nodes, *asked, unplugged=False)
    assert tables(folder / "results" / "tiny") == tables(undisturbed(tmp_path / "alone", *SETTINGS))
    assert list(joined.place(ROOT).iterdir()) in ([], [joined.place(ROOT / ".venv")])
    assert not joined.place(folder).exists()
    (shipped,) = joined.place("/tmp").glob("ablation-files-*/????????*/")
    assert len([path for path in shipped.rglob("*") if path.is_file()]) == 6


def test_four_nodes_train_on_the_photographs_as_one_machine_does(machines, tmp_path):
    folder = lay_out(tmp_path / "cluster")
    nodes = [machines.head("one"), *(machines.join(name) for name in ("two", "three", "four"))]
    asked = ("--set", PHOTOS, "--set", "seeds=4", "--set", "train.steps=4")
    run_while_a_node_is_lost_and_another_comes(machines, folder, nodes, *asked, unplugged=True)
    assert {node for node, _, _ in attempts(folder)} == {"one", "two", "three", "four", "late"}
    assert tables(folder / "results" / "tiny") == tables(undisturbed(tmp_path / "alone", *asked))
