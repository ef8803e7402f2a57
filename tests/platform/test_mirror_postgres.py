"""MLflow on PostgreSQL, both running by the commands of docker-compose.yml, and stopped in mid-study."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from platform import mirror
from tests.platform import postgres
from tests.platform.compose_file import ROOT, marked
from tests.platform.mirrored import wait_for
from tests.platform.test_mirror_repair import shown
from tests.platform.test_sweep import lay_out

STOP_S = float(os.environ.get("MIRROR_STOP_S", "10"))
"""How long what is stopped stays away."""
EVERY = 20 + int(2 * STOP_S)
"""Steps between two evaluations: the study has to outlast the stop."""
HOST = "127.0.1.31"


@pytest.fixture(scope="module")
def served():
    """PostgreSQL and the MLflow server."""
    folder = postgres.laid_out("p")
    native = postgres.services(folder, HOST, HOST)
    try:
        postgres.begin(native)
        native.await_health("postgres")
        native.start("mlflow")
        native.await_health("mlflow")
        yield native
    finally:
        native.stop()
        shutil.rmtree(folder, ignore_errors=True)


def kill(native, name):
    """End a service as a power cut does."""
    for pid in marked([f"{native.folder}:{name}"]):
        os.kill(pid, signal.SIGKILL)
    while marked([f"{native.folder}:{name}"]):
        time.sleep(0.1)


def start(native, name):
    """Start it again on what it left behind, as Docker does with `restart: unless-stopped`."""
    if name == "postgres":
        (native.folder / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)
        owner = (native.folder / "postgres").owner()
        native.start("postgres", user=None if owner == "root" or os.geteuid() else owner)
    else:
        native.start(name)
    native.await_health(name)


def ended(ledger):
    """Return how many trials have ended."""
    try:
        with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM trial WHERE ended IS NOT NULL").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


@pytest.mark.cluster
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["mlflow", "postgres"])
def test_what_is_stopped_in_mid_study_is_missing_nothing_afterwards(served, name):
    study = f"without_{name}"
    uri = f"http://{served.variables['NATIVE_MLFLOW']}"
    folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))  # short: the paths of Ray's sockets must be
    try:
        lay_out(folder)
        command = [sys.executable, "-m", "platform.sweep", str(folder / "spec.yaml"), "--results", f"{folder}/results"]
        told = [
            f"study={study}",
            f"seeds={3 + int(STOP_S / 4)}",
            f"train.steps={3 * EVERY}",
            f"train.evaluate_every={EVERY}",
            f"tracking.uri={uri}",
        ]
        environment = {**os.environ, "RAY_TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        with (folder / "said").open("w") as said:
            sweep = subprocess.Popen(
                [*command, *(word for one in told for word in ("--set", one))],
                cwd=ROOT, env=environment, stdout=said, stderr=said,
            )  # fmt: skip
        ledger = folder / "results" / study / "ledger.db"
        wait_for(lambda: ended(ledger) >= 2 or sweep.poll() is not None, 300)
        kill(served, name)
        before = time.monotonic(), ended(ledger)
        wait_for(lambda: ended(ledger) > before[1] or sweep.poll() is not None, 120)  # trials go on
        time.sleep(max(0.0, STOP_S - (time.monotonic() - before[0])))
        during = ended(ledger)
        assert sweep.poll() is None or STOP_S < 30, "the study did not outlast the stop"
        start(served, name)
        assert sweep.wait(1000) == 0, (folder / "said").read_text()
        log = (folder / "results" / study / "mirror.log").read_text()
        assert during > before[1], "no trial ended while it was away"
        assert len(log.splitlines()) <= 3, log  # once that it stays away, once that it is back
        assert "ended trials behind). Nothing is lost" in log, log
        client = MlflowClient(uri)
        artifacts = served.folder / "artifacts"
        found = shown(client, client.get_experiment_by_name(study).experiment_id, artifacts)
        with sqlite3.connect(ledger) as db:
            trials = db.execute("SELECT number, id, state FROM trial").fetchall()
            assert found.keys() == {"study", *(identity for _, identity, _ in trials)}
            for number, identity, state in trials:
                run = found[identity]
                assert (run["info"][1], run["tags"]["state"], state) == ("FINISHED", "COMPLETED", "COMPLETED")
                reported = db.execute(
                    "SELECT metric, step, at, value FROM report JOIN step USING (trial, step) WHERE trial = ?",
                    (number,),
                )
                expected = {
                    (metric, step, round(at * 1000), repr(float("nan") if value is None else value))
                    for metric, step, at, value in reported
                }
                assert {(metric, *point) for metric, points in run["curves"].items() for point in points} == expected
        assert found["study"]["info"][1] == "FINISHED"
        asked = [f"{folder}/results/{study}", "--uri", uri, "--experiment", f"{study} afterwards"]
        assert mirror.main(asked) == 0
        whole = shown(client, client.get_experiment_by_name(f"{study} afterwards").experiment_id, artifacts)
        assert found == whole  # files, inputs, parameters and tags, too
    finally:
        shutil.rmtree(folder, ignore_errors=True)
