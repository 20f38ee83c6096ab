"""Representational dissimilarity matrices (RDMs): from responses to distances between stimuli."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.rdm_noise import Shrinkage, noise_covariance
from brainalign.responses import Responses, average_repetitions, check_responses, constant_stimuli, describe

Array = NDArray[np.float64]
#: RDMs are an array with dims ``(rdm, stimulus, stimulus_2)``; both stimulus coordinates hold the same ids.
RDMs: TypeAlias = xr.DataArray
DIMS = ("rdm", "stimulus", "stimulus_2")
Distance = Literal["correlation", "euclidean", "squared-euclidean", "cosine", "mahalanobis", "crossnobis"]
#: What stands for a distance on the side that has no noise, such as a model.
NOISELESS: dict[Distance, Distance] = {"mahalanobis": "euclidean", "crossnobis": "squared-euclidean"}


def correlation_rdm(responses: Responses) -> Array:
    """Return the correlation distance, 1 - Pearson r, between the response patterns of all stimuli.

    Parameters
    ----------
    responses : Responses
        Dims ``(stimulus, unit)``, at least two units.

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        Symmetric, zero diagonal, between 0 and 2.

    Raises
    ------
    MeasureError
        If there is one unit only, or a stimulus whose pattern is constant; the message names it.
    """
    if responses.sizes["unit"] < 2:
        raise MeasureError(
            f"{describe(responses)}: a correlation distance needs at least 2 units; a single unit has no pattern"
        )
    constant = constant_stimuli(responses)
    if constant:
        raise MeasureError(
            f"{describe(responses)}: all units respond alike to {name_some(constant)}, so the correlation distance is "
            f"not defined; leave these stimuli out by name"
        )
    patterns = responses.values.astype(np.float64)
    return _one_minus_cosine(patterns - patterns.mean(axis=1, keepdims=True))


def compute_rdm(
    responses: Responses, distance: Distance = "correlation", *, shrinkage: Shrinkage = "ledoit-wolf"
) -> Array:
    """Return the distances between the response patterns of all stimuli.

    Parameters
    ----------
    responses : Responses
        Dims ``(stimulus, unit)`` or ``(repetition, stimulus, unit)``. Repetitions are averaged but for the crossnobis
        distance, which needs them.
    distance : str
        ``"correlation"``, 1 - Pearson r (0 to 2). ``"cosine"``, 1 - cosine (0 to 2). ``"euclidean"`` and
        ``"squared-euclidean"``, in units of the responses, summed over units of the brain or model.
        ``"mahalanobis"``, the euclidean distance in units of the noise: its covariance is estimated from what differs
        between repetitions. ``"crossnobis"``, the squared Mahalanobis distance per unit, cross-validated: differences
        of two stimuli in one repetition times those in the others, averaged. It is unbiased: 0 on average where two
        stimuli do not differ, hence often negative, and negative values are kept. To that end the noise is that of all
        other stimuli: residuals of the two stimuli themselves would make their distance too large (with the diagonal
        shrinkage, by one over the degrees of freedom, they still do).
    shrinkage : {'ledoit-wolf', 'diagonal', 'none'}
        How the noise covariance of the last two is regularised, see
        :func:`~brainalign.measures.rdm_noise.noise_covariance`.

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        Symmetric, zero diagonal.

    Raises
    ------
    ResponseError
        If a response is missing; the message names the stimulus.
    MeasureError
        If the distance is unknown or not defined: a stimulus with a constant pattern (correlation) or a zero one
        (cosine), which is named, or no repetitions (mahalanobis, crossnobis).

    References
    ----------
    Walther, A. et al. (2016). Reliability of dissimilarity measures for multi-voxel pattern analysis. NeuroImage 137,
    188-200: the crossnobis distance and the noise covariance from residuals.
    """
    if distance not in get_args(Distance):
        raise MeasureError(f"no distance {distance!r}; {did_you_mean(distance, get_args(Distance))}")
    check_responses(responses, allow_constant=True)
    if distance == "crossnobis":
        return _crossnobis(responses, shrinkage)
    if distance == "mahalanobis":
        return _mahalanobis(responses, shrinkage)
    mean = average_repetitions(responses)
    if distance == "correlation":
        return correlation_rdm(mean)
    patterns = mean.values.astype(np.float64)
    if distance == "cosine":
        silent = mean["stimulus"].values[~patterns.any(axis=1)]
        if len(silent):
            raise MeasureError(
                f"{describe(responses)}: no unit responds to {name_some(silent)}, so the cosine distance is not "
                f"defined; leave these stimuli out by name"
            )
        return _one_minus_cosine(patterns)
    # scipy subtracts before it squares: equal patterns have a distance of exactly 0, which a matrix product misses.
    from scipy.spatial.distance import pdist, squareform

    square: Array = squareform(pdist(patterns, "euclidean" if distance == "euclidean" else "sqeuclidean"))
    return square


def compute_rdms(
    responses: Responses,
    distance: Distance = "correlation",
    *,
    by: str | None = None,
    shrinkage: Shrinkage = "ledoit-wolf",
) -> RDMs:
    """Return one RDM for each group of units: each layer of a model, each subject of a brain.

    Parameters
    ----------
    responses : Responses
        As :func:`compute_rdm` takes them.
    distance : str
        See :func:`compute_rdm`.
    by : str, optional
        A coordinate along ``unit``, such as ``layer`` or ``subject``; if not given, all units are one group, named
        after the source.
    shrinkage : str
        See :func:`compute_rdm`.

    Returns
    -------
    RDMs
        Dims ``(rdm, stimulus, stimulus_2)``, groups in the order in which they appear.

    Raises
    ------
    MeasureError
        If units have no such coordinate, or a distance is not defined.
    """
    groups = {str(responses.attrs.get("source", "")): np.arange(responses.sizes["unit"])}
    if by is not None:
        coordinates = [str(c) for c in responses.coords if responses[c].dims == ("unit",)]
        if by not in coordinates:
            raise MeasureError(f"units have no coordinate {by!r}; {did_you_mean(by, coordinates)}")
        labels = responses[by].values.astype(str)
        groups = {str(name): np.flatnonzero(labels == name) for name in dict.fromkeys(labels.tolist())}
    values = []
    for name, units in groups.items():
        try:
            values.append(compute_rdm(responses.isel(unit=units), distance, shrinkage=shrinkage))
        except MeasureError as why:
            raise MeasureError(f"{by} {name}: {why}" if by else str(why)) from why
    along: dict[str, Any] = {"category": responses["category"].values} if "category" in responses.coords else {}
    return make_rdms(np.stack(values), [str(s) for s in responses["stimulus"].values], list(groups), **along)


def make_rdms(
    values: NDArray[Any], stimulus: list[str], names: list[str] | None = None, category: NDArray[Any] | None = None
) -> RDMs:
    """Build RDMs from an array and check them.

    Parameters
    ----------
    values : ndarray, shape (n_rdms, n_stimuli, n_stimuli) or (n_stimuli, n_stimuli)
        Distances.
    stimulus : list of str
        Stimulus ids, in the order of rows and columns.
    names : list of str, optional
        Names of the RDMs; ``"0"``, ``"1"`` ... if not given.
    category : ndarray, shape (n_stimuli,), optional
        Category of each stimulus.

    Returns
    -------
    RDMs
        Checked, see :func:`check_rdms`.

    Raises
    ------
    MeasureError
        If shapes disagree, or for anything that :func:`check_rdms` finds.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[None] if array.ndim == 2 else array
    names = [str(i) for i in range(len(array))] if names is None else names
    if array.ndim != 3 or array.shape != (len(names), len(stimulus), len(stimulus)):
        raise MeasureError(
            f"RDMs have shape {np.shape(values)}, expected {len(names)} matrices of {len(stimulus)} x {len(stimulus)}"
        )
    coords: dict[str, Any] = {"rdm": names, "stimulus": stimulus, "stimulus_2": stimulus}
    if category is not None:
        coords["category"] = ("stimulus", np.asarray(category).astype(str))
    rdms = xr.DataArray(array, dims=DIMS, coords=coords)
    check_rdms(rdms)
    return rdms


def check_rdms(rdms: RDMs) -> None:
    """Raise if RDMs are not fit to be compared.

    Parameters
    ----------
    rdms : RDMs
        What to check.

    Raises
    ------
    MeasureError
        For wrong dims, ids that differ between rows and columns or occur twice, distances that are missing (the
        stimuli are named), matrices that are not symmetric, or a diagonal that is not zero.
    """
    if rdms.dims != DIMS:
        raise MeasureError(f"RDMs have dims {rdms.dims}, expected {DIMS}")
    for dim in DIMS:
        if dim not in rdms.coords or rdms.indexes[dim].has_duplicates:
            raise MeasureError(f"RDMs need a coordinate {dim!r} with names that occur once")
    if list(rdms["stimulus"].values) != list(rdms["stimulus_2"].values):
        raise MeasureError("rows and columns of the RDMs have different stimulus ids, or another order")
    values = rdms.values
    missing = ~np.isfinite(values)
    if missing.any():
        # A missing stimulus empties its row and column; only such rows are named if there are any.
        share = missing.sum(axis=(0, 2))
        bad = rdms["stimulus"].values[share == share.max()]
        raise MeasureError(
            f"{int(missing.sum())} of {values.size} distances are NaN or infinite, for the stimuli {name_some(bad)}; "
            f"leave these stimuli out by name"
        )
    slack = 1e-9 * np.abs(values).max(axis=(1, 2), initial=0.0)
    skew = np.abs(values - values.transpose(0, 2, 1)).max(axis=(1, 2), initial=0.0)
    diagonal = np.abs(np.diagonal(values, axis1=1, axis2=2)).max(axis=1, initial=0.0)
    for fault, what in ((skew, "not symmetric"), (diagonal, "not zero on the diagonal")):
        if (fault > slack).any():
            raise MeasureError(f"the RDM {str(rdms['rdm'].values[int(np.argmax(fault - slack))])!r} is {what}")


def align_rdms(first: RDMs, other: RDMs, name: str) -> RDMs:
    """Bring RDMs to the stimulus order of others, matching by id.

    Parameters
    ----------
    first, other : RDMs
        RDMs of the same stimuli, in any order.
    name : str
        What the others are called in messages.

    Returns
    -------
    RDMs
        `other`, in the order of `first`.

    Raises
    ------
    MeasureError
        If the stimuli differ; the message names those on one side only.
    """
    order, theirs = first.indexes["stimulus"], other.indexes["stimulus"]
    lacking, extra = order.difference(theirs, sort=False), theirs.difference(order, sort=False)
    if len(lacking) or len(extra):
        parts = [f"{name} lacks {name_some(map(repr, lacking))}"] if len(lacking) else []
        parts += [f"only {name} has {name_some(map(repr, extra))}"] if len(extra) else []
        raise MeasureError("the stimuli differ: " + "; ".join(parts) + "; choose a common subset by id")
    return other.sel(stimulus=order, stimulus_2=order)


def pair_values(rdms: RDMs | Array) -> Array:
    """Return the distances of all pairs of stimuli.

    Parameters
    ----------
    rdms : RDMs or ndarray, shape (..., n_stimuli, n_stimuli)
        Distances.

    Returns
    -------
    ndarray, shape (..., n_pairs)
        In the order of ``numpy.triu_indices(n_stimuli, 1)``, as scipy's ``pdist``.
    """
    values = np.asarray(rdms, dtype=np.float64)
    first, second = np.triu_indices(values.shape[-1], 1)
    pairs: Array = values[..., first, second]
    return pairs


def _one_minus_cosine(patterns: Array) -> Array:
    """Return 1 - cosine; the patterns are scaled in place."""
    patterns /= np.sqrt(np.einsum("ij,ij->i", patterns, patterns))[:, None]
    rdm: Array = 1 - np.clip(patterns @ patterns.T, -1, 1)
    np.fill_diagonal(rdm, 0)
    return rdm


def _mahalanobis(responses: Responses, shrinkage: Shrinkage) -> Array:
    noise = noise_covariance(responses, shrinkage)
    mean = average_repetitions(responses).values.astype(np.float64)
    # Distances do not depend on the origin; one amid the data keeps rounding small.
    mean = mean - mean.mean(axis=0)
    kernel = noise.kernel(mean, mean)
    size = np.diag(kernel)
    rdm: Array = np.sqrt(np.maximum(size[:, None] + size[None, :] - kernel - kernel.T, 0))
    np.fill_diagonal(rdm, 0)
    return rdm


def _crossnobis(responses: Responses, shrinkage: Shrinkage) -> Array:
    """Return the distances, each in the noise of all stimuli but its own two.

    Their residuals are taken out of the inverse covariance by Woodbury's identity, in products of the rows of the two
    stimuli; the share of shrinkage and its target stay.
    """
    noise = noise_covariance(responses, shrinkage)
    values = responses.values.astype(np.float64)
    values = values - values.mean(axis=(0, 1))
    n_repetitions, n, n_units = values.shape
    dof = noise.dof - 2 * (n_repetitions - 1)
    if dof < (n_units if shrinkage == "none" else 1):
        raise MeasureError(
            f"{describe(responses)}: without two stimuli, {dof} degrees of freedom are left for the noise covariance, "
            f"which are too few; use more stimuli or repetitions" + (", or shrinkage" if shrinkage == "none" else "")
        )
    noise = replace(noise, factor=noise.factor * np.sqrt(noise.dof / dof))
    rows = values.transpose(1, 0, 2).reshape(-1, n_units)
    products = noise.kernel(rows, rows).reshape(n, n_repetitions, n, n_repetitions).transpose(0, 2, 1, 3)
    first, second = np.triu_indices(n, 1)
    blocks = np.block(
        [[products[first, first], products[first, second]], [products[second, first], products[second, second]]]
    )
    one = np.eye(n_repetitions)
    differences = np.hstack([one, -one])
    residuals = np.kron(np.eye(2), one - 1 / n_repetitions) * np.sqrt((1 - noise.shrinkage) / dof)
    across = differences @ blocks @ residuals.T
    inner = np.eye(2 * n_repetitions) - residuals @ blocks @ residuals.T
    crossed = differences @ blocks @ differences.T + across @ np.linalg.solve(inner, across.swapaxes(1, 2))
    pairs = crossed.sum(axis=(1, 2)) - np.trace(crossed, axis1=1, axis2=2)
    rdm = np.zeros((n, n))
    rdm[first, second] = rdm[second, first] = pairs / (n_repetitions * (n_repetitions - 1) * n_units)
    return rdm
