"""A study killed with -9 again and again, and the same command each time: `python -m tests.platform.chaos`.

Killed in turn: the driver, the worker that trains, the Ray node, the MLflow server, the mirror, and everything at once
as when power is lost. At the end the ledger, the files and the report must equal an undisturbed study's, times apart;
every trial must have been trained to its end once, from where it was; MLflow must hold one ended run for each, with the
ledger's values; and nothing may be left over. Exit status 1 if anything is wrong, or if a kill hit nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.platform.chaos_checks import differences, ledger_faults, leftovers, mlflow_faults
from tests.platform.chaos_targets import TARGETS, Server, family, living, shoot, victims
from tests.platform.simulated import rows
from tests.platform.test_sweep import ROOT, command, lay_out, reports
from tests.platform.test_sweep_search import laid_out

STUDIES = ("one", "two", "search")
"""A fixed design with one trial at a time, with two at a time, and a search with one at a time."""
PATIENCE_S = 120.0
"""How long a moment, a target or the study's end is waited for beyond what the undisturbed study took."""
AWAY_S = (0.5, 8.0)
"""How long the MLflow server stays dead."""


@dataclass(frozen=True)
class Kill:
    """One kill: what, when."""

    target: str
    moment: str
    """`start`: while the command starts Ray; `training`: some time after a report, mostly in an evaluation;
    `checkpoint`: when one is written, before its report; `end`: when a trial's result is written; `report`: when no
    trial is left."""
    at: float
    """Which share of the study's reports must be there, 0 to 1."""
    delay: float
    """0 to 1, of the moment's own span."""


SPAN_S = {"start": 8.0, "training": 1.0, "checkpoint": 0.03, "end": 0.3, "report": 3.0}


def plan(kills: int, seed: int) -> list[Kill]:
    """Return the kills: the targets in turn, the moments at random, spread over the study's life.

    One in eight comes when no trial is left: there the driver is killed, alone or with all the rest.
    """
    draw = random.Random(seed)
    last = kills // 8
    found = []
    for number in range(kills - last):
        target = TARGETS[number % len(TARGETS)]
        moments = ["training", "checkpoint", "end"] + (["start"] if target != "worker" else [])
        at = (number + draw.random()) / (kills - last) * 0.9  # a study that has ended is no target
        found.append(Kill(target, draw.choice(moments), at, draw.random()))
    return found + [Kill(("driver", "machine")[number % 2], "report", 1.0, draw.random()) for number in range(last)]


@dataclass
class Harried:
    """A study under way, and what was done to it."""

    folder: Path
    settings: list[str]
    server: Server
    total: int
    """The reports of the undisturbed study."""
    slow_s: float
    hits: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    """The last line of each command that ended with an error of its own."""
    reached: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] = field(init=False)
    begun: float = 0.0

    def __post_init__(self) -> None:
        self.study = self.folder / "results" / "tiny"
        self.start()

    def start(self) -> None:
        with self._log().open("wb") as log:
            self.process = started(self.folder, self.settings, log)
        self.sessions.append(self.process.pid)
        self.begun = time.monotonic()

    def _log(self) -> Path:
        return self.folder / f"log-{len(self.sessions)}"

    def tend(self) -> bool:
        """Start what is dead again: the server when it is time, the command at once. Return whether the study is over.

        What a killed driver left behind is left alone, as no user would look for it.
        """
        self.server.tend()
        code = self.process.poll()
        if code is None or code == 0:
            return code == 0
        if code != -9:
            text = (self.folder / f"log-{len(self.sessions) - 1}").read_text(errors="replace")
            self.said[next((line for line in reversed(text.splitlines()) if line.strip()), f"status {code}")[:300]] += 1
        self.start()
        return False

    def strike(self, kill: Kill) -> bool:
        """Wait for the moment and for a living target, then kill it. Return whether there was one in time."""
        end = time.monotonic() + PATIENCE_S + self.slow_s
        self._await(kill, end)
        pause(kill.delay * SPAN_S[kill.moment], self.server)
        while time.monotonic() < end:
            if self.tend():
                if kill.moment != "report":
                    return False
                self.start()  # which looks whether there is anything to do
                pause(kill.delay * SPAN_S["report"], self.server)
            if self._shoot(kill):
                return True
            time.sleep(0.005)
        return False

    def _shoot(self, kill: Kill) -> bool:
        before = steps(self.study)
        if kill.target == "server":
            hit = self.server.kill(AWAY_S[0] + kill.delay * (AWAY_S[1] - AWAY_S[0])) > 0
        else:
            pids = victims(self.process, kill.target, self.study)
            shoot(pids)
            hit = bool(pids)
        if hit:
            self.hits[kill.target] += 1
            self.moments[kill.moment] += 1
            self.reached.append((time.time(), before))
            if kill.target in ("driver", "machine"):
                self.process.wait()
        return hit

    def _await(self, kill: Kill, end: float) -> None:
        """Wait until the study has come as far as it should, and then for the moment's sign."""
        wanted = math.floor(kill.at * self.total)
        while reports(self.folder) < wanted and time.monotonic() < end and not self.tend():
            time.sleep(0.05)
        if kill.moment == "start":
            while time.monotonic() - self.begun > SPAN_S["start"] and time.monotonic() < end:
                shoot([self.process.pid] if self.process.poll() is None else [])  # not counted: it only makes a start
                self.process.wait()
                if self.tend():
                    return
        elif kill.moment == "report":
            while not self._trained() and time.monotonic() < end and not self.tend():
                time.sleep(0.05)
        else:
            sign = {"training": "", "checkpoint": "checkpoint-*.pt*", "end": "generator.pt*"}[kill.moment]
            known, count = newest(self.study, sign), reports(self.folder)
            while time.monotonic() < end and not self.tend():
                if newest(self.study, sign) > known if sign else reports(self.folder) > count:
                    return
                time.sleep(0.002 if sign else 0.02)

    def _trained(self) -> bool:
        left = "SELECT count(*) FROM trial WHERE state IN ('PLANNED', 'RUNNING')"
        return reports(self.folder) >= self.total and rows(self.study, left) == [(0,)]

    def finish(self) -> None:
        """Let the study end, then call it once more, with the server there, for what MLflow may lack."""
        end = time.monotonic() + PATIENCE_S + self.slow_s
        while not self.tend():
            if time.monotonic() > end:
                raise TimeoutError(f"the study does not end; see the last log in {self.folder}")
            time.sleep(0.1)
        self.server.wait()
        self.start()
        if self.process.wait(timeout=PATIENCE_S) != 0:
            raise RuntimeError(f"the study that has ended ends with {self.process.returncode}; see {self.folder}")

    def survivors(self) -> list[str]:
        """Return what still lives of the study a minute after its end."""
        end = time.monotonic() + 60
        while True:
            left = {pid for session in self.sessions for pid in family(session)} | living(str(self.study)).keys()
            if not left:
                return []
            if time.monotonic() > end:
                return [f"{len(left)} processes live on: {sorted(left)}"]
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill all that is left, whatever happened."""
        for session in self.sessions:
            shoot(family(session))
        shoot(list(living(f"platform.mirror {self.study}")))
        self.process.wait()


def started(folder: Path, settings: list[str], log: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(folder, *settings), cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},  # else a busy machine starves them
    )  # fmt: skip


def finished(folder: Path, settings: list[str]) -> int:
    """Run the study to its end; return its exit status."""
    with (folder / "log").open("wb") as log:
        process = started(folder, settings, log)
    try:
        return process.wait()
    finally:  # however this ends
        shoot(family(process.pid))


def pause(seconds: float, server: Server) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        server.tend()
        time.sleep(min(0.05, max(0.0, end - time.monotonic())))


def newest(study: Path, pattern: str) -> int:
    """Return when the newest of the trials' files of such a name was made, in nanoseconds since 1970; 0 if none is."""
    times = [0]
    for path in (study / "trials").glob(f"*/{pattern}") if pattern else ():
        try:
            times.append(path.stat().st_mtime_ns)
        except FileNotFoundError:  # it was written aside, or is kept no longer
            continue
    return max(times)


def steps(study: Path) -> dict[str, int]:
    """Return the last step of each trial that the ledger has with its checkpoint."""
    query = "SELECT id, max(step) FROM step JOIN trial ON trial.number = trial WHERE checkpoint IS NOT NULL GROUP BY id"
    return dict(rows(study, query)) if reports(study.parents[1]) else {}


def settings_of(study: str, kills: int) -> list[str]:
    """Return the settings of a study that is long enough for so many kills."""
    cores = os.cpu_count() or 1
    asked = [f"resources.cpu={max(1, cores // 2 if study == 'two' else cores)}"]
    asked.append(f"train.steps={20 if kills > 5 else 10}")  # evaluated every 2
    if study == "search":
        asked += ["search.scheduler.asha.first_rung=4", f"search.trials={max(3, kills // 5)}", "confirm.seeds=2"]
    else:
        asked.append(f"seeds={max(2, kills // 5)}")
    return [part for one in asked for part in ("--set", one)]


def run(study: str, kills: int, seed: int, base: Path) -> dict[str, Any]:
    """Run a study undisturbed, then harried; return what was hit and what is wrong."""
    lay = laid_out if study == "search" else lay_out
    undisturbed, harried = lay(base / "undisturbed"), lay(base / "harried")
    settings = settings_of(study, kills)
    begun = time.monotonic()
    code = finished(undisturbed, settings)
    slow_s = time.monotonic() - begun
    total = reports(undisturbed)
    if code != 0:
        return {
            "study": study,
            "seed": seed,
            "wrong": [f"the undisturbed study ended with {code}; see {undisturbed / 'log'}"],
        }
    tell(f"{study}: undisturbed in {slow_s:.0f} s, {total} reports")
    server = Server(base / "server")
    server.wait()
    begun = time.monotonic()
    one = Harried(harried, [*settings, "--set", f"tracking.uri={server.uri}"], server, total, slow_s)
    wrong = []
    try:
        for number, kill in enumerate(plan(kills, seed), start=1):
            hit = one.strike(kill)
            if not hit:
                one.missed.append(f"{kill.target} ({kill.moment})")
            left = (time.monotonic() - begun) / number * (kills - number) / 60
            tell(
                f"{study}: kill {number} of {kills} {'hit' if hit else 'MISSED'} {kill.target} ({kill.moment}), "
                f"{reports(harried)} of {total} reports, about {left:.1f} min left"
            )
        one.finish()
        wrong += one.survivors()
        wrong += differences(one.study, undisturbed / "results" / "tiny")
        wrong += ledger_faults(one.study, one.reached) + mlflow_faults(one.study, server.uri) + leftovers(one.study)
    except (TimeoutError, RuntimeError, subprocess.TimeoutExpired) as error:
        wrong.append(str(error))
    finally:
        one.stop()
        server.kill(None)
    wrong += [f"hit nothing: {text}" for text in one.missed]
    wrong += [f"no sentence: {text}" for text in one.said if re.match(r"[\w.]*(Error|Exception)\b", text)]
    outcomes = dict(rows(one.study, "SELECT outcome, count(*) FROM attempt GROUP BY outcome"))
    return {
        "study": study, "seed": seed, "kills": kills, "hits": dict(one.hits), "moments": dict(one.moments),
        "trials": rows(one.study, "SELECT count(*) FROM trial")[0][0], "reports": total, "attempts": outcomes,
        "commands": len(one.sessions), "said": dict(one.said), "undisturbed_s": round(slow_s),
        "seconds": round(time.monotonic() - begun), "wrong": wrong,
    }  # fmt: skip


def tell(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.platform.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often in each study (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", choices=STUDIES, action="append", help="only this one; repeatable")
    parser.add_argument("--keep", type=Path, help="a folder that is not there yet, in which the studies stay")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    bad = False
    for study in chosen.study or STUDIES:
        with tempfile.TemporaryDirectory() as scratch:
            told = run(study, chosen.kills, chosen.seed, (chosen.keep or Path(scratch)) / study)
        bad |= bool(told["wrong"])
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
