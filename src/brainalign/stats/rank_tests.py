"""Rank tests: two samples (Mann-Whitney U) and paired samples (Wilcoxon signed rank).

One convention throughout: the statistic is U of the first sample, or W+ (the rank sum of the
positive differences), whatever the alternative, so an effect size above 0.5 always means that the
first sample is larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError
from brainalign.stats._checks import (
    FloatArray,
    check_choice,
    finite_array,
    finite_pair,
    finite_samples,
)
from brainalign.stats.rank_nulls import (
    ALTERNATIVES,
    AUTO_EXACT,
    METHODS,
    Alternative,
    RankMethod,
    check_exact_size,
    signed_rank_null,
    tail_of_null,
)


@dataclass(frozen=True)
class RankSumTest:
    """Result of :func:`rank_sum`.

    Attributes
    ----------
    statistic : float or ndarray
        Mann-Whitney U of `x`: the number of pairs in which `x` is larger, a tie counting one half.
    p : float or ndarray
        The p-value.
    effect_size : float or ndarray
        U / (n1 n2), the common-language effect size: the chance that a draw from `x` exceeds one
        from `y`. 0.5 is no effect. It is also the area under the ROC curve.
    n1, n2 : int
        Sizes of the samples.
    method : str or ndarray of str
        ``"exact"`` or ``"asymptotic"``: what was used.
    alternative : str
        The alternative hypothesis.
    """

    statistic: float | FloatArray
    p: float | FloatArray
    effect_size: float | FloatArray
    n1: int
    n2: int
    method: str | NDArray[np.str_]
    alternative: str


@dataclass(frozen=True)
class SignedRankTest:
    """Result of :func:`signed_rank`.

    Attributes
    ----------
    statistic : float or ndarray
        W+, the sum of the ranks of the positive differences, also when two-sided.
    p : float or ndarray
        The p-value.
    effect_size : float or ndarray
        The share of the rank sum that is positive, W+ / (W+ + W-); without zeros
        W+ / (n (n + 1) / 2). 0.5 is no effect.
    n : int or ndarray of int
        Number of differences that are not zero.
    method : str or ndarray of str
        ``"exact"`` or ``"asymptotic"``: what was used.
    alternative : str
        The alternative hypothesis.
    """

    statistic: float | FloatArray
    p: float | FloatArray
    effect_size: float | FloatArray
    n: int | NDArray[np.int64]
    method: str | NDArray[np.str_]
    alternative: str


def rank_sum(
    x: ArrayLike,
    y: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    method: RankMethod = "auto",
    continuity: bool = True,
    axis: int = 0,
) -> RankSumTest:
    """Test whether two independent samples differ (Wilcoxon rank sum, Mann-Whitney U).

    Parameters
    ----------
    x, y : array_like, shape (n1, ...) and (n2, ...)
        The samples. Further axes are units, each tested by itself.
    alternative : {"two-sided", "greater", "less"}
        ``"greater"``: `x` tends to be larger than `y`.
    method : {"auto", "exact", "asymptotic"}
        The null distribution: exact (which holds without ties only), or normal, with the variance
        corrected for ties. ``"auto"`` is exact without ties up to 50 observations in the larger
        sample; what it chose for each unit is in the result.
    continuity : bool
        Correct the normal approximation for continuity.
    axis : int
        The axis of the observations.

    Returns
    -------
    RankSumTest
        Numbers for one-dimensional samples, else arrays with one entry for each unit. Samples in
        which all values are equal give p = 1 and an effect size of 0.5.

    Raises
    ------
    MeasureError
        For an empty sample, NaN or infinite values, units that disagree, or an exact p that is
        asked for with ties or for too large samples.

    Notes
    -----
    A p-value below about 1e-308 comes out as 0: write it as p < 1e-300.

    References
    ----------
    Mann, H. B. & Whitney, D. R. (1947). Ann. Math. Stat. 18, 50-60.
    """
    from scipy.stats import mannwhitneyu

    check_choice("alternative", alternative, ALTERNATIVES)
    check_choice("method", method, METHODS)
    x, y = finite_pair(x, y, axis)
    shape, n1, n2 = x.shape[:-1], x.shape[-1], y.shape[-1]
    x, y = x.reshape(-1, n1), y.reshape(-1, n2)
    pooled = np.sort(np.concatenate([x, y], axis=1), axis=1)
    tied = (np.diff(pooled, axis=1) == 0).any(axis=1)
    constant = pooled[:, 0] == pooled[:, -1]
    if method == "exact":
        check_exact_size(n1, n2)
    chosen = _choose(method, tied, max(n1, n2))
    u, p = np.full(len(x), n1 * n2 / 2), np.ones(len(x))
    for name in ("exact", "asymptotic"):
        units = (chosen == name) & ~constant
        if units.any():
            u[units], p[units] = mannwhitneyu(
                x[units],
                y[units],
                axis=1,
                alternative=alternative,
                method=name,
                use_continuity=continuity,
            )
    return RankSumTest(
        statistic=_shaped(u, shape),
        p=_shaped(p, shape),
        effect_size=_shaped(u / (n1 * n2), shape),
        n1=n1,
        n2=n2,
        method=_shaped(chosen, shape),
        alternative=alternative,
    )


def signed_rank(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    alternative: Alternative = "two-sided",
    method: RankMethod = "auto",
    continuity: bool = False,
    zeros: Literal["wilcox", "pratt"] = "wilcox",
    axis: int = 0,
) -> SignedRankTest:
    """Test whether paired differences are symmetric about zero (Wilcoxon signed rank).

    Parameters
    ----------
    x : array_like, shape (n, ...)
        The differences, or the first of each pair. Further axes are units, each tested by itself.
    y : array_like, same shape, or a number, optional
        The second of each pair, or the value to test against (chance).
    alternative : {"two-sided", "greater", "less"}
        ``"greater"``: `x` tends to be larger than `y`.
    method : {"auto", "exact", "asymptotic"}
        The null distribution: exact, over all signs of the ranks as they are, ties among them, or
        normal, with the variance corrected for ties. ``"auto"`` is exact for up to 50 differences;
        what it chose for each unit is in the result.
    continuity : bool
        Correct the normal approximation for continuity.
    zeros : {"wilcox", "pratt"}
        Drop zero differences before ranking (Wilcoxon), or rank them and then drop their ranks
        (Pratt).
    axis : int
        The axis of the observations.

    Returns
    -------
    SignedRankTest
        Numbers for one-dimensional input, else arrays with one entry for each unit. Differences
        that are all zero give n = 0, W+ = 0, p = 1 and an effect size of 0.5.

    Raises
    ------
    MeasureError
        For no observations, NaN or infinite values, shapes that disagree, or an exact p that is
        asked for with too many differences.

    References
    ----------
    Wilcoxon, F. (1945). Biometrics Bulletin 1, 80-83. Pratt, J. W. (1959). JASA 54, 655-667.
    """
    from scipy.stats import wilcoxon

    check_choice("alternative", alternative, ALTERNATIVES)
    check_choice("method", method, METHODS)
    check_choice("zeros", zeros, ("wilcox", "pratt"))
    x = finite_samples(x, "x", axis)
    if y is not None:
        other = finite_array(y, "y")
        if other.ndim:
            other = finite_samples(other, "y", axis)
            if other.shape != x.shape:
                raise MeasureError(f"x and y are not paired: shapes {x.shape} and {other.shape}")
        x = x - other
    shape, n_all = x.shape[:-1], x.shape[-1]
    d = x.reshape(-1, n_all)
    n_zero = np.count_nonzero(d == 0, axis=1)
    if method == "exact":
        check_exact_size(n_all)
    chosen = np.full(
        len(d), "exact" if method == "exact" or (method == "auto" and n_all <= AUTO_EXACT) else "asymptotic"
    )
    w, p = np.zeros(len(d)), np.ones(len(d))
    untied = (n_zero == 0) & (np.diff(np.sort(np.abs(d), axis=1), axis=1) != 0).all(axis=1)
    for name, units in (
        ("exact", (chosen == "exact") & untied),
        ("asymptotic", (chosen != "exact") & (n_zero < n_all)),
    ):
        if units.any():
            options: dict[str, Any] = {
                "axis": 1,
                "method": name,
                "correction": continuity,
                "zero_method": zeros,
            }
            # Two-sided, scipy returns the smaller of W+ and W-; one-sided, always W+.
            greater = wilcoxon(d[units], alternative="greater", **options)
            w[units] = greater.statistic
            p[units] = wilcoxon(d[units], alternative=alternative, **options).pvalue
    for unit in np.flatnonzero((chosen == "exact") & ~untied & (n_zero < n_all)):
        w[unit], p[unit] = _exact_with_ties(d[unit], alternative, zeros)
    n = n_all - n_zero
    total = n * (n + 1) / 2
    if zeros == "pratt":
        total = (n_all * (n_all + 1) - n_zero * (n_zero + 1)) / 2
    share = np.full(len(d), 0.5)
    np.divide(w, total, out=share, where=total > 0)
    return SignedRankTest(
        statistic=_shaped(w, shape),
        p=_shaped(p, shape),
        effect_size=_shaped(share, shape),
        n=_shaped(n, shape),
        method=_shaped(chosen, shape),
        alternative=alternative,
    )


def _exact_with_ties(d: FloatArray, alternative: str, zeros: str) -> tuple[float, float]:
    """Return W+ and its p over all signs of the midranks; doubled, midranks are whole numbers."""
    from scipy.stats import rankdata

    kept = d[d != 0]
    ranks = rankdata(np.abs(kept)) if zeros == "wilcox" else rankdata(np.abs(d))[d != 0]
    doubled = np.rint(2 * ranks).astype(int)
    k = int(doubled[kept > 0].sum())
    return k / 2, tail_of_null(signed_rank_null(tuple(sorted(doubled.tolist()))), k, alternative)


def _choose(method: str, tied: NDArray[np.bool_], n: int) -> NDArray[np.str_]:
    """Choose exact or asymptotic for each unit; n is the size of the larger sample."""
    if method == "exact" and tied.any():
        raise MeasureError(
            f"an exact p needs data without ties, found ties in {int(tied.sum())} of "
            f"{len(tied)} tests; use method='asymptotic' or 'auto'"
        )
    if method == "auto":
        return np.where(tied | (n > AUTO_EXACT), "asymptotic", "exact")
    return np.full(len(tied), method)


def _shaped(values: NDArray[Any], shape: tuple[int, ...]) -> Any:
    """Give the units their shape back; a single test becomes a plain number or word."""
    return values.reshape(shape) if shape else values[0].item()
