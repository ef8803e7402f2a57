"""What the chaos test kills: the processes of a study, found in /proc, and an MLflow server of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

__all__ = ["TARGETS", "Server", "family", "living", "shoot", "victims"]

TARGETS = ("driver", "worker", "node", "server", "mirror", "machine")
"""In turn. `driver` is that process alone, `machine` all that it started and the mirror, as when power is lost."""


def family(session: int) -> list[int]:
    """Return the living processes of a session: a driver and all that it started, but for the mirror."""
    return [pid for pid in _everyone() if _session(pid) == session and _line(pid)]


def living(word: str) -> dict[int, str]:
    """Return the processes that bear a word in their command line: process -> command line."""
    mine = os.getpid()
    lines = {pid: _line(pid) for pid in _everyone() if pid != mine}
    return {pid: line for pid, line in lines.items() if word in line}


def victims(driver: subprocess.Popen[bytes], target: str, study: Path) -> list[int]:
    """Return the processes to be killed; none if there is no such process at this moment."""
    if driver.poll() is not None and target != "mirror":
        return []
    mirrors = list(living(f"platform.mirror {study}"))
    if target == "driver":
        return [driver.pid]
    if target == "machine":
        return [*family(driver.pid), *mirrors]
    if target == "mirror":
        return mirrors[:1]
    sign = {"worker": "ray::ImplicitFunc", "node": "/raylet/raylet "}[target]  # the former is what trains in Tune
    return [pid for pid in family(driver.pid) if sign in _line(pid)][:1]


def shoot(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Server:
    """A real `mlflow server` on loopback with a SQLite store; started again on the same address after each death."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.again = 0.0
        """When it is to be started again, by `time.monotonic`; only a server that is dead has such a moment."""

    def start(self) -> None:
        asked = ["--backend-store-uri", f"sqlite:///{self.folder / 'store.db'}"]
        asked += ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), *asked],
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            )  # fmt: skip
        self.again = 0.0

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait(self, seconds: float = 120) -> None:
        """Wait until it answers; start it if it is dead."""
        end = time.monotonic() + seconds
        if self.process is None or self.again:
            self.start()
        while not self.answers():
            if time.monotonic() > end:
                raise TimeoutError(f"the MLflow server does not answer; see {self.folder / 'log'}")
            time.sleep(0.2)

    def kill(self, again_s: float | None) -> int:
        """Kill it with -9; return how many processes that were. It is started again after so many seconds, or never."""
        hit = family(self.process.pid) if self.process else []
        shoot(hit)
        if self.process:
            self.process.wait()
        self.again = time.monotonic() + again_s if again_s is not None else 0.0
        return len(hit)

    def tend(self) -> None:
        """Start it again when it is time."""
        if self.again and time.monotonic() > self.again:
            self.start()


def _everyone() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _line(pid: int) -> str:
    """Return a process's command line; empty for one that has died, waited for or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
