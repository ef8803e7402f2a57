"""Machines on this one: each a network, mount, process and host-name namespace, joined by a bridge in another.

A machine sees the system and the packages installed, but neither the repository nor `/tmp`, where results and images
lie, unless it is told to; so whatever reaches it was sent there. Needs Linux and root.
"""

import contextlib
import ctypes
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAD = "10.201.0.1"
RAY = "ray start --num-gpus=0 --object-store-memory=100000000 --disable-usage-stats"


def lacking():
    """Return why there can be no such machines here; empty if there can."""
    if sys.platform != "linux":
        return "needs Linux: namespaces"
    missing = [name for name in ("ip", "unshare", "mount", "hostname") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: apt-get install iproute2 util-linux mount hostname)"
    name = f"abl-{secrets.token_hex(3)}"
    links = ("bridge type bridge", "one type veth peer name two")
    tried = " && ".join([f"ip netns add {name}", *(f"ip -n {name} link add name {link}" for link in links)])
    made = f"unshare --mount --uts --pid --fork --kill-child --mount-proc mount -t tmpfs none /mnt && {tried}"
    done = subprocess.run(made, shell=True, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return "" if done.returncode == 0 else f"namespaces are not allowed here: {said[-1]}"


@dataclass
class Machine:
    """A machine that runs a command; what it says is in `log`."""

    name: str
    address: str
    link: str
    process: subprocess.Popen
    log: Path

    def place(self, path):
        """Return where a file of the machine is seen from outside."""
        outer = self.process.pid
        (inner,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        return Path(f"/proc/{inner}/root{path}")

    def signal(self, number):
        """Send a signal to the processes that train, or would."""
        mine = self.place("/proc/1/ns/pid").readlink()
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                title = (place / "cmdline").read_bytes()
                worker = title.startswith(b"ray::") and b"Agent" not in title
                if worker and (place / "ns/pid").readlink() == mine:
                    os.kill(int(place.name), number)

    def kill(self):
        """Kill every process of the machine with -9: the kernel does so when the first of a namespace is killed."""
        self.process.kill()
        self.process.wait()

    def said(self):
        return self.log.read_text(errors="replace")


class Machines:
    """A network of machines that form a Ray cluster, and a storage folder that all of them see.

    Args:
        folder: of their logs and files; short, since the paths of Ray's sockets lie in it.
    """

    def __init__(self, folder):
        self.folder, self.storage = folder, folder / "storage"
        self.storage.mkdir()
        self._mark = secrets.token_hex(3)
        self._token = secrets.token_hex(32)
        self._made, self._spaces = [], []
        self._hub = self._space("hub")
        self._ip("-n", self._hub, "link", "add", "name", "bridge", "type", "bridge")
        self._ip("-n", self._hub, "link", "set", "bridge", "up")

    def head(self, name):
        """Start the first machine of the cluster, with one CPU."""
        return self.start(name, f"{RAY} --head --port=6379 --num-cpus=1 --include-dashboard=false", address=HEAD)

    def join(self, name):
        """Start a machine that joins the cluster, with one CPU."""
        return self.start(name, f"{RAY} --address={HEAD}:6379 --num-cpus=1")

    def drive(self, name, command):
        """Start a machine that joins without a CPU, sees all that is here, and runs a command as a driver."""
        joined = f"{RAY} --address={HEAD}:6379 --num-cpus=0 --node-ip-address=$ADDRESS --temp-dir=$OWN >/dev/null"
        waited = f"until timeout 20 ray health-check --address {HEAD}:6379; do sleep 0.5; done >/dev/null 2>&1"
        return self.start(name, f"{waited}; {joined} && cd {ROOT} && {shlex.join(command)}", hidden=False)

    def start(self, name, command, *, address=None, hidden=True):
        """Start a machine with a command, which ends with it; `hidden` hides the repository and `/tmp`."""
        own = self.folder / name
        own.mkdir(exist_ok=True)
        (own / "token").write_text(self._token)
        space = self._space(name)
        number = len(self._spaces)
        address, link = address or f"10.201.0.{number}", f"v{number}"
        self._ip("-n", self._hub, "link", "add", "name", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        self._ip("-n", self._hub, "link", "set", link, "master", "bridge", "up")
        self._ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            self._ip("-n", space, "link", "set", device, "up")
        if hidden:
            command = f"{command} --node-ip-address=$ADDRESS --temp-dir=$OWN --block"
        script = "\n".join(["set -e", f"hostname {name}", *(self._hide(own) if hidden else []), "cd /", command])
        spaces = "unshare --mount --uts --pid --fork --kill-child --mount-proc sh -c"
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", space, *spaces.split(), script],
                env=self._environment(own, address), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=_die_with_the_tests,
            )  # fmt: skip
        machine = Machine(name, address, link, process, own / "log")
        self._made.append(machine)
        return machine

    def unplug(self, machine):
        """Take a machine from the network: nobody hears of what becomes of it."""
        self._ip("-n", self._hub, "link", "set", machine.link, "down")

    def close(self):
        """Kill every process of every machine, and remove their namespaces."""
        for machine in self._made:
            machine.kill()
        for space in self._spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)

    def _space(self, name):
        space = f"abl-{self._mark}-{len(self._spaces)}-{name}"
        self._ip("netns", "add", space)
        self._spaces.append(space)
        return space

    def _hide(self, own):
        """Return commands that put empty folders over all that a machine should not see."""
        packages = [Path(sys.prefix)] if Path(sys.prefix).is_relative_to(ROOT) else []
        shown = [*packages, own, self.storage]
        aside = [f"mkdir /mnt/{n} && mount --bind {path} /mnt/{n}" for n, path in enumerate(shown)]
        back = [f"mkdir -p {path} && mount --bind /mnt/{n} {path}" for n, path in enumerate(shown)]
        empty = [f"mkdir -p {path} && mount -t tmpfs none {path}" for path in ("/tmp", "/dev/shm", ROOT)]
        return ["mount -t tmpfs none /mnt", *aside, *empty, *back, "umount --lazy /mnt"]

    def _environment(self, own, address):
        kernels = {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
        return {
            **kernels,  # others sum in another order, so the last digits differ
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"]
            ),
            "HOME": str(own),
            "OMP_NUM_THREADS": "1",
            "RAY_health_check_timeout_ms": "2000",  # a machine that says nothing any more is missed after seconds
            "RAY_health_check_failure_threshold": "3",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(own / "token"),
            "OWN": str(own),
            "ADDRESS": address,
        }

    @staticmethod
    def _ip(*arguments):
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"ip {shlex.join(arguments)}: {done.stderr}"


def _die_with_the_tests():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: if they are killed, nobody else ends the machines


@contextlib.contextmanager
def machines():
    """Make a network of machines; remove all of it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="n", dir="/tmp"))
    made = Machines(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition, machine, seconds=600):
    """Wait until a condition holds, as long as the machine's command runs."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert machine.process.poll() is None, machine.said()[-3000:]
        assert time.monotonic() < end, machine.said()[-3000:]
        time.sleep(0.1)
    return found
