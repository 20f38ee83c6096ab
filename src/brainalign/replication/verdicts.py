"""When a published number counts as reproduced."""

from __future__ import annotations

import math
from typing import Literal

Verdict = Literal["reproduced", "same sign", "differs", "needs data", "not run"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "same sign", "differs", "needs data", "not run")


def as_printed(value: float, text: str) -> bool:
    """Say whether a value is a printed number: equal in every printed digit.

    Parameters
    ----------
    value : float
        Ours.
    text : str
        Theirs, such as ``".031"``, ``"4.891e-276"``, ``"1,278,191"``. A number without a decimal point is exact.

    Returns
    -------
    bool
        Whether rounding `value` to the digits of `text` gives `text`.
    """
    text = text.replace(",", "")
    mantissa = text.lower().split("e")[0]
    decimals = len(mantissa.partition(".")[2])
    if not decimals:
        return math.isclose(value, float(text), rel_tol=1e-12)
    kind = "e" if "e" in text.lower() else "f"
    return f"{value:.{decimals}{kind}}" == f"{float(text):.{decimals}{kind}}"


def printed_range(text: str) -> tuple[float, float]:
    """Return the values that print as a number with a decimal point: half a unit of its last digit either way."""
    half = 0.5 * 10.0 ** -len(text.partition(".")[2])
    return float(text) - half, float(text) + half


def judge_estimate(
    published: float,
    ci_low: float,
    ci_high: float,
    *,
    null: float | None = None,
    claim: Literal["greater", "less"] | None = None,
    stand_in: bool = False,
) -> tuple[Verdict, str]:
    """Compare a published value with our interval.

    Parameters
    ----------
    published : float
        The printed value.
    ci_low, ci_high : float
        Our 95 % interval; NaN where there is none.
    null : float, optional
        The value of no effect.
    claim : {'greater', 'less'}, optional
        Where the paper says that the value lies from `null`. Our interval must lie there too: an interval so wide that
        it holds both the published value and no effect reproduces nothing.
    stand_in : bool
        Whether ours is about something else (another network, another set of sounds). It then may agree in sign, but
        reproduces nothing.

    Returns
    -------
    verdict : str
        ``reproduced``, ``same sign``, ``differs``, or ``not run`` without an interval.
    reason : str
        Why.
    """
    if math.isnan(ci_low) or math.isnan(ci_high):
        return "not run", "ours has no interval, so it cannot be judged"
    agrees = None
    if claim is not None and null is not None:
        agrees = bool(ci_low > null if claim == "greater" else ci_high < null)
    inside = ci_low <= published <= ci_high
    if inside and agrees is False:
        return "differs", f"our interval holds the published value, but {null:g} (no effect) as well"
    if inside and not stand_in:
        return "reproduced", "the published value lies within our interval"
    if agrees:
        side = "above" if claim == "greater" else "below"
        where = "" if inside else "; the published value lies outside our interval"
        return "same sign", f"our interval lies {side} {null:g} too{where}"
    return "differs", "the published value lies outside our interval" + (
        f", which does not lie {'above' if claim == 'greater' else 'below'} {null:g}" if agrees is False else ""
    )


def judge_test(
    u_text: str, p_text: str, u: float, p: float, *, n_pairs: int, level: float = 0.05
) -> tuple[Verdict, str]:
    """Compare a published rank-sum test with the same test of our values.

    Parameters
    ----------
    u_text, p_text : str
        As printed.
    u, p : float
        Of our values, in the same direction.
    n_pairs : int
        n1 n2, of which half is no effect.
    level : float
        Below it a p is significant.

    Returns
    -------
    verdict : str
        ``reproduced`` if U and p are equal to the printed digits, ``same sign`` if both or neither are significant
        and both U lie on the same side of n1 n2 / 2, else ``differs``.
    reason : str
        Why.
    """
    if as_printed(u, u_text) and as_printed(p, p_text):
        return "reproduced", "U and p of our values equal the printed ones"
    same_side = (u - n_pairs / 2) * (float(u_text) - n_pairs / 2) > 0
    if same_side and (p < level) == (float(p_text) < level):
        return "same sign", "the same side, and significant on both sides or on neither"
    if not same_side:
        return "differs", "our values lie the other way round"
    return "differs", "significant on one side only"
