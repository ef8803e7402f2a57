"""Open a study's ledger for reading: what was asked, and its tables as pandas frames. Never writes.

All that is read while a ledger is open is one snapshot, even while a driver writes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import schema
from analysis.errors import StudyError
from analysis.sequential import schedule

if TYPE_CHECKING:  # pandas takes half a second, which whoever reads plain rows need not wait for
    import pandas as pd

    from analysis.statistics import Images

__all__ = [
    "COST", "QUALITY", "RESULTS", "Confirm", "Ledger", "Metric", "Search", "Study", "StudyLike", "damaged",
    "open_ledger", "study_folder",
]  # fmt: skip

RESULTS = Path("results")
"""Where studies are looked up by name."""

QUALITY = "quality"
"""What a metric is about that tells of no known defect."""
COST = "cost"
"""What a metric is about that tells what a result took, not how good it is."""
UNITS = {"db": "dB", "m": "M", "deg": "deg", "levels": "grey levels", "s": "s", "ms": "ms", "px": "px"}


@dataclass(frozen=True)
class Metric:
    """A quantity that an evaluation yields.

    Args:
        key: `group/name_unit`.
        title: as a table's head shows it, with the unit.
        higher_is_better: None where there is no direction.
        needs_reference: whether it exists only for images with a reference.
        about: what it tells of: `quality`, a known defect such as `colour`, or `cost`.
        per_image: whether each image has a value; else the trial as a whole has one, at each report.
    """

    key: str
    title: str
    higher_is_better: bool | None
    needs_reference: bool
    about: str = QUALITY
    per_image: bool = True

    @property
    def unit(self) -> str:
        """The unit that the key ends with (`group/name_unit`), or nothing."""
        return UNITS.get(self.key.rpartition("_")[2], "")

    @property
    def name(self) -> str:
        """The title without its unit."""
        return self.title.removesuffix(f" ({self.unit})")


@dataclass(frozen=True)
class Search:
    """What a search was asked, as the driver recorded it.

    Args:
        objectives: metric -> `max` or `min`; the first one leads where one has to.
        sampler: what proposes.
        scheduler: what stops early: `none`, `asha`, `hyperband` or `median`.
        rules: the scheduler's settings.
        repeats: searches of every variant, each with its own seed of the sampler.
        seeds: every suggestion is trained with each of them.
        first_points: how many suggestions come first that are the same for all variants.
        budget: of every variant in each repeat: `trials` or `steps` -> how many.
        space: parameter -> its range as the spec has it.
        parameters: variant -> the parameters searched; none if there is nothing to search.
        left_out: variant -> parameter -> why it is not searched there.
        cautions: sentences on what to expect of this search.
        ended: variant -> why its search ended before the budget was spent.
    """

    objectives: dict[str, str]
    sampler: str
    scheduler: str
    rules: dict[str, Any]
    repeats: int
    seeds: list[int]
    first_points: int
    budget: dict[str, int]
    space: dict[str, Any]
    parameters: dict[str, list[str]]
    left_out: dict[str, dict[str, str]]
    cautions: list[str]
    ended: dict[str, str]


@dataclass(frozen=True)
class Confirm:
    """How the choices of a search are confirmed.

    Args:
        seeds: fresh ones, of every choice.
        sets: the sets of images that the search never saw; empty if its own are used again.
        digest: of the images that confirming trials are scored on.
    """

    seeds: list[int]
    sets: list[str]
    digest: str


@dataclass(frozen=True)
class Study:
    """What a study asks and how it will be judged: the spec that holds, and the facts beside it.

    Args:
        name: of the study.
        storage: the folder below which pictures lie, and checkpoints unless the storage has an address.
        metrics: in the order of the tables.
        primary: the metric that verdicts speak of.
        matters: for each metric, the smallest difference that matters, in its unit.
        images: whether verdicts speak of these images or of images like them.
        at: a trial's score is the mean over its last so many evaluations.
        data: where the images come from: source, caution, sets.
        digest: of the images.
        settings: of the metrics.
        inert: for each variant, the settings of the full model that mean nothing any more under its own.
        design: as the spec has it: a word, or `{"fractional": resolution}`, or `{"orders": count}`.
        components: their names, in the spec's order.
        looks: where seeds are trained until all is decided, the numbers of seeds at which that is looked at; else none.
        search: what the search was asked, or None: see `Search`.
        confirm: how its choices are confirmed, or None.
        expected: stage -> how many trials it has when the study is done.
        device: what a trial holds: `GPU` or `CPU`, and how many of them, or which share of one.
        lock: SHA-256 of the plan that was locked at the first trial; empty if the ledger has none.
        exploratory: what was changed in that plan since: component (or variant), or `` for all -> sentences.
    """

    name: str
    storage: Path
    metrics: tuple[Metric, ...]
    primary: str
    matters: dict[str, float]
    images: Images
    at: int
    data: dict[str, Any]
    digest: str
    settings: dict[str, Any]
    inert: dict[str, list[str]] = field(default_factory=dict)
    design: str | dict[str, int] = "leave-one-out"
    components: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    search: Search | None = None
    confirm: Confirm | None = None
    expected: dict[str, int] = field(default_factory=dict)
    device: tuple[str, float] = ("CPU", 1.0)
    lock: str = ""
    exploratory: dict[str, list[str]] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The keys of the metrics."""
        return [one.key for one in self.metrics]

    @property
    def image_keys(self) -> list[str]:
        """The keys of the metrics that each image has."""
        return [one.key for one in self.metrics if one.per_image]

    def metric(self, key: str) -> Metric:
        """Return the metric with this key.

        Raises:
            StudyError: if the study has none.
        """
        for one in self.metrics:
            if one.key == key:
                return one
        raise StudyError(f"{self.name}: no metric {key!r}; there are {', '.join(self.keys)}")


@dataclass(frozen=True)
class Ledger:
    """An open ledger. Use `open_ledger`."""

    folder: Path
    study: Study
    connection: sqlite3.Connection

    def frame(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Return the rows of a query."""
        import pandas as pd

        cursor = self.connection.execute(query, parameters)
        return pd.DataFrame(cursor.fetchall(), columns=[column[0] for column in cursor.description])


StudyLike = str | Path | Ledger
"""A study's folder, its name under `results`, or its open ledger."""


def study_folder(study: str | Path) -> Path:
    """Return the folder of a study given by folder or by name.

    Raises:
        StudyError: if there is no ledger.
    """
    for folder in (Path(study), RESULTS / study):
        if (folder / "ledger.db").is_file():
            return folder
    known = sorted(path.parent.name for path in RESULTS.glob("*/ledger.db"))
    there = f"studies in {RESULTS}/: {', '.join(known)}" if known else f"there are no studies in {RESULTS}/"
    raise StudyError(f"no study {str(study)!r}: expected a folder with a ledger.db, or a study's name; {there}")


@contextmanager
def open_ledger(study: StudyLike) -> Iterator[Ledger]:
    """Open a study's ledger for reading; an open one is passed through.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    if isinstance(study, Ledger):
        yield study
        return
    folder = study_folder(study)
    connection = _connect(folder / "ledger.db")
    try:
        yield Ledger(folder, _study(connection, folder / "ledger.db"), connection)
    except sqlite3.Error as error:
        raise StudyError(f"{folder / 'ledger.db'}: cannot be read as a ledger ({error})") from error
    except json.JSONDecodeError as error:
        raise damaged(folder / "ledger.db", f"expected JSON, got {error.doc[:40]!r}") from error
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Begin a snapshot. On a medium that cannot be written SQLite cannot share the file, and need not."""
    for options in ("mode=ro", "mode=ro&immutable=1"):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, isolation_level=None, timeout=30)
        try:
            connection.execute("BEGIN")
            schema.complete(connection)
            return connection
        except sqlite3.Error as error:
            connection.close()
            reason = error
            if path.with_name(f"{path.name}-wal").exists():
                break
    raise StudyError(f"{path}: cannot be read as a ledger ({reason})") from reason


def _study(connection: sqlite3.Connection, path: Path) -> Study:
    """Return the facts of the study, or say which are missing."""
    facts = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM study")}
    if facts.get("schema") not in (*schema.EARLIER, schema.VERSION):
        raise StudyError(f"{path}: expected a ledger of version {schema.VERSION}, got version {facts.get('schema')}")
    spec = connection.execute("SELECT resolved FROM spec ORDER BY number DESC LIMIT 1").fetchone()
    missing = [key for key in ("name", "storage", "metrics", "data", "digest") if key not in facts]
    if spec is None or missing:
        raise StudyError(f"{path}: the study has not begun ({', '.join(missing) or 'no spec'} missing); run it first")
    resolved = json.loads(spec[0])
    _check(path, "the spec", resolved, ("analysis",))
    _check(path, "the spec's analysis", resolved["analysis"], ("primary", "matters", "images", "at"))
    _check(path, "the study's data", facts["data"], ("source", "training", "sets"))
    rules, asked, again = resolved["analysis"], facts.get("search"), facts.get("confirm")
    known = [one["key"] for one in facts["metrics"]]
    unknown = [key for key in rules["matters"] if key not in known]
    if unknown:
        raise damaged(path, f"a margin is of {unknown[0]!r}, but the metrics are {', '.join(known)}")
    return Study(
        name=facts["name"],
        storage=schema.files_folder(facts, path.parent),
        metrics=tuple(Metric(**one) for one in facts["metrics"]),
        primary=rules["primary"],
        matters=rules["matters"],
        images=rules["images"],
        at=rules["at"],
        data=facts["data"],
        digest=facts["digest"],
        settings=facts.get("metric_settings", {}),
        inert=facts.get("inert", {}),
        design=resolved.get("design", "leave-one-out"),
        components=tuple(resolved.get("components", {})),
        looks=_looks(resolved.get("seeds")),
        search=_search(asked, resolved) if asked else None,
        confirm=Confirm(again["seeds"], again["sets"], again["digest"]) if asked and again else None,
        expected=facts.get("expected", {}),
        device=_device(resolved.get("resources") or {}, facts.get("packing") or {}),
        lock=(facts.get("lock") or {}).get("sha256", ""),
        exploratory=facts.get("exploratory") or {},
    )


def damaged(path: Path, what: str) -> StudyError:
    """Return the error of a ledger that holds something which no driver writes."""
    return StudyError(f"{path}: is damaged: {what}")


def _check(path: Path, what: str, found: Any, keys: Sequence[str]) -> None:
    lacking = [key for key in keys if not isinstance(found, Mapping) or key not in found]
    if lacking:
        raise damaged(path, f"{what} lacks {', '.join(lacking)}")


def _looks(seeds: Any) -> tuple[int, ...]:
    """Return the numbers of seeds at the looks that a spec's `seeds` declares; none for seeds that are given."""
    return tuple(seeds["looks"] or schedule(seeds["start"], seeds["max"])) if isinstance(seeds, Mapping) else ()


def _device(resources: Mapping[str, Any], packing: Mapping[str, Any]) -> tuple[str, float]:
    """Return what a trial holds by the spec that holds now; a share that was to be found, as it was found."""
    gpus = resources.get("gpu", 0)
    gpus = packing.get("share") or 1 if gpus == "auto" else gpus
    return ("GPU", float(gpus)) if gpus else ("CPU", float(resources.get("cpu", 1)))


def _search(asked: Mapping[str, Any], resolved: Mapping[str, Any]) -> Search:
    scheduler = asked["scheduler"]
    kind, rules = (scheduler, {}) if isinstance(scheduler, str) else next(iter(scheduler.items()))
    return Search(
        objectives=asked["objectives"],
        sampler=asked["sampler"],
        scheduler=kind,
        rules=rules or {},
        repeats=asked["repeats"],
        seeds=asked["seeds"],
        first_points=asked["first_points"],
        budget=asked["budget"],
        space=(resolved.get("search") or {}).get("space", {}),
        parameters=asked["parameters"],
        left_out=asked["left_out"],
        cautions=asked["cautions"],
        ended=asked["ended"],
    )
