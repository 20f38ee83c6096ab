"""Reliability of brain responses: how much of what was measured returns when it is measured again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.brain.reliability import nh2015_reliability, unit_reliability
from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.resampling import Count, Level, Seed, draw_counts
from brainalign.measures.result import Result, result_table
from brainalign.measures.scores import median_present
from brainalign.measures.voxel_fits import Groups, group_units
from brainalign.responses import Responses, check_responses
from brainalign.stats.ceilings import halvings, ncsnr_reliability, spearman_brown

Array = NDArray[np.float64]
Reliability = Literal["split-half", "nh2015", "ncsnr", "noise-ceiling"]
#: Resamples of fewer may hold a single stimulus, which has no correlation.
MINIMUM_STIMULI = 10


def reliability(
    brain: BrainData | Responses,
    *,
    statistics: Sequence[Reliability] = ("split-half", "noise-ceiling"),
    max_splits: int = 100,
    n_bootstrap: Count = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Estimate how reliable the units of each subject and region are.

    Parameters
    ----------
    brain : BrainData or Responses
        With repetitions; ``subject`` and ``region`` along unit are told apart where they are there.
    statistics : sequence of {'split-half', 'nh2015', 'ncsnr', 'noise-ceiling'}
        Which; see :func:`~brainalign.brain.reliability.unit_reliability`. ``"nh2015"`` is above 0 for noise too.
    max_splits : int
        At most so many ways to halve the repetitions.
    n_bootstrap : int
        Resamples of stimuli for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of the resamples and of random halves.

    Returns
    -------
    Result
        One row per statistic, subject (column ``subject``) and region or all units: the median over units, with a
        percentile bootstrap interval over stimuli: of what other sounds of the kind would give in these units. (BCa
        takes its acceleration from a jackknife, which fails for a median: it held too little in simulations.) A unit's
        split-half reliability below -1 counts as -1. ``n_units`` and ``n_repetitions`` are further columns; a note
        counts units that are constant, which are left out of the median. Arrays: the statistics of each unit. There is
        no hypothesis, hence no p.

    Raises
    ------
    MeasureError
        If there are no repetitions, fewer than 10 stimuli, repetitions that are copies, or all units of a subject are
        constant.
    """
    responses = brain.responses if isinstance(brain, BrainData) else brain
    if not 0 < level < 1:
        raise MeasureError(f"level is {level}, expected a share between 0 and 1, such as 0.95")
    runs = _checked_runs(responses, statistics)
    ids = [str(s) for s in responses["stimulus"].values]
    counts = draw_counts(len(ids), n_bootstrap, np.random.default_rng(seed), ids=ids)
    pairs = halvings(len(runs), len(runs) // 2, max_splits, seed)
    groups = group_units(responses.isel(repetition=0, drop=True))
    rows = []
    for s, subject in enumerate(groups.subjects):
        for row in _subject_rows(runs, groups, s, statistics, pairs, counts, level):
            about = {"measure": "reliability", "brain": responses.attrs.get("source", ""), "subject": subject}
            rows.append(about | row | {"n": len(ids), "n_of": "stimuli", "n_repetitions": len(runs)})
    units = unit_reliability(responses, max_splits=max_splits, seed=seed)
    return Result(
        measure="reliability",
        table=result_table(rows),
        arrays={name: units[name.replace("-", "_")] for name in statistics},
        settings={
            "statistics": list(statistics),
            "nhalvings": len(pairs),
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "aggregation": "median over units",
            "interval": "percentile bootstrap over stimuli, units and repetitions held fixed",
        },
        warnings=[*(brain.warnings if isinstance(brain, BrainData) else ())],
    )


def _checked_runs(responses: Responses, statistics: Sequence[str]) -> Array:
    known = get_args(Reliability)
    unknown = [s for s in statistics if s not in known]
    if unknown:
        raise MeasureError(f"no statistic {unknown[0]!r}; {did_you_mean(unknown[0], known)}")
    if not statistics:
        raise MeasureError("no statistic is named")
    source = responses.attrs.get("source", "the responses")
    if "repetition" not in responses.dims or responses.sizes["repetition"] < 2:
        raise MeasureError(f"{source} hold each stimulus once; reliability needs repetitions")
    check_responses(responses, allow_constant=True)
    runs = np.asarray(responses.values, dtype=np.float64)
    if runs.shape[1] < MINIMUM_STIMULI:
        raise MeasureError(f"reliability needs at least {MINIMUM_STIMULI} stimuli, found {runs.shape[1]}")
    if (runs == runs[0]).all():
        raise MeasureError(f"all repetitions of {source} are the same: copies, from which no noise can be estimated")
    return runs


def _subject_rows(
    runs: Array,
    groups: Groups,
    subject: int,
    statistics: Sequence[str],
    pairs: Sequence[tuple[list[int], list[int]]],
    counts: NDArray[np.int64],
    level: float,
) -> list[dict[str, Any]]:
    """Return the rows of one subject: statistics by targets."""
    targets = [t for t in range(len(groups.targets)) if (subject, t) in groups.members]
    own = groups.members[subject, 0]
    varies = (runs[:, :, own] != runs[:1, :1, own]).any(axis=(0, 1))
    constant = own[~varies]
    own = own[varies]
    parts = [(t, np.flatnonzero(np.isin(own, groups.members[subject, t]))) for t in targets]
    parts = [(t, p) for t, p in parts if len(p)]
    if not parts:
        raise MeasureError(f"all units of {groups.subjects[subject] or 'the brain'} are constant")
    data = runs[:, :, own]

    def medians(weights: Array) -> Array:
        by_unit = {s: _STATISTICS[s](data, weights, pairs) for s in statistics}
        return np.stack([median_present(by_unit[s][:, p], axis=1) for s in statistics for _, p in parts], axis=1)

    values = medians(np.ones((1, runs.shape[1])))[0]
    if not np.isfinite(values).all():
        raise MeasureError(
            f"the repetitions of {groups.subjects[subject] or 'the brain'} have no noise, or no variance"
        )
    low, high = np.full((2, len(values)), np.nan)
    if len(counts):
        low, high = np.quantile(medians(counts.astype(np.float64)), [(1 - level) / 2, (1 + level) / 2], axis=0)
    labels = [(s, t, len(p)) for s in statistics for t, p in parts]
    return [
        {
            "target": groups.targets[t],
            "statistic": statistic,
            "value": values[i],
            "ci_low": low[i],
            "ci_high": high[i],
            "n_units": n_units,
            "note": _constant_note(constant, groups.members[subject, t]),
        }
        for i, (statistic, t, n_units) in enumerate(labels)
    ]


def _constant_note(constant: NDArray[np.intp], members: NDArray[np.intp]) -> str:
    n = int(np.isin(members, constant).sum())
    return f"{n} constant units left out" if n else ""


def _split_half(runs: Array, weights: Array, pairs: Sequence[tuple[list[int], list[int]]]) -> Array:
    found = [_correlations(runs[a].mean(axis=0), runs[b].mean(axis=0), weights) for a, b in pairs]
    stepped = spearman_brown(np.mean(found, axis=0), len(runs) / len(pairs[0][0]))
    return np.maximum(stepped, -1)


def _correlations(x: Array, y: Array, weights: Array) -> Array:
    """Return correlations over weighted stimuli, (n_resamples, n_units); NaN where a resample has no variance."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    n = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ x / n, weights @ y / n
    across = weights @ (x * y) / n - mean_x * mean_y
    own = [weights @ z**2 / n - m**2 for z, m in ((x, mean_x), (y, mean_y))]
    product = np.where((own[0] > 0) & (own[1] > 0), own[0] * own[1], np.nan)
    return np.asarray(across / np.sqrt(product))


def _ncsnr(runs: Array, weights: Array, pairs: object = None) -> Array:
    noise_of, mean_of = runs.var(axis=0, ddof=1), runs.mean(axis=0)
    mean_of = mean_of - mean_of.mean(axis=0)
    n = weights.sum(axis=1, keepdims=True)
    noise = weights @ noise_of / n
    spread = (weights @ mean_of**2 - (weights @ mean_of) ** 2 / n) / (n - 1)
    signal = np.maximum(spread - noise / len(runs), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(signal / noise))


def _noise_ceiling(runs: Array, weights: Array, pairs: object = None) -> Array:
    return np.asarray(ncsnr_reliability(_ncsnr(runs, weights), len(runs)))


def _nh2015(runs: Array, weights: Array, pairs: object = None) -> Array:
    return nh2015_reliability(runs[:-1].mean(axis=0), runs[-1], weights)


_STATISTICS = {"split-half": _split_half, "nh2015": _nh2015, "ncsnr": _ncsnr, "noise-ceiling": _noise_ceiling}
