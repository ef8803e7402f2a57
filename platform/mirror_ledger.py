"""What the mirror reads of a ledger. The driver may be writing at the same time; nothing is written here."""

from __future__ import annotations

import fcntl
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from analysis.schema import (
    COMPLETED,
    CONFIRM,
    DECIDED,
    DIVERGED,
    EARLIER,
    FAILED,
    SEARCH,
    STAGES,
    STOP,
    STOPPED,
    VERSION,
    complete,
    files_folder,
)
from platform.errors import LedgerError
from platform.standing import Asked, Known, Standing, asked, standings, untuned

__all__ = ["ENDED", "Begun", "Facts", "Ledger", "Place", "Point", "Trial", "lock_is_held"]

ENDED = frozenset((COMPLETED, STOPPED, DIVERGED, FAILED))
_ENDED_SQL = ", ".join(f"'{state}'" for state in sorted(ENDED))

# A step may be trained again until a checkpoint holds it or the trial has ended: only then is it settled.
_BEGUN = f"""
SELECT t.number, t.state, t.ended, coalesce(a.number, 0), a.ended, a.driver, coalesce((
    SELECT s.step FROM step s
    WHERE s.trial = t.number AND (s.checkpoint IS NOT NULL OR t.state IN ({_ENDED_SQL}))
    ORDER BY s.step DESC LIMIT 1), 0), t.id
FROM trial t
LEFT JOIN attempt a ON a.trial = t.number AND a.number = (SELECT max(number) FROM attempt WHERE trial = t.number)
WHERE t.state <> 'PLANNED' OR a.number IS NOT NULL
ORDER BY t.number
"""
_TRIAL = """
SELECT t.*, a.record AS attempt_record, d.record AS driver_record,
    coalesce((SELECT min(started) FROM attempt WHERE trial = t.number), t.started, t.planned) AS begun,
    coalesce(t.ended, max(coalesce(a.ended, 0), coalesce(a.started, t.started, t.planned),
        coalesce((SELECT max(at) FROM step WHERE trial = t.number), 0))) AS left_off
FROM trial t
LEFT JOIN attempt a ON a.trial = t.number AND a.number = :attempt
LEFT JOIN driver d ON d.number = a.driver
WHERE t.number = :number
"""
_POINTS = """
SELECT r.step, s.at, r.metric, r.value FROM report r JOIN step s USING (trial, step)
WHERE r.trial = ? AND r.step > ? AND r.step <= ? ORDER BY r.step, r.metric
"""
# As in a report, an image without a value is left out of a mean.
_POINTS_OF_SETS = """
SELECT i.step, s.at, i."set", i.metric, avg(i.value) FROM image i JOIN step s USING (trial, step)
WHERE i.trial = ? AND i.step > ? AND i.step <= ? GROUP BY i.step, i."set", i.metric HAVING count(i.value)
ORDER BY i.step, i."set", i.metric
"""
_OTHERS = re.compile(r"[^\w. -]|^\.+")
"""What a set's name may have, but not the name of a metric in MLflow."""
_SETS = 'SELECT DISTINCT "set" FROM image WHERE trial = ? AND step <= ? ORDER BY "set"'
_EVENTS = "SELECT kind, count(*) FROM event WHERE trial = ? AND step <= ? GROUP BY kind ORDER BY kind"
_MODELS = "SELECT method, weights FROM scored WHERE data = ? AND weights IS NOT NULL ORDER BY method"
_CHOSEN = "SELECT variant, repeat, number FROM choice"
_LOOKS = "SELECT variant, verdict, seeds FROM look ORDER BY seeds, variant"
_LEFT_OUT = "SELECT t.number, s.left_out FROM suggestion s JOIN trial t ON t.id = s.trial WHERE s.left_out IS NOT NULL"
_PARAMS = "SELECT params FROM suggestion WHERE variant = ? AND repeat = ? AND number = ?"
_LAST_SIGN = """
SELECT max(at) FROM (
    SELECT max(at) AS at FROM step UNION ALL SELECT max(ended) FROM attempt UNION ALL SELECT max(started) FROM driver)
"""


class Place(NamedTuple):
    """A place in the plan that a trial fills.

    `number` is that of the suggestion: in the search its own, among the confirming trials the one confirmed (-1: the
    variant as it stands). `chosen` says of a place in the search that it is the one that goes on to be confirmed.
    """

    stage: str
    variant: str
    repeat: int = 0
    number: int = 0
    chosen: bool = False


@dataclass(frozen=True)
class Begun:
    """A trial that has begun, as far as it can still change: equal values, nothing new to copy."""

    number: int
    state: str
    ended: float | None
    attempt: int
    attempt_ended: float | None
    driver: int | None
    settled: int
    """The last step that will never be trained again; 0 if there is none."""
    cells: tuple[Place, ...]
    """The places in the plan that it fills, by stage; none after the plan has changed."""
    left_out: str = ""
    """Why its settings are no point of the search any more, if they were one."""
    id: str = ""
    """Its identity."""


@dataclass(frozen=True)
class Trial:
    """A trial that has begun, with all that its run says; times in seconds since 1970."""

    begun: Begun
    id: str
    seed: int
    stream: str
    settings: dict[str, Any]
    data: str
    kind: str | None
    message: str | None
    started: float
    left_off: float
    settled_at: float | None
    attempt_record: dict[str, Any]
    driver_record: dict[str, Any]
    events: dict[str, int]
    """How many of each kind happened up to the last settled step."""
    rung: int | None
    """The step at which the scheduler stopped it, if it did."""
    searched: dict[str, Any]
    """What the search set: path -> value; empty for a trial at the spec's settings."""
    sets: tuple[str, ...]
    """The sets of images that it is scored on, if it confirms on some that the search never saw; else none."""


@dataclass(frozen=True)
class Point:
    """One value of one metric; None where it could not be computed."""

    step: int
    at: float
    metric: str
    value: float | None


@dataclass(frozen=True)
class Facts:
    """The study itself. `started` is when its first spec was recorded, which tells two ledgers of one name apart."""

    name: str
    storage: Path
    data: dict[str, Any]
    started: float
    left_off: float
    """When the last driver ended; of one that runs or was killed, when the ledger last heard of it."""
    spec_number: int
    spec: dict[str, Any]
    driver: int | None
    """The driver that is alive, if any."""
    driver_record: dict[str, Any]
    states: dict[str, int]
    """How many trials of the plan are in each state."""
    models: dict[str, str]
    """The trained models that the study is compared with: name -> SHA-256 of the file of weights."""
    search: Asked | None
    """What it asks of its search, if it has one."""
    standings: Sequence[Standing]
    """Where the search of each variant stands."""
    untuned: Mapping[str, Mapping[str, float]]
    """Of a study with a search: variant -> objective or primary metric -> its mean over the fixed stage's trials."""
    lock: str = ""
    """SHA-256 of the plan of the analysis that was locked at the first trial; '' if it is not."""
    exploratory: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What was changed in it since: component, or '' for all -> sentences."""
    decided: Sequence[tuple[str, str, int]] = ()
    """What looks have decided, where seeds are trained until all is: variant or component, verdict, number of seeds."""
    most: int | None = None
    """The trials that there may be then, if nothing is decided before the last look."""


class Ledger:
    """A study's ledger, read only."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`/ledger.db.

        Raises:
            LedgerError: if there is none, or it is of another version.
        """
        path = folder / "ledger.db"
        if not path.is_file():
            raise LedgerError(f"{folder}: expected the folder of a study, but it holds no ledger.db")
        self._driver_lock = folder / "driver.lock"
        self._known: Known = {}
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=20)
        self._db.row_factory = sqlite3.Row
        try:
            found = self._study().get("schema")
            complete(self._db)
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{path}: expected a study's ledger, but SQLite says: {error}") from error
        if found not in (*EARLIER, VERSION):
            raise LedgerError(f"{path}: expected a ledger of version {VERSION}, got {found}: use the matching release")

    def change(self) -> int:
        """Return a number that differs from the last one if the ledger was written to; costs microseconds."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def driver_runs(self) -> bool:
        """Whether the last driver still runs: it has not signed off and holds the study's lock.

        A killed driver loses its lock. Another process that only looks at the study may hold it then, so the holder's
        name, which `platform.ledger_file` leaves in the file, has to be the driver's.
        """
        row = self._db.execute("SELECT ended, host, pid FROM driver ORDER BY number DESC LIMIT 1").fetchone()
        if row is None or row["ended"] is not None or not lock_is_held(self._driver_lock):
            return False
        return {row["host"], str(row["pid"])} <= set(self._driver_lock.read_text().split())

    def facts(self) -> Facts:
        """Return what is true of the study at this moment.

        Raises:
            LedgerError: if no spec or no driver is recorded yet.
        """
        with self._moment():
            study = self._study()
            spec = self._db.execute("SELECT number, resolved FROM spec ORDER BY number DESC LIMIT 1").fetchone()
            driver = self._db.execute("SELECT * FROM driver ORDER BY number DESC LIMIT 1").fetchone()
            if spec is None or driver is None:
                raise LedgerError(f"the ledger of {study.get('name')} records no driver and spec yet: start the sweep")
            resolved, search = json.loads(spec["resolved"]), asked(self._db)
            primary = (resolved.get("analysis") or {}).get("primary")
            wanted = (
                [] if search is None else list(dict.fromkeys([*search.objectives, *([primary] if primary else [])]))
            )
            counted = self._db.execute(
                "SELECT state, count(*) FROM trial WHERE number IN (SELECT trial FROM cell) GROUP BY state"
            )
            return Facts(
                name=study["name"],
                storage=files_folder(study, self._driver_lock.parent),
                data=study.get("data") or {},
                started=float(self._db.execute("SELECT min(at) FROM spec").fetchone()[0]),
                left_off=float(driver["ended"] or self._db.execute(_LAST_SIGN).fetchone()[0]),
                spec_number=spec["number"],
                spec=resolved,
                driver=driver["number"] if self.driver_runs() else None,
                driver_record=json.loads(driver["record"]),
                states=dict(counted.fetchall()),
                models=dict(map(tuple, self.rows(_MODELS, study.get("digest")))),
                search=search,
                standings=() if search is None else standings(self._db, search, wanted, self._known),
                untuned={} if search is None else untuned(self._db, wanted, search.at, self._known),
                lock=(study.get("lock") or {}).get("sha256", ""),
                exploratory=study.get("exploratory") or {},
                decided=[(name, verdict, seeds) for name, verdict, seeds in self.rows(_LOOKS) if verdict in DECIDED],
                most=(study.get("expected") or {}).get("fixed") if isinstance(resolved.get("seeds"), dict) else None,
            )

    def begun(self) -> list[Begun]:
        """Return every trial that has begun, in the order of the plan."""
        with self._moment():
            chosen = {(variant, repeat): number for variant, repeat, number in self._db.execute(_CHOSEN)}
            cells: dict[int, set[Place]] = defaultdict(set)
            for trial, stage, variant, repeat, number in self._db.execute(
                "SELECT trial, stage, variant, repeat, number FROM cell"
            ):
                choice = chosen.get((variant, repeat))
                shown = number if stage != CONFIRM else -1 if choice is None else choice
                cells[trial].add(Place(stage, variant, repeat, shown, stage == SEARCH and number == choice))
            left_out = dict(map(tuple, self.rows(_LEFT_OUT)))
            return [
                Begun(*[*row[:7], tuple(sorted(cells[row[0]], key=_in_order)), left_out.get(row[0], ""), row["id"]])
                for row in self._db.execute(_BEGUN).fetchall()
            ]

    def trial(self, begun: Begun) -> Trial:
        """Return all that the run of this trial says, its points apart."""
        with self._moment():
            row = self._db.execute(_TRIAL, {"number": begun.number, "attempt": begun.attempt}).fetchone()
            settings = json.loads(row["settings"])
            search = asked(self._db) if any(place.stage == CONFIRM for place in begun.cells) else None
            apart = search is not None and search.sets and row["data"] == search.digest
            return Trial(
                begun=begun,
                id=row["id"],
                seed=row["seed"],
                stream=row["stream"],
                settings=settings,
                data=row["data"],
                kind=row["kind"],
                message=row["message"],
                started=row["begun"],
                left_off=row["left_off"],
                settled_at=self.at(begun.number, begun.settled),
                attempt_record=json.loads(row["attempt_record"] or "{}"),
                driver_record=json.loads(row["driver_record"] or "{}"),
                events=dict(map(tuple, self.rows(_EVENTS, begun.number, begun.settled))),
                rung=self._rung(begun),
                searched=self._searched(begun.cells, settings),
                sets=tuple(name for (name,) in self.rows(_SETS, begun.number, begun.settled)) if apart else (),
            )

    def at(self, trial: int, step: int) -> float | None:
        """Return when this step was reported; None if it was not."""
        row = self._db.execute("SELECT at FROM step WHERE trial = ? AND step = ?", (trial, step)).fetchone()
        return None if row is None else float(row[0])

    def points(self, trial: int, *, after: int, up_to: int, of_sets: bool = False) -> list[Point]:
        """Return the values reported after one step and up to another.

        With `of_sets` also the means over the images of each set, as metrics `SET/eval/...`.
        """
        reach = (trial, after, up_to)
        found = [Point(*row) for row in self._db.execute(_POINTS, reach)]
        for step, at, name, metric, value in self._db.execute(_POINTS_OF_SETS, reach) if of_sets else ():
            found.append(Point(step, at, f"{_OTHERS.sub('_', name)}/{metric}", value))
        return found

    def columns(self, table: str) -> dict[str, str]:
        """Return a table's columns and their types: TEXT, INTEGER or REAL."""
        return {row["name"]: row["type"] for row in self.rows("SELECT name, type FROM pragma_table_info(?)", table)}

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        return self._db.execute(query, values).fetchall()

    def _rung(self, begun: Begun) -> int | None:
        """Return the step at which a trial was stopped, if it was: one trained to its end after all has none."""
        if begun.state != STOPPED:
            return None
        row = self._db.execute("SELECT max(rung) FROM decision WHERE trial = ? AND what = ?", (begun.number, STOP))
        return cast("int | None", row.fetchone()[0])

    def _searched(self, places: Sequence[Place], settings: dict[str, Any]) -> dict[str, Any]:
        """Return what suggestions set, as the trial has it: several may differ in what plays no part in them."""
        found: dict[str, Any] = {}
        for place in places:
            if place.stage in (SEARCH, CONFIRM):
                for row in self.rows(_PARAMS, place.variant, place.repeat, place.number):
                    found |= {path: _setting(settings, path) for path in json.loads(row["params"])}
        return found

    def _study(self) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM study")}

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """Let every statement inside see the ledger as it is at one moment."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")


def _setting(settings: dict[str, Any], path: str) -> Any:
    """Return the setting at a dotted path."""
    node: Any = settings
    for part in path.split("."):
        node = node[part]
    return node


def _in_order(place: Place) -> tuple[Any, ...]:
    return STAGES.index(place.stage), *place[1:]


def lock_is_held(path: Path) -> bool:
    """Whether a process holds the lock on this file: however it ends, the kernel frees it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
