"""Depth profile: which stage of a model corresponds to which region of auditory cortex.

Each voxel has the layer that predicts its held-out responses best. Where that layer lies between the first (0)
and the last (1) is its relative best stage; the median over the voxels of a region is a subject's, and subjects are
compared between regions (Tuckute et al. 2023, PLoS Biology, e3002366, Figure 7).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.resampling import Level, Resamples, Seed, draw_counts, interval
from brainalign.measures.result import Result, result_table
from brainalign.measures.scores import FoldRule, Statistic
from brainalign.measures.splits import SplitCount, Splits
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.measures.voxel_fits import ALL_UNITS, Correction, Groups, group_units
from brainalign.responses import Responses, describe, units_by_layer
from brainalign.stats import adjust_p, signed_rank
from brainalign.stats.hierarchical import within_subject_sem

Array = NDArray[np.float64]

STAGE = "relative_best_stage"
DIFFERENCE = "difference"


def depth_profile(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    reference: str = "primary",
    splits: Splits = "tuckute2023",
    n_splits: SplitCount = 10,
    protocol: Literal["brainalign", "tuckute2023"] = "brainalign",
    statistic: Statistic = "r2",
    correction: Correction = "none",
    min_reliability: Annotated[float, Field(ge=0, lt=1)] | None = None,
    folds: FoldRule = "median",
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the relative best stage of a model between regions, subjects paired.

    Parameters
    ----------
    responses : Responses
        Of a model with several layers, in order of depth.
    brain : BrainData or Responses
        Voxels with the unit coordinate ``region`` and, for a comparison, ``subject``.
    reference : str
        The region that others are compared with; capitals do not matter.
    splits, n_splits, protocol, statistic, correction, min_reliability, folds
        As for :func:`~brainalign.measures.voxel_encoding.voxel_encoding`, which gives the scores.
    n_bootstrap : int
        Resamples of subjects for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of splits and resamples.

    Returns
    -------
    Result
        See :func:`depth_profile_of`.

    Raises
    ------
    MeasureError
        If there is a single layer, no ``region``, or no region of the name `reference`.
    """
    if len(units_by_layer(responses)) < 2:
        raise MeasureError(
            f"{describe(responses)} has one layer, a depth profile needs at least 2; in a recipe, name the models "
            f'that have several: models = ["..."]'
        )
    encoding = voxel_encoding(
        responses,
        brain,
        splits=splits,
        n_splits=n_splits,
        protocol=protocol,
        statistic=statistic,
        correction=correction,
        min_reliability=min_reliability,
        folds=folds,
        n_permutations=0,
        n_bootstrap=0,
        seed=seed,
    )
    return depth_profile_of(encoding, reference=reference, n_bootstrap=n_bootstrap, level=level, seed=seed)


def depth_profile_of(
    encoding: Result,
    *,
    reference: str = "primary",
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the relative best stage between regions, from scores that are there already.

    Parameters
    ----------
    encoding : Result
        Of :func:`~brainalign.measures.voxel_encoding.voxel_encoding`.
    reference, n_bootstrap, level, seed
        As for :func:`depth_profile`.

    Returns
    -------
    Result
        Statistic ``relative_best_stage`` for each region: the median over voxels of each subject, then the mean over
        subjects. Statistic ``difference`` for each region but the reference: the mean over the subjects who have both,
        with the p of the Wilcoxon signed-rank test (paired, two-sided; exact without ties) and ``p_holm``, adjusted for
        the number of regions; its effect size is the share of the rank sum that is positive (0.5: none). Intervals: BCa
        bootstrap over subjects, sounds held fixed. ``sem_within``: standard error without the differences between
        subjects that all regions share, of the subjects who have all regions. Voxels that no layer predicts have no
        best stage and are left out; their number is in the warnings. Arrays: ``best_stage`` (unit) and
        ``subject_stages`` (subject, target).

    Raises
    ------
    MeasureError
        As :func:`depth_profile`.
    """
    scores = encoding.arrays["scores"]
    scores = scores.sel(layer=[name for name in scores["layer"].values if name != CHOSEN])
    groups, origin = group_units(scores), _find_reference(scores, reference)
    stage = relative_best_stage(scores.values)
    regions = [t for t in groups.targets if t != ALL_UNITS]
    by_subject = groups.medians(stage)[:, [groups.targets.index(r) for r in regions]]
    rng = np.random.default_rng(seed)
    about = {
        "measure": "depth-profile",
        "model": encoding.table["model"].iloc[0],
        "brain": encoding.table["brain"].iloc[0],
        "n_of": "subjects",
    }
    rows = _stage_rows(by_subject, regions, stage, groups, n_bootstrap, level, rng)
    rows += _difference_rows(by_subject, regions, origin, n_bootstrap, level, rng)
    unit = {str(c): ("unit", v.values) for c, v in scores.coords.items() if v.dims == ("unit",)}
    return Result(
        measure="depth-profile",
        table=result_table({**about, **row} for row in rows),
        arrays={
            "best_stage": xr.DataArray(stage, dims="unit", coords=unit),
            "subject_stages": xr.DataArray(
                by_subject, dims=("subject", "target"), coords={"subject": groups.subjects, "target": regions}
            ),
        },
        settings={
            **encoding.settings,
            "reference": origin,
            "layers": scores["layer"].values.tolist(),
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": "two-sided Wilcoxon signed-rank test over subjects; p_holm for all regions",
            "interval": "BCa bootstrap over subjects, sounds held fixed",
        },
        warnings=[*encoding.warnings, *_unpredicted(stage, scores)],
    )


def relative_best_stage(scores: Array) -> Array:
    """Return where the layer of the highest score lies, from 0 (first) to 1 (last).

    Parameters
    ----------
    scores : ndarray, shape (n_layers, n_units)
        Scores on held-out stimuli, layers in order of depth.

    Returns
    -------
    ndarray, shape (n_units,)
        argmax / (n_layers - 1), of equal layers the mean. NaN for a unit without a positive score, which no layer
        predicts, and for one without scores.

    Raises
    ------
    MeasureError
        If there is a single layer.
    """
    n_layers = len(scores)
    if n_layers < 2:
        raise MeasureError("a depth profile needs at least 2 layers, found 1")
    best = np.nan_to_num(scores, nan=-np.inf).max(axis=0)
    tied = scores == best
    position = (tied * np.linspace(0, 1, n_layers)[:, None]).sum(axis=0) / np.maximum(tied.sum(axis=0), 1)
    return np.asarray(np.where(best > 0, position, np.nan))


def _find_reference(scores: xr.DataArray, reference: str) -> str:
    """Return the name of the reference region as the data spell it."""
    if "region" not in scores.coords:
        raise MeasureError("a depth profile compares regions, and the units have no coordinate 'region'")
    regions = [r for r in group_units(scores).targets if r != ALL_UNITS]
    same = [r for r in regions if r.casefold() == reference.casefold()]
    if not same:
        raise MeasureError(f"no region {reference!r} to compare with; {did_you_mean(reference, regions)}")
    return same[0]


def _stage_rows(
    by_subject: Array,
    regions: list[str],
    stage: Array,
    groups: Groups,
    n_bootstrap: int,
    level: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    complete = ~np.isnan(by_subject).any(axis=1)
    sem = within_subject_sem(by_subject[complete])
    rows = []
    for t, region in enumerate(regions):
        values = by_subject[:, t][~np.isnan(by_subject[:, t])]
        number = groups.targets.index(region)
        units = np.concatenate([u for (_, own), u in groups.members.items() if own == number])
        counts = {"n_units": int(np.isfinite(stage[units]).sum()), "n_dropped": int(np.isnan(stage[units]).sum())}
        row = {"target": region, "statistic": STAGE, "sem_within": sem[t], **counts}
        rows.append(row | _mean(values, n_bootstrap, level, rng))
        rows[-1]["effect_size"] = rows[-1]["value"]
    return rows


def _difference_rows(
    by_subject: Array, regions: list[str], origin: str, n_bootstrap: int, level: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for t, region in enumerate(regions):
        if region == origin:
            continue
        differences = by_subject[:, t] - by_subject[:, regions.index(origin)]
        differences = differences[~np.isnan(differences)]
        row = {"target": f"{region} - {origin}", "statistic": DIFFERENCE, "p": np.nan}
        row |= _mean(differences, n_bootstrap, level, rng)
        if len(differences) > 1:
            test = signed_rank(differences)
            row |= {"p": test.p, "effect_size": test.effect_size}
        rows.append(row)
    if rows:
        for row, adjusted in zip(rows, adjust_p([r["p"] for r in rows], "holm", nan="keep"), strict=True):
            row["p_holm"] = adjusted
    return rows


def _mean(values: Array, n_bootstrap: int, level: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return the mean over subjects, its interval and n."""
    if len(values) < 2:
        note = "one subject: no interval, no test" if len(values) else "no subject"
        return {"value": values[0] if len(values) else np.nan, "n": len(values), "note": note}
    counts = draw_counts(len(values), n_bootstrap, rng)

    def mean(weights: Array) -> Array:
        return np.asarray((weights @ values / weights.sum(axis=1))[:, None])

    low, high, notes = interval(values.mean(keepdims=True), counts, mean, level)
    return {"value": values.mean(), "ci_low": low[0], "ci_high": high[0], "n": len(values), "note": notes[0]}


def _unpredicted(stage: Array, scores: xr.DataArray) -> list[str]:
    n = int((np.isnan(stage) & ~np.isnan(scores.values).all(axis=0)).sum())
    return (
        [f"{n} of {len(stage)} units are predicted by no layer and have no best stage: they are left out"] if n else []
    )
