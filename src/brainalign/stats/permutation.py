"""Permutation tests: draws of labels, and p-values from a null distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError
from brainalign.stats._checks import (
    FloatArray,
    check_choice,
    finite_array,
    plain,
    strata_members,
)
from brainalign.stats.rank_nulls import ALTERNATIVES, Alternative


def permute_labels(
    n: int, n_permutations: int, rng: np.random.Generator, *, strata: ArrayLike | None = None
) -> NDArray[np.intp]:
    """Draw random permutations of `n` labels.

    Parameters
    ----------
    n : int
        Number of labels.
    n_permutations : int
        Number of permutations.
    rng : numpy Generator
        The source of randomness.
    strata : array_like, shape (n,), optional
        Labels are exchanged only within a stratum (a run, a subject, a block).

    Returns
    -------
    ndarray of int, shape (n_permutations, n)
        Each row holds 0, ..., n - 1 in random order, to index with.

    Raises
    ------
    MeasureError
        For fewer than 2 labels or 1 permutation, or a stratum with a single member.
    """
    if n < 2 or n_permutations < 1:
        raise MeasureError(
            f"a permutation test needs at least 2 labels and 1 permutation, found {n} and {n_permutations}"
        )
    order = np.empty((n_permutations, n), dtype=np.intp)
    for members in strata_members(n, strata):
        order[:, members] = rng.permuted(np.tile(members, (n_permutations, 1)), axis=1)
    return order


def permutation_p(observed: ArrayLike, null: ArrayLike, *, alternative: Alternative = "greater") -> float | FloatArray:
    """Return p-values of statistics under permutation.

    Parameters
    ----------
    observed : array_like, shape (...)
        The statistic of the data.
    null : array_like, shape (n_permutations, ...)
        The statistic of each permutation.
    alternative : {"greater", "less", "two-sided"}
        ``"two-sided"`` doubles the smaller one-sided p, which does not assume a symmetric null.

    Returns
    -------
    float or ndarray, shape (...)
        (k + 1) / (n_permutations + 1), where k permutations reach the observed value or beyond
        (a difference of rounding counts as equal). Never 0.

    Raises
    ------
    MeasureError
        For NaN or infinite statistics, no permutation, or shapes that disagree.

    References
    ----------
    Phipson, B. & Smyth, G. K. (2010). Permutation p-values should never be zero. Stat. Appl.
    Genet. Mol. Biol. 9, 39.
    """
    check_choice("alternative", alternative, ALTERNATIVES)
    theta, null = finite_array(observed, "observed"), finite_array(null, "null")
    if null.ndim == 0 or len(null) == 0 or null.shape[1:] != theta.shape:
        raise MeasureError(
            f"null has shape {null.shape}, expected (n_permutations, *{theta.shape}) to match the observed statistic"
        )
    slack = 1e-13 * np.abs(theta)
    greater = (np.count_nonzero(null >= theta - slack, axis=0) + 1) / (len(null) + 1)
    less = (np.count_nonzero(null <= theta + slack, axis=0) + 1) / (len(null) + 1)
    p = {
        "greater": greater,
        "less": less,
        "two-sided": np.minimum(2 * np.minimum(greater, less), 1.0),
    }[alternative]
    return plain(p)
