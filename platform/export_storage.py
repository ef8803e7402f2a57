"""Writes studies into an Optuna storage at once: all of an export, or nothing of it.

`Study.add_trials` takes 0.1 s a trial with its curve, a quarter of an hour for 10,000, since Optuna's storage looks
each field up before it writes it. So the rows are written here, into the tables that Optuna's own module defines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from sqlalchemy.exc import SQLAlchemyError

from platform.errors import SweepError
from platform.export_trials import MARK, Exported

__all__ = ["replace", "without_password"]

_STUDY, _TRIAL = models.StudyModel.__table__, models.TrialModel.__table__
_DIRECTION = models.StudyDirectionModel.__table__
_STUDY_USER, _STUDY_SYSTEM = models.StudyUserAttributeModel.__table__, models.StudySystemAttributeModel.__table__
_PARAM, _USER = models.TrialParamModel.__table__, models.TrialUserAttributeModel.__table__
_VALUE, _CURVE = models.TrialValueModel.__table__, models.TrialIntermediateValueModel.__table__
_OF_TRIAL = (
    _PARAM, _USER, _VALUE, _CURVE,
    models.TrialSystemAttributeModel.__table__, models.TrialHeartbeatModel.__table__,
)  # fmt: skip
_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


def replace(url: str, studies: Sequence[Exported]) -> None:
    """Write studies of one ledger in place of all that an earlier export of it wrote; a study keeps its number.

    Args:
        url: of the storage, which is made if it does not exist.
        studies: at least one; they have the same mark.

    Raises:
        SweepError: if the storage cannot be opened or written, or holds a study of such a name from elsewhere.
    """
    with _said(url), _engine(url).begin() as connection:
        mark = json.dumps(studies[0].attributes[MARK])
        marked = sql.select(_STUDY_USER.c.study_id).where(_STUDY_USER.c.key == MARK, _STUDY_USER.c.value_json == mark)
        of_name = sql.select(_STUDY.c.study_name, _STUDY.c.study_id)
        own = {one.study_name: one.study_id for one in connection.execute(of_name.where(_STUDY.c.study_id.in_(marked)))}
        wanted = [one.name for one in studies]
        there = {one.study_name for one in connection.execute(of_name.where(_STUDY.c.study_name.in_(wanted)))}
        foreign = [name for name in wanted if name in there and name not in own]
        if foreign:
            raise SweepError(
                f"{without_password(url)} holds a study {foreign[0]!r} that was not exported from this ledger; "
                f"remove or rename it, or export to another storage"
            )
        _remove(connection, list(own.values()))
        for one in studies:
            _add(connection, one, own.get(one.name))


def _engine(url: str) -> Any:
    """Open a storage, or make it; a SQLite file of something else is refused, for Optuna would write into it."""
    engine = sql.create_engine(url)
    if engine.dialect.name == "sqlite":
        tables = sql.inspect(engine).get_table_names()
        if tables and _STUDY.name not in tables:
            raise SweepError(
                f"{without_password(url)} is no Optuna storage, but holds something else; name another file"
            )
    engine.dispose()
    return RDBStorage(url).engine


@contextmanager
def _said(url: str) -> Iterator[None]:
    """Turn what can go wrong with a storage into one sentence."""
    try:
        yield
    except ImportError as error:
        raise SweepError(
            f"{without_password(url)} needs a database driver that is not installed ({error.__cause__ or error}); "
            f"install it beside Optuna, or export to sqlite:///FILE"
        ) from error
    except (SQLAlchemyError, RuntimeError, ValueError, KeyError, IndexError) as error:  # of addresses, too
        reason = without_password(" ".join(str(getattr(error, "orig", None) or error).split()))
        raise SweepError(
            f"{without_password(url)} cannot be used as an Optuna storage ({reason}); see --help"
        ) from error


def without_password(text: str) -> str:
    """Return a text without the passwords in its addresses."""
    return re.sub(r"(://[^:/@\s]+):[^@/\s]*@", r"\1:***@", text)


def _remove(connection: sql.Connection, studies: Sequence[int]) -> None:
    trials = sql.select(_TRIAL.c.trial_id).where(_TRIAL.c.study_id.in_(studies))
    for table in _OF_TRIAL:
        connection.execute(sql.delete(table).where(table.c.trial_id.in_(trials)))
    for table in (_TRIAL, _DIRECTION, _STUDY_USER, _STUDY_SYSTEM, _STUDY):
        connection.execute(sql.delete(table).where(table.c.study_id.in_(studies)))


def _add(connection: sql.Connection, one: Exported, number: int | None) -> None:
    """Add a study, with the number that it had before, if any."""
    given = {} if number is None else {"study_id": number}
    connection.execute(sql.insert(_STUDY), {"study_name": one.name, **given})
    study = connection.execute(sql.select(_STUDY.c.study_id).where(_STUDY.c.study_name == one.name)).scalar_one()
    of_study = {
        _DIRECTION: [{"objective": place, "direction": _DIRECTIONS[word]} for place, word in enumerate(one.directions)],
        _STUDY_USER: [{"key": key, "value_json": json.dumps(value)} for key, value in one.attributes.items()],
        _STUDY_SYSTEM: [{"key": "study:metric_names", "value_json": json.dumps(list(one.metrics))}],
    }
    for table, rows in of_study.items():
        connection.execute(sql.insert(table), [{"study_id": study, **row} for row in rows])
    if one.trials:
        _add_trials(connection, study, one)


def _add_trials(connection: sql.Connection, study: int, one: Exported) -> None:
    rows = [
        {
            "study_id": study,
            "number": number,
            "state": trial.state,
            "datetime_start": _utc(trial.datetime_start),
            "datetime_complete": _utc(trial.datetime_complete),
        }
        for number, trial in enumerate(one.trials)
    ]
    connection.execute(sql.insert(_TRIAL), rows)
    by_number = sql.select(_TRIAL.c.number, _TRIAL.c.trial_id).where(_TRIAL.c.study_id == study)
    ids = {row.number: row.trial_id for row in connection.execute(by_number)}
    for table, fields in _fields(one).items():
        if fields:
            connection.execute(sql.insert(table), [{"trial_id": ids[number], **row} for number, row in fields])


def _utc(moment: datetime | None) -> datetime | None:
    """Return a moment of local time as Optuna stores it: in UTC, and without saying so."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _fields(one: Exported) -> dict[Any, list[tuple[int, dict[str, Any]]]]:
    """Return what is stored beside the trials themselves: table -> rows, each with the number of its trial."""
    found: dict[Any, list[tuple[int, dict[str, Any]]]] = {_PARAM: [], _USER: [], _VALUE: [], _CURVE: []}
    stored_value = models.TrialValueModel.value_to_stored_repr
    stored_point = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    for number, trial in enumerate(one.trials):
        for name, distribution in trial.distributions.items():
            stored = distribution.to_internal_repr(trial.params[name])
            text = distribution_to_json(distribution)
            found[_PARAM].append((number, {"param_name": name, "param_value": stored, "distribution_json": text}))
        for key, value in trial.user_attrs.items():
            found[_USER].append((number, {"key": key, "value_json": json.dumps(value)}))
        for place, value in enumerate(trial.values or ()):
            stored, kind = stored_value(value)
            found[_VALUE].append((number, {"objective": place, "value": stored, "value_type": kind}))
        for step, value in trial.intermediate_values.items():
            stored, kind = stored_point(value)
            row = {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}
            found[_CURVE].append((number, row))
    return found
