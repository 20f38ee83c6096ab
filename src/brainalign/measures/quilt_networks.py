"""Quilt sweeps of several networks: estimates and tests over networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import MeasureError, name_some
from brainalign.measures.quilt_sweep import correlations
from brainalign.measures.resampling import Level
from brainalign.measures.result import Result, result_table
from brainalign.stats import rank_sum, signed_rank
from brainalign.stats.rank_nulls import Alternative

Array = NDArray[np.float64]
KEYS = ["layer", "target", "sounds"]
#: Settings that must agree.
_SAME = ("categories", "column", "segments_ms", "protocol", "order", "fraction", "index")


def combine_quilt_sweeps(
    results: Sequence[Result], *, name: str, alternative: Alternative = "greater", level: Level = 0.95
) -> Result:
    """Combine the quilt sweeps of networks of one kind, such as one architecture trained from several seeds.

    Parameters
    ----------
    results : sequence of Result
        Of :func:`~brainalign.measures.quilt_sweep.quilt_sweep`, one per network, on the same sounds and lengths.
    name : str
        What to call the networks, in the column ``model``.
    alternative : {'greater', 'two-sided', 'less'}
        ``greater``: originals drive units more than quilts.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Result
        Rows as of ``quilt-sweep``, n counts networks: means over networks, with t intervals and the column ``sd``. The
        p of ``ratio_to_original`` is that of the signed-rank test of original against quilt over networks, as in Kim et
        al. 2024, exact for up to 50 networks without ties; 5 networks give 1/32 at least. That of ``log_length_r``, the
        mean of the correlations of networks, is two-sided. ``pooled_log_length_r`` is the published form, one
        correlation over all lengths and networks (p by Student's t); its points are not independent, as a network gives
        one for each length.

    Raises
    ------
    MeasureError
        If there are fewer than two results, a network is there twice, or settings or groups of units differ.
    """
    tables = _tables(results)
    rows: list[dict[str, Any]] = []
    for key, curves in _curves(tables):
        about = {"measure": "quilt-sweep", "model": name, **key, "n": len(results), "n_of": "networks"}
        log_lengths = np.log2(curves.columns[1:].to_numpy(dtype=np.float64))
        original, quilts = curves.to_numpy()[:, :1], curves.to_numpy()[:, 1:]
        ratios, r = quilts / original, correlations(quilts, log_lengths)
        for ms, values in zip([np.nan, *curves.columns[1:]], curves.to_numpy().T, strict=True):
            rows.append(about | {"statistic": "response", "segment_ms": ms} | _mean(values, level))
        for i, ms in enumerate(curves.columns[1:]):
            test = signed_rank((original - quilts[:, i : i + 1])[:, 0], alternative=alternative)
            tested = {"p": test.p, "effect_size": test.effect_size, "w_plus": test.statistic}
            about_ratio = {"statistic": "ratio_to_original", "segment_ms": ms}
            rows.append(about | about_ratio | _mean(ratios[:, i], level) | tested)
        if np.isfinite(r).all():
            test = signed_rank(r)
            tested = {"p": test.p, "effect_size": test.effect_size, "w_plus": test.statistic}
            rows.append(about | {"statistic": "log_length_r"} | _mean(r, level) | tested)
            rows.append(about | _pooled(quilts, log_lengths))
    return Result(
        measure="quilt-sweep",
        table=result_table(rows),
        settings={
            "models": [_model(r) for r in results],
            **{key: results[0].settings.get(key) for key in _SAME},
            "test": f"Wilcoxon signed rank over networks, original against quilt: {alternative}; of r: two-sided",
            "interval": f"Student's t over networks, {level:g}",
        },
    )


def compare_quilt_sweeps(
    first: Sequence[Result],
    second: Sequence[Result],
    *,
    names: tuple[str, str],
    alternative: Alternative = "two-sided",
    method: Literal["auto", "exact", "asymptotic"] = "auto",
) -> Result:
    """Compare how much quilts drive two kinds of networks, relative to the originals.

    Parameters
    ----------
    first, second : sequence of Result
        Of :func:`~brainalign.measures.quilt_sweep.quilt_sweep`, one per network.
    names : tuple of (str, str)
        What to call the two kinds.
    alternative : {'two-sided', 'greater', 'less'}
        ``greater``: quilts keep more of the response in the first kind.
    method : {'auto', 'exact', 'asymptotic'}
        Of the rank-sum test. Kim et al. 2024 took ``asymptotic`` (with continuity correction), one-sided, for networks
        that memorise random labels against those that generalise.

    Returns
    -------
    Result
        Statistic ``difference`` by ``segment_ms``: mean ratio to the original of the first less that of the second
        kind, with the p of the Wilcoxon rank-sum test over networks, its U (column ``u``) and effect size U / (n1 n2).

    Raises
    ------
    MeasureError
        As :func:`combine_quilt_sweeps`.
    """
    _check_same([*first, *second])
    others = {tuple(key.values()): curves for key, curves in _curves(_tables(second))}
    rows: list[dict[str, Any]] = []
    for key, one in _curves(_tables(first)):
        both = one.to_numpy(), others[tuple(key.values())].to_numpy()
        ratios = [responses[:, 1:] / responses[:, :1] for responses in both]
        test = rank_sum(*ratios, alternative=alternative, method=method)
        for i, ms in enumerate(one.columns[1:]):
            rows.append(
                {
                    "measure": "quilt-sweep",
                    "model": f"{names[0]} - {names[1]}",
                    **key,
                    "statistic": "difference",
                    "segment_ms": ms,
                    "value": ratios[0][:, i].mean() - ratios[1][:, i].mean(),
                    "p": np.atleast_1d(test.p)[i],
                    "effect_size": np.atleast_1d(test.effect_size)[i],
                    "u": np.atleast_1d(test.statistic)[i],
                    "n": len(first) + len(second),
                    "n_of": "networks",
                }
            )
    return Result(
        measure="quilt-sweep",
        table=result_table(rows),
        settings={
            "models": {name: [_model(r) for r in some] for name, some in zip(names, (first, second), strict=True)},
            **{key: first[0].settings.get(key) for key in _SAME},
            "test": f"Wilcoxon rank sum over networks of the ratio to the original, {method}: {alternative}",
        },
    )


def _model(result: Result) -> str:
    return str(result.table["model"].iloc[0])


def _check_same(results: Sequence[Result]) -> None:
    for result in results:
        if result.kind != results[0].kind or "segment_ms" not in result.table:
            raise MeasureError(f"expected results of quilt-sweep, found {results[0].measure} and {result.measure}")
        for key in _SAME:
            if result.settings.get(key) != results[0].settings.get(key):
                raise MeasureError(
                    f"the quilt sweeps of {_model(results[0])} and {_model(result)} differ in {key}: "
                    f"{results[0].settings.get(key)} and {result.settings.get(key)}; sweep them alike"
                )
    groups = [{tuple(k) for k in result.table[KEYS].to_numpy()} for result in results]
    for result, own in zip(results, groups, strict=True):
        if own != groups[0]:
            odd = name_some(sorted(map(" / ".join, own ^ groups[0])))
            raise MeasureError(
                f"{_model(results[0])} and {_model(result)} do not both have {odd}; sweep the same layers"
            )


def _tables(results: Sequence[Result]) -> list[pd.DataFrame]:
    if len(results) < 2:
        raise MeasureError(f"found {len(results)} quilt sweeps, expected those of two networks at least")
    _check_same(results)
    models = pd.Index([_model(r) for r in results])
    if models.has_duplicates:
        raise MeasureError(f"the networks {name_some(models[models.duplicated()].unique())} are there twice")
    return [r.table[r.table["statistic"] == "response"].assign(network=m) for r, m in zip(results, models, strict=True)]


def _curves(tables: Sequence[pd.DataFrame]) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Give for each group of units and kind of sounds the responses, (network, segment_ms); the original is at 0."""
    every = pd.concat(tables)
    every["segment_ms"] = every["segment_ms"].fillna(0.0)
    for key, rows in every.groupby(KEYS, sort=False):
        wide = rows.pivot(index="network", columns="segment_ms", values="value")
        yield dict(zip(KEYS, map(str, key), strict=True)), wide.loc[rows["network"].unique()].sort_index(axis=1)


def _mean(values: Array, level: float) -> dict[str, float]:
    """Return the mean over networks, its t interval and the standard deviation."""
    from scipy.stats import t

    mean, sd = float(values.mean()), float(values.std(ddof=1))
    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * sd / np.sqrt(len(values))
    return {"value": mean, "ci_low": mean - half, "ci_high": mean + half, "sd": sd}


def _pooled(quilts: Array, log_lengths: Array) -> dict[str, Any]:
    from scipy.stats import pearsonr

    r = pearsonr(quilts.ravel(), np.tile(log_lengths, len(quilts)))
    return {
        "statistic": "pooled_log_length_r",
        "value": r.statistic,
        "p": r.pvalue,
        "effect_size": r.statistic,
        "n": quilts.size,
        "n_of": "lengths x networks",
        "note": "points of one network depend on each other: p is too small; see log_length_r",
    }
