"""Fewer units: principal components or a sparse random projection of each layer, fitted without leak."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import ResponseError, did_you_mean, name_some
from brainalign.responses import (
    Responses,
    check_responses,
    describe,
    make_responses,
    select_stimuli,
    units_by_layer,
    with_columns,
)

METHODS = ("pca", "sparse-random-projection")


def reduce_units(
    responses: Responses,
    *,
    method: str = "pca",
    n_components: int | float | None = None,
    fit_on: Responses | Sequence[str] | None = None,
    tested: Sequence[str] | None = None,
    allow_overlap: bool = False,
    eps: float = 0.1,
    seed: int = 0,
) -> Responses:
    """Reduce the units of each layer to a few components.

    Principal components are fitted on stimuli that no measure tests afterwards; a random projection sees no responses
    and needs no fit. Each layer is reduced by itself and comes out the same among others as alone.

    Parameters
    ----------
    responses : Responses
        Dims ``(stimulus, unit)``.
    method : {'pca', 'sparse-random-projection'}
        Principal components (centred, not whitened), or the sparse random projection of Li, Hastie & Church 2006
        (doi:10.1145/1150402.1150436), which keeps distances between stimuli.
    n_components : int or float, optional
        Components per layer. For ``"pca"`` a number (a layer of fewer units gives as many as it has units), or between
        0 and 1 the share of variance that they explain together. For the projection a number, or if not given the
        width that by the lemma of Johnson and Lindenstrauss keeps squared distances between all stimuli to within
        `eps` (scikit-learn's ``johnson_lindenstrauss_min_dim``); a layer of no more units keeps them as they are.
    fit_on : Responses, or sequence of str
        For ``"pca"``: Responses of the same units to other stimuli, or ids among the stimuli of `responses`.
    tested : sequence of str, optional
        Ids of the stimuli that a measure will test; all of `responses` if not given.
    allow_overlap : bool
        Fit on tested stimuli too (on all if `fit_on` is not given). What is then computed on them is optimistic.
    eps : float
        For the projection: largest relative error of squared distances.
    seed : int
        Seed of the random projection.

    Returns
    -------
    Responses
        All stimuli of `responses`; units with the coordinates ``layer`` (if there was one) and ``component``. The
        attributes ``reduction`` (method, seed, explained variance or width per layer) and ``reduction_fit_on`` (ids)
        say how, in JSON.

    Raises
    ------
    ResponseError
        If the fit would use a stimulus that is tested, units or ids differ, or there are not stimuli enough.
    """
    check_responses(responses, allow_constant=True)
    if "repetition" in responses.dims:
        raise ResponseError("responses with repetitions are not reduced; average them first (average_repetitions)")
    if method not in METHODS:
        raise ResponseError(f"no method {method!r}; {did_you_mean(method, METHODS)}")
    if method == "pca":
        fitted = _fit_stimuli(responses, fit_on, tested, allow_overlap)
        reduced, record = _pca(responses, fitted, n_components)
        fit_ids = [str(i) for i in fitted["stimulus"].values]
    else:
        if fit_on is not None:
            raise ResponseError("a random projection is not fitted: leave fit_on out")
        reduced, record = _project(responses, n_components, eps, seed)
        fit_ids = []
    attrs = {**responses.attrs, "reduction": json.dumps(record), "reduction_fit_on": json.dumps(fit_ids)}
    return _build(responses, reduced, "pc" if method == "pca" else "rp", attrs)


def _fit_stimuli(
    responses: Responses, fit_on: Responses | Sequence[str] | None, tested: Sequence[str] | None, allow_overlap: bool
) -> Responses:
    """Return the responses to fit on; raise if they hold a tested stimulus."""
    if fit_on is None:
        if not allow_overlap:
            raise ResponseError(
                "say on which stimuli the components are fitted (fit_on: ids, or Responses to other sounds); "
                "allow_overlap=True fits on those that are tested"
            )
        return responses
    if isinstance(fit_on, type(responses)):
        check_responses(fit_on, allow_constant=True)
        if fit_on.dims != responses.dims or not fit_on.indexes["unit"].equals(responses.indexes["unit"]):
            raise ResponseError(
                f"fit_on, {describe(fit_on)}, has not the units of {describe(responses)}; extract the same layers of "
                f"the same model with the same pooling"
            )
        fitted = fit_on
    else:
        fitted = select_stimuli(responses, [fit_on] if isinstance(fit_on, str) else list(fit_on))
    among = responses if tested is None else select_stimuli(responses, list(tested))
    both = fitted.indexes["stimulus"].intersection(among.indexes["stimulus"], sort=False)
    if len(both) and not allow_overlap:
        raise ResponseError(
            f"the components would be fitted on {len(both)} stimuli that are tested: {name_some(both)}; fit on others, "
            f"name those that a measure tests (tested), or pass allow_overlap=True"
        )
    return fitted


def _pca(
    responses: Responses, fitted: Responses, n_components: int | float | None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return {layer: scores} and the record of the fit."""
    from sklearn.decomposition import PCA

    whole = isinstance(n_components, int) and not isinstance(n_components, bool) and n_components >= 1
    share = isinstance(n_components, float) and 0 < n_components < 1
    if n_components is None or not (whole or share):
        raise ResponseError(f"n_components must be a number from 1 on or a share between 0 and 1, found {n_components}")
    n_fit = fitted.sizes["stimulus"]
    reduced, explained = {}, {}
    for layer, units in units_by_layer(responses).items():
        own = np.asarray(fitted.values[:, units], np.float64)
        n = min(int(n_components), len(units)) if whole else n_components
        if n_fit < 2 or (whole and n > n_fit - 1):
            raise ResponseError(
                f"{n_fit} stimuli to fit on give at most {max(n_fit - 1, 0)} components, layer {layer!r} is to have "
                f"{n}; fit on more stimuli or ask for fewer components"
            )
        if (own == own[0]).all():
            raise ResponseError(f"layer {layer!r} answers to all {n_fit} stimuli to fit on alike: it has no components")
        pca = PCA(n, svd_solver="full").fit(own)
        reduced[layer] = pca.transform(np.asarray(responses.values[:, units], np.float64))
        explained[layer] = round(float(pca.explained_variance_ratio_.sum()), 6)
    return reduced, {"method": "pca", "n_components": n_components, "explained_variance": explained}


def _project(
    responses: Responses, n_components: int | float | None, eps: float, seed: int
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return {layer: projections} and the record of the projection."""
    from sklearn.random_projection import SparseRandomProjection, johnson_lindenstrauss_min_dim

    if n_components is None:
        if not 0 < eps < 1:
            raise ResponseError(f"eps must lie between 0 and 1, found {eps}")
        n_components = int(johnson_lindenstrauss_min_dim(responses.sizes["stimulus"], eps=eps))
    elif n_components < 1 or n_components != int(n_components):
        raise ResponseError(f"a projection has a whole number of components from 1 on, found {n_components}")
    reduced, widths = {}, {}
    for layer, units in units_by_layer(responses).items():
        values = np.asarray(responses.values[:, units], np.float64)
        if len(units) > n_components:
            # A seed of the layer's own, so that it does not depend on which other layers there are.
            own_seed = int(np.random.default_rng([seed, *layer.encode()]).integers(2**32))
            values = SparseRandomProjection(int(n_components), random_state=own_seed).fit_transform(values)
        reduced[layer] = values
        widths[layer] = values.shape[1]
    record = {"method": "sparse-random-projection", "n_components": n_components, "seed": seed, "widths": widths}
    return reduced, record


def _build(responses: Responses, reduced: dict[str, NDArray[Any]], sign: str, attrs: dict[str, Any]) -> Responses:
    component = [i for values in reduced.values() for i in range(values.shape[1])]
    layer = [name for name, values in reduced.items() for _ in range(values.shape[1])]
    info: dict[str, Any] = {"component": component}
    if "layer" in responses.coords:
        info = {"layer": layer, **info}
    units = [f"{name}:{sign}{i}" if name else f"{sign}{i}" for name, i in zip(layer, component, strict=True)]
    table = pd.DataFrame(
        {str(c): responses[c].values for c in responses.coords if responses[c].dims == ("stimulus",)},
        index=responses.indexes["stimulus"],
    )
    values = np.concatenate(list(reduced.values()), axis=1).astype(responses.dtype)
    built = make_responses(values, list(table.index), units, unit_info=info, attrs=attrs, allow_constant=True)
    return with_columns(built, table)
