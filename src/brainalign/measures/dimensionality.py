"""Effective dimensionality: over how many dimensions responses to a set of sounds spread."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.jackknife import jackknife_interval, lone_stimulus
from brainalign.measures.representation import checked_array, reduce_units
from brainalign.measures.resampling import Level
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import about_row
from brainalign.responses import Responses, average_repetitions, check_responses, units_by_layer

Array = NDArray[np.float64]
Protocol = Literal["pca", "tuckute2023"]
#: Fewer stimuli have too few dimensions to tell anything apart.
MINIMUM_STIMULI = 4


def effective_dimensionality(x: ArrayLike, *, protocol: Protocol = "pca", zscore: bool = False) -> float:
    """Return the participation ratio of the principal component variances.

    Parameters
    ----------
    x : array_like, shape (n_stimuli, n_units)
        The responses.
    protocol : {'pca', 'tuckute2023'}
        ``"pca"``: principal components over stimuli, units centred. ``"tuckute2023"``: as released with Tuckute et al.
        (2023), where ``np.cov`` takes stimuli for variables, so that the mean over units is removed from each stimulus
        as well. A response common to all units is then not counted, and the values are a little lower.
    zscore : bool
        Scale each unit to variance 1 first (their RSA figures; their regression figures do not). Units that respond
        alike to all stimuli stay at 0.

    Returns
    -------
    float
        (sum of l)^2 / sum of l^2 for the variances l of the components: 1 (one dimension) to the number of units or
        n_stimuli - 1, whichever is less (all dimensions alike). Unchanged by rotations, reflections, shifts and one
        scale for all units, under ``"pca"`` without z-scores. With few stimuli it is too low.

    Raises
    ------
    MeasureError
        For NaN, an unknown protocol, or responses without differences between stimuli.

    References
    ----------
    Gao, P. et al. (2017). A theory of multineuronal dimensionality, dynamics and measurement. bioRxiv 214262.
    Tuckute, G. et al. (2023). Many but not all deep neural network audio models capture brain responses and exhibit
    correspondence between model stages and brain regions. PLoS Biol. 21, e3002366.
    """
    return _participation_ratio(_prepared(checked_array(x), protocol, zscore))


def dimensionality(
    responses: Responses,
    *,
    protocol: Protocol = "pca",
    zscore: bool = False,
    level: Level = 0.95,
) -> Result:
    """Estimate the effective dimensionality of each layer of a model, or of a brain.

    Parameters
    ----------
    responses : Responses
        Of a model or a brain; repetitions are averaged.
    protocol : {'pca', 'tuckute2023'}
        See :func:`effective_dimensionality`.
    zscore : bool
        See :func:`effective_dimensionality`; for the interval the scales stay those of all stimuli.
    level : float
        Coverage of the interval.

    Returns
    -------
    Result
        One row per layer, statistic ``effective dimensionality``, with the highest value that was possible in
        ``maximum`` and a jackknife interval over stimuli (of what sets of as many stimuli give: more stimuli show more
        dimensions). There is no hypothesis, hence no p. Array ``explained_variance`` (layer, component): the share of
        each principal component.

    Raises
    ------
    ResponseError
        If values are missing.
    MeasureError
        For fewer than 4 stimuli, or a layer that responds alike to all stimuli, or to all but one.
    """
    responses = average_repetitions(responses)
    check_responses(responses, allow_constant=True)
    n = responses.sizes["stimulus"]
    if n < MINIMUM_STIMULI:
        raise MeasureError(f"the dimensionality needs at least {MINIMUM_STIMULI} stimuli, found {n}")
    rows, shares = [], {}
    for layer, units in units_by_layer(responses).items():
        own = responses.isel(unit=units)
        prepared = _layer(own, layer, protocol, zscore)
        value, maximum = np.asarray(_participation_ratio(prepared)), min(n - 1, len(units))
        without = np.array([_participation_ratio(np.delete(prepared, i, axis=0)) for i in range(n)])
        low, high = jackknife_interval(value, without, (1.0, float(maximum)), level) if maximum > 1 else (value, value)
        row = about_row("dimensionality", responses, layer, "all units")
        row |= {"statistic": "effective dimensionality", "value": value.item(), "effect_size": value.item()}
        row |= {"ci_low": low.item(), "ci_high": high.item(), "n": n, "n_of": "stimuli", "maximum": maximum}
        rows.append(row | {"n_units": len(units)})
        variances = np.zeros(n)
        found = np.linalg.svd(prepared, compute_uv=False) ** 2
        variances[: len(found)] = found / found.sum()
        shares[layer] = variances
    return Result(
        measure="dimensionality",
        table=result_table(rows),
        arrays={"explained_variance": _spectra(shares)},
        settings={
            "protocol": protocol,
            "centring": "units" if protocol == "pca" else "units, then each stimulus over units (as released)",
            "zscore": zscore,
            "level": level,
            "interval": "jackknife over stimuli, t on the logit scale between 1 and the maximum",
        },
    )


def _layer(own: Responses, layer: str, protocol: Protocol, zscore: bool) -> Array:
    """Return the prepared responses of a layer, of which any stimulus may be left out; or say why not."""
    try:
        prepared = _prepared(checked_array(own.values), protocol, zscore)
    except MeasureError as why:
        raise MeasureError(f"{layer or 'the responses'}: {why}") from why
    alone = lone_stimulus(prepared)
    if alone is not None:
        raise MeasureError(
            f"{layer or 'the responses'}: only the stimulus {str(own['stimulus'].values[alone])!r} differs from the "
            f"others, so there is no dimensionality to estimate; leave this layer out"
        )
    return prepared


def _prepared(x: Array, protocol: Protocol, zscore: bool) -> Array:
    """Return responses of which the participation ratio is that of the protocol, also of a part of the stimuli."""
    if protocol not in get_args(Protocol):
        raise MeasureError(f"no protocol {protocol!r}; {did_you_mean(protocol, get_args(Protocol))}")
    varies = (x != x[0]).any(axis=0)
    x = np.where(varies, x - x.mean(axis=0), 0.0)
    if zscore:
        x = x / np.where(varies, x.std(axis=0), 1.0)
    if protocol == "tuckute2023":
        common = x.mean(axis=1, keepdims=True)
        if np.abs(x - common).max() <= 1e-12 * np.abs(x).max():
            raise MeasureError("all units respond in the same way, so nothing is left without their mean; use 'pca'")
        x = x - common
    return reduce_units(x)


def _participation_ratio(x: Array) -> float:
    centred = x - x.mean(axis=0)
    # Trace and squared norm of the covariance; that of the smaller side has the same eigenvalues.
    square = centred @ centred.T if centred.shape[0] <= centred.shape[1] else centred.T @ centred
    return float(np.trace(square) ** 2 / np.vdot(square, square))


def _spectra(shares: dict[str, Array]) -> xr.DataArray:
    coords: dict[str, Any] = {"layer": list(shares), "component": np.arange(len(next(iter(shares.values()))))}
    return xr.DataArray(np.stack(list(shares.values())), dims=("layer", "component"), coords=coords)
