"""Designs of components that are there or taken out, what they confuse, and the weights of what they estimate. Pure.

A *run* is the set of components that are there; the full model has them all. Full and regular fractional factorials
are groups: of a fraction's components some, the generators', follow the product of the signs of others (Box and Hunter
1961, Technometrics 3:311), and effects whose product is a *word* of the defining relation are aliases: no data of that
fraction tells them apart. The fractions here contain the full model, so every word has a plus sign.

Shapley values: Shapley 1953; as an average over orders, Castro, Gomez and Tejada 2009 (Computers & Operations
Research 36:1726).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from math import factorial, sqrt
from random import Random

from analysis.errors import DesignError

__all__ = [
    "FEWEST_ORDERS",
    "MOST_EXACT",
    "Factorial",
    "Run",
    "aliases",
    "defining_words",
    "effect_weights",
    "fractional",
    "full",
    "named",
    "orders",
    "orders_seed",
    "runs_of_orders",
    "shapley_weights",
    "spreads",
    "steps_of_order",
]

Run = frozenset[str]

FEWEST_ORDERS = 20
"""With fewer random orders a component may stand on the same side of another in all of them, as if there were no error
of drawing: of 4, a true Shapley value of 0 was then taken for an effect in 12 % of simulated studies."""
MOST_EXACT = 6
"""Up to so many components Shapley values are exact, from all 64 runs; beyond, they are means over random orders."""

# Generators of minimum aberration for the resolutions that may be asked for, by number of components and of runs (Box,
# Hunter and Hunter, Statistics for Experimenters, table 12.15; Fries and Hunter 1980, Technometrics 22:601). The first
# letters are free.
_GENERATORS: dict[tuple[int, int], tuple[str, ...]] = {
    (3, 4): ("AB",),
    (4, 8): ("ABC",),
    (5, 8): ("AB", "AC"),
    (5, 16): ("ABCD",),
    (6, 8): ("AB", "AC", "BC"),
    (6, 16): ("ABC", "BCD"),
    (6, 32): ("ABCDE",),
    (7, 8): ("AB", "AC", "BC", "ABC"),
    (7, 16): ("ABC", "BCD", "ACD"),
    (7, 64): ("ABCDEF",),
    (8, 16): ("BCD", "ACD", "ABC", "ABD"),
    (8, 64): ("ABCD", "ABEF"),
}
_LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Factorial:
    """A full or regular fractional factorial of two levels: there, or taken out.

    Args:
        components: their names.
        runs: the full model first.
        generators: component -> the free components whose product of signs it follows; empty for a full factorial.
        words: the defining relation without the identity, shortest first; empty for a full factorial.
    """

    components: tuple[str, ...]
    runs: tuple[Run, ...]
    generators: Mapping[str, Run]
    words: tuple[Run, ...]

    @property
    def resolution(self) -> int | None:
        """The length of the shortest word; None for a full factorial, which has none.

        At III main effects and interactions of two are aliases, at IV such interactions of each other, at V of
        interactions of three alone.
        """
        return min(map(len, self.words)) if self.words else None


def full(components: Sequence[str]) -> Factorial:
    """Return the full factorial: 2^k runs.

    Raises:
        DesignError: if there is no component, or one comes twice.
    """
    names = _checked(components)
    runs = tuple(frozenset(names) - frozenset(out) for n in range(len(names) + 1) for out in combinations(names, n))
    return Factorial(names, runs, {}, ())


def fractional(components: Sequence[str], resolution: int) -> Factorial:
    """Return the smallest fraction of at least this resolution, with generators of minimum aberration.

    Args:
        components: 3 to 8.
        resolution: 3 (for screening), 4 or 5. Where no fraction has it, the full factorial is returned.

    Raises:
        DesignError: if the number of components or the resolution is another.
    """
    names = _checked(components)
    if resolution not in (3, 4, 5):
        raise DesignError(f"resolution: expected 3, 4 or 5, got {resolution}")
    if not 3 <= len(names) <= len(_LETTERS):
        raise DesignError(f"a fractional factorial takes 3 to {len(_LETTERS)} components, got {len(names)}")
    for runs in sorted(runs for count, runs in _GENERATORS if count == len(names)):
        found = _fraction(names, _GENERATORS[len(names), runs])
        if (found.resolution or 0) >= resolution:
            return found
    return full(names)


def _fraction(names: tuple[str, ...], generators: Sequence[str]) -> Factorial:
    free, bound = names[: -len(generators)], names[-len(generators) :]
    spelt = [frozenset(names[_LETTERS.index(letter)] for letter in word) for word in generators]
    runs = []
    for run in full(free).runs:
        follow = [name for name, word in zip(bound, spelt, strict=True) if len(word - run) % 2 == 0]
        runs.append(run | frozenset(follow))
    return Factorial(names, tuple(runs), dict(zip(bound, spelt, strict=True)), defining_words(names, runs))


def defining_words(components: Sequence[str], runs: Collection[Run]) -> tuple[Run, ...]:
    """Return the words of the defining relation of a full or regular fractional factorial, shortest first.

    Raises:
        DesignError: if the runs are no such design: the full model is not among them, a run comes twice, or there is
            no group of effects that they confuse as a whole.
    """
    names = _checked(components)
    out = [sum(1 << place for place, name in enumerate(names) if name not in run) for run in runs]
    if 0 not in out:
        raise DesignError("expected the full model among the runs of a factorial design")
    if len(set(out)) < len(out):
        raise DesignError("expected every run of a factorial design once, but one comes twice")
    basis = _basis(out)
    if len(out) != 1 << len(basis):
        raise DesignError(
            f"expected a full factorial of {len(names)} components or a regular fraction of it, got {len(out)} runs "
            f"that span {1 << len(basis)}"
        )
    words = [word for word in range(1, 1 << len(names)) if all((word & one).bit_count() % 2 == 0 for one in basis)]
    found = [frozenset(name for place, name in enumerate(names) if word >> place & 1) for word in words]
    return tuple(sorted(found, key=lambda word: (len(word), _places(word, names))))


def aliases(effect: Run, words: Iterable[Run], *, order: int = 2) -> list[Run]:
    """Return the other effects of up to `order` components that cannot be told from this one, the shortest first."""
    found = [effect ^ word for word in words]
    return sorted((one for one in found if 0 < len(one) <= order), key=lambda one: (len(one), sorted(one)))


def named(effect: Run, components: Sequence[str]) -> str:
    """Return an effect's name: `a`, or `a x b`."""
    return " x ".join(name for name in components if name in effect)


def effect_weights(effect: Run, runs: Collection[Run]) -> dict[Run, Fraction]:
    """Return the weights of a main effect or interaction: the mean of the runs of sign + less that of sign -.

    A run's sign is + if an even number of the effect's components is taken out. So an interaction of two is half of
    what the effect of one changes by when the other is there.
    """
    half = Fraction(2, len(runs))
    return {run: half if len(effect - run) % 2 == 0 else -half for run in runs}


def shapley_weights(component: str, components: Sequence[str]) -> dict[Run, Fraction]:
    """Return the weights of a component's exact Shapley value on all 2^k runs."""
    count = len(_checked(components))
    weights = {}
    for run in full(components).runs:
        others = len(run - {component})
        share = Fraction(factorial(others) * factorial(count - others - 1), factorial(count))
        weights[run] = share if component in run else -share
    return weights


def orders(components: Sequence[str], count: int, *, seed: int) -> list[tuple[str, ...]]:
    """Return so many random orders of the components, independently drawn; the same for the same seed.

    Of more orders the first are those of fewer: a study that asks for more keeps what it has trained.
    """
    names, random = _checked(components), Random(seed)
    return [tuple(random.sample(names, len(names))) for _ in range(count)]


def orders_seed(study: str) -> int:
    """Return the seed of a study's random orders, from its name: the same spec, the same variants.

    Studies that all drew the same orders would all err the same way: an error rate holds over draws.
    """
    return int.from_bytes(sha256(study.encode()).digest()[:8], "big")


def runs_of_orders(drawn: Iterable[Sequence[str]]) -> list[Run]:
    """Return the runs that Shapley values over these orders need, each once, the full model first."""
    runs = {frozenset(order[:length]) for order in drawn for length in range(len(order) + 1)}
    return sorted(runs, key=lambda run: (-len(run), sorted(run)))


def steps_of_order(order: Sequence[str]) -> dict[str, dict[Run, Fraction]]:
    """Return for each component the weights of what it adds to those before it in the order."""
    steps = {}
    for place, name in enumerate(order):
        steps[name] = {frozenset(order[: place + 1]): Fraction(1), frozenset(order[:place]): Fraction(-1)}
    return steps


def spreads(components: Sequence[str], runs: Collection[Run], drawn: Sequence[Sequence[str]] = ()) -> dict[str, float]:
    """Return how each component's effect varies over seeds, over how one run does, if runs have nothing in common.

    Args:
        components: their names.
        runs: of the design.
        drawn: random orders, of whose Shapley values that is; without them it is of main effects.
    """
    found = {}
    for name in components:
        weights: dict[Run, Fraction] = {}
        if not drawn:
            weights = effect_weights(frozenset({name}), runs)
        elif len(runs) == 1 << len(components):
            weights = shapley_weights(name, components)
        else:
            for order in drawn:
                for run, sign in steps_of_order(order)[name].items():
                    weights[run] = weights.get(run, Fraction(0)) + sign / len(drawn)
        found[name] = sqrt(sum(weight**2 for weight in weights.values()))
    return found


def _checked(components: Sequence[str]) -> tuple[str, ...]:
    names = tuple(components)
    if not names or len(set(names)) < len(names):
        raise DesignError(f"expected components, each once, got {', '.join(names) or 'none'}")
    return names


def _basis(vectors: Iterable[int]) -> list[int]:
    """Return independent bit vectors that span these, over the field of two elements."""
    basis: list[int] = []
    for vector in vectors:
        for one in basis:
            vector = min(vector, vector ^ one)
        if vector:
            basis.append(vector)
    return basis


def _places(word: Run, names: Sequence[str]) -> list[int]:
    return [place for place, name in enumerate(names) if name in word]
