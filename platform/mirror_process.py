"""The MLflow mirror as a process beside the sweep: it never holds a trial up."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console

from platform.mirror import behind

__all__ = ["MirrorProcess"]

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 30.0
"""How long a mirror that makes no progress is waited for once the study has ended."""
LAST_CALLS_S = 10.0
"""How long it may take after that to end what it has under way; then it is killed, and the next one mends the rest."""


class MirrorProcess:
    """Runs the mirror of the study in `folder` while the block runs, then waits until it has caught up.

    Args:
        folder: the study's.
        follow: whether to go on copying while the study runs; else it is started only if it is behind.
        console: where to say that it stays behind.
        news: whether the study has changed without a trial's ending, so that it is behind without knowing it.
    """

    def __init__(self, folder: Path, *, follow: bool, console: Console, news: bool = False) -> None:
        self.folder, self.console, self.news = folder, console, news
        self.process: subprocess.Popen[bytes] | None = None
        self.follow = follow

    def __enter__(self) -> MirrorProcess:
        if not self.follow and not self.news and behind(self.folder) == 0:
            return self
        command = [sys.executable, "-m", "platform.mirror", str(self.folder), *(["--follow"] if self.follow else [])]
        with (self.folder / "mirror.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )  # a session of its own: Ctrl-C in the terminal is not meant for it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is None:
            return
        with self.console.status("copying to MLflow"):
            self._wait(self.process)
        left = behind(self.folder)
        if left != 0:
            self.console.print(
                f"MLflow does not have {f'{left} trials' if left else 'this study'} yet "
                f"({self.folder / 'mirror.log'} says why); nothing is lost: python -m platform.mirror {self.folder}",
                markup=False,
                highlight=False,
            )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the mirror has ended; end one that makes no progress any more.

        A server that is dead holds the end of a sweep up by `PATIENCE_S` + `LAST_CALLS_S` at most.
        """
        left, patience = behind(self.folder), time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < patience:
            time.sleep(0.1)
            now = behind(self.folder)
            if now != left:
                left, patience = now, time.monotonic() + PATIENCE_S
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(LAST_CALLS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
