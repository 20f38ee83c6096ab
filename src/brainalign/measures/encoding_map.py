"""Encoding maps: which voxels each embedding of the stimuli predicts, and what the embeddings share.

The protocol is that of Denk et al. 2023 (Brain2Music, arXiv 2307.11078, section 4.4): ridge regression from embeddings
of (windows of) clips to every voxel, the correlation on test clips, and false discovery rate over voxels. Their null
(correlations of Gaussian noise) takes overlapping windows for independent; permuting whole clips does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Annotated, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.decoding_plan import Plan, make_plan, unnamed_windows
from brainalign.measures.encoding_map_parts import (
    ClipRows,
    ClipSums,
    Null,
    UniqueErrors,
    all_sets,
    blocks_of,
    fit_block,
    gaussian_p,
    make_parts,
    permute_clips,
)
from brainalign.measures.encoding_map_rows import (
    Fitted,
    Study,
    means_by_subject,
    overlap_rows,
    score_rows,
    share_rows,
    unique_rows,
)
from brainalign.measures.feature_spaces import FeatureSpace, Members, find_spaces
from brainalign.measures.resampling import Level, Resamples, Seed, check_resamples
from brainalign.measures.result import Result, result_table
from brainalign.measures.voxel_fits import group_units
from brainalign.responses import Responses, align, average_repetitions, check_responses
from brainalign.stats import adjust_p, permute_labels

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: The most spaces whose sets are all fitted, for unique variance.
MOST_SPACES = 3


def encoding_map(
    all_responses: Mapping[str, Responses],
    brain: BrainData | Responses,
    *,
    spaces: list[str] | None = None,
    split: str = "split",
    n_splits: Annotated[int, Field(ge=2)] = 5,
    clip: str = "clip",
    unseen: str | None = None,
    null: Null = "permutation",
    q: Level = 0.05,
    unique: bool | None = None,
    n_folds: Annotated[int, Field(ge=2)] = 5,
    alphas: Sequence[float] | None = None,
    n_permutations: Annotated[int, Field(ge=20, le=1_000_000)] = 1000,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Predict every voxel from each embedding, and say where that works, for which embedding, and for which alone.

    Parameters
    ----------
    all_responses : mapping of str to Responses
        Embeddings of the stimuli, which are clips or windows of clips, by the names of the models.
    brain : BrainData or Responses
        Responses to the same stimuli, matched by id; repetitions are averaged. Unit coordinates ``subject`` and
        ``region`` are used where they are there.
    spaces : list of str, optional
        Which embeddings: names of models, or ``"model:layer"``; all models if not given. Layers of a whole model enter
        with equal variances.
    split : str
        Name of a coordinate along ``stimulus`` that says ``train`` or ``test``; or ``kfold``, for folds of whole clips,
        of which each is tested once. Correlations are then of deviations from the mean of the fold.
    n_splits : int
        How many folds for ``kfold``.
    clip : str
        Name of the coordinate that says which clip a stimulus is a window of. Windows of one clip are never torn apart.
        Each stimulus is a clip of its own where there is no ``clip``.
    unseen : str, optional
        Name of a coordinate such as ``category``: the test clips of each of its values are predicted by a fit to
        training clips of all other values, and correlated all together; the means of the fits, which tell the values
        apart, are taken off.
    null : {'permutation', 'gaussian'}
        From what p of voxels comes. ``permutation``: the predictions for whole clips are given to other clips (the fit
        is one). ``gaussian``: as published, the correlations of independent Gaussian noise of as many rows; where
        windows overlap, or answers are slow, they are too small, and too many voxels significant.
    q : float
        False discovery rate (Benjamini & Hochberg) over the voxels of a subject.
    unique : bool, optional
        Whether to fit all sets of spaces, for what each explains that the others do not. If not given, where there are
        2 or 3.
    n_folds : int
        Folds of the training clips, which choose the penalty of each voxel.
    alphas : sequence of float, optional
        Penalties, relative to the summed variance of the features over training rows; sixteen from 1e-9 to 1e6 if
        not given. The paper does not give its own.
    n_permutations : int
        Permutations of test clips, at least 20.
    n_bootstrap : int
        Resamples of subjects and test clips for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of folds, permutations and resamples.

    Returns
    -------
    Result
        Rows for each space, each ``subject`` (``all subjects``: the mean, with ``sd``) and target (``all units``; for
        the mean over subjects also each region). ``r_mean`` and ``r_median`` over voxels (of all units alone, and
        without an interval: where few voxels are predicted, resampling moves their median); ``share_significant``, by
        `null`, and for comparison by the published one. For pairs of spaces ``jaccard`` (``A & B``: voxels significant
        for both, of those for either) and ``share_shared`` (``A in B``: of the voxels of A, those of B too), with
        ``chance`` for sets that have nothing to do with each other. With `unique`: ``R2`` of all spaces, mean over
        voxels, and ``unique``, the R2 that is lost without a space. Interval: bootstrap over subjects and test clips,
        fits held fixed, so it says nothing about other training clips. p of ``r_mean``: from the same permutations.
        Arrays: ``r``, ``p``, ``p_fdr``, ``significant`` (model, unit), ``unique`` (model, unit) and ``R2`` (unit),
        ``region_r`` and ``region_significant`` (model, subject, target), ``roles`` (part, stimulus).

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If a clip is torn apart, clips are too few or (to be permuted) of different numbers of windows, windows of
        one id are other stretches of their clips, a space or coordinate is unknown, a space stands twice, or a space or
        voxel is constant.
    """
    _check_options(null, q, alphas, n_permutations, n_bootstrap)
    found = find_spaces(all_responses, spaces)
    voxels = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    voxels, *features = align(voxels, *(average_repetitions(space.responses) for space in found))
    for side in (voxels, *features):
        check_responses(side, allow_constant=True)
    found = [replace(space, responses=own) for space, own in zip(found, features, strict=True)]
    _refuse_twice(found)
    if unique and not 2 <= len(found) <= MOST_SPACES:
        raise MeasureError(
            f"unique variance is for 2 to {MOST_SPACES} spaces, found {len(found)}; name them as spaces = [...]"
        )
    plan = make_plan((*features, voxels), split, n_splits, clip, unseen, seed)
    tested = ClipRows.of(plan, voxels["stimulus"].values.astype(str))
    sets = all_sets(len(found)) if unique or (unique is None and 2 <= len(found) <= MOST_SPACES) else []
    study = Study(found, plan, tested, group_units(voxels), sets)
    orders = _orders(tested, n_permutations if null == "permutation" else 0, seed)
    grid = None if alphas is None else np.asarray(alphas, dtype=np.float64)
    fitted = _fit(study, voxels, orders, grid, n_folds, seed)
    significant = _significant(study, fitted.p, q)
    rows = [
        {"measure": "encoding-map", "brain": voxels.attrs.get("source", ""), "n_clips": len(tested.clips), **row}
        for row in [
            *score_rows(study, fitted, n_bootstrap, level, seed),
            *share_rows(study, fitted, significant, null, q),
            *overlap_rows(study, significant[1]),
            *unique_rows(study, fitted, n_bootstrap, level, seed),
        ]
    ]
    return Result(
        measure="encoding-map",
        table=result_table(rows),
        arrays=_arrays(study, fitted, significant, voxels),
        settings={
            "spaces": [space.name for space in found],
            "split": split,
            "n_splits": len(plan.parts),
            "unseen": unseen,
            "null": null,
            "q": q,
            "unique": bool(sets),
            "n_folds": n_folds,
            "alphas": None if alphas is None else [float(a) for a in alphas],
            "n_permutations": len(orders),
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "score": "Pearson r over test stimuli, no noise correction",
            "test": "permutation of whole test clips, one-sided, fits held fixed; tails by moments"
            if null == "permutation"
            else "correlations of independent Gaussian noise of the number of test rows, one-sided",
            "correction": f"Benjamini-Hochberg over the units of a subject, q = {q:g}",
            "interval": "bootstrap over subjects and test clips, fits held fixed",
            "penalty": f"for each unit, by {n_folds} folds of whole training clips",
        },
        warnings=_warnings(study, fitted, voxels, null),
    )


def _refuse_twice(spaces: Sequence[FeatureSpace]) -> None:
    for first, second in combinations(spaces, 2):
        if np.array_equal(first.responses.values, second.responses.values):
            raise MeasureError(
                f"the spaces {first.name!r} and {second.name!r} hold the same values: neither can be unique; "
                f"leave one out"
            )


def _fit(study: Study, voxels: Responses, orders: Index, alphas: Array | None, n_folds: int, seed: int) -> Fitted:
    spaces, plan, tested, groups = study.spaces, study.plan, study.tested, study.groups
    singles: list[Members] = [(k,) for k in range(len(spaces))]
    parts = {s: make_parts(spaces, s, plan, tested, n_folds, seed) for s in study.sets or singles}
    n_units, n_clips, n_rows = voxels.sizes["unit"], len(tested.clips), len(tested.rows)
    r, p, published = np.empty((3, len(spaces), n_units))
    permuted = np.full((len(orders), len(spaces), len(groups.subjects), len(groups.targets)), np.nan)
    names = voxels["unit"].values.astype(str)
    sums: list[list[ClipSums]] = [[] for _ in spaces]
    errors, at_edge = [], []
    n_strata = len(np.unique(tested.strata))
    for s in range(len(groups.subjects)):
        units, indicator = study.units(s), study.indicator(s)
        for own in sums:
            own.append(ClipSums.empty(n_clips, len(units), tested.lengths))
        if study.sets:
            errors.append(UniqueErrors(study.sets, n_clips, len(units)))
        totals = np.zeros((len(orders), len(spaces), indicator.shape[1]))
        for part, y in blocks_of(voxels.values, units, names):
            fits = {members: fit_block(own, y, n_rows, alphas) for members, own in parts.items()}
            observed = _centred_responses(tested, y, names[units[part]])
            for k, single in enumerate(singles):
                x = tested.centred(fits[single].predictions)
                sums[k][s].fill(part, x, observed, tested)
                place = units[part]
                r[k, place] = np.einsum("ij,ij->j", x, observed)
                published[k, place] = p[k, place] = gaussian_p(r[k, place], n_rows, n_strata)
                at_edge.append(fits[single].at_edge / (len(place) * len(plan.parts)))
                if len(orders):
                    null = permute_clips(x, observed, tested, orders, indicator[part])
                    p[k, place] = null.p
                    totals[:, k] += null.sums
            if study.sets:
                errors[s].fill(part, fits, _relative(plan, tested, y), tested)
        n_own = indicator.sum(axis=0)
        permuted[:, :, s] = np.where(n_own > 0, totals / np.maximum(n_own, 1), np.nan)
    return Fitted(r, (p, published), sums, errors, permuted, float(np.mean(at_edge)))


def _centred_responses(tested: ClipRows, y: Array, names: NDArray[np.str_]) -> Array:
    observed = tested.centred(y[tested.rows])
    if (constant := ~observed.any(axis=0)).any():
        raise MeasureError(
            f"units respond alike to all test stimuli, for instance {name_some(names[constant])}; leave them out with "
            f"select_units"
        )
    return observed


def _relative(plan: Plan, tested: ClipRows, y: Array) -> Array:
    """Return responses of the tested rows less the training mean of the fit that predicts them."""
    means = np.stack([y[train].mean(axis=0) for train, _ in plan.parts])
    return np.asarray(y[tested.rows] - np.repeat(means[tested.part], tested.lengths, axis=0))


def _orders(tested: ClipRows, n_permutations: int, seed: int) -> Index:
    n = len(tested.clips)
    if not n_permutations:
        return np.empty((0, n), dtype=np.intp)
    if len(lengths := np.unique(tested.lengths)) > 1:
        raise MeasureError(
            f"test clips have {lengths.min()} to {lengths.max()} windows; to be permuted they must have equally many: "
            f"cut them to one length, or use null='gaussian'"
        )
    return permute_labels(n, n_permutations, np.random.default_rng([seed, 0]), strata=tested.strata)


def _significant(study: Study, p: tuple[Array, Array], q: float) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return adjusted p, what is significant by them, and by the published null; (n_spaces, n_units)."""
    adjusted = np.empty((2, *p[0].shape))
    for k, values in enumerate(p):
        for s in range(len(study.groups.subjects)):
            units = study.units(s)
            for space in range(len(values)):
                adjusted[k, space, units] = adjust_p(values[space, units])
    return adjusted[0], adjusted[0] <= q, adjusted[1] <= q


def _arrays(
    study: Study,
    fitted: Fitted,
    significant: tuple[Array, NDArray[np.bool_], NDArray[np.bool_]],
    voxels: Responses,
) -> dict[str, xr.DataArray]:
    names = [space.name for space in study.spaces]
    unit = {str(c): ("unit", v.values) for c, v in voxels.coords.items() if v.dims == ("unit",)}
    along, dims = {"model": names, **unit}, ("model", "unit")
    by_region = {"model": names, "subject": study.subjects, "target": study.groups.targets}
    roles = np.full((len(study.plan.parts), voxels.sizes["stimulus"]), "", dtype="<U5")
    for k, (train, test) in enumerate(study.plan.parts):
        roles[k, train], roles[k, test] = "train", "test"
    arrays = {
        "r": xr.DataArray(fitted.r, dims=dims, coords=along),
        "p": xr.DataArray(fitted.p[0], dims=dims, coords=along),
        "p_fdr": xr.DataArray(significant[0], dims=dims, coords=along),
        "significant": xr.DataArray(significant[1], dims=dims, coords=along),
        "roles": xr.DataArray(roles, dims=("part", "stimulus"), coords={"stimulus": voxels["stimulus"].values}),
    }
    for name, values in (("region_r", fitted.r), ("region_significant", significant[1].astype(float))):
        table = np.stack([means_by_subject(study, own) for own in values])
        arrays[name] = xr.DataArray(table, dims=("model", "subject", "target"), coords=by_region)
    if study.sets:
        r2 = np.empty((1 + len(names), voxels.sizes["unit"]))
        for s, errors in enumerate(fitted.errors):
            r2[:, study.units(s)] = errors.r2(np.ones((1, len(study.tested.clips))))[0]
        arrays["R2"] = xr.DataArray(r2[0], dims="unit", coords=unit)
        arrays["unique"] = xr.DataArray(r2[1:], dims=dims, coords=along)
    return arrays


def _check_options(null: str, q: float, alphas: Sequence[float] | None, n_permutations: int, n_bootstrap: int) -> None:
    if null not in get_args(Null):
        raise MeasureError(f"no null {null!r}; {did_you_mean(null, get_args(Null))}")
    if null == "permutation" and not 20 <= n_permutations <= 1_000_000:
        raise MeasureError(f"n_permutations is {n_permutations}, expected 20 to 1,000,000; or use null='gaussian'")
    if not 0 < q < 1:
        raise MeasureError(f"q is {q}, expected a false discovery rate between 0 and 1, such as 0.05")
    check_resamples(n_bootstrap)
    if alphas is not None and (not len(alphas) or not all(0 < a < np.inf for a in alphas)):
        raise MeasureError(f"penalties must be positive and finite, found {list(alphas)}")


def _warnings(study: Study, fitted: Fitted, voxels: Responses, null: Null) -> list[str]:
    found = unnamed_windows(study.plan, (voxels, *(space.responses for space in study.spaces)))
    if "subject" not in voxels.coords:
        found.append("the units have no coordinate 'subject': all are taken as one subject's")
    if fitted.at_edge > 0:
        found.append(
            f"in {fitted.at_edge:.0%} of fits the penalty is the first or last of the grid; at the upper end a unit "
            f"cannot be predicted at all"
        )
    if len(study.spaces) > MOST_SPACES:
        found.append(
            f"unique variance is for at most {MOST_SPACES} spaces, here are {len(study.spaces)}: it was left out; name "
            f"some as spaces = [...]"
        )
    parts = study.plan.parts
    if null == "permutation" and len(parts) > 1 and np.isin(parts[0][1], parts[1][0]).any():
        found.append(
            "each fold shares training clips with the others, which permuted predictions do not know: in simulations "
            "without signal 0.035 of p lay below 0.05, and 0.01 below 0.01; p of a fixed split are exact"
        )
    if null == "gaussian" and study.tested.lengths.max() > 1:
        found.append(
            "the published null takes the windows of a clip for independent; where they overlap, too many units are "
            "significant: null='permutation' permutes whole clips"
        )
    return found
