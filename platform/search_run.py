"""The searches of a study being run: what `platform.searches` decides, made with Optuna and written into the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from analysis.schema import CONFIRM, CONTINUE, SEARCH, STOP, STOPPED
from platform import ledger_search, searches
from platform.early_stopping import decision, moot, own_rungs, ruled, rungs
from platform.fronts import Choice
from platform.ledger import Ledger, Suggestion
from platform.ledger_results import spent_s
from platform.packing import gpus
from platform.plan import Ahead, Cell, Conclude, Suggest, placed
from platform.search_space import active, is_active, settings, standing, to_optuna
from platform.searches import AS_IT_STANDS
from platform.spec import Study
from platform.tracks import Entry, Rules, Track, Trials, first_points, rules_of, tracks_of

__all__ = ["SearchRun", "search_run"]


@dataclass
class SearchRun:
    """The searches of a study being run; use `search_run`.

    Args:
        study: the checked spec.
        ledger: open for writing.
        rules: of the searches.
        tracks: the searches, by variant and repeat, in the order in which they take turns.
        trials: what is known of their trials.
        digests: of the images of the search and of the confirmation.
        clock: returns the seconds since 1970.
        warm: for each variant what other studies observed, as `platform.sampler_history.Observation`s.
    """

    study: Study
    ledger: Ledger
    rules: Rules
    tracks: Mapping[tuple[str, int], Track]
    trials: Trials
    digests: tuple[str, str]
    clock: Callable[[], float]
    warm: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    _decided: dict[tuple[str, int], str] = field(default_factory=dict)
    _histories: dict[tuple[str, int], Any] = field(default_factory=dict)

    def ahead(self) -> Ahead:
        """Return what the searches ask for next; see `platform.searches.ahead`."""
        hours, gpus = self.spent()
        return searches.ahead(list(self.tracks.values()), self.rules, self.trials, hours=hours, gpus=gpus)

    def spent(self) -> tuple[float, float]:
        """Return the hours of training that the searches have taken, if a cap asks for them, and a trial's GPUs."""
        total = self.rules.search.total
        asked = total.hours is not None or total.gpu_hours is not None
        share = gpus(self.study.spec.resources.gpu, self.ledger.get("packing"))
        return spent_s(self.ledger, self.clock(), SEARCH) / 3600 if asked else 0.0, share

    def follow(self, step: Suggest | Conclude) -> list[Cell]:
        """Do what the searches ask for, and return the cells that come of it."""
        track = self.tracks[step.variant, step.repeat]
        return self._suggest(track) if isinstance(step, Suggest) else self._conclude(track)

    def _suggest(self, track: Track) -> list[Cell]:
        """Make settings the next suggestion of the search."""
        number = track.following
        params = active(track.parameters, self._asked(track, number))
        try:
            cells = cells_of(self.study, self.rules, track, number, params, self.digests[0])
            refused = None
        except ValidationError as error:
            cells, refused = [], "; ".join(one["msg"] for one in error.errors())
        trials = [cell.trial for cell in cells]
        same_as = track.first.get(trials[0]) if trials else None
        entry = Entry(number, params, trials, same_as, refused)
        row = Suggestion(track.variant.name, track.repeat, number, params, next(iter(trials), None), same_as, refused)
        ledger_search.suggest(self.ledger, row, cells, self.clock())
        track.add(entry)
        self._learn(cells)
        self._go_on(track, entry, cells)
        return cells

    def _go_on(self, track: Track, entry: Entry, cells: Sequence[Cell]) -> None:
        """Let trials that another search stopped go on if this one, by its own rivals, would not have stopped them."""
        if entry.same_as is not None:
            return
        for place, cell in enumerate(cells):
            curve = self.trials.curves.get(cell.trial)
            if self.trials.states.get(cell.trial) != STOPPED or not curve:
                continue
            length, every = int(cell.settings["steps"]), int(cell.settings["evaluate_every"])
            at = rungs(self.rules.search, steps=length, evaluate_every=every)
            step = max(curve)
            if step not in own_rungs(entry.number, self.rules.search, at) or (
                ruled(track, self.rules, self.trials, entry.number, step, place, at) == CONTINUE
            ):
                ledger_search.go_on(self.ledger, cell.trial)
                self._decided = {key: CONTINUE if key[0] == cell.trial else what for key, what in self._decided.items()}
                for other in self.tracks.values():
                    if cell.trial in other.first:
                        other.reopen()

    def _asked(self, track: Track, number: int) -> Mapping[str, Any]:
        """Return the settings to try: first those of the spec, if they lie in the space, then what the sampler says."""
        from platform.sampler import Address, distinct, suggest

        if not track.entries:
            own = standing(track.variant, track.parameters, trainer=self.study.trainer, config=self.study.config)
            if own is not None:
                return own
        search, index = self.rules.search, len(track.entries)
        address = Address(search.seed, track.variant.name, track.repeat, number)
        first = first_points(self.rules, track)
        if index < first:  # counted among those that are kept, so that they are the same for all variants
            return suggest(search.sampler, self._history(track), replace(address, number=index), first=first)
        return distinct(search.sampler, self._history(track), address, first=first).params

    def _history(self, track: Track) -> Any:
        """Return all that is known of a search, for its sampler."""
        from platform.sampler_history import History, Space

        key = (track.variant.name, track.repeat)
        if key not in self._histories:
            by_path = {one.path: one for one in track.parameters}
            union = {one.path for other in self.tracks.values() for one in other.parameters}
            distributions = {path: to_optuna(one) for path, one in by_path.items()}
            space = Space(distributions, union=sorted(union))
            if any(one.when for one in track.parameters):
                space = replace(space, active=lambda path, others: is_active(by_path[path], others))
            self._histories[key] = History(space, self.rules.directions)
        history = self._histories[key]
        known = track.observed(self.rules, self.trials)
        history.update([*known, *self.warm.get(track.variant.name, ())])
        return history

    def _conclude(self, track: Track) -> list[Cell]:
        """Choose among what a search found, and plan the trials that confirm it."""
        choice = searches.chosen(track, self.rules, self.trials)
        cells: list[Cell] = []
        if choice.number is not None:
            params = {} if choice.number == AS_IT_STANDS else track.entries[choice.number].params
            overrides = settings(track.variant, track.parameters, params)
            cells = placed(
                self.study,
                CONFIRM,
                track.variant,
                overrides,
                self.rules.confirm_of(track.repeat),
                self.digests[1],
                repeat=track.repeat,
            )
        known = self.ledger.get("search") or {}
        ended = {**known.get("ended", {}), **self.ended()}
        if known.get("ended", {}) != ended:
            self.ledger.put({"search": {**known, "ended": ended}})
        ledger_search.choose(
            self.ledger, track.variant.name, track.repeat, choice.number, choice.why, cells, self.clock()
        )
        track.choice = choice
        return cells

    def report(self, trial: str, message: Mapping[str, Any], cells: Sequence[Cell]) -> tuple[str | None, bool]:
        """Learn of a trial's report; return the decision on it, CONTINUE, STOP or None, and whether it ends here.

        A trial that is part of another stage, too, is never stopped; a decision that was recorded stands. One that has
        become moot, see `platform.early_stopping`, ends without a decision.

        Args:
            trial: its identity.
            message: the report, see `trials.trainable`.
            cells: those that the trial fills.
        """
        if not any(cell.stage == SEARCH for cell in cells):
            return None, False
        step, curves = int(message["step"]), self.trials.curves
        curve = curves.setdefault(trial, {})
        curve[step] = [float(message["metrics"].get(name, float("nan"))) for name in self.rules.metrics]
        length = int(cells[0].settings["steps"])
        if step >= length or any(cell.stage != SEARCH for cell in cells):
            return None, False
        what = self._decided.get((trial, step))
        if what is None:
            at = rungs(self.rules.search, steps=length, evaluate_every=int(cells[0].settings["evaluate_every"]))
            what = decision(self.tracks.values(), self.rules, self.trials, trial, step, at)
        if what is not None:
            self._decided[trial, step] = what
        return what, what == STOP or moot(self.tracks.values(), self.trials, trial)

    def begin(self, trial: str) -> None:
        """Forget what a trial reported after its last checkpoint: it comes again."""
        if trial in self.trials.curves:
            known = ledger_search.curves(self.ledger, self.rules.metrics, trial)
            self.trials.curves[trial] = known.get(trial, {})
            for track in self.tracks.values():
                if trial in track.first and track.first[trial] not in track.open:  # it had been stopped
                    track.reopen()

    def ended(self) -> dict[str, str]:
        """Return for each variant why its search ended before its budget was spent, where it did."""
        hours, gpus = self.spent()
        return searches.ended(list(self.tracks.values()), self.rules, self.trials, hours=hours, gpus=gpus)

    def _learn(self, cells: Sequence[Cell]) -> None:
        """Learn what the ledger knows of cells' trials already: another stage may have trained one."""
        for cell in cells:
            self.trials.steps[cell.trial] = int(cell.settings["steps"])
            if cell.trial not in self.trials.curves:
                known = ledger_search.curves(self.ledger, self.rules.metrics, cell.trial)
                self.trials.curves[cell.trial] = known.get(cell.trial, {})


def cells_of(study: Study, rules: Rules, track: Track, number: int, params: Mapping[str, Any], data: str) -> list[Cell]:
    """Return the cells of a suggestion, one for each seed of the search.

    Raises:
        pydantic.ValidationError: if the trainer refuses the settings.
    """
    overrides = settings(track.variant, track.parameters, params)
    return placed(
        study, SEARCH, track.variant, overrides, rules.seeds_of(track.repeat), data, repeat=track.repeat, number=number
    )


def search_run(
    study: Study,
    ledger: Ledger,
    cells: Sequence[Cell],
    *,
    digests: tuple[str, str],
    clock: Callable[[], float],
) -> SearchRun | None:
    """Return the searches of a study as the ledger has them, or None if it has none.

    Args:
        study: the checked spec, which the ledger holds.
        ledger: open for writing.
        cells: of the plan so far, as the ledger has them.
        digests: of the images of the search and of the confirmation.
        clock: returns the seconds since 1970.
    """
    rules = rules_of(study)
    if rules is None:
        return None
    tracks = {(one.variant.name, one.repeat): one for one in tracks_of(study, rules.search)}
    trials: dict[tuple[str, int, int], dict[int, str]] = {}
    steps = {}
    for cell in cells:
        if cell.stage == SEARCH:
            trials.setdefault((cell.variant, cell.repeat, cell.number), {})[cell.seed] = cell.trial
            steps[cell.trial] = int(cell.settings["steps"])
    for row in ledger_search.suggestions(ledger):
        track = tracks.get((row.variant, row.repeat))
        if track is None:
            continue
        track.following = max(track.following, row.number + 1)
        if row.left_out is None:
            found = trials.get((row.variant, row.repeat, row.number), {})
            identities = [found[seed] for seed in rules.seeds_of(row.repeat) if seed in found]
            track.add(Entry(row.number, row.params, identities, row.same_as, row.refused))
    for key, (number, why) in ledger_search.choices(ledger).items():
        if key in tracks:
            tracks[key].choice = Choice(number, why)
    known = Trials(ledger.states, ledger_search.curves(ledger, rules.metrics), steps)
    return SearchRun(study, ledger, rules, tracks, known, digests, clock, _decided=ledger_search.decisions(ledger))
