"""A study killed with -9 again and again, and the same command each time: `python -m tests.platform.chaos`.

What is killed in turn: the driver (with all it started, as when a machine is switched off), a worker, the Ray node, the
MLflow mirror. At the end the tables must equal an undisturbed study's, every trial must have been trained to its end
once, and MLflow must hold one finished run for each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

from tests.platform.simulated import everything, rows
from tests.platform.test_sweep import ROOT, command, lay_out, reports

TARGETS = ("driver", "worker", "node", "mirror")
FINISH_S = 240.0


def started(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    log = (folder / "log").open("ab")
    return subprocess.Popen(
        command(folder, *arguments), cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def family(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the driver and all that it started, by the session that they share."""
    found = []
    for pid in (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()):
        try:
            if os.getsid(pid) == process.pid:
                found.append(pid)
        except OSError:
            continue
    return found


def victims(process: subprocess.Popen[bytes], target: str, folder: Path) -> list[int]:
    """Return the processes to be killed; none if there is no such process at this moment."""
    everyone = family(process)
    if target == "driver":
        return everyone
    if target == "mirror":  # it has a session of its own
        everyone = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]
    found = []
    for pid in everyone:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if (
            (target == "worker" and line.startswith("ray::") and "IDLE" not in line)
            or (target == "node" and "raylet/raylet " in line)
            or (target == "mirror" and f"platform.mirror {folder}" in line)
        ):
            found.append(pid)
    return found[:1]


def kill(process: subprocess.Popen[bytes], target: str, folder: Path) -> bool:
    """Kill with -9; return whether there was anything to kill."""
    hit = victims(process, target, folder)
    _shoot(hit)
    if target == "driver":
        process.wait()
    return bool(hit)


def _wait_for_news(process: subprocess.Popen[bytes], folder: Path, least: int) -> None:
    """Wait until the study has so many reports more, or has ended; a moment if none are wanted."""
    wanted = reports(folder) + least
    end = time.monotonic() + 60
    while process.poll() is None and reports(folder) < wanted and time.monotonic() < end:
        time.sleep(0.05)
    if least == 0:
        time.sleep(6)


def _shoot(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def harry(folder: Path, kills: int, seed: int, *arguments: str) -> dict[str, int]:
    """Run a study to its end while killing what belongs to it; return how often each target was hit."""
    draw = random.Random(seed)
    hits = dict.fromkeys(TARGETS, 0)
    process = started(folder, *arguments)
    begun = time.monotonic()
    try:
        for number in range(kills):
            target = TARGETS[number % len(TARGETS)]
            _wait_for_news(process, folder, least=draw.randint(0, 3))
            time.sleep(draw.uniform(0.0, 1.5))
            if process.poll() is None and kill(process, target, folder):
                hits[target] += 1
            if process.poll() is not None:
                leave(process)
                process = started(folder, *arguments)
        while True:
            process.wait(timeout=FINISH_S)
            if process.returncode == 0:
                return hits
            leave(process)
            if time.monotonic() - begun > FINISH_S + 30 * kills:
                raise TimeoutError(f"the study does not end; see {folder / 'log'}")
            process = started(folder, *arguments)
    finally:
        leave(process)


def leave(process: subprocess.Popen[bytes]) -> None:
    """Kill what a driver that has ended or died left behind."""
    _shoot(family(process))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def differences(harried: Path, undisturbed: Path) -> list[str]:
    """Return in which tables two studies differ, times apart."""
    first, second = everything(undisturbed), everything(harried)
    for tables in (first, second):
        tables["report"] = [row for row in tables["report"] if not row[2].startswith("time/")]
        folder = undisturbed if tables is first else harried
        query = 'SELECT id, step, "set", image, metric, value FROM image JOIN trial ON trial.number = image.trial'
        tables["image"] = sorted(rows(folder, query), key=repr)
    return [name for name in first if first[name] != second[name]]


def faults(folder: Path, name: str) -> list[str]:
    """Return what is wrong with a study that has ended: in the ledger and in MLflow."""
    study = folder / "results" / name
    found = []
    if rows(study, "SELECT count(*) FROM trial WHERE state IN ('RUNNING', 'PLANNED')") != [(0,)]:
        found.append("a trial has no result")
    ended = "SELECT count(*) FROM attempt WHERE outcome IN ('COMPLETED', 'STOPPED') GROUP BY trial HAVING count(*) > 1"
    if rows(study, ended):
        found.append("a trial was trained to its end twice")
    client = MlflowClient(f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=50_000)
    trials = rows(study, "SELECT count(*) FROM trial WHERE started IS NOT NULL")[0][0]
    if len(runs) != trials + 1:
        found.append(f"{len(runs)} runs for {trials} trials")
    if {run.info.status for run in runs} != {"FINISHED"}:
        found.append("a run is not finished")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.platform.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often in each study (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    bad = 0
    for at_once in (1, 2):
        with tempfile.TemporaryDirectory() as scratch:
            base = Path(scratch)
            cores = f"resources.cpu={2 // at_once}"
            undisturbed, harried = lay_out(base / "undisturbed"), lay_out(base / "harried")
            settings = ["--set", cores, "--set", "train.steps=20"]
            process = started(undisturbed, *settings)
            process.wait()
            leave(process)
            begun = time.monotonic()
            hits = harry(harried, chosen.kills, chosen.seed, *settings)
            wrong = differences(harried / "results" / "tiny", undisturbed / "results" / "tiny")
            wrong += faults(harried, "tiny")
            attempts = rows(harried / "results" / "tiny", "SELECT count(*), sum(outcome = 'lost') FROM attempt")[0]
            bad += bool(wrong)
            sys.stdout.write(
                json.dumps(
                    {"at_once": at_once, "hits": hits, "attempts": attempts[0], "lost": attempts[1], "wrong": wrong,
                     "seconds": round(time.monotonic() - begun)}
                )
                + "\n"
            )  # fmt: skip
            sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
