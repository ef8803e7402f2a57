"""Studies to copy to MLflow, whose ledgers are written by hand, and what the server then has of them."""

import fcntl
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from analysis.schema import COMPLETED, FAILED, PLANNED, RUNNING, SCHEMA, VERSION
from platform import mirror

ROOT = Path(__file__).parents[2]
BEGUN = 1_760_000_000.0
SETTINGS = {"steps": 40, "generator": {"width": 8, "attention": "none"}, "vgg": None, "layers": [1, 2]}
DATA = {"source": "photos", "training": {"low": 2, "normal": 3}, "sets": {"night": {"images": 1}}, "caution": "to try"}
RECORD = {"git_commit": "c" * 40, "git_dirty": True, "versions": {"torch": "2.9"}, "command": ["python", "x.yaml"]}


class Study:
    """A ledger, written by hand; times are seconds after `BEGUN`."""

    def __init__(self, results, name, begun=BEGUN):
        self.name, self.folder, self.begun, self.lock = name, results / name, begun, None
        self.folder.mkdir()
        self.db = sqlite3.connect(self.folder / "ledger.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(SCHEMA)
        facts = {"name": name, "schema": VERSION, "storage": str(self.folder), "data": DATA}
        self.add("study", *([key, json.dumps(value)] for key, value in facts.items()))
        spec = {"study": name, "analysis": {"primary": "eval/psnr_db"}}
        self.add("spec", [1, begun, json.dumps(spec)])
        self.add("driver", [1, begun, begun + 900, socket.gethostname(), os.getpid(), json.dumps(RECORD)])

    def add(self, table, *rows):
        for row in rows:
            self.db.execute(f'INSERT OR REPLACE INTO "{table}" VALUES ({", ".join("?" * len(row))})', row)

    def do(self, statement, *values):
        self.db.execute(statement, values)

    def trial(
        self, number, state=COMPLETED, *, variant="baseline", seed=1, steps=(10, 20), message=None, stage="fixed",
        place=(0, 0), settings=SETTINGS, data="d" * 40,
    ):  # fmt: skip
        start = self.begun + 100 * number
        ended = None if state in (RUNNING, PLANNED) else start + 50
        kind = "bug" if state == FAILED else None
        row = [number, f"{number:032x}", seed, "", json.dumps(settings), data, state, kind, message]
        self.add("trial", [*row, self.begun, start, ended])
        self.add("cell", [stage, variant, *place, seed, number])
        if state != PLANNED:
            record = json.dumps({"node": "n1", "device": "cpu", "versions": {"torch": "2.10"}})
            self.add("attempt", [number, 1, 1, start, ended, 0, None, record])
        for step in steps:
            self.step(number, step, at=start + step)

    def step(self, number, step, *, at, checkpoint=True, value=None):
        self.add("step", [number, step, at, step / 10, f"t{number}/{step}.pt" if checkpoint else None, "{}"])
        self.add("report", [number, step, "eval/psnr_db", step / 2 if value is None else value])
        self.add("report", [number, step, "eval/niqe", None])
        self.add("image", [number, step, "night", "cat", "eval/psnr_db", step / 2])

    def leave_files(self, number, step):
        folder = self.folder / f"t{number}"
        folder.mkdir()
        (folder / "generator.pt").write_bytes(b"weights")
        (folder / "cat.png").write_bytes(b"picture")
        pictures = json.dumps({"night/cat": f"t{number}/cat.png"})
        self.do("UPDATE step SET pictures = ? WHERE trial = ? AND step = ?", pictures, number, step)

    def drive(self):
        """Let this process be a driver that runs."""
        self.do("UPDATE driver SET ended = NULL")
        self.lock = (self.folder / "driver.lock").open("w")
        self.lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self.lock.flush()
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def die(self):
        self.lock.close()

    def end(self, at=950.0):
        self.do("UPDATE driver SET ended = ?", self.begun + at)
        self.die()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One results folder, and so one default store, for all tests: MLflow takes seconds to make one."""
    results = tmp_path_factory.mktemp("results")
    copied(Study(results, "first"))
    return results


@pytest.fixture
def study(results, request):
    return Study(results, request.node.name.removeprefix("test_")[:60])


@pytest.fixture
def client(results):
    return MlflowClient(f"sqlite:///{results / 'mlflow.db'}")


def copied(study, *arguments):
    assert mirror.main([str(study.folder), *arguments]) == 0


def runs(client, study, view=ViewType.ACTIVE_ONLY):
    """Return the study's run and its trials' runs by number."""
    known = client.get_experiment_by_name(study.name)
    found = client.search_runs([known.experiment_id], run_view_type=view, max_results=50_000)
    children = [run for run in found if "trial" in run.data.tags]
    (parent,) = [run for run in found if "trial" not in run.data.tags]
    by_number = {int(run.data.tags["trial"], 16): run for run in children}
    assert len(by_number) == len(children), "a trial has two runs"
    return parent, by_number


def points(client, run, metric="eval/psnr_db"):
    """Return (step, seconds after the beginning, value), as the server keeps them."""
    history = client.get_metric_history(run.info.run_id, metric)
    return sorted((one.step, one.timestamp / 1000 - BEGUN, one.value) for one in history)


def artifact(client, run, path):
    return Path(client.download_artifacts(run.info.run_id, path))


def contents(results):
    """Return every row of the store that a copy could change."""
    with sqlite3.connect(results / "mlflow.db") as db:
        tables = ("runs", "tags", "params", "metrics", "latest_metrics", "inputs", "datasets", "experiments")
        return {table: sorted(map(str, db.execute(f"SELECT * FROM {table}"))) for table in tables}


class Server:
    """`mlflow server` on a free port, on a copy of a store, so that it need not make one."""

    def __init__(self, folder, store):
        self.folder, self.process = folder, None
        with sqlite3.connect(store) as source, sqlite3.connect(folder / "served.db") as target:
            source.backup(target)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'served.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "served")]
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait_for(true, seconds):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def progress(study):
    path = study.folder / "mirror.json"
    return json.loads(path.read_text()) if path.exists() else {"copied": 0, "error": None}


def follower(study, *arguments):
    command = [sys.executable, "-m", "platform.mirror", str(study.folder), "--follow", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
