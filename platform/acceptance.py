"""Making a spec the one that a ledger holds: what is valid is used, what is new is planned, changes are recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from platform.design import inert, variants
from platform.deviations import changed, deviations, digest, exploratory, locked
from platform.ledger import Ledger
from platform.ledger_search import later_cells, suggestions
from platform.looking import JUDGED
from platform.plan import Cell, cells
from platform.search_checks import cautions
from platform.search_revision import revised
from platform.spec import Study
from platform.tracks import Rules, Track, first_points, rules_of, tracks_of

__all__ = ["accept", "all_cells", "facts", "fixed_cells", "held"]

METRIC = ("key", "title", "higher_is_better", "needs_reference", "about", "per_image")
"""What the ledger keeps of a metric."""


def facts(study: Study, ledger: Ledger, *, storage: Path | str, digests: tuple[str, str]) -> dict[str, Any]:
    """Return the keys of a study's ledger that follow from its spec and from where its files lie.

    Args:
        study: the checked spec.
        ledger: of the study.
        storage: the folder of checkpoints and pictures, or their address.
        digests: of the images of the search, and of the confirmation.
    """
    rules, confirm = rules_of(study), study.spec.confirm
    found: dict[str, Any] = {"search": None, "confirm": None}
    expected = {"fixed": len(study.spec.seed_list) * len(variants(study.spec)), "search": 0, "confirm": 0}
    if rules is not None:
        tracks = tracks_of(study, rules.search)
        found["search"] = _search(study, rules, tracks) | {"ended": (ledger.get("search") or {}).get("ended", {})}
        expected["search"] = sum(_most(track, rules) for track in tracks)
        expected["confirm"] = len(tracks) * len(rules.confirm)
        if confirm is not None:
            sets = sorted(getattr(study.data, "confirm", {}))
            found["confirm"] = {"seeds": list(rules.confirm), "sets": sets, "digest": digests[1]}
    return {
        "folder": str(ledger.folder),
        "storage": str(storage),
        "metrics": [{key: getattr(metric, key) for key in METRIC} for metric in study.trainer.METRICS],
        "inert": {one.name: inert(study.trainer, study.config, one.overrides) for one in variants(study.spec)},
        **found,
        "expected": expected,
    }


def _search(study: Study, rules: Rules, tracks: list[Track]) -> dict[str, Any]:
    """Return what a report says of the searches."""
    search = rules.search
    budget = {"trials": search.trials} if search.trials is not None else {"steps": search.steps}
    return {
        "objectives": dict(rules.objectives),
        "sampler": search.sampler,
        "scheduler": search.model_dump(mode="json")["scheduler"],
        "repeats": search.repeats,
        "seeds": list(rules.seeds),
        "first_points": max((first_points(rules, track) for track in tracks), default=0),
        "budget": budget,
        "parameters": {track.variant.name: [one.path for one in track.parameters] for track in tracks},
        "left_out": {track.variant.name: dict(track.left_out) for track in tracks},
        "cautions": cautions(search, study.spec.confirm, study),
    }


def _most(track: Track, rules: Rules) -> int:
    """Return how many trials a search has at most, if none is stopped early."""
    if not track.parameters:
        return 0
    seeds = len(rules.seeds)
    budget = rules.search.trials
    count = budget // seeds if budget is not None else (rules.search.steps or 0) // (track.steps * seeds)
    return min(count, track.points or count) * seeds


def looks_hold(study: Study, ledger: Ledger, digest: str) -> bool:
    """Whether what was found where seeds are trained until all is decided holds under this spec, on these images."""
    before, after, trained = ledger.spec() or {}, study.resolved(), ledger.cells()
    same = all(before.get(name) == after.get(name) for name in JUDGED)
    return same and all(trained.get((one.variant, one.seed), one.trial) == one.trial for one in cells(study, digest))


def held(study: Study, ledger: Ledger, known: Mapping[str, Any], fixed: list[Cell]) -> bool:
    """Whether the ledger holds this spec, with these facts and cells, already."""
    planned = {(cell.variant, cell.seed): cell.trial for cell in fixed}
    same = all(ledger.get(key) == value for key, value in known.items())
    return same and ledger.spec() == study.resolved() and ledger.cells() == planned


def accept(study: Study, ledger: Ledger, known: Mapping[str, Any], fixed: list[Cell], now: float) -> list[str]:
    """Make the spec the one that the ledger holds; return what it changes after the first trial, in sentences.

    Args:
        study: the checked spec.
        ledger: open for writing.
        known: from `facts`.
        fixed: the cells of the fixed stage.
        now: seconds since 1970.
    """
    images, looks = fixed[0].data, looks_hold(study, ledger, fixed[0].data)
    confirming = (known["confirm"] or {}).get("digest", images)
    before, resolved = ledger.spec(), study.resolved()
    planned = {(cell.variant, cell.seed): cell.trial for cell in fixed}
    changes, paths = [], []
    if before and ledger.started():
        same = {
            "same_images": _images(ledger) == [images, confirming],
            "same_trials": _same_trials(ledger.cells(), planned),
        }
        changes, paths = deviations(before, resolved, **same), changed(before, resolved, **same)
        if not same["same_images"] and not any(path.startswith("data") for path in paths):
            changes.append("data: the images are others than they were, under the same names")
    revision = revised(study, suggestions(ledger), ledger, images)
    changes += revision.sentences if before != resolved else []
    source = dict(study.trainer.provenance(study.data))
    measured = source.pop("metric_settings", {})
    search = known["search"] and {**known["search"], "ended": {}}  # they are looked at again
    ledger.put(
        {
            "name": study.spec.study,
            "trainer": study.spec.trainer,
            **known,
            "search": search,
            **_lock(study, ledger, [images, confirming], paths),
            "digest": images,
            "data": source,
            "metric_settings": measured,
        }
    )
    ledger.accept(
        resolved, variants(study.spec), [*fixed, *revision.cells], suggestions=revision.suggestions, changes=changes,
        now=now, looks_hold=looks,
    )  # fmt: skip
    trainer, data = study.trainer, study.data
    ledger.show(dict.fromkeys([*trainer.scenes(data), *trainer.scenes(trainer.confirming(data))]))
    return changes


def _images(ledger: Ledger) -> list[str]:
    """Return the digests of the images that the ledger holds: of the study, and of those that confirm."""
    own = str(ledger.get("digest"))
    return [own, (ledger.get("confirm") or {}).get("digest", own)]


def _lock(study: Study, ledger: Ledger, images: list[str], paths: Sequence[str]) -> dict[str, Any]:
    """Return the lock on the plan of the analysis, what was ever changed since, and which verdicts that touches.

    Before the first trial the lock follows the spec. A ledger that had begun without one is locked as it began.

    Args:
        study: the checked spec.
        ledger: as it is before it holds this spec.
        images: the digests of those of the study, and of those that confirm.
        paths: the settings that this spec changes.
    """
    directions = {metric.key: metric.higher_is_better for metric in study.trainer.METRICS}
    begun, resolved = ledger.started(), study.resolved()
    plan = locked(resolved, images=images, direction=directions[study.spec.analysis.primary])
    lock, earlier = ledger.get("lock"), ledger.get("unlocked") or []
    if not begun:
        lock = {"sha256": digest(plan), "plan": plan}
    elif lock is None:
        first = ledger.first_spec() or resolved
        kept = locked(first, images=_images(ledger), direction=directions.get(first["analysis"]["primary"]))
        lock, earlier = {"sha256": digest(kept), "plan": kept}, changed(first, ledger.spec() or first)
    unlocked = sorted({*earlier, *paths}) if begun else []
    return {"lock": lock, "unlocked": unlocked, "exploratory": exploratory(lock["plan"], plan, unlocked)}


def _same_trials(held: Mapping[tuple[str, int], str], planned: Mapping[tuple[str, int], str]) -> bool:
    """Return whether every variant that was planned is still, and trains to what it did: no setting changed a result.

    Args:
        held: the trial of each cell of the fixed stage, by variant and seed, so far.
        planned: the same from now on; seeds may have come or gone, so long as some stayed.
    """
    both = held.keys() & planned.keys()
    stayed = {variant for variant, _ in held} == {variant for variant, _ in both}
    return bool(both) and stayed and all(held[at] == planned[at] for at in both)


def fixed_cells(study: Study, ledger: Ledger, digest: str) -> list[Cell]:
    """Return the cells of the fixed stage so far, under this spec."""
    return cells(study, digest, ledger.looked() if looks_hold(study, ledger, digest) else ())


def all_cells(study: Study, ledger: Ledger, digest: str) -> list[Cell]:
    """Return every cell of the plan so far: of the fixed stage, then what searches have added."""
    return [*fixed_cells(study, ledger, digest), *later_cells(ledger)]
