"""Makes an MLflow server equal to a ledger, run by run.

How it is known what a server lacks. A run bears a mark, a tag with a digest of all that it should show, and the mark
is sent after everything that it stands for but the status. So a copy that was cut off anywhere, and a store put back
from a backup, show which runs are behind; nothing is remembered elsewhere. What was changed or lost by hand, mark or
no mark, `mirror_examine` finds: tags, parameters, last values and inputs at every look, every point of every curve and
every artifact when asked to be thorough. `mirror_send` sends what is lacking; each request can be sent twice. MLflow
cannot change a parameter or take back a point: a run that has a wrong one is deleted and made again.

A look is taken at the beginning, after each error, and once when the driver has ended. In between, a run that this
process added to before is asked for its mark before more is added: a store put back behind its back, without an error,
must not get the end of a curve without its middle. Another file in the place of a SQLite store's, or none, is an error.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from platform import mirror_artifacts as artifacts
from platform.mirror_check import shows
from platform.mirror_content import milliseconds, study_run, trial_run
from platform.mirror_examine import DIGEST_LENGTH, Examiner
from platform.mirror_ledger import ENDED, Begun, Facts, Ledger, Trial
from platform.mirror_send import Parcel, Sender, news, refuses
from platform.mirror_server import Run, connect, connections, file_of, find_experiment, find_runs, stores

__all__ = ["Mirror"]


@dataclass
class Mirror:
    """The copy of one ledger on one MLflow server.

    Args:
        ledger: the ledger, which is only read.
        folder: the study's folder.
        uri: of the server or store.
        experiment: its name; made if there is none.
        progress: called now and then with the number of ended trials copied, and of all ended trials.
        stopping: asked between trials whether to leave off.
        thorough: whether each look at the server asks for all that its runs hold; see `mirror_examine.Examiner`.
    """

    ledger: Ledger
    folder: Path
    uri: str
    experiment: str
    progress: Callable[[int, int], None]
    stopping: Callable[[], bool]
    thorough: bool = False
    look_s: float = field(default=0.0, init=False)
    """How long the last look through the ledger took: 0.1 s for 10,000 trials."""
    _sender: Sender | None = field(default=None, init=False)
    _file: tuple[int, int] | None = field(default=None, init=False)
    """Of a SQLite store, which file was opened."""
    _runs: dict[str, Run] = field(default_factory=dict, init=False)
    _copied: int = field(default=0, init=False)
    _done: dict[int, tuple[Begun, int | None]] = field(default_factory=dict, init=False)

    @property
    def experiment_id(self) -> str:
        """The id of the experiment on the server; '' as long as that is unknown."""
        return "" if self._sender is None else self._sender.experiment_id

    def forget(self) -> None:
        """Find out anew, at the next copy, what the server holds."""
        self._sender = None
        self._done.clear()

    def copy(self) -> None:
        """Bring the server to the ledger's state.

        Raises:
            MlflowException, HTTPError: if the server cannot be reached or refuses a run. Each trial that it takes is
                copied.
            OSError: if files cannot be read or stored, or nothing takes a connection, or a SQLite store's file was
                deleted or replaced: what was sent is not there.
        """
        looked = time.monotonic()
        facts, begun = self.ledger.facts(), self.ledger.begun()
        self.look_s = time.monotonic() - looked
        ended = sum(one.state in ENDED for one in begun)
        self.progress(self._copied, ended)
        look, sender = self._sender is None, self._sender or self._find(facts, begun)
        parent = self._open_study(sender, facts)
        examiner = None
        if look:
            examiner = Examiner(sender.client, self.uri, self.ledger, facts, self.stopping, self.thorough)
            whole = examiner.trials(begun, self._runs, parent.id)
            self._done = {one.number: _state(one, facts) for one in begun if one.number in whole}
            self._copied, self._sender = 0, sender
        refused = self._copy_trials(sender, begun, facts, parent)
        if not self.stopping():
            self._copy_study(sender, facts, parent, examiner)
        if file_of(self.uri) != self._file:
            self._copied = 0
            self.progress(0, ended)
            raise OSError("the store's file was deleted or replaced meanwhile")
        if refused:
            raise refused[0]

    def _find(self, facts: Facts, begun: list[Begun]) -> Sender:
        """Find the experiment and what it holds of this ledger."""
        client = connect(self.uri)
        experiment_id = find_experiment(client, self.uri, name=self.experiment, facts=facts)
        self._file = file_of(self.uri)
        maker = f"{socket.gethostname()}:{self.folder}"
        self._runs = find_runs(client, experiment_id, facts, trials={one.id for one in begun}, maker=maker)
        return Sender(client, self.uri, experiment_id, maker)

    def _copy_trials(self, sender: Sender, begun: list[Begun], facts: Facts, parent: Run) -> list[Exception]:
        """Copy every trial that has changed, several at once; return why some were refused."""
        refused: list[Exception] = []
        ended = sum(one.state in ENDED for one in begun)
        held = sum(one.state in ENDED and self._done.get(one.number) == _state(one, facts) for one in begun)
        self._copied = min(max(self._copied, held), ended)  # what was known before an outage still counts
        self.progress(self._copied, ended)
        queue = deque(one for one in begun if self._done.get(one.number) != _state(one, facts))
        with closing(self._sent(sender, queue, facts, parent)) as answers:
            for one, answer in answers:
                error = answer.exception()
                if isinstance(error, Exception) and refuses(error):
                    refused.append(error)
                    continue
                run = answer.result()
                if run is None:
                    queue.append(one)
                    continue
                self._runs[one.id] = run
                self._done[one.number] = _state(one, facts)
                held += one.state in ENDED
                self._copied = min(max(self._copied, held), ended)
                self.progress(self._copied, ended)
        return refused

    def _sent(
        self, sender: Sender, queue: deque[Begun], facts: Facts, parent: Run
    ) -> Generator[tuple[Begun, Future[Run | None]], None, None]:
        """Send what is in the queue; yield each trial when the server has answered."""
        at_once = connections(self.uri)
        while at_once == 1 and queue and not self.stopping():  # a store in this process: two threads would only wait
            one = queue.popleft()
            yield one, _answer(sender, self._parcel(one, facts, parent))
        if at_once == 1:
            return
        with ThreadPoolExecutor(at_once) as pool:
            under_way: dict[Future[Run | None], Begun] = {}
            while queue or under_way:
                while queue and len(under_way) <= at_once and not self.stopping():  # one is laid out beforehand
                    one = queue.popleft()
                    under_way[pool.submit(sender.send, self._parcel(one, facts, parent))] = one
                if not under_way:
                    return
                for answered in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield under_way.pop(answered), answered

    def _parcel(self, begun: Begun, facts: Facts, parent: Run) -> Parcel:
        """Read from the ledger what is to be sent of a trial."""
        trial = self.ledger.trial(begun)
        run = self._runs.get(begun.id)
        anew = run is not None and self._retrained(run, begun.number)
        sent = -1 if run is None or anew else run.sent
        folder, missing = None, []
        if begun.state in ENDED:
            folder = TemporaryDirectory(prefix="mirror-")
            try:
                missing = artifacts.lay_out_trial(Path(folder.name), self.ledger, trial, facts.storage)
            except BaseException:
                folder.cleanup()
                raise
        return Parcel(
            trial=begun.id,
            wanted=trial_run(trial, facts, parent.id),
            run=run,
            anew=anew,
            points=self.ledger.points(begun.number, after=sent, up_to=begun.settled, of_sets=bool(trial.sets)),
            folder=folder,
            missing=missing,
            data_set=_data_set(trial, facts) if begun.state in ENDED else None,
            settled=begun.settled,
        )

    def _retrained(self, run: Run, number: int) -> bool:
        """Whether the ledger no longer has a step that the run shows: its curves would be those of two trainings."""
        step, _, at = run.tags.get("mirrored", "").partition(" ")[0].partition("@")
        now = self.ledger.at(number, int(step or 0))
        return (milliseconds(now) if now is not None else 0) != int(at or 0)

    def _open_study(self, sender: Sender, facts: Facts) -> Run:
        """Return the study's run, made or opened again if it has to be, with the spec that holds."""
        wanted = study_run(facts, "")
        run = self._runs.get("")
        shown = run.tags.get("spec") if run is not None else None
        if run is None:
            run = self._runs[""] = sender.create(wanted)
        else:
            sender.reopen(run, wanted)
        if shown != wanted.tags["spec"] or self.thorough:
            with TemporaryDirectory(prefix="mirror-") as folder:
                artifacts.lay_out_spec(Path(folder), facts)
                sender.store(run, folder)
        return run

    def _copy_study(self, sender: Sender, facts: Facts, run: Run, examiner: Examiner | None) -> None:
        """Bring the study's run up to date; when no driver runs, with its tables, pictures and report."""
        report = self.folder / "report"
        wanted = study_run(facts, "" if facts.driver is not None else artifacts.digest(report))
        whole = run.signature == wanted.signature
        if whole and examiner is not None:
            whole = shows(run, wanted, [], None) and not news(run, wanted)
        if whole and not (examiner is not None and examiner.thorough):
            return
        missing: list[str] = []
        if wanted.ended:
            with TemporaryDirectory(prefix="mirror-") as folder:
                missing = artifacts.lay_out_study(Path(folder), self.ledger, facts, report)
                if whole and stores(run, self.uri, Path(folder)):
                    return
                sender.store(run, folder)
        sender.log(run, wanted, points=[], missing=missing)


def _answer(sender: Sender, parcel: Parcel) -> Future[Run | None]:
    """Send a trial's run; return how that ended."""
    answer: Future[Run | None] = Future()
    try:
        answer.set_result(sender.send(parcel))
    except Exception as error:  # raised again by whoever asks for the result
        answer.set_exception(error)
    return answer


def _state(one: Begun, facts: Facts) -> tuple[Begun, int | None]:
    """Return all that a trial's run depends on: with an equal one there is nothing to copy."""
    return one, None if one.state in ENDED else facts.driver


def _data_set(trial: Trial, facts: Facts) -> DatasetInput:
    """Return the images of a trial as MLflow's input; those of a confirming trial are others."""
    what: dict[str, Any] = {key: facts.data[key] for key in ("training", "sets") if key in facts.data}
    if facts.search is not None and facts.search.sets and trial.data == facts.search.digest:
        what["confirm"] = list(facts.search.sets)
    source = {key: facts.data[key] for key in ("source", "caution") if facts.data.get(key)}
    data_set = Dataset(
        name=str(facts.data.get("source", "data")),
        digest=trial.data[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps(source),
        profile=json.dumps(what),
    )
    return DatasetInput(data_set, [InputTag("mlflow.data.context", "training")])
