"""Resampling of stimuli by weights: nothing is copied, and all resamples are computed at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from brainalign.errors import MeasureError
from brainalign.stats import bca_limits, bootstrap_counts, permute_labels, shifted_percentile_limits

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ZeroOr:
    """Limits of a whole number of which 0 means without, and a few mean nothing.

    Attributes
    ----------
    least : int
        From here on it says something.
    most : int or None
        Up to here, if there is a limit.
    """

    least: int
    most: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        most = {} if self.most is None else {"maximum": self.most}
        too_few = {"exclusiveMinimum": 0, "exclusiveMaximum": self.least}
        return {**handler(schema), "minimum": 0, **most, "not": too_few}

    def _check(self, value: int) -> int:
        if value == 0 or (value >= self.least and (self.most is None or value <= self.most)):
            return value
        expected = f"0 or at least {self.least}" if self.most is None else f"0 or {self.least} to {self.most:,}"
        raise PydanticCustomError("expected", "{words}", {"words": expected})


#: Fewer bootstrap samples have no tails.
LEAST_SAMPLES = 20
#: Types of options that measures share; a recipe is held to their limits before anything is computed.
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Resamples = Annotated[int, ZeroOr(LEAST_SAMPLES, 1_000_000)]
Level = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(gt=0, le=1)]
#: Note beside an interval that takes the place of BCa.
NO_BCA = "percentile interval, shifted by the bias of the resamples: BCa does not exist"

#: Jackknife samples that are computed at a time.
BLOCK = 512


def check_seed(seed: int) -> None:
    """Raise unless a seed is a whole number of at least 0.

    Parameters
    ----------
    seed : int
        What was given.

    Raises
    ------
    MeasureError
        If it is none.
    """
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer) or seed < 0:
        raise MeasureError(f"seed is {seed!r}, expected a whole number of at least 0")


def check_permutations(n_permutations: int) -> None:
    """Raise unless a number of permutations can be drawn.

    Parameters
    ----------
    n_permutations : int
        What was given.

    Raises
    ------
    MeasureError
        If it is not 0 to 1,000,000.
    """
    if not 0 <= n_permutations <= 1_000_000:
        raise MeasureError(f"n_permutations is {n_permutations}, expected 0 to 1,000,000")


def check_resamples(n_bootstrap: int) -> None:
    """Raise unless a number of bootstrap samples gives an interval, or is 0.

    Parameters
    ----------
    n_bootstrap : int
        What was given.

    Raises
    ------
    MeasureError
        If it is not 0 or 20 to 1,000,000.
    """
    if n_bootstrap != 0 and not LEAST_SAMPLES <= n_bootstrap <= 1_000_000:
        raise MeasureError(f"n_bootstrap is {n_bootstrap}, expected 0 (no interval) or {LEAST_SAMPLES} to 1,000,000")


def draw_orders(
    n: int, n_permutations: int, rng: np.random.Generator, ids: Sequence[str] | None = None
) -> NDArray[np.intp]:
    """Return the measured order of `n` stimuli and random ones.

    Parameters
    ----------
    n : int
        Number of stimuli.
    n_permutations : int
        Number of random orders; may be 0.
    rng : numpy Generator
        The source of randomness.
    ids : sequence of str, length n, optional
        Ids of the stimuli: the draw then belongs to them, whatever their order.

    Returns
    -------
    ndarray of int, shape (1 + n_permutations, n)
        The first row is 0, 1 ... n - 1.
    """
    check_permutations(n_permutations)
    measured = np.arange(n, dtype=np.intp)[None]
    if not n_permutations:
        return measured
    drawn = permute_labels(n, n_permutations, rng)
    if ids is not None:
        sorter, rank = _by_id(ids)
        drawn = sorter[drawn[:, rank]]
    return np.vstack([measured, drawn])


def draw_counts(
    n: int,
    n_bootstrap: int,
    rng: np.random.Generator,
    strata: NDArray[np.generic] | None = None,
    ids: Sequence[str] | None = None,
) -> NDArray[np.int64]:
    """Return how often each bootstrap sample draws each stimulus, as ``bootstrap_counts``, but of 0 samples too.

    Parameters
    ----------
    n : int
        Number of stimuli.
    n_bootstrap : int
        Number of samples; 0, or at least 20.
    rng : numpy Generator
        The source of randomness.
    strata : ndarray, shape (n,), optional
        Labels within which is drawn.
    ids : sequence of str, length n, optional
        Ids of the stimuli: the draw then belongs to them, whatever their order.

    Returns
    -------
    ndarray of int, shape (n_bootstrap, n)
        Each row sums to n.

    Raises
    ------
    MeasureError
        If there are too few samples for tails.
    """
    check_resamples(n_bootstrap)
    if n_bootstrap == 0:
        return np.empty((0, n), dtype=np.int64)
    if ids is None:
        return bootstrap_counts(n, n_bootstrap, rng, strata=strata)
    sorter, rank = _by_id(ids)
    return bootstrap_counts(n, n_bootstrap, rng, strata=None if strata is None else strata[sorter])[:, rank]


def _by_id(ids: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order that sorts ids, and the place of each id in it."""
    sorter = np.argsort(np.asarray(ids, dtype=str), kind="stable")
    return sorter, np.argsort(sorter)


def interval(
    values: Array,
    counts: NDArray[np.int64],
    statistic: Callable[[Array], Array],
    level: float,
    strata: NDArray[np.generic] | None = None,
) -> tuple[Array, Array, list[str]]:
    """Return BCa limits of statistics that take weights of stimuli.

    Parameters
    ----------
    values : ndarray, shape (n_targets,)
        The statistics of the data.
    counts : ndarray, shape (n_resamples, n_stimuli)
        Bootstrap samples, see :func:`draw_counts`; with none the limits are NaN.
    statistic : callable
        Takes weights (n_resamples, n_stimuli), gives statistics (n_resamples, n_targets).
    level : float
        Coverage.
    strata : ndarray, shape (n_stimuli,), optional
        Labels within which the samples were drawn.

    Returns
    -------
    low, high : ndarray, shape (n_targets,)
        The limits; where BCa does not exist (the value lies at the edge of its bootstrap distribution), percentile
        limits shifted by the bias of the resamples
        (:func:`~brainalign.stats.resampling.shifted_percentile_limits`), which enclose the value.
    notes : list of str, length n_targets
        Says where that was so.

    Raises
    ------
    MeasureError
        If the level is no share.
    """
    if not 0 < level < 1:
        raise MeasureError(f"level is {level}, expected a share between 0 and 1, such as 0.95")
    if len(counts) == 0:
        empty = np.full(len(values), np.nan)
        return empty, empty, [""] * len(values)
    resampled = statistic(counts.astype(np.float64))
    # In blocks: with many stimuli the weights of all jackknife samples would not fit into memory at once.
    n = counts.shape[1]
    blocks = [np.arange(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    jackknife = np.concatenate([statistic(_without(rows, n)) for rows in blocks])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="BCa limits do not exist")
        low, high = (np.atleast_1d(x) for x in bca_limits(values, resampled, jackknife, level, strata=strata))
    undefined = np.isnan(low)
    shifted = shifted_percentile_limits(values, resampled, level)
    low, high = np.where(undefined, shifted[0], low), np.where(undefined, shifted[1], high)
    return low, high, [NO_BCA if u else "" for u in undefined]


def _without(rows: NDArray[np.intp], n: int) -> Array:
    """Return weights of `n` stimuli that leave out one each."""
    weights = np.ones((len(rows), n))
    weights[np.arange(len(rows)), rows] = 0
    return weights
