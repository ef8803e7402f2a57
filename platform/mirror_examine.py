"""Finds out which runs on the server hold what the ledger has, and takes away those that never can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient

from platform import mirror_artifacts as artifacts
from platform.mirror_check import Due, contradicts, due, points_due, shows
from platform.mirror_content import Wanted, trial_run
from platform.mirror_ledger import ENDED, Begun, Facts, Ledger, Point, Trial
from platform.mirror_server import Run, connections, histories, stores

__all__ = ["DIGEST_LENGTH", "Examiner"]

BATCH = 100
"""The most runs whose curves MLflow gives at once."""
DIGEST_LENGTH = 36  # MLflow's limit for a data set


@dataclass(frozen=True)
class _Seen:
    """A run as it is, and as it should be."""

    run: Run
    trial: Trial
    wanted: Wanted


@dataclass(frozen=True)
class Examiner:
    """Compares what a server holds with a ledger.

    Args:
        client: of the server.
        uri: its address.
        ledger: the ledger.
        facts: of the study, as they are now.
        stopping: asked between batches whether to leave off.
        thorough: whether to ask for every point of every run, and for its artifacts; else only of runs that do not
            bear the mark of a whole copy, or whose name, tags, parameters, last values or input are not as they should
            be.
            600 short runs take 5 s in a SQLite store and 36 s on a server with PostgreSQL, on two shared cores.
    """

    client: MlflowClient
    uri: str
    ledger: Ledger
    facts: Facts
    stopping: Callable[[], bool]
    thorough: bool

    def trials(self, begun: Sequence[Begun], runs: dict[str, Run], parent: str) -> set[int]:
        """Return the numbers of the trials whose runs are whole.

        Of the other runs, those that lack something are spoiled, so that they are sent again, and those that have what
        MLflow cannot take back are deleted there and taken out of `runs`, so that they are made again.
        """
        whole: set[int] = set()
        known = [one for one in begun if one.id in runs]
        for first in range(0, len(known), BATCH):
            if self.stopping():
                break
            seen = [self._seen(one, runs[one.id], parent) for one in known[first : first + BATCH]]
            doubtful = [one for one in seen if not self._shows(one) or self.thorough]
            for one, points, held in self._curves(doubtful):
                if contradicts(one.run, one.wanted, points, held):
                    self.client.delete_run(one.run.id)
                    del runs[one.trial.id]
                elif points - held:
                    one.run.spoil()
            self._look_for_files(seen)
            for one in seen:
                one.run.params = {}  # 10,000 runs have a million
                if one.trial.id in runs and one.run.signature == one.wanted.signature:
                    whole.add(one.trial.begun.number)
        return whole

    def _seen(self, begun: Begun, run: Run, parent: str) -> _Seen:
        trial = self.ledger.trial(begun)
        return _Seen(run, trial, trial_run(trial, self.facts, parent))

    def _shows(self, one: _Seen) -> bool:
        """Whether the run looks whole; one that does not is spoiled."""
        begun, wanted = one.trial.begun, one.wanted
        last = self._points(one.trial, after=begun.settled - 1)
        data_set = one.trial.data[:DIGEST_LENGTH] if begun.state in ENDED else None
        if one.run.signature == wanted.signature and shows(one.run, wanted, last, data_set):
            return True
        one.run.spoil()
        return False

    def _curves(self, doubtful: Sequence[_Seen]) -> Iterator[tuple[_Seen, set[Due], set[Due]]]:
        """Yield each run with the points that it should have, and those that it has of the same metrics."""
        points = {one.run.id: points_due(self._points(one.trial, after=-1)) for one in doubtful}
        held: dict[str, set[Due]] = {run: set() for run in points}
        for metric in sorted({point.metric for due_here in points.values() for point in due_here}):
            for run, found in histories(self.client, list(points), metric).items():
                held[run] |= {due(metric, *point) for point in found}
        for one in doubtful:
            mine = {point.metric for point in points[one.run.id]}
            yield one, points[one.run.id], {point for point in held[one.run.id] if point.metric in mine}

    def _points(self, trial: Trial, *, after: int) -> list[Point]:
        begun = trial.begun
        return self.ledger.points(begun.number, after=after, up_to=begun.settled, of_sets=bool(trial.sets))

    def _look_for_files(self, seen: Sequence[_Seen]) -> None:
        """Spoil the runs of ended trials that lack an artifact or have another one, if this is thorough."""
        with ExitStack() as stack:
            folders = []
            for one in seen if self.thorough else ():  # the spoiled ones already get their artifacts with the rest
                if one.trial.begun.state in ENDED and one.run.signature == one.wanted.signature:
                    folder = Path(stack.enter_context(TemporaryDirectory(prefix="mirror-")))
                    artifacts.lay_out_trial(folder, self.ledger, one.trial, self.facts.storage)
                    folders.append((one.run, folder))
            with ThreadPoolExecutor(connections(self.uri)) as pool:
                same = list(pool.map(lambda pair: stores(pair[0], self.uri, pair[1]), folders))
        for (run, _), is_same in zip(folders, same, strict=True):
            if not is_same:
                run.spoil()
