"""p-values of rank statistics without ties, from the statistic and the sample sizes alone.

For numbers that a paper prints; with data at hand use :mod:`brainalign.stats.rank_tests`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np

from brainalign.errors import MeasureError
from brainalign.stats._checks import FloatArray, check_choice

Alternative: TypeAlias = Literal["two-sided", "greater", "less"]
RankMethod: TypeAlias = Literal["auto", "exact", "asymptotic"]

ALTERNATIVES = ("two-sided", "greater", "less")
METHODS = ("auto", "exact", "asymptotic")
#: "auto" takes the exact null up to this many observations in a sample, as R's wilcox.test does.
AUTO_EXACT = 50
#: Beyond these the exact null is out of reach (time for U, the range of doubles for W+).
_MOST_PAIRS = 10_000
_MOST_DIFFERENCES = 1_000


def p_from_rank_sum(
    u: float,
    n1: int,
    n2: int,
    *,
    alternative: Alternative = "two-sided",
    method: RankMethod = "auto",
    continuity: bool = True,
) -> float:
    """Return the p-value of a Mann-Whitney U that is known only as a number, without ties.

    Parameters
    ----------
    u : float
        U of the first sample.
    n1, n2 : int
        Sizes of the samples.
    alternative : {"two-sided", "greater", "less"}
        ``"greater"``: the first sample tends to be larger.
    method : {"auto", "exact", "asymptotic"}
        ``"auto"`` is exact up to 50 observations in the larger sample.
    continuity : bool
        Correct the normal approximation for continuity.

    Returns
    -------
    float
        The p-value.

    Raises
    ------
    MeasureError
        If no samples of these sizes can have this U, or they are too large for an exact p.

    Notes
    -----
    Normal approximation: z = (U - n1 n2 / 2 - c) / sqrt(n1 n2 (n1 + n2 + 1) / 12), c = 1/2 with
    the correction. The exact null follows the recursion of Mann & Whitney (1947, eq. 1).
    """
    check_choice("alternative", alternative, ALTERNATIVES)
    check_choice("method", method, METHODS)
    if min(n1, n2) < 1:
        raise MeasureError(f"the samples have {n1} and {n2} observations, at least 1 needed")
    _check_range("U", u, n1 * n2)
    if method == "exact" or (method == "auto" and max(n1, n2) <= AUTO_EXACT):
        check_exact_size(n1, n2)
        return _exact_tail(_rank_sum_null(n1, n2), "U", u, alternative)
    sd = (n1 * n2 * (n1 + n2 + 1) / 12) ** 0.5
    return _normal_tail(u - n1 * n2 / 2, sd, alternative, continuity)


def p_from_signed_rank(
    w: float,
    n: int,
    *,
    alternative: Alternative = "two-sided",
    method: RankMethod = "auto",
    continuity: bool = False,
) -> float:
    """Return the p-value of a signed-rank W+ that is known only as a number, without ties or zeros.

    Parameters
    ----------
    w : float
        W+, the sum of the ranks of the positive differences.
    n : int
        Number of differences.
    alternative : {"two-sided", "greater", "less"}
        ``"greater"``: the differences tend to be positive.
    method : {"auto", "exact", "asymptotic"}
        ``"auto"`` is exact for up to 50 differences.
    continuity : bool
        Correct the normal approximation for continuity.

    Returns
    -------
    float
        The p-value.

    Raises
    ------
    MeasureError
        If `n` differences cannot have this W+, or are too many for an exact p.

    Notes
    -----
    Normal approximation: mean n (n + 1) / 4, variance n (n + 1) (2 n + 1) / 24. Exact: each rank
    is positive or negative with probability one half.
    """
    check_choice("alternative", alternative, ALTERNATIVES)
    check_choice("method", method, METHODS)
    if n < 1:
        raise MeasureError(f"there are {n} differences, at least 1 needed")
    _check_range("W+", w, n * (n + 1) / 2)
    if method == "exact" or (method == "auto" and n <= AUTO_EXACT):
        check_exact_size(n)
        return _exact_tail(signed_rank_null(tuple(range(1, n + 1))), "W+", w, alternative)
    sd = (n * (n + 1) * (2 * n + 1) / 24) ** 0.5
    return _normal_tail(w - n * (n + 1) / 4, sd, alternative, continuity)


def check_exact_size(n: int, n2: int | None = None) -> None:
    """Raise if the exact null for `n` differences, or `n` against `n2` values, is out of reach."""
    size, most = (n, _MOST_DIFFERENCES) if n2 is None else (n * n2, _MOST_PAIRS)
    if size > most:
        what = "differences" if n2 is None else "pairs of values"
        raise MeasureError(f"an exact p for {size} {what} is out of reach (most: {most}); use method='asymptotic'")


def _check_range(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:
        raise MeasureError(f"{name} = {value} is impossible: it lies between 0 and {most:g}")


def _exact_tail(pmf: FloatArray, name: str, value: float, alternative: str) -> float:
    if value != int(value):
        raise MeasureError(
            f"{name} = {value} comes from ties, for which the exact null does not hold; use method='asymptotic'"
        )
    return tail_of_null(pmf, int(value), alternative)


def tail_of_null(pmf: FloatArray, k: int, alternative: str) -> float:
    """Return the p of a statistic of k whose probabilities for 0, 1, ... are given; twice the smaller tail, or one."""
    greater, less = float(pmf[k:].sum()), float(pmf[: k + 1].sum())
    tail = {"greater": greater, "less": less, "two-sided": 2 * min(greater, less)}[alternative]
    return min(1.0, tail)


def _normal_tail(above: float, sd: float, alternative: str, continuity: bool) -> float:
    from scipy.special import ndtr

    towards = {"greater": above, "less": -above, "two-sided": abs(above)}[alternative]
    # The upper tail as ndtr(-z): 1 - ndtr(z) is 0 beyond z = 8.3.
    tail = float(ndtr(-(towards - (0.5 if continuity else 0.0)) / sd))
    return min(1.0, 2 * tail) if alternative == "two-sided" else tail


@lru_cache(maxsize=64)
def _rank_sum_null(n1: int, n2: int) -> FloatArray:
    """Return P(U = 0), ..., P(U = n1 n2) without ties.

    The largest of m + k values is one of the m with probability m / (m + k), and then exceeds all
    k: p(m, k; u) = m / (m + k) p(m - 1, k; u - k) + k / (m + k) p(m, k - 1; u). All terms are
    positive, so the tails keep their relative precision.
    """
    small, large = sorted((n1, n2))
    without = [np.ones(1)] * (small + 1)
    for m in range(1, large + 1):
        with_m = [np.ones(1)]
        for k in range(1, small + 1):
            pmf = np.zeros(m * k + 1)
            pmf[k:] = m / (m + k) * without[k]
            pmf[: m * (k - 1) + 1] += k / (m + k) * with_m[k - 1]
            with_m.append(pmf)
        without = with_m
    return without[small]


@lru_cache(maxsize=64)
def signed_rank_null(ranks: tuple[int, ...]) -> FloatArray:
    """Return P(W+ = 0), ..., P(W+ = sum of the ranks): each rank counts or not with probability one half."""
    pmf = np.ones(1)
    for rank in ranks:
        nothing = np.zeros(rank)
        pmf = (np.concatenate([pmf, nothing]) + np.concatenate([nothing, pmf])) / 2
    return pmf
