"""docker-compose.yml as data: read as Compose reads it, and its services started without Docker."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cluster.md"
VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")
MARK = "COMPOSE_SERVICE_OF_TEST"


def compose(variables=None):
    """Return the file with its variables put in, as Compose does: `${NAME:-default}`, and `$` for `$$`."""
    text = (ROOT / "docker-compose.yml").read_text()
    return interpolated(YAML(typ="safe").load(text), variables or {})


def interpolated(value, variables):
    if isinstance(value, dict):
        return {key: interpolated(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, variables) for one in value]
    if not isinstance(value, str):
        return value

    def put(match):
        if match["escaped"]:
            return "$"
        return variables.get(match["name"]) or match["default"] or ""

    left = VARIABLE.sub("", value).count("$")
    assert left == 0, f"{value}: a `$` that these tests cannot read as Compose does"
    return VARIABLE.sub(put, value)


def free_port(host):
    """Return a port that is free at `host`, below those that the kernel hands out to whoever asks for any."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((host, port))
            return port


@dataclass
class Native:
    """The services of the file as processes of this machine, in an environment as empty as a container's.

    Args:
        folder: home and logs.
        path: folders of programs, searched first.
        variables: of the file.
    """

    folder: Path
    path: list[str]
    variables: dict[str, str]
    services: dict = field(init=False)

    def __post_init__(self):
        self.services = compose(self.variables)["services"]

    def environment(self, name, **more):
        """Return a service's environment; `more` of it wins."""
        base = {
            "PATH": os.pathsep.join([*self.path, str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            MARK: f"{self.folder}:{name}",
        }
        return base | self.services[name]["environment"] | more

    def start(self, name, *, user=None):
        """Start a service's command; what it says is in `<name>.log`."""
        service = self.services[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                service["command"],
                cwd=service.get("working_dir", self.folder),
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
            )

    def said(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def healthy(self, name, **more):
        """Return whether a service's health check succeeds, as Docker asks it."""
        check = self.services[name]["healthcheck"]
        kind, *command = check["test"]
        command = ["sh", "-c", *command] if kind == "CMD-SHELL" else command
        try:
            asked = subprocess.run(
                command, env=self.environment(name, **more), cwd=self.folder, capture_output=True, timeout=20
            )
        except subprocess.TimeoutExpired:
            return False
        return asked.returncode == 0

    def await_health(self, name, seconds=150):
        end = time.monotonic() + seconds
        while not self.healthy(name):
            assert time.monotonic() < end, f"{name} did not become healthy:\n{self.said(name)[-3000:]}"
            time.sleep(0.5)

    def stop(self, *names):
        """End all processes of the services, by their ids; without names those of all services."""
        marks = [f"{self.folder}:{name}" for name in names or self.services]
        for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            end = time.monotonic() + patience
            for pid in marked(marks):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while marked(marks) and time.monotonic() < end:
                time.sleep(0.2)


def marked(marks):
    """Return the ids of the processes that carry one of the marks in their environment."""
    wanted = {f"{MARK}={mark}".encode() for mark in marks}
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            carried = set((place / "environ").read_bytes().split(b"\0"))
            if wanted & carried and "Z" not in (place / "stat").read_text().rpartition(")")[2].split()[0]:
                found.append(int(place.name))
    return found
