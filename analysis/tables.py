"""The report's tables as pandas frames of numbers; `analysis.shown` turns them into text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import nan
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analysis import looks
from analysis.comparison import Contrast, contrasts, judge
from analysis.effects_tables import Effects, effects_of
from analysis.effects_wording import said
from analysis.failures import ENDINGS, UNTOUCHED, outcomes, scored_as_input
from analysis.frames import load_events, load_images, load_looks, load_references, load_runs, load_trials, load_variants
from analysis.ledger import Ledger, Study, StudyLike, damaged, open_ledger
from analysis.records import Records, read_records
from analysis.schema import CONFIRM, DIVERGED, ENDED, FAILED
from analysis.stages import Unit, averaged, judged, unit_of, verdict_stage
from analysis.wording import counted, digits, ended, exploratory, sentence, unlocked

__all__ = [
    "Readings",
    "Tables",
    "families",
    "load_judged",
    "marked",
    "metric_digits",
    "read",
    "tables",
    "variant_table",
    "verdict_table",
]


@dataclass(frozen=True)
class Readings:
    """What a ledger says about one stage: frames of `analysis.frames`, and how the results were made.

    Args:
        study: what it asks.
        stage: which one; `unit` is what its verdicts take as one observation (`analysis.stages`).
        variants: of the plan.
        runs: which components are there in each of them.
        looks: what the looks have found, where seeds are trained until all is decided.
        plan: the trials of every stage.
        trials: those of this stage.
        searching: (variant, repeat) of each search that has not chosen yet what is to be confirmed; in `confirm` alone.
        images: their scores; in `confirm` on the images that the search never saw, where there are such.
        references: on the same images.
        events: in the trainings of this stage.
        records: how the results were made.
    """

    study: Study
    stage: str
    variants: pd.DataFrame
    runs: pd.DataFrame
    looks: pd.DataFrame
    plan: pd.DataFrame
    trials: pd.DataFrame
    searching: Sequence[tuple[str, int]]
    images: pd.DataFrame
    references: pd.DataFrame
    events: pd.DataFrame
    records: Records

    @property
    def unit(self) -> Unit:
        """What one observation is."""
        return unit_of(self.study, self.stage)

    @property
    def found(self) -> str:
        """What a verdict is limited to where each variant was searched once, with a comma; else nothing."""
        return "for the settings found, " if self.stage == CONFIRM and self.unit == "seed" else ""

    @property
    def judged(self) -> pd.DataFrame:
        """The scores as `analysis.judge` takes them."""
        return judged(self.images, self.unit)

    @property
    def averaged(self) -> pd.DataFrame:
        """The scores with one `seed` for each observation."""
        return averaged(self.images, self.unit)

    @property
    def credits(self) -> Effects | None:
        """What the design says of the components; None if the ledger does not tell which of them variants lack."""
        return effects_of(self.study, self.runs)

    @property
    def effects(self) -> Effects | None:
        """The same where the design declared effects for verdicts; None if it declared comparisons of variants."""
        return self.credits if self.credits and self.credits.declared else None

    @property
    def family(self) -> list[Contrast]:
        """The comparisons that the study declared; of a factorial design, or one of orders, the components' effects."""
        return self.effects.family if self.effects else contrasts(self.variants)

    @property
    def controls(self) -> list[Contrast]:
        """The comparisons beside a family of effects: those of no component, such as the placebo."""
        return [one for one in contrasts(self.variants) if not one.component] if self.effects else []

    @property
    def interim(self) -> str:
        """Say how many of the planned seeds have ended, while some have not; nothing once all have, or with looks.

        Whoever stops when a verdict pleases errs more often than the level says, so it holds for all planned seeds
        alone. Looks have paid for it (`analysis.looks`).
        """
        open_ = self._outstanding
        if not self.planned:
            return ""
        ended = f"{self.planned - len(self._units(open_))} of {self.planned} {self.unit}s have ended in every variant"
        trials = f"{counted(len(open_), 'trial')} {'is' if len(open_) == 1 else 'are'} outstanding"
        return f"interim: {ended}, {trials}; the level holds for the {self.planned} planned"

    @property
    def planned(self) -> int:
        """How many seeds (or repeats) are planned while some have not ended; else, or with looks, 0."""
        if self.study.looks or not self._outstanding:
            return 0
        there = self.trials[["repeat", "seed"]].itertuples(index=False, name=None)
        return len(self._units([*there, *self._outstanding]))

    @property
    def outstanding(self) -> float:
        """How many trainings of what is planned are outstanding; NaN while searches that are the unit go on."""
        return nan if self.unit == "repeat" and self.searching else len(self._outstanding)

    @property
    def _outstanding(self) -> list[tuple[int, int]]:
        """The (repeat, seed) of each trial that has not ended; those too that will confirm what is still searched."""
        open_ = self.trials.loc[~self.trials["state"].isin(ENDED), ["repeat", "seed"]]
        confirm = self.study.confirm.seeds if self.study.confirm else []
        ahead = [(repeat, seed) for _, repeat in self.searching for seed in confirm]
        return [*open_.itertuples(index=False, name=None), *ahead]

    def _units(self, places: Collection[tuple[int, int]]) -> set[int]:
        return {repeat if self.unit == "repeat" else seed for repeat, seed in places}

    def over_looks(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a family's rows on the primary metric with what holds over all looks; see `analysis.looks.verdicts`.

        Args:
            table: of `families`; of effects with the component as `variant`.
        """
        return looks.verdicts(table, self.looks, at=self.study.looks)

    def broken(self, variants: Collection[str]) -> pd.DataFrame:
        """Return the trials of some variants that ended without a result: what is still to be trained is none."""
        ended = self.trials["state"].isin([DIVERGED, FAILED])
        return self.trials[ended & self.trials["variant"].isin(list(variants))]


@dataclass(frozen=True)
class Tables:
    """The report's tables."""

    variants: pd.DataFrame
    verdicts: pd.DataFrame


def read(ledger: Ledger, stage: str) -> Readings:
    """Read one stage of a study.

    Raises:
        StudyError: if the ledger is damaged.
    """
    trials, images, events = load_trials(ledger), load_images(ledger, stage=stage), load_events(ledger)
    variants = load_variants(ledger)
    strange = sorted(set(trials.loc[trials["stage"] == stage, "variant"]) - set(variants["name"]))
    if strange:
        raise damaged(ledger.folder / "ledger.db", f"there are trials of {strange[0]!r}, but no such variant")
    confirm = ledger.study.confirm if stage == CONFIRM else None
    references = load_references(ledger, digest=confirm.digest if confirm else None)
    images, references = (_of_judged_sets(frame, ledger.study, stage) for frame in (images, references))
    return Readings(
        study=ledger.study,
        stage=stage,
        variants=variants,
        runs=load_runs(ledger),
        looks=load_looks(ledger),
        plan=trials,
        trials=trials[trials["stage"] == stage].reset_index(drop=True),
        searching=_searching(ledger) if confirm else [],
        images=images.reset_index(drop=True),
        references=references.reset_index(drop=True),
        events=events[events["stage"] == stage].reset_index(drop=True),
        records=read_records(ledger),
    )


def _searching(ledger: Ledger) -> list[tuple[str, int]]:
    """Return (variant, repeat) of each search that is not over."""
    search = ledger.study.search
    over = set(ledger.connection.execute("SELECT variant, repeat FROM choice"))
    places = product(search.parameters, range(search.repeats)) if search else []
    return [place for place in places if place not in over]


def load_judged(study: StudyLike) -> pd.DataFrame:
    """Return the scores that a study's verdicts rest on, as `analysis.compare` and `analysis.judge` take them.

    Without a search these are the scores of the fixed stage. If what searches found is confirmed, they are those of
    the confirming trials, on the images that no search saw where there are such; where searches were repeated, the
    column `observation` says which repeat a row belongs to, and differences are averaged over its seeds. None while no
    confirming trial is completed.

        judge(load_judged(STUDY), contrasts(load_variants(STUDY)), metric="eval/psnr_db", higher_is_better=True)

    gives the verdicts of the report, if `margin` and `images_are` are those of the spec.

    Columns: as of `analysis.load_images`, and `observation`. Its `attrs["unscored"]` are the names of the variants
    without a score, which `compare` counts too when it adjusts p-values.

    Args:
        study: a study's folder, or its name under `results`.

    Raises:
        StudyError: if there is no such study, or its ledger cannot be read.
    """
    with open_ledger(study) as ledger:
        stage = verdict_stage(ledger.study)
        images = _of_judged_sets(load_images(ledger, stage=stage), ledger.study, stage)
        found = judged(images.reset_index(drop=True), unit_of(ledger.study, stage))
        names = load_variants(ledger)["name"]
        found.attrs["unscored"] = names[~names.isin(found["variant"])].tolist()
        return found


def tables(readings: Readings, unchosen: Mapping[str, str] = MappingProxyType({})) -> Tables:
    """Compute the report's tables. `unchosen`: variant -> why its search chose nothing that could be judged."""
    return Tables(variant_table(readings), verdict_table(readings, unchosen))


def variant_table(readings: Readings) -> pd.DataFrame:
    """Return a row for each variant, and for each method that learns nothing or model, on each set of images.

    Where the unit of verdicts is a repeat of the search, "seeds" are such repeats.

    Columns: `row`, `kind` (`variant` or `reference`), `set`; for each metric its mean (column = the key) over seeds of
    the trials' means over images, `<key> sd` over seeds and `<key> n`, the number of seeds that have every image (of
    a metric that a trial has as a whole, the same on every set: over seeds, of the last report); `seeds` (completed),
    `images`; the numbers of trials `completed`, `stopped`, `diverged`, `failed`, `unfinished`, with the intervals
    (Wilson, 95 %) of `analysis.failures.outcomes`; `weights`: the SHA-256 of a reference's file, if it is a trained
    model.
    """
    metrics, whole = _measured(readings), _measured_whole(readings)
    names = readings.variants["name"].tolist()
    trained = _summary(readings.averaged, metrics, "variant")
    learnless = _summary(readings.references.assign(seed=0), metrics, "method")
    sets = sorted({name for part in (trained, learnless) for name in part.index.get_level_values("set")}) or [""]
    places = pd.MultiIndex.from_product([names, sets], names=["row", "set"])
    rows = trained.rename_axis(["row", "set"]).reindex(places).fillna({"seeds": 0}).reset_index()
    rows = rows.merge(_endings(readings.trials, names), how="left", left_on="row", right_index=True)
    rows = rows.merge(_whole_summary(readings.trials, whole), how="left", left_on="row", right_index=True)
    methods = learnless.drop(columns=["seeds", *(f"{key} {what}" for key in metrics for what in ("sd", "n"))])
    methods = methods.rename_axis(["row", "set"]).reset_index()
    weights = dict(zip(readings.references["method"], readings.references["weights"], strict=True))
    methods = methods.assign(weights=methods["row"].map(weights))
    order = [(pd.notna(weights[row]), row != UNTOUCHED) for row in methods["row"]]
    methods = methods.iloc[sorted(range(len(order)), key=order.__getitem__)]
    rows, methods = rows.copy(), methods.copy()  # so many columns lie apart in memory, which pandas warns of
    table = pd.concat([rows.assign(kind="variant"), methods.assign(kind="reference")], ignore_index=True)
    shown = [key for key in readings.study.keys if key in metrics or key in whole]
    numbers = [column for key in shown for column in (key, f"{key} sd", f"{key} n")]
    counts = ["seeds", "images", *ENDINGS, *_SHARES, "weights"]
    integers = ["seeds", "images", *ENDINGS, *(f"{key} n" for key in shown)]
    table = table.reindex(columns=["row", "kind", "set", *numbers, *counts])
    return table.astype(dict.fromkeys(integers, "Int64"))


def verdict_table(readings: Readings, unchosen: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """Return the rows of `analysis.judge` for the primary metric, then for every other one that was measured on images.

    Added columns: `metric`, `role` (`primary`, or `exploratory`: no verdict, no adjustment), `sentence`, and
    `bound_difference`, `bound_low`, `bound_high`: the primary difference if every trial that diverged or failed is
    scored as the untouched input, where there is such a trial. Where effects are the family (`Readings.effects`),
    `variant` is the component, `compared_to` empty, and `estimand`, `aliases` and `sampling` stand beside. `unlocked`:
    what was changed after the first trial of what a primary row rests on; its verdict is exploratory then. A `note`
    and the sentence say so where planned seeds have not ended yet (`Readings.interim`). `n_failed`: the pairs of seeds
    (of an effect: the trainings) of which a trial diverged or failed; what is still to be trained is none.
    """
    study, effects = readings.study, readings.effects
    primary = study.metric(study.primary)
    table = _judged(readings, readings.judged, primary.key, verdicts=True).assign(metric=primary.key)
    for name, why in unchosen.items():
        lacks = (table["seeds"] == 0) & ((table["variant"] == name) | (table["compared_to"] == name))
        if effects:
            lacks |= table["difference"].isna() & table["why"].str.split().map(lambda words, name=name: name in words)
        table["why"] = table["why"].mask(lacks, f"the search of {name} chose nothing ({why})")
    decimals, sizes = metric_digits(readings, primary.key), (len(readings.family), len(readings.controls))
    options = {"unit": readings.unit, "over": readings.found}
    table["sentence"] = [
        said(row, effects, decimals=decimals, **options)
        if effects and place < sizes[0]
        else sentence(row, study, decimals=decimals, family=sizes[bool(effects)], **options)
        for place, row in enumerate(table.to_dict("records"))
    ]
    table = marked(table.assign(role="primary", **_bound(readings)), readings)
    others = [_exploratory(readings, key) for key in _measured(readings) if key != primary.key]
    table = pd.concat([table, *others], ignore_index=True)
    return table.assign(**{name: table[name].fillna("") for name in ("verdict", "sentence", "unlocked")})


def marked(table: pd.DataFrame, readings: Readings) -> pd.DataFrame:
    """Return rows with `unlocked`, what was changed of the plan that a primary one rests on, which its sentence says.

    `Readings.interim` is in the note and the sentence of each verdict.
    """
    rows, interim = table.to_dict("records"), readings.interim
    changes = [unlocked(row, readings.study) if row["role"] == "primary" else "" for row in rows]
    said = [exploratory(text) if known else "" for text, known in zip(changes, table["p"].notna(), strict=True)]
    table = table.assign(sentence=table["sentence"] + said, unlocked=changes)
    judged = table["verdict"] != ""
    if not interim or not judged.any():
        return table
    notes = [f"{note}; {interim}" if note else interim for note in table["note"]]
    return table.assign(
        note=table["note"].mask(judged, notes), sentence=table["sentence"] + np.where(judged, ended(interim), "")
    )


def families(readings: Readings, images: pd.DataFrame, metric: str, *, verdicts: bool = True) -> list[pd.DataFrame]:
    """Return the rows of the declared family, and those of the controls beside it, a family of their own, if any.

    They are judged as if nobody had looked before.

    Args:
        readings: of the study.
        images: scores as for `analysis.judge`, such as `readings.judged`, or those of some seeds.
        metric: its key.
        verdicts: whether there are to be any, or differences and intervals alone.
    """
    study = readings.study
    direction = study.metric(metric).higher_is_better if verdicts else None
    margin = study.matters.get(metric) if verdicts else None

    def compared(family: list[Contrast]) -> pd.DataFrame:
        return judge(images, family, metric=metric, higher_is_better=direction, margin=margin, images_are=study.images)

    if readings.effects is None:
        return [compared(readings.family)]
    table = readings.effects.judged(images, metric, verdicts=verdicts)
    return [table, compared(readings.controls)] if readings.controls else [table]


def metric_digits(readings: Readings, metric: str) -> int:
    """Return how many decimals the metric is shown with, everywhere in the report."""
    frames = (readings.images, readings.references) if metric in readings.study.image_keys else (readings.trials,)
    values = [frame[metric].abs().max() for frame in frames if metric in frame]
    return digits(float(np.nanmax(values)) if len(values) and not np.isnan(values).all() else 0.0)


def _of_judged_sets(scores: pd.DataFrame, study: Study, stage: str) -> pd.DataFrame:
    """Return the scores on the images that a stage is judged on: of a confirmation those that the search never saw."""
    sets = study.confirm.sets if stage == CONFIRM and study.confirm else []
    return scores[scores["set"].isin(sets)] if sets else scores


_SHARES = [f"{what}_{end}" for what in ("diverged", "failed", "broke") for end in ("low", "high")]
_BOUNDS = ["bound_difference", "bound_low", "bound_high"]


def _measured(readings: Readings) -> list[str]:
    """Return the keys of the metrics that some image of a trial or reference has."""
    return [
        key
        for key in readings.study.image_keys
        if any(key in frame and frame[key].notna().any() for frame in (readings.images, readings.references))
    ]


def _measured_whole(readings: Readings) -> list[str]:
    """Return the keys of the metrics that some completed trial has as a whole."""
    found = [one.key for one in readings.study.metrics if not one.per_image and one.key in readings.trials]
    return [key for key in found if readings.trials[key].notna().any()]


def _whole_summary(trials: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return mean, sd and number over seeds, by variant, of what trials have as a whole."""
    groups = _finite(trials, metrics).groupby("variant")[metrics]
    return pd.concat([groups.mean(), groups.std().add_suffix(" sd"), groups.count().add_suffix(" n")], axis=1)


def _summary(scores: pd.DataFrame, metrics: list[str], name: str) -> pd.DataFrame:
    """Return mean, sd and number of the seeds' means over images, by `name` and set.

    An image on which no row has a finite score does not take part; a seed that lacks one on any other has no mean.
    """
    scores = _finite(scores.reindex(columns=[name, "set", "image", "seed", *metrics]), metrics)
    by = [name, "set"]
    expected = scores.groupby(["set", "image"])[metrics].transform("count") > 0
    holes = (scores[metrics].isna() & expected).groupby([scores[key] for key in (*by, "seed")]).any()
    groups = scores.groupby([*by, "seed"])
    means = groups[metrics].mean().mask(holes).groupby(by)
    parts: list[pd.DataFrame] = [means.mean(), means.std().add_suffix(" sd"), means.count().add_suffix(" n")]
    counts = scores.groupby(by).agg(seeds=("seed", "nunique"), images=("image", "nunique"))
    return pd.concat([*parts, counts], axis=1)


def _finite(frame: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return a frame with NaN for what is infinite of these metrics: it has no mean."""
    values = frame[metrics].astype(float)
    return frame.assign(**values.where(np.isfinite(values)))


def _endings(trials: pd.DataFrame, variants: list[str]) -> pd.DataFrame:
    """Return for each variant how its trials ended; of one without trials nothing is known."""
    nothing = {**dict.fromkeys(ENDINGS, 0), **{share: float(share.endswith("high")) for share in _SHARES}}
    return outcomes(trials).reindex(variants).fillna(nothing)


def _exploratory(readings: Readings, key: str) -> pd.DataFrame:
    """Return the marginal intervals of a metric that no verdict rests on."""
    table = _judged(readings, readings.judged, key, verdicts=False)
    kept = ["variant", "compared_to", "component", "present", "difference", "low", "high", "effect", "seeds", "images"]
    why = table["why"].where(table["low"].isna(), "exploratory: an interval for itself, no verdict")
    kept += [name for name in ("estimand", "aliases", "sampling") if name in table]
    kept += ["scenes", "n_failed", "partial", "deviation", "left_out"]
    return table[kept].assign(metric=key, role="exploratory", why=why)


def _judged(readings: Readings, images: pd.DataFrame, metric: str, *, verdicts: bool) -> pd.DataFrame:
    """Return the rows of `families`, with the verdicts that hold over all looks where there are any.

    Without `verdicts` there are differences and intervals alone.
    """
    found = families(readings, images, metric, verdicts=verdicts)
    if verdicts and readings.study.looks:
        found = [readings.over_looks(table) for table in found]
    table = pd.concat(found, ignore_index=True)
    return table.assign(n_failed=_broken(readings, table))


def _broken(readings: Readings, table: pd.DataFrame) -> list[int]:
    """Return how many pairs of seeds lost a trial that diverged or failed; of an effect, how many trainings it lost."""
    effects = readings.effects
    behind = effects.behind if effects else {}

    def count(variant: str, compared_to: str) -> int:
        if effects and not compared_to:
            return len(readings.broken(behind[effects.declared, variant]))
        return len(readings.broken([variant, compared_to]).drop_duplicates(["repeat", "seed"]))

    return [count(*pair) for pair in zip(table["variant"], table["compared_to"], strict=True)]


def _bound(readings: Readings) -> dict[str, Any]:
    """Return the primary differences in which every trial that broke down scores as the untouched input."""
    study = readings.study
    broken = readings.trials[readings.trials["state"].isin([DIVERGED, FAILED])]
    if broken.empty or UNTOUCHED not in set(readings.references["method"]):
        return dict.fromkeys(_BOUNDS, np.nan)
    images = judged(scored_as_input(readings.images, readings.trials, readings.references), readings.unit)
    table = _judged(readings, images, study.primary, verdicts=False)
    return {name: table[name.removeprefix("bound_")].where(table["n_failed"] > 0) for name in _BOUNDS}
