"""A made-up search, added to a made-up study: what it tried, chose and confirmed, with values given by hand."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.schema import BASELINE, COMPLETED, CONFIRM, PLANNED, SEARCH
from tests.analysis.synthetic import BEGIN

PSNR, NIQE, SFP = "eval/psnr_db", "eval/niqe", "loss.sfp_global"
FIRST_TRIAL = 1000
SPACE = {
    "loss.sfp_global": {"float": [0.1, 10.0], "log": True},
    "local.patches": {"int": [1, 8]},
    "local.patch_px": {"choice": [16, 24, 32]},
}


@dataclass(frozen=True)
class Tried:
    """A suggestion.

    Args:
        curve: of each evaluation, 100 steps apart, the values of the objectives.
        params: its settings.
        state: of its trial.
        decisions: rung -> what was decided there.
        same_as: it is a repeat of this one, whose trial it has.
        refused: by the trainer; it has no trial.
        left_out: since the spec was changed; it has no place in the plan.
        fixed: it shares the trial of this seed of its variant in the fixed stage.
    """

    curve: Sequence[Sequence[float]] = ()
    params: Mapping[str, Any] = field(default_factory=lambda: {SFP: 1.0})
    state: str = COMPLETED
    decisions: Mapping[int, str] = field(default_factory=dict)
    same_as: int | None = None
    refused: str | None = None
    left_out: str | None = None
    fixed: int | None = None


@dataclass(frozen=True)
class Asked:
    """What the made-up search holds.

    Args:
        tried: (variant, repeat) -> its suggestions in order.
        choices: (variant, repeat) -> number and why.
        confirmed: (variant, repeat, seed) -> set -> the objectives of every image of it; None for a trial that waits,
            or a state for one that broke down.
        sets: of the confirmation that the search never saw.
        search: further keys of what the search was asked, in place of those below.
    """

    tried: Mapping[tuple[str, int], Sequence[Tried]]
    choices: Mapping[tuple[str, int], tuple[int | None, str]] = field(default_factory=dict)
    confirmed: Mapping[tuple[str, int, int], Mapping[str, Sequence[float]] | str | None] = field(default_factory=dict)
    sets: Sequence[str] = ()
    confirm: bool = True
    search: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What the driver records."""
        variants = sorted({variant for variant, _ in self.tried})
        found = {
            "objectives": {PSNR: "max"}, "sampler": "tpe", "scheduler": "none", "repeats": 1, "seeds": [1],
            "first_points": 2, "budget": {"trials": 4}, "parameters": {name: [SFP] for name in variants},
            "left_out": {name: {} for name in variants}, "cautions": [], "ended": {},
        }  # fmt: skip
        return found | dict(self.search)


def add_search(folder: Path, asked: Asked) -> Path:
    """Add it to a study from `write_study` and return the study's folder."""
    facts = asked.facts
    objectives, number = list(facts["objectives"]), FIRST_TRIAL
    seeds = sorted({seed for _, _, seed in asked.confirmed})
    confirm = {"seeds": seeds, "sets": list(asked.sets), "digest": "d2" if asked.sets else "d1"}
    with sqlite3.connect(folder / "ledger.db") as db:
        keys = {"search": facts, "confirm": confirm if asked.confirm else None}
        db.executemany("INSERT INTO study VALUES (?, ?)", [(key, json.dumps(value)) for key, value in keys.items()])
        (resolved,) = db.execute("SELECT resolved FROM spec").fetchone()
        space = {**json.loads(resolved), "search": {"space": SPACE}}
        db.execute("UPDATE spec SET resolved = ?", (json.dumps(space),))
        for (variant, repeat), tried in asked.tried.items():
            placed: list[int] = []
            for place, one in enumerate(tried):
                number += 1
                trial = _placed(db, one, number, placed, variant)
                placed.append(trial or 0)
                identity = None if trial is None else f"{trial:032x}"
                row = (variant, repeat, place, BEGIN, json.dumps(dict(one.params)), identity)
                flags = (one.same_as, one.refused, one.left_out)
                db.execute("INSERT INTO suggestion VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, *flags))
                if trial is not None and one.left_out is None:
                    at = (SEARCH, variant, repeat, place, facts["seeds"][0], trial)
                    db.execute("INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?)", at)
                if trial == number:
                    _write_curve(db, number, one, objectives)
        for (variant, repeat), (chosen, why) in asked.choices.items():
            db.execute("INSERT INTO choice VALUES (?, ?, ?, ?, ?)", (variant, repeat, chosen, why, BEGIN))
        for (variant, repeat, seed), scores in asked.confirmed.items():
            number += 1
            db.execute("INSERT INTO cell VALUES (?, ?, ?, 0, ?, ?)", (CONFIRM, variant, repeat, seed, number))
            _write_confirmed(db, number, seed, scores, objectives, confirm["digest"])
        if asked.sets:
            _write_references(db, asked.sets)
    db.close()
    return folder


def _placed(db: Any, one: Tried, number: int, placed: list[int], variant: str) -> int | None:
    """Return the trial of a suggestion: its own, another one's, or none."""
    if one.refused is not None:
        return None
    if one.same_as is not None:
        return placed[one.same_as]
    if one.fixed is not None:
        query = "SELECT trial FROM cell WHERE stage = 'fixed' AND variant = ? AND seed = ?"
        return int(db.execute(query, (variant, one.fixed)).fetchone()[0])
    return number


def _write_curve(db: Any, number: int, one: Tried, objectives: Sequence[str]) -> None:
    _write_trial(db, number, 1, one.state, "d1")
    for place, values in enumerate(one.curve, start=1):
        db.execute("INSERT INTO step VALUES (?, ?, ?, ?, NULL, '{}')", (number, 100 * place, BEGIN, 10.0 * place))
        for metric, value in zip(objectives, values, strict=True):
            db.execute("INSERT INTO report VALUES (?, ?, ?, ?)", (number, 100 * place, metric, value))
            row = (number, 100 * place, SEEN, "cat", metric, value)
            db.execute("INSERT INTO image VALUES (?, ?, ?, ?, ?, ?)", row)
    for rung, what in one.decisions.items():
        db.execute("INSERT INTO decision VALUES (?, ?, ?, ?)", (number, rung, what, BEGIN))


def _write_confirmed(db: Any, number: int, seed: int, scores: Any, objectives: Sequence[str], digest: str) -> None:
    state = COMPLETED if isinstance(scores, Mapping) else scores or PLANNED
    _write_trial(db, number, seed, state, digest)
    if state != COMPLETED:
        return
    images = list(db.execute('SELECT DISTINCT "set", image FROM scene'))
    images += [(name, "new") for name in scores if name not in {of_set for of_set, _ in images}]
    for step in (100, 200):
        db.execute("INSERT INTO step VALUES (?, ?, ?, ?, NULL, '{}')", (number, step, BEGIN, step / 10))
        means: dict[str, list[float]] = {metric: [] for metric in objectives}
        for of_set, image in images:
            for metric, value in zip(objectives, scores.get(of_set, ()), strict=False):
                db.execute("INSERT INTO image VALUES (?, ?, ?, ?, ?, ?)", (number, step, of_set, image, metric, value))
                means[metric].append(value)
        for metric, values in means.items():
            mean = sum(values) / len(values) if values else None
            db.execute("INSERT INTO report VALUES (?, ?, ?, ?)", (number, step, metric, mean))


def _write_trial(db: Any, number: int, seed: int, state: str, digest: str) -> None:
    began = None if state == PLANNED else BEGIN
    row = (number, f"{number:032x}", seed, "", '{"steps": 400}', digest, state, None, None, BEGIN, began, began)
    db.execute(f"INSERT INTO trial VALUES ({', '.join('?' * 12)})", row)


def _write_references(db: Any, sets: Sequence[str]) -> None:
    """Write what is compared with on the images of the confirmation."""
    db.execute("INSERT INTO scored VALUES ('input', 'd2', '1', NULL)")
    for name in sets:
        db.execute("INSERT INTO reference VALUES ('input', 'd2', ?, 'new', ?, 9.0)", (name, PSNR))


TWO = ("no_attention", "no_global_sfp")
SEEN, NEW = "photos", "SICE"


def flat(value: float, *more: float, count: int = 4) -> list[tuple[float, ...]]:
    """A curve that stays where it is."""
    return [(value, *more)] * count


def ordinary(**changes: Any) -> Asked:
    """A search of the full model and two variants, one of them with nothing to search, confirmed on a set of its own.

    Promised 17, 16 and, as it stands, nothing; confirmed on the same images 16, 15.5 and 12, on new ones 3 less.
    """
    tried = {
        (BASELINE, 0): [
            Tried([(10.0,), (14.0,), (15.0,), (16.0,)], {SFP: 1.0}, decisions={200: "continue"}),
            Tried([(9.0,), (15.0,), (16.5,), (17.5,)], {SFP: 3.0}, decisions={200: "continue"}),
            Tried([(8.0,), (9.0,)], {SFP: 0.2}, "STOPPED", {200: "stop"}),
            Tried([(8.0,)], {SFP: 9.0}, "DIVERGED"),
        ],
        ("no_attention", 0): [
            Tried([(10.0,), (13.0,), (14.0,), (15.0,)], {SFP: 1.0}, decisions={200: "continue"}),
            Tried([(9.0,), (13.5,), (15.5,), (16.5,)], {SFP: 4.0}, decisions={200: "continue"}),
            Tried(params={SFP: 1.0}, same_as=0),
            Tried(params={SFP: 10.0}, refused="too much"),
        ],
        ("no_global_sfp", 0): [],
    }  # fmt: skip
    confirmed = {
        (variant, 0, seed): {SEEN: (value + shift,), NEW: (value + shift - 3,)}
        for variant, value in ((BASELINE, 16.0), ("no_attention", 15.5), ("no_global_sfp", 12.0))
        for seed, shift in ((11, -0.5), (12, 0.0), (13, 0.5))
    }
    facts = {
        "scheduler": {"asha": {"first_rung": 200, "reduction": 2}},
        "parameters": {BASELINE: [SFP], "no_attention": [SFP], "no_global_sfp": []},
        "left_out": {BASELINE: {}, "no_attention": {}, "no_global_sfp": {SFP: "loss.sfp_global is 0 in it"}},
    }
    choices = {
        (BASELINE, 0): (1, "highest eval/psnr_db of 2 that ran to the end"),
        ("no_attention", 0): (1, "highest eval/psnr_db of 2 that ran to the end"),
        ("no_global_sfp", 0): (-1, "it has nothing to search: it is confirmed as it stands"),
    }
    given: dict[str, Any] = {"tried": tried, "choices": choices, "confirmed": confirmed, "sets": [NEW]}
    given |= {key: value for key, value in changes.items() if key != "search"}
    return Asked(**given, search={**facts, **changes.get("search", {})})
