"""Reliability of brain responses: how much of what was measured returns when it is measured again."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainalign.brain.data import BrainData
from brainalign.brain.reliability import nh2015_reliability, unit_reliability
from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.resampling import LEAST_SAMPLES, Level, Resamples, Seed
from brainalign.measures.result import Result, result_table
from brainalign.measures.scores import median_present
from brainalign.measures.voxel_fits import Groups, group_units
from brainalign.responses import Responses, check_responses
from brainalign.stats.ceilings import halvings, ncsnr, ncsnr_reliability, spearman_brown

Array = NDArray[np.float64]
Reliability = Literal["split-half", "nh2015", "ncsnr", "noise-ceiling"]
#: Halves of fewer have too few stimuli for a correlation.
MINIMUM_STIMULI = 10


def reliability(
    brain: BrainData | Responses,
    *,
    statistics: Sequence[Reliability] = ("split-half", "noise-ceiling"),
    max_splits: Annotated[int, Field(ge=1)] = 100,
    n_bootstrap: Resamples = 1000,
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
        Random halves of the stimuli for the interval, at least 20. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of the resamples and of random halves.

    Returns
    -------
    Result
        One row per statistic, subject (column ``subject``) and region or all units: the median over units, with an
        interval of what as many other sounds of the kind would give in these units: the value plus and minus normal
        quantiles times a standard error, within the range of the statistic. The standard error is that of random halves
        of the stimuli, drawn without replacement (the delete-d jackknife with d = n/2; Shao & Wu 1989, Annals of
        Statistics 17:1176). Bootstrap samples hold copies of stimuli, which add noise to every unit and so move a
        median over mostly unreliable units away from its value; the jackknife that leaves out one stimulus fails for a
        median. A unit's split-half reliability below -1 counts as -1. ``n_units`` and ``n_repetitions`` are further
        columns; a note counts units that are constant, which are left out of the median. Arrays: the statistics of each
        unit. There is no hypothesis, hence no p.

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
    halves = _draw_halves(ids, n_bootstrap, np.random.default_rng(seed))
    pairs = halvings(len(runs), len(runs) // 2, max_splits, seed)
    groups = group_units(responses.isel(repetition=0, drop=True))
    rows = []
    for s, subject in enumerate(groups.subjects):
        for row in _subject_rows(runs, groups, s, statistics, pairs, halves, level):
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
            "interval": "normal, standard error from random halves of the stimuli; units and repetitions held fixed",
        },
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
    halves: Array,
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
    labels = [(s, t, len(p)) for s in statistics for t, p in parts]
    low, high = np.full((2, len(values)), np.nan)
    if len(halves):
        n, n_half = halves.shape[1], int(halves[0].sum())
        error = np.nanstd(medians(halves), axis=0, ddof=1) * np.sqrt(n_half / (n - n_half))
        width = NormalDist().inv_cdf((1 + level) / 2) * error
        lowest, highest = np.array([_RANGES[s] for s, _, _ in labels]).T
        low, high = np.maximum(values - width, lowest), np.minimum(values + width, highest)
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


def _draw_halves(ids: Sequence[str], n_draws: int, rng: np.random.Generator) -> Array:
    """Draw random halves of the stimuli, as weights 0 and 1 (n_draws, n); the draw belongs to the ids."""
    if n_draws and n_draws < LEAST_SAMPLES:
        raise MeasureError(f"n_bootstrap is {n_draws}, expected 0 (no interval) or at least {LEAST_SAMPLES}")
    drawn = rng.permuted(np.tile(np.arange(len(ids)), (n_draws, 1)), axis=1) < len(ids) // 2
    weights = np.empty(drawn.shape)
    weights[:, np.argsort(np.asarray(ids, dtype=str), kind="stable")] = drawn
    return weights


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
    return ncsnr(runs, weights)


def _noise_ceiling(runs: Array, weights: Array, pairs: object = None) -> Array:
    return np.asarray(ncsnr_reliability(_ncsnr(runs, weights), len(runs)))


def _nh2015(runs: Array, weights: Array, pairs: object = None) -> Array:
    return nh2015_reliability(runs[:-1].mean(axis=0), runs[-1], weights)


#: Lowest and highest value that a unit can have.
_RANGES = {"split-half": (-1.0, 1.0), "nh2015": (0.0, 1.0), "ncsnr": (0.0, np.inf), "noise-ceiling": (0.0, 1.0)}
_STATISTICS = {"split-half": _split_half, "nh2015": _nh2015, "ncsnr": _ncsnr, "noise-ceiling": _noise_ceiling}
