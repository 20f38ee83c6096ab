"""Estimates of how alike two sides are, whatever the statistic: p from permuted stimuli, intervals by jackknife."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.alignment import (
    canonical_cosines,
    n_forced,
    projection_weighted,
    shape_angle,
    shape_distance,
)
from brainalign.measures.jackknife import jackknife_interval
from brainalign.measures.representation import Kernel, orthonormal_basis, reduce_units, unit_gram, unit_shape
from brainalign.stats import permutation_p

Array = NDArray[np.float64]
Method = Literal["linear-cka", "rbf-cka", "rv", "procrustes-distance", "angular-distance", "cca", "svcca", "pwcca"]


@dataclass(frozen=True)
class Comparison:
    """A statistic in two steps: what is made of each side once, and what is made of two sides.

    The first step commutes with the order of stimuli, so that a permutation reorders what it made of the second side:
    its rows, and its columns as well where these are stimuli (`square`).
    """

    statistic: str
    first: Callable[[Array], Any]
    second: Callable[[Array], Array]
    combine: Callable[[Any, Array], float]
    limits: tuple[float, float]
    square: bool = False
    distance: bool = False
    canonical: bool = False
    by_unit: bool = False

    def reduce_first(self, x: Array) -> Array:
        """Return the first side in few dimensions, unless its single units count."""
        return x if self.by_unit else reduce_units(x)

    def reorder(self, second: Array, order: NDArray[np.intp]) -> Array:
        """Return what was made of the second side, of stimuli in another order."""
        return second[np.ix_(order, order)] if self.square else second[order]


@dataclass(frozen=True)
class Estimates:
    """Statistics of all pairs of sides, (n_first, n_second) each; NaN where not asked for or not defined."""

    values: Array
    low: Array
    high: Array
    p: Array
    chance: Array
    notes: NDArray[np.object_]


def make_comparison(method: str, debiased: bool, bandwidth: float, variance: float) -> Comparison:
    """Return how a method compares; options are checked by the functions that use them."""
    if method not in get_args(Method):
        raise MeasureError(f"no method {method!r}; {did_you_mean(method, get_args(Method))}")
    if method in ("linear-cka", "rbf-cka", "rv"):
        debiased = debiased and method != "rv"
        kernel: Kernel = "rbf" if method == "rbf-cka" else "linear"
        gram = partial(unit_gram, kernel=kernel, debiased=debiased, bandwidth=bandwidth)
        name = method if debiased or method == "rv" else f"{method} (biased)"
        return Comparison(name, gram, gram, _inner, (-1.0 if debiased else 0.0, 1.0), square=True)
    if method == "procrustes-distance":
        return Comparison(method, unit_shape, unit_shape, shape_distance, (0.0, np.sqrt(2)), distance=True)
    if method == "angular-distance":
        return Comparison(method, unit_shape, unit_shape, shape_angle, (0.0, np.pi / 2), distance=True)
    basis = partial(orthonormal_basis, variance=variance if method == "svcca" else 1.0)
    if method == "pwcca":
        return Comparison(method, _weighted_basis, basis, _weighted_mean, (0.0, 1.0), canonical=True, by_unit=True)
    return Comparison(method, basis, basis, _plain_mean, (0.0, 1.0), canonical=True)


def _inner(a: Array, b: Array) -> float:
    return float(np.vdot(a, b))


def _plain_mean(a: Array, b: Array) -> float:
    return float(canonical_cosines(a, b).mean())


def _weighted_basis(x: Array) -> tuple[Array, Array]:
    basis = orthonormal_basis(reduce_units(x))
    return basis, basis.T @ x


def _weighted_mean(first: tuple[Array, Array], b: Array) -> float:
    return projection_weighted(*first, b)


def estimate(
    comparison: Comparison,
    firsts: Mapping[str, Array],
    seconds: Mapping[str, Array],
    orders: NDArray[np.intp],
    level: float | None,
    wanted: NDArray[np.bool_] | None = None,
) -> Estimates:
    """Compare each first with each second side, with p from reordered stimuli and intervals by leaving out each."""
    n, shape = orders.shape[1], (len(firsts), len(seconds))
    wanted = np.ones(shape, dtype=bool) if wanted is None else wanted
    firsts = {name: comparison.reduce_first(x) for name, x in firsts.items()}
    seconds = {name: reduce_units(x) for name, x in seconds.items()}
    a, b = _each(comparison.first, firsts), _each(comparison.second, seconds)
    values = score_table(comparison, a, b, wanted)
    notes, largest = _saturation(a, b) if comparison.canonical else (np.full(shape, "", dtype=object), np.zeros(shape))
    nan = np.full(shape, np.nan)
    p, chance, low, high = nan.copy(), nan.copy(), nan.copy(), nan.copy()
    tested = wanted & (largest < n - 1)
    if len(orders) > 1 and tested.any():
        null = np.stack([score_table(comparison, a, [comparison.reorder(y, o) for y in b], tested) for o in orders[1:]])
        chance[tested] = null[:, tested].mean(axis=0)
        p[tested] = permutation_p(
            values[tested], null[:, tested], alternative="less" if comparison.distance else "greater"
        )
    # Without one stimulus there is one dimension less.
    bounded = wanted & (largest < n - 2)
    if level is not None and bounded.any():
        without = _left_out(comparison, firsts, seconds, bounded)
        low[bounded], high[bounded] = jackknife_interval(values[bounded], without, comparison.limits, level)
    return Estimates(values, low, high, p, chance, notes)


def _each(step: Callable[[Array], Any], sides: Mapping[str, Array]) -> list[Any]:
    done = []
    for name, x in sides.items():
        try:
            done.append(step(x))
        except MeasureError as why:
            raise MeasureError(f"{name}: {why}") from why
    return done


def score_table(comparison: Comparison, firsts: list[Any], seconds: list[Array], wanted: NDArray[np.bool_]) -> Array:
    """Return the statistic of the wanted pairs of prepared sides, (n_first, n_second), NaN elsewhere."""
    values = np.full(wanted.shape, np.nan)
    for i, j in np.argwhere(wanted).tolist():
        values[i, j] = comparison.combine(firsts[i], seconds[j])
    return values


def _left_out(
    comparison: Comparison, firsts: Mapping[str, Array], seconds: Mapping[str, Array], wanted: NDArray[np.bool_]
) -> Array:
    """Return the statistics of the wanted pairs without each stimulus, (n_stimuli, n_wanted)."""
    rows, columns = np.asarray(wanted.any(axis=1)), np.asarray(wanted.any(axis=0))
    firsts = {name: x for (name, x), used in zip(firsts.items(), rows, strict=True) if used}
    seconds = {name: x for (name, x), used in zip(seconds.items(), columns, strict=True) if used}
    mask = wanted[np.ix_(rows, columns)]
    tables = []
    for i in range(len(next(iter(firsts.values())))):
        a, b = ({name: np.delete(x, i, axis=0) for name, x in sides.items()} for sides in (firsts, seconds))
        tables.append(score_table(comparison, _each(comparison.first, a), _each(comparison.second, b), mask)[mask])
    return np.stack(tables)


def _saturation(firsts: list[Any], seconds: list[Array]) -> tuple[NDArray[np.object_], Array]:
    """Return what is to be said of forced canonical correlations, and the larger number of dimensions, of each pair."""
    notes = np.full((len(firsts), len(seconds)), "", dtype=object)
    largest = np.zeros(notes.shape)
    for i, first in enumerate(firsts):
        a = first[0] if isinstance(first, tuple) else first
        for j, b in enumerate(seconds):
            forced, of = n_forced(a, b), min(a.shape[1], b.shape[1])
            largest[i, j] = max(a.shape[1], b.shape[1])
            said = [f"{forced} of {of} canonical correlations are 1 for any data"] if forced else []
            if largest[i, j] == len(a) - 2:
                said.append("no interval: without one stimulus all canonical correlations are 1 for any data")
            notes[i, j] = "; ".join(said)
    return notes, largest
