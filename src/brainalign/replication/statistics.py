"""Statistics recomputed from what a paper prints of them: U or W+ and n, r and n."""

from __future__ import annotations

import math

from brainalign.replication.published import CorrelationCheck, RankSumCheck, SignedRankCheck
from brainalign.replication.verdicts import Verdict, as_printed, printed_range
from brainalign.stats import p_from_rank_sum, p_from_signed_rank


def recompute_statistic(check: RankSumCheck | SignedRankCheck | CorrelationCheck) -> tuple[str, Verdict, str]:
    """Recompute p and effect size, and compare them with the printed ones.

    Parameters
    ----------
    check : RankSumCheck, SignedRankCheck or CorrelationCheck
        What the paper prints.

    Returns
    -------
    ours : str
        p and effect size as computed here.
    verdict : str
        ``reproduced`` if they equal the printed digits (of a correlation: if some r that rounds to the printed one has
        a p that rounds to the printed one), else ``differs``.
    reason : str
        How they were computed.
    """
    if isinstance(check, CorrelationCheck):
        return _correlation(check)
    if isinstance(check, RankSumCheck):
        p = p_from_rank_sum(check.u, check.n1, check.n2, alternative=check.alternative, method="asymptotic")
        effect = check.u / (check.n1 * check.n2)
        how = f"from U and {check.n1:,} v {check.n2:,}: normal approximation with continuity correction"
    else:
        p = p_from_signed_rank(check.w, check.n, alternative=check.alternative)
        effect = check.w / (check.n * (check.n + 1) / 2)
        how = f"from W+ and n = {check.n:,}: " + ("exact" if check.n <= 50 else "normal approximation")
    equal = as_printed(p, check.p) and as_printed(effect, check.effect_size)
    sided = "two-sided" if check.alternative == "two-sided" else "one-sided"
    return f"p = {p:.4g}, effect size {effect:.4g}", "reproduced" if equal else "differs", f"{how}, {sided}"


def _correlation(check: CorrelationCheck) -> tuple[str, Verdict, str]:
    ends = sorted(correlation_p(r, check.n) for r in printed_range(check.r))
    printed = printed_range_of_p(check.p)
    equal = ends[0] <= printed[1] and printed[0] <= ends[1]
    p = correlation_p(float(check.r), check.n)
    how = f"from r and n = {check.n}, two-sided"
    if equal and not as_printed(p, check.p):
        how += "; the printed r itself gives another p, some r that rounds to it gives the printed one"
    return (
        f"p = {p:.4g} ({ends[0]:.4g} to {ends[1]:.4g} by the rounding of r)",
        "reproduced" if equal else "differs",
        how,
    )


def printed_range_of_p(text: str) -> tuple[float, float]:
    """Return the values that print as a p, with an exponent or without."""
    mantissa, _, exponent = text.partition("e")
    low, high = printed_range(mantissa)
    scale = 10.0 ** int(exponent or 0)
    return low * scale, high * scale


def correlation_p(r: float, n: int) -> float:
    """Return the two-sided p of a Pearson correlation of n pairs, by Student's t with n - 2 degrees of freedom."""
    from scipy.special import stdtr

    t = abs(r) * math.sqrt((n - 2) / (1 - r * r))
    return float(2 * stdtr(n - 2, -t))
