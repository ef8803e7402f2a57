"""How often the verdicts' intervals and tests err, on simulated studies whose truth is known; beside usual mistakes.

    python benchmarks/calibration.py [--quick] [--studies N] [--workers N]

A study is a full model and five components, each taken out once, with seeds and images crossed. Standard deviations in
dB, as measured on real trainings: run 0.4, seed x image 0.25, residual 0.1; the effect of a component differs by image
by 0, 0.3 or 0.5 (`by image`; its mean over all images is the truth), runs of the same seed correlate by 0 or 0.7
(`rho`). Noise is normal, has heavy tails (Student's t, 4 degrees of freedom, same deviations), or is unequal (2.5 times
as much in the variants as in the full model). Every combination with 3, 5 and 10 seeds and 7 and 15 images is a cell.

`images like these` asks for the mean over all images, `these images` for the mean over those of the study. Five
comparisons of a study are averaged for coverage and errors; family-wise is an error in any of them, by Holm's steps.
Everything is computed for all studies of a cell at once; on a sample of each cell it is compared with what
`analysis.statistics`, `analysis.linear` and `analysis.compare` say, and a difference ends the run.

The mistakes: Student's t on seed means, read as speaking of images like these; t over seeds x images as if each were a
run; the crossed percentile bootstrap; Welch's t where seeds are shared (valid, too wide); the best of 7 evaluations on
the reported images, where one arm oscillates twice as much (0.53 dB in the other). Their figures are on the same
studies. A bound that is missed is said so, with the distance in standard errors of the simulation.

Power is that of a true effect of 2 seed deviations, beside an oracle's that knows the variances. "A seed deviation" is
once that of a run (the mean square of the two arms'), once that of the difference over seeds. Equivalence is reached
where the difference is truly 0 and the margin the smallest for which `analysis.statistics.seeds_needed` says that these
seeds suffice, with a power of 80 % (for images like these where effects do not differ by image: else seeds alone never
suffice).

Random orders of seven components, each study with orders of its own: the intervals of Shapley values for these images
against the values over all orders, where components interact in twos and threes, and where nothing works unless all are
there (`benchmarks.simulated_orders.TRUTHS`); what the intervals would cover without the error of drawing orders.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process for each core instead

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

from analysis.factorial import effect_weights, full  # noqa: E402
from analysis.linear import Runs, contrast  # noqa: E402
from analysis.statistics import seeds_needed  # noqa: E402
from benchmarks.simulated_orders import NAMES, TRUTHS, OrdersCell, of_orders, orders_cells  # noqa: E402
from benchmarks.simulated_studies import (  # noqa: E402
    CELL_SD,
    COMPONENTS,
    ESTIMANDS,
    LOOKS,
    MARGIN,
    NOISES,
    RUN_SD,
    RUNS,
    TRUE,
    Cell,
    cells,
    drawn,
    figures,
    looked,
    looked_one_by_one,
    main_effects,
    mistakes,
    parted,
    proven,
    same,
)

EFFECT = 2.0  # seed deviations, for power


def margin_for(deviation: float, seeds: int) -> float:
    """Return the smallest margin of which `analysis.statistics.seeds_needed` says that so many seeds decide."""
    low, high = 0.0, 100 * deviation
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if seeds_needed(deviation, middle) <= seeds else (middle, high)
    return high


def measured(cell: Cell, studies: int, seed: int) -> dict[str, Any]:
    """Return the figures of a cell."""
    rng = np.random.default_rng([seed, cells().index(cell)])
    scores, by_image = drawn(cell, studies, rng)
    parts = parted(scores[:, 1:] - scores[:, :1])
    truth = {"sample": 0.0, "these": by_image.mean(axis=2)}
    found: dict[str, Any] = {"proven": proven(scores, parts, rng, sample=5)}
    rival = {"sample": parts.satterthwaite(0.05), "these": parts.half(0.05, "these")}
    for estimand in ESTIMANDS:
        halves = [parts.half(level, estimand) for level in (0.05, 0.01)]
        off = parts.difference - truth[estimand]
        found[estimand] = figures(*halves, off, rival[estimand])
        known = stats.norm.ppf(0.975) * cell.error(estimand)
        deviation = np.sqrt(cell.seeds) * cell.error(estimand)
        for name, effect in (("run", RUN_SD * np.sqrt((1 + cell.scale**2) / 2)), ("difference", deviation)):
            shifted = np.abs(off + EFFECT * effect)
            found[estimand][f"power {name}"] = float((shifted > halves[0]).mean())
            found[estimand][f"oracle {name}"] = float((shifted > known).mean())
        room = margin_for(deviation, cell.seeds) - np.abs(off)
        found[estimand]["equivalent"] = float((room > parts.half(0.10, estimand)).mean())
    found["mistakes"] = mistakes(scores, parts, rng)
    found["mistakes"]["Satterthwaite"] = figures(
        rival["sample"], parts.satterthwaite(0.01), parts.difference, rival["sample"]
    )
    return found


def missing_runs(studies: int, seed: int) -> list[tuple[str, float, float]]:
    """Return (what, coverage, error at 1 %) of a main effect of a 2^3 factorial in which whole runs are missing."""
    rng = np.random.default_rng([seed, 1000])
    runs_of = full("abc").runs
    signs = effect_weights(frozenset("a"), runs_of)
    weights = {str(place): float(signs[run]) for place, run in enumerate(runs_of)}
    rows = []
    for seeds, lost, rho in itertools.product((3, 5), (1, 3), (0.0, 0.7)):
        kept = [at for at in itertools.product(range(8), range(seeds)) if at not in [(0, 0), (3, 1), (5, 2)][:lost]]
        of_variant, of_seed = [str(variant) for variant, _ in kept], [label for _, label in kept]
        covered = np.zeros(2)
        for _ in range(studies):
            runs = np.sqrt(rho) * rng.standard_normal((1, seeds, 1))
            runs = runs + np.sqrt(1 - rho) * rng.standard_normal((8, seeds, 1))
            scores = RUN_SD * runs + CELL_SD * rng.standard_normal((8, seeds, 7)) + 0.3 * rng.standard_normal((8, 1, 7))
            found = contrast(
                Runs(of_variant, of_seed, scores[tuple(zip(*kept, strict=True))]), weights, images="sample"
            )
            same(found.p() >= 0.01, abs(found.difference) <= found.half_width(0.01))  # fractional degrees of freedom
            covered += [abs(found.difference) <= found.half_width(), found.p() >= 0.01]
        rows.append((f"{lost} of {8 * seeds} runs, rho {rho}", covered[0] / studies, 1 - covered[1] / studies))
    return rows


def sequential(studies: int, seed: int) -> list[dict[str, Any]]:
    """Return for some kinds of studies the errors of looking at 3, 5, 8 and 12 seeds, and what is saved.

    Leave-one-out, then the main effects of a fraction of resolution V, of which all runs go on until all is decided.
    """
    rows = []
    for place, (crossed, noise, rho) in enumerate(itertools.product((False, True), NOISES, (0.0, 0.7))):
        cell, rng = Cell(noise, 0.0, rho, LOOKS[-1], 7), np.random.default_rng([seed, 2000 + place])
        if crossed:
            d = main_effects(cell, studies, rng)
        else:
            scores, _ = drawn(cell, studies, rng)
            d = scores[:, 1:] - scores[:, :1]
        none, naive = looked(d, spending=True), looked(d, spending=False)
        mixed = d + TRUE[:, None, None]
        found = looked(mixed, spending=True, margin=MARGIN)
        for study in range(10):
            own = looked_one_by_one(mixed[study], MARGIN)
            same([place in own[0] for place in range(COMPONENTS)], found.differs[study])
            same([place in own[1] for place in range(COMPONENTS)], found.equivalent[study])
        wrong = found.differs & (TRUE == 0) | found.equivalent & (np.abs(TRUE) >= MARGIN)
        longest = found.seeds.max(axis=1)
        trainings = RUNS * longest if crossed else found.seeds.sum(axis=1) + longest
        most = LOOKS[-1] * (RUNS if crossed else 1 + COMPONENTS)
        rows.append({
            "study": f"{'effects, ' if crossed else ''}{noise}, rho {rho}", "most": most,
            "family": float(none.differs.any(axis=1).mean()),
            "naive": float(naive.differs.any(axis=1).mean()), "false": float(wrong.any(axis=1).mean()),
            "found": found.differs.mean(axis=0)[2:].round(3).tolist(),
            "equivalent": float(found.equivalent[:, :2].mean()), "trainings": float(trainings.mean()),
        })  # fmt: skip
    return rows


Measured = Mapping[Cell, Mapping[str, Any]]
OrdersMeasured = Mapping[OrdersCell, Mapping[str, Any]]


@dataclass(frozen=True)
class Bound:
    """A bound on a figure of some cells: at least, or at most, `bound`."""

    name: str
    bound: float
    at_least: bool
    values: Mapping[Any, float]
    errors: Mapping[Any, float]

    def worst(self) -> tuple[Cell | OrdersCell, float]:
        """Return the cell that is worst, and its figure."""
        return (min if self.at_least else max)(self.values.items(), key=lambda one: one[1])

    def missing(self) -> list[Cell | OrdersCell]:
        """Return the cells that miss the bound."""
        return [cell for cell, one in self.values.items() if (one < self.bound if self.at_least else one > self.bound)]

    def row(self) -> str:
        """Return the figure as a line."""
        cell, worst = self.worst()
        missing = len(self.missing())
        said = (
            f"missed in {missing} of {len(self.values)} cells" if missing else f"kept in all {len(self.values)} cells"
        )
        if missing and self.errors[cell]:
            said += f", the worst by {abs(worst - self.bound) / self.errors[cell]:.1f} standard errors"
        sign = ">=" if self.at_least else "<="
        return f"{self.name:58}{sign} {self.bound:<7.4g}{worst:8.4f}  {said}; worst: {cell}"


def bound_on_share(name: str, bound: float, at_least: bool, values: Mapping[Any, float], studies: int) -> Bound:
    """Return a bound on shares of so many studies."""
    errors = {cell: float(np.sqrt(max(one * (1 - one), 0) / studies)) for cell, one in values.items()}
    return Bound(name, bound, at_least, values, errors)


def bounds(found: Measured, studies: int) -> list[Bound]:
    """Return every bound on the recommended interval."""
    rows = []
    for estimand, words in (("sample", "images like these"), ("these", "these images")):
        of = {cell: one[estimand] for cell, one in found.items()}
        five = {cell: one for cell, one in of.items() if cell.seeds == 5}
        for key, name, bound, at_least in (
            ("coverage", "coverage of 95 % intervals", 0.94, True),
            ("error1", "error at nominal 1 %", 0.013, False),
        ):
            values, errors = ({cell: one[part] for cell, one in of.items()} for part in (key, f"{key} se"))
            rows.append(Bound(f"{words}: {name}", bound, at_least, values, errors))
        for name, noises, bound in (("normal noise", NOISES[:1], 0.05), ("other noise", NOISES[1:], 0.06)):
            values = {cell: one["family"] for cell, one in of.items() if cell.noise in noises}
            rows.append(bound_on_share(f"{words}: family-wise error, {name}", bound, False, values, studies))
        for name in ("run", "difference"):
            values = {cell: one[f"power {name}"] / one[f"oracle {name}"] for cell, one in five.items()}
            rows.append(bound_on_share(f"{words}: power / oracle's, 2 sd of a {name}", 0.8, True, values, studies))
        values = {cell: one["equivalent"] for cell, one in of.items() if estimand == "these" or not cell.by_image}
        rows.append(bound_on_share(f"{words}: equivalence reached", 0.8, True, values, studies))
    wide = {cell: one["sample"]["width"] for cell, one in found.items() if cell.seeds >= 5}
    return [*rows, Bound("images like these: width / Satterthwaite's", 1.15, False, wide, dict.fromkeys(wide, 0.0))]


def orders_bounds(found: OrdersMeasured, studies: int) -> list[Bound]:
    """Return every bound on the intervals of Shapley values from random orders."""
    rows = []
    for truth in TRUTHS:
        of, words = {cell: one for cell, one in found.items() if cell.truth == truth}, f"random orders, {truth}"
        values, errors = ({cell: one[part] for cell, one in of.items()} for part in ("coverage", "coverage se"))
        rows.append(Bound(f"{words}: coverage", 0.94, True, values, errors))
        for key, name, bound in (("error5", "error at 5 %", 0.06), ("error1", "error at 1 %", 0.013)):
            values = {cell: float(max(one[key])) for cell, one in of.items()}
            rows.append(bound_on_share(f"{words}: {name}, true value 0", bound, False, values, studies))
    return rows


def print_coverage(found: Measured) -> None:
    """Print the coverage of each cell, and beside it the width over Satterthwaite's."""
    sizes = sorted({(cell.seeds, cell.images) for cell in found})
    print("\nCoverage of the 95 % interval for images like these, and its median width over Satterthwaite's")
    print(f"{'':40}" + "".join(f"{f'{seeds} x {images}':>14}" for seeds, images in sizes))
    kinds = dict.fromkeys((cell.noise, cell.by_image, cell.rho) for cell in found)
    for noise, by_image, rho in kinds:
        row = [found.get(Cell(noise, by_image, rho, *size)) for size in sizes]
        texts = [f"{one['sample']['coverage']:.3f} ({one['sample']['width']:.2f})" if one else "" for one in row]
        print(f"{f'{noise}, by image {by_image}, rho {rho}':40}" + "".join(f"{text:>14}" for text in texts))


def print_orders(found: OrdersMeasured) -> dict[str, dict[str, float]]:
    """Print the figures of each cell of random orders, and return the least coverage with and without their error."""
    sizes = sorted({(cell.count, cell.cell.seeds) for cell in found})
    print(
        f"\nShapley values from random orders of {len(NAMES)} components (orders x seeds): coverage of 95 % intervals,"
    )
    print("mean and least of the components, and error at nominal 5 % where the true value is 0 (the larger of two)")
    print(f"{'':40}" + "".join(f"{f'{count} x {seeds}':>19}" for count, seeds in sizes))
    kinds: dict[tuple[str, str, float], str] = {}
    for cell, one in found.items():
        kind = (cell.truth, cell.cell.noise, cell.cell.rho)
        text = f"{one['coverage']:.3f} {min(one['of each']):.3f} {max(one['error5']):.3f}"
        kinds[kind] = kinds.get(kind, "") + f"{text:>19}"
    for (truth, noise, rho), texts in kinds.items():
        print(f"{f'{truth}, {noise}, rho {rho}':40}{texts}")
    summary = {}
    for truth in TRUTHS:
        of = [one for cell, one in found.items() if cell.truth == truth]
        least, alone = (min(one[key] for one in of) for key in ("coverage", "seeds alone"))
        print(f"{truth}: least coverage {least:.3f}; without the error of drawing orders {alone:.3f}")
        summary[truth] = {"least coverage": round(least, 4), "without the error of drawing": round(alone, 4)}
    return summary


def print_methods(found: Measured) -> dict[str, dict[str, float]]:
    """Print the recommended interval and the mistakes side by side, and return their figures."""
    methods: dict[str, list[Mapping[str, float]]] = {
        "recommended (images like these)": [],
        "recommended (these images)": [],
    }
    for one in found.values():
        for name, estimand in zip(list(methods)[:2], ESTIMANDS, strict=True):
            methods[name].append(one[estimand])
        for name, of_mistake in one["mistakes"].items():
            methods.setdefault(name, []).append(of_mistake)
    head = ("least coverage", "mean coverage", "most at 1 %", "most family", "width")
    print("\nMethods over all cells; those from the third on are read as speaking of images like these")
    print(f"{'':34}" + "".join(f"{word:>16}" for word in head))
    summary = {}
    for name, rows in methods.items():
        coverage = [row["coverage"] for row in rows]
        numbers = (
            min(coverage),
            float(np.mean(coverage)),
            *(max(row[key] for row in rows) for key in ("error1", "family")),
        )
        width = float(np.median([row["width"] for row in rows]))
        summary[name] = dict(zip(head, (*(round(one, 4) for one in numbers), round(width, 3)), strict=True))
        print(f"{name:34}" + "".join(f"{one:16.3f}" for one in (*numbers, width)))
    return summary


def print_sequential(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print what looking at several numbers of seeds does."""
    print(
        "\nLooking at 3, 5, 8, 12 seeds: family-wise error of five components without effect (bound 0.05); then, with"
    )
    print(
        "true effects of 0, 0, 0.6, 1.0, -1.5 dB and a margin of 0.5: any false verdict, found, trainings; `effects`:"
    )
    print(f"main effects from {RUNS} runs, else leave-one-out")
    print(f"{'':32}{'family':>8}{'unspent':>9}{'false':>8}   {'found (0.6, 1, -1.5)':24}{'equal':>8}{'trainings':>17}")
    for row in rows:
        print(
            f"{row['study']:32}{row['family']:8.3f}{row['naive']:9.3f}{row['false']:8.3f}   {row['found']!s:24}"
            f"{row['equivalent']:8.3f}{row['trainings']:10.1f} of {row['most']:3}"
        )


def _is_quick(cell: Cell) -> bool:
    return cell.images == 7 and cell.seeds < 10 and cell.by_image != 0.5


def _is_quick_of_orders(kind: OrdersCell) -> bool:
    return kind.count == 20 and _is_quick(kind.cell)


def main() -> None:
    """Simulate, compare, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="400 studies a cell, 24 of 108 cells and 24 of 72: under a minute"
    )
    parser.add_argument("--studies", type=int, help="a cell (default: 4000; with --quick 400)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    studies, begun = chosen.studies or (400 if chosen.quick else 4000), time.time()
    kinds = [cell for cell in cells() if not chosen.quick or _is_quick(cell)]
    kinds_of_orders = [kind for kind in orders_cells() if not chosen.quick or _is_quick_of_orders(kind)]
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        of_cells = [pool.submit(measured, cell, studies, chosen.seed) for cell in kinds]
        lacking = pool.submit(missing_runs, studies, chosen.seed)
        looks = pool.submit(sequential, studies, chosen.seed)
        on_orders = [pool.submit(of_orders, kind, studies, chosen.seed) for kind in kinds_of_orders]
        found = dict(zip(kinds, (one.result() for one in of_cells), strict=True))
        lost, looked_at = lacking.result(), looks.result()
        found_of_orders = dict(zip(kinds_of_orders, (one.result() for one in on_orders), strict=True))
    count = sum(one["proven"] for one in (*found.values(), *found_of_orders.values()))
    print(f"{len(kinds)} cells x {studies} studies x {COMPONENTS} components, {len(kinds_of_orders)} of random orders;")
    print(f"{count} comparisons, computed again by the analysis itself, are the same")
    print_coverage(found)
    print(f"\n{'The recommended interval':58}{'bound':10}{'worst':>8}")
    limits = bounds(found, studies) + orders_bounds(found_of_orders, studies)
    for limit in limits:
        print(limit.row())
    methods = print_methods(found)
    print("\nMain effects of a 2^3 factorial with whole runs missing: coverage, error at nominal 1 %")
    for what, coverage, error in lost:
        print(f"{what:34}{coverage:8.3f}{error:8.4f}")
    print_sequential(looked_at)
    drawing = print_orders(found_of_orders)
    missed = {limit.name: len(limit.missing()) for limit in limits if limit.missing()}
    print("\nMissed bounds: " + ("; ".join(f"{name} ({cells} cells)" for name, cells in missed.items()) or "none"))
    rival = (
        "crossed percentile bootstrap: how often its 95 % intervals miss, over how often ours do (images like these)"
    )
    theirs, ours = (
        1 - methods[name]["mean coverage"] for name in ("crossed percentile bootstrap", next(iter(methods)))
    )
    print(json.dumps({
        "name": "calibration", "rival": rival, "ratio": round(theirs / ours, 2), "studies": studies,
        "cells": len(kinds), "seconds": round(time.time() - begun, 1), "missed": missed,
        "worst": {limit.name: round(limit.worst()[1], 4) for limit in limits}, "methods": methods,
        "missing_runs": {what: [round(one, 4) for one in numbers] for what, *numbers in lost},
        "sequential": looked_at, "orders": drawing,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
