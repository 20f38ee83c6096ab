"""p-values of many tests at once."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from brainalign.errors import MeasureError
from brainalign.stats._checks import FloatArray, check_choice

AdjustMethod: TypeAlias = Literal["fdr_bh", "fdr_by", "holm", "bonferroni", "sidak", "simes-hochberg", "hommel"]
_METHODS = ("fdr_bh", "fdr_by", "holm", "bonferroni", "sidak", "simes-hochberg", "hommel")


def adjust_p(
    p: ArrayLike,
    method: AdjustMethod = "fdr_bh",
    *,
    nan: Literal["error", "keep"] = "error",
) -> FloatArray:
    """Adjust p-values for the number of tests.

    Parameters
    ----------
    p : array_like, any shape
        The p-values of one family of tests.
    method : str
        False discovery rate: ``"fdr_bh"`` (Benjamini & Hochberg 1995; tests independent or
        positively dependent), ``"fdr_by"`` (Benjamini & Yekutieli 2001; any dependence).
        Family-wise error: ``"holm"`` and ``"bonferroni"`` (any dependence), ``"sidak"``,
        ``"simes-hochberg"`` and ``"hommel"`` (independent or positively dependent).
    nan : {"error", "keep"}
        With ``"keep"``, a NaN stays NaN and does not count as a test.

    Returns
    -------
    ndarray, shape of p
        Adjusted p-values: compare them with the level that the family is to have.

    Raises
    ------
    MeasureError
        For values outside 0 to 1, an unknown method, or NaN unless kept.
    """
    from statsmodels.stats.multitest import multipletests

    check_choice("method", method, _METHODS)
    check_choice("nan", nan, ("error", "keep"))
    p = np.asarray(p, dtype=np.float64)
    missing = np.isnan(p)
    if missing.any() and nan == "error":
        raise MeasureError(f"{int(missing.sum())} of {p.size} p-values are NaN; pass nan='keep' to leave them out")
    tests = p[~missing]
    outside = int(np.count_nonzero((tests < 0) | (tests > 1)))
    if outside:
        raise MeasureError(f"{outside} of {p.size} p-values are not between 0 and 1")
    adjusted = np.full(p.shape, np.nan)
    if tests.size:
        adjusted[~missing] = multipletests(tests, method=method)[1]
    return adjusted
