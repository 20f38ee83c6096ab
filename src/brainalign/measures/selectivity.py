"""Selectivity of single units for a category of sounds, of all units at once.

An index compares the responses to target sounds with those to the rest. All indices but the AUC rest on sums of
responses and of their squares over the targets; for permuted labels these sums are matrix products, which is what
makes permutation tests of all units fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean

Array = NDArray[np.float64]
Index = Literal["welch-t", "kim2024", "plain-sum", "d-prime", "auc"]

#: Share of units that count as selective: 32 of 256 in Kim et al. 2024.
FRACTION = 0.125
#: Variances below this share of a unit's variance over all sounds are rounding.
_NO_VARIANCE = 1e-12


def selectivity(values: Array, is_target: NDArray[np.bool_], index: Index = "welch-t", *, block: int = 256) -> Array:
    """Return the selectivity index of every unit.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        Responses.
    is_target : ndarray of bool, shape (n_stimuli,) or (n_labellings, n_stimuli)
        Which sounds are targets; at least two are, and two are not. Several rows, such as permuted labels, are
        computed together.
    index : {'welch-t', 'kim2024', 'plain-sum', 'd-prime', 'auc'}
        With means m, variances v and numbers n of target (1) and other (0) sounds:

        * ``welch-t``: (m1 - m0) / sqrt(v1 / n1 + v0 / n0), Welch's t;
        * ``kim2024``: the same with variances of ddof 0, the music selectivity index of Kim et al. (2024, eq. 2) as
          their code computes it;
        * ``plain-sum``: (m1 - m0) / (sqrt(v1) + sqrt(v0));
        * ``d-prime``: (m1 - m0) / sqrt((v1 + v0) / 2);
        * ``auc``: P(target > other) + P(equal) / 2, the area under the ROC curve.
    block : int
        Labellings that are worked on at a time.

    Returns
    -------
    ndarray, shape (n_units,) or (n_labellings, n_units)
        The index. A unit that responds alike to all sounds has 0 (AUC: 0.5); one whose responses vary between
        targets and rest only, plus or minus infinity.

    Raises
    ------
    MeasureError
        If the index is unknown, or there are fewer than two sounds of a kind.
    """
    if index not in get_args(Index):
        raise MeasureError(f"no selectivity index {index!r}; {did_you_mean(index, get_args(Index))}")
    values = np.asarray(values, dtype=np.float64)
    labels = np.atleast_2d(is_target)
    n1 = labels.sum(axis=1)
    n0 = labels.shape[1] - n1
    if min(n1.min(), n0.min()) < 2:
        raise MeasureError(f"selectivity needs at least 2 sounds of each kind, found {n1.min()} and {n0.min()}")
    if index == "auc":
        from scipy.stats import rankdata

        sums = _sums(labels, rankdata(values, axis=0), block)
        result = (sums - (n1 * (n1 + 1) / 2)[:, None]) / (n1 * n0)[:, None]
    else:
        result = _from_moments(values, labels, index, block)
    return np.asarray(result if np.ndim(is_target) == 2 else result[0])


def _sums(labels: NDArray[np.bool_], values: Array, block: int) -> Array:
    """Sum the values of the targets of each labelling."""
    return np.concatenate([labels[i : i + block].astype(np.float64) @ values for i in range(0, len(labels), block)])


def _from_moments(values: Array, labels: NDArray[np.bool_], index: Index, block: int) -> Array:
    """Return an index that rests on means and variances."""
    # At mean 0 and variance 1 no digits are lost in the sums; the indices do not depend on offset and scale.
    z = values - values.mean(axis=0)
    spread = z.std(axis=0)
    constant = np.ptp(values, axis=0) == 0
    z = np.where(constant, 0.0, z / np.where(constant, 1.0, spread))
    n1 = labels.sum(axis=1, keepdims=True).astype(np.float64)
    n0 = labels.shape[1] - n1
    squared = z**2
    s1, q1 = _sums(labels, z, block), _sums(labels, squared, block)
    s0, q0 = z.sum(axis=0) - s1, squared.sum(axis=0) - q1
    ddof = 0 if index == "kim2024" else 1
    v1, v0 = ((q - s**2 / n) / (n - ddof) for s, q, n in ((s1, q1, n1), (s0, q0, n0)))
    v1, v0 = (np.where(v < _NO_VARIANCE, 0.0, v) for v in (v1, v0))
    difference = s1 / n1 - s0 / n0
    if index == "plain-sum":
        scale = np.sqrt(v1) + np.sqrt(v0)
    elif index == "d-prime":
        scale = np.sqrt((v1 + v0) / 2)
    else:
        scale = np.sqrt(v1 / n1 + v0 / n0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((scale == 0) & (np.abs(difference) < _NO_VARIANCE), 0.0, difference / scale)


@dataclass(frozen=True)
class Ranking:
    """Units ordered by selectivity.

    Attributes
    ----------
    values : ndarray, shape (n_units,)
        The index.
    rank : ndarray of int, shape (n_units,)
        1 is the most selective; units that respond alike to all sounds come last.
    constant : ndarray of bool, shape (n_units,)
        Units that respond alike to all sounds.
    """

    values: Array
    rank: NDArray[np.intp]
    constant: NDArray[np.bool_]

    @property
    def ascending(self) -> NDArray[np.intp]:
        """Positions of the units, the least selective (constant ones before all) first."""
        return np.argsort(-self.rank, kind="stable")

    def top(self, fraction: float = FRACTION, skip: int = 0) -> NDArray[np.bool_]:
        """Return which units are selected: the most selective share of all, constant ones never.

        Parameters
        ----------
        fraction : float
            Share of all units, above 0 and at most 1; at least one unit.
        skip : int
            Leave out so many shares from the top: 1 is the second slice.

        Returns
        -------
        ndarray of bool, shape (n_units,)
            Fewer units than asked for where too many are constant, none if all are.
        """
        k = n_selected(len(self.rank), fraction)
        return (self.rank > skip * k) & (self.rank <= (skip + 1) * k) & ~self.constant


def rank_units(values: Array, is_target: NDArray[np.bool_], index: Index = "welch-t") -> Ranking:
    """Rank units by their selectivity.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        Responses.
    is_target : ndarray of bool, shape (n_stimuli,)
        Which sounds are targets.
    index : str
        See :func:`selectivity`.

    Returns
    -------
    Ranking
        Ties are in the order of the units.
    """
    constant = np.ptp(values, axis=0) == 0
    found = selectivity(values, is_target, index)
    order = np.lexsort((-found, constant))
    rank = np.empty(len(found), dtype=np.intp)
    rank[order] = np.arange(1, len(found) + 1)
    return Ranking(found, rank, constant)


def n_selected(n_units: int, fraction: float) -> int:
    """Return how many units a share of them is, at least one.

    Parameters
    ----------
    n_units : int
        All units.
    fraction : float
        The share.

    Returns
    -------
    int
        The number.

    Raises
    ------
    MeasureError
        If the share is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise MeasureError(f"the fraction of units is {fraction}, expected above 0 and at most 1, as {FRACTION}")
    return max(1, round(fraction * n_units))
