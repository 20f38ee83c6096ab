"""Voxel decomposition: responses of many voxels as weighted sums of a few components.

After Norman-Haignere, Kanwisher and McDermott (2015, Neuron 88:1281), who found six components in human auditory
cortex, among them one for speech and one for music: ``responses = profiles @ weights``, where the weights over voxels
are to be as far from Gaussian as possible. Nothing is assumed of the sounds.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainalign._html import html_card, html_table
from brainalign.brain.checks import check_finite, check_labelled, check_whole
from brainalign.brain.matching import Method, assign, match_components
from brainalign.brain.negentropy import RotationSearch
from brainalign.errors import BrainError, ResponseError, did_you_mean, name_some
from brainalign.responses import (
    DIMS,
    DIMS_REPEATED,
    Responses,
    align,
    average_repetitions,
    check_responses,
    make_responses,
)

Array = NDArray[np.float64]


@dataclass
class VoxelDecomposition:
    """Decompose voxel responses into components by non-parametric ICA.

    The mean over voxels is taken from the response to each sound, the voxels are projected on their first principal
    components, and those are rotated until the mean negentropy of the weights is largest. The search starts from
    several random rotations, and the best result is refined until no pair of components can be rotated by one of the
    angles to a larger negentropy; the published search stops by the same rule.

    Parameters
    ----------
    n_components : int
        Number of components;
        :func:`~brainalign.brain.component_count.cross_validate_n_components` helps to choose it.
    n_restarts : int
        Random starts of the search.
    n_angles : int
        Angles from -45 to 45 degrees that are tried for a pair; odd.
    scale : {"rms", "maximum"}
        Each profile is divided by its root mean square, as the published code does, or by its maximum, as in the
        published file but for a common factor. Weights are scaled the other way.
    max_sweeps : int
        After so many sweeps over pairs a search ends with a warning.
    seed : int
        Of starts and of the order of pairs.

    Attributes
    ----------
    profiles_ : Responses, dims (stimulus, unit)
        The response of each component to each sound; components are called ``component-1`` ... in the order of the
        variance they explain. Signs are such that the mean weight is positive.
    weights_ : DataArray, dims (component, unit)
        The weight of each component in each voxel, fitted to the responses with their mean.
    explained_variance_ : DataArray, dims (component,)
        Share of the variance of the centred responses. Weights are uncorrelated, so that the shares add up.
    negentropy_ : DataArray, dims (component,)
        Of the weights, in nats; ``float(negentropy_.mean())`` is what the search made large.
    negentropies_ : ndarray, shape (n_restarts,)
        Mean negentropy that each start reached, before the best was refined.
    restart_agreement_ : DataArray, dims (restart, component)
        Absolute correlation over voxels of the weights with those that each start found.
    converged_ : bool
        Whether the best search ended by itself.

    References
    ----------
    Norman-Haignere, S., Kanwisher, N. G. & McDermott, J. H. (2015). Distinct cortical pathways for music and speech
    revealed by hypothesis-free voxel decomposition. Neuron 88:1281-1296.
    """

    n_components: int = 6
    n_restarts: int = 10
    n_angles: int = 61
    scale: Literal["rms", "maximum"] = "rms"
    max_sweeps: int = 1000
    seed: int = 0

    profiles_: Responses = field(init=False, repr=False, compare=False)
    weights_: xr.DataArray = field(init=False, repr=False, compare=False)
    explained_variance_: xr.DataArray = field(init=False, repr=False, compare=False)
    negentropy_: xr.DataArray = field(init=False, repr=False, compare=False)
    negentropies_: Array = field(init=False, repr=False, compare=False)
    restart_agreement_: xr.DataArray = field(init=False, repr=False, compare=False)
    converged_: bool = field(init=False, repr=False, compare=False)

    def _repr_html_(self) -> str:
        facts = {name: value for name, value in vars(self).items() if not name.endswith("_")}
        if not hasattr(self, "profiles_"):
            return html_card("VoxelDecomposition", {**facts, "state": "not fitted yet"})
        facts["converged"] = "yes" if self.converged_ else "no"
        columns = ("component", "explained variance", "negentropy (nats)", "median agreement of starts")
        agreement = self.restart_agreement_.median("restart")
        rows = zip(
            self.profiles_["unit"].values.tolist(),
            self.explained_variance_.values.tolist(),
            self.negentropy_.values.tolist(),
            agreement.values.tolist(),
            strict=True,
        )
        return html_card("VoxelDecomposition", facts, html_table(columns, rows, "components"))

    def fit(self, responses: Responses | ArrayLike) -> VoxelDecomposition:
        """Find the components.

        Parameters
        ----------
        responses : Responses or array_like, shape (n_stimuli, n_units)
            Of voxels; repetitions are averaged. Centre them over subjects and scans first if those differ in level.

        Returns
        -------
        VoxelDecomposition
            Itself.

        Raises
        ------
        BrainError
            If a parameter is out of range, responses are not finite or have an id twice, a unit is constant, or there
            are fewer independent units or stimuli than components.
        """
        self._check_parameters()
        responses = check_voxels(responses)
        X = responses.values.astype(np.float64)
        Z = X - X.mean(axis=1, keepdims=True)
        V = _whitened(Z, self.n_components)
        Q = self._search(RotationSearch(V, self.n_angles, self.max_sweeps))
        # The rows of Q @ V are orthogonal and have the squared norm n, so the pseudoinverse is the transpose over n.
        R = Z @ (Q @ V).T / V.shape[1]
        explained = (R**2).sum(axis=0) * V.shape[1] / (Z**2).sum()
        R /= np.sqrt((R**2).mean(axis=0))
        W = np.linalg.pinv(R) @ X
        sign = np.where(W.mean(axis=1) < 0, -1.0, 1.0)
        R, W = R * sign, W * sign[:, np.newaxis]
        if self.scale == "maximum":
            top = R.max(axis=0)
            if (top <= 0).any():
                raise BrainError("a profile is nowhere positive and has no maximum to scale to; use scale='rms'")
            R, W = R / top, W * top[:, np.newaxis]
        self._store(responses, R, W, explained, np.argsort(-explained, kind="stable"))
        return self

    def _check_parameters(self) -> None:
        for name, least in (("n_components", 1), ("n_restarts", 1), ("n_angles", 3), ("max_sweeps", 1), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        if self.n_angles % 2 == 0:
            raise BrainError(f"n_angles must be odd, so that no rotation is among them, found {self.n_angles}")
        if self.scale not in ("rms", "maximum"):
            raise BrainError(f"no scale {self.scale!r}; {did_you_mean(self.scale, ('rms', 'maximum'))}")

    def _search(self, search: RotationSearch) -> Array:
        rng = np.random.default_rng(self.seed)
        found = [search.explore(search.random_rotation(rng), rng)[0] for _ in range(self.n_restarts)]
        self.negentropies_ = np.array([search.negentropies(Q).mean() for Q in found])
        best, self.converged_ = search.polish(found[int(np.argmax(self.negentropies_))], rng)
        if not self.converged_:
            warnings.warn(
                f"the search for components did not end within {self.max_sweeps} sweeps: raise max_sweeps",
                RuntimeWarning,
                stacklevel=3,
            )
        # Rows are orthonormal over voxels, so rotations alone tell how weights correlate.
        agreement = np.empty((self.n_restarts, self.n_components))
        for start, Q in enumerate(found):
            r = np.abs(best @ Q.T)
            agreement[start] = [r[pair] for pair in assign(r, "hungarian")]
        self.restart_agreement_ = xr.DataArray(agreement, dims=("restart", "component"))
        self.negentropy_ = xr.DataArray(search.negentropies(best), dims=("component",))
        return best

    def _store(self, responses: Responses, R: Array, W: Array, explained: Array, order: NDArray[np.intp]) -> None:
        names = [f"component-{i + 1}" for i in range(len(order))]
        source = responses.attrs.get("source", "voxels")
        self.profiles_ = _profiles(R[:, order], names, responses, f"components of {source}")
        self.weights_ = _weights(W[order], names, responses)
        self.explained_variance_ = xr.DataArray(explained[order], {"component": names}, ("component",))
        self.negentropy_ = self.negentropy_[order].assign_coords(component=names)
        self.restart_agreement_ = self.restart_agreement_[:, order].assign_coords(component=names)

    def transform(self, responses: Responses) -> Responses:
        """Infer the responses of the components to other sounds, heard by the same voxels.

        Parameters
        ----------
        responses : Responses
            Of the voxels to which this was fitted, in any order; with or without repetitions.

        Returns
        -------
        Responses
            As :func:`infer_profiles` gives them.

        Raises
        ------
        BrainError
            If this has not been fitted, or the voxels are others.
        """
        self._check_fitted()
        check_labelled("responses", responses, (DIMS, DIMS_REPEATED))
        missing = self.weights_.indexes["unit"].difference(responses.indexes["unit"], sort=False)
        if len(missing):
            raise BrainError(f"the responses lack the units {name_some(missing)}, to which this was fitted")
        return infer_profiles(responses, self.weights_)

    def named_after(self, reference: Responses, *, method: Method = "greedy") -> VoxelDecomposition:
        """Name and order the components after those of a reference that they match.

        Parameters
        ----------
        reference : Responses, dims (stimulus, unit)
            Components over the same stimuli, for instance ``load_brain("nh2015-components").responses``.
        method : {"greedy", "hungarian"}
            How to match; by signed correlation.

        Returns
        -------
        VoxelDecomposition
            A copy. Components without a match come last and keep their names, with ``unmatched-`` before them.

        Raises
        ------
        BrainError
            If this has not been fitted or a profile is constant.
        ResponseError
            If the stimuli differ.
        """
        self._check_fitted()
        matched = match_components(reference, self.profiles_, method=method)
        own = self.profiles_["unit"].values.tolist()
        rest = [name for name in own if name not in set(matched["second"])]
        order = [own.index(name) for name in [*matched["second"], *rest]]
        names = [*matched["first"], *(f"unmatched-{name}" for name in rest)]
        named = copy.copy(self)
        named.profiles_ = self.profiles_[:, order].assign_coords(unit=names)
        named.weights_ = self.weights_[order].assign_coords(component=names)
        named.explained_variance_ = self.explained_variance_[order].assign_coords(component=names)
        named.negentropy_ = self.negentropy_[order].assign_coords(component=names)
        named.restart_agreement_ = self.restart_agreement_[:, order].assign_coords(component=names)
        return named

    def _check_fitted(self) -> None:
        if not hasattr(self, "profiles_"):
            raise BrainError("the decomposition has not been fitted; call fit(responses) first")


def check_voxels(responses: Responses | ArrayLike) -> Responses:
    """Check responses for a decomposition and average repetitions.

    Parameters
    ----------
    responses : Responses or array_like, shape (n_stimuli, n_units)
        Of voxels.

    Returns
    -------
    Responses
        Dims ``(stimulus, unit)``.

    Raises
    ------
    BrainError
        If responses are not finite or have an id twice, or a unit is constant.
    """
    try:
        if not isinstance(responses, xr.DataArray):
            matrix = np.asarray(responses)
            if matrix.ndim not in (2, 3):
                plural = "" if matrix.ndim == 1 else "s"
                raise BrainError(f"expected responses (stimulus, unit), found {matrix.ndim} dimension{plural}")
            responses = xr.DataArray(matrix, dims=DIMS if matrix.ndim == 2 else DIMS_REPEATED)
            responses = responses.assign_coords({d: [str(i) for i in range(responses.sizes[d])] for d in DIMS})
        if responses.dtype.kind in "iuf" and "unit" in responses.dims:
            check_finite("responses", responses)
        check_responses(responses, allow_constant=True)
    except ResponseError as why:
        raise BrainError(f"these responses cannot be decomposed: {why}") from why
    responses = average_repetitions(responses)
    constant = responses["unit"].values[np.ptp(responses.values, axis=0) == 0]
    if len(constant):
        raise BrainError(f"the units {name_some(constant)} respond alike to all stimuli; leave them out by name")
    return responses


def _whitened(Z: Array, n_components: int) -> Array:
    """Return the first principal components over voxels, (n_components, n_units), of variance 1."""
    # Eigenvectors of the smaller product are much faster than the singular vectors of all voxels, and as good for
    # components that are not smaller than the first by the square root of the precision.
    wide = Z.shape[1] > Z.shape[0]
    eigenvalues, vectors = np.linalg.eigh(Z @ Z.T if wide else Z.T @ Z)
    rank = int((eigenvalues > eigenvalues[-1] * max(Z.shape) * np.finfo(np.float64).eps).sum())
    if rank < n_components:
        raise BrainError(
            f"{Z.shape[1]} units and {Z.shape[0]} stimuli, centred over units, have rank {rank}: too few for "
            f"{n_components} components"
        )
    first = vectors[:, : -n_components - 1 : -1]
    V, _ = np.linalg.qr(Z.T @ first if wide else first)
    whitened: Array = np.ascontiguousarray(V.T) * np.sqrt(Z.shape[1])
    return whitened


def _info(responses: xr.DataArray, dim: str) -> dict[str, Any]:
    return {str(c): responses[c].values for c in responses.coords if responses[c].dims == (dim,) and c != dim}


def _profiles(values: Array, names: Sequence[str], responses: Responses, source: str) -> Responses:
    return make_responses(
        values,
        responses["stimulus"].values.tolist(),
        names,
        stimulus_info=_info(responses, "stimulus"),
        attrs={"source": source},
        allow_constant=True,
    )


def _weights(values: Array, names: Sequence[str], responses: Responses) -> xr.DataArray:
    """Give weights the coordinates and the space of the voxels, so that they can be drawn."""
    coords = {name: ("unit", column) for name, column in _info(responses, "unit").items()}
    coords |= {"component": ("component", list(names)), "unit": ("unit", responses["unit"].values)}
    attrs = {key: value for key, value in responses.attrs.items() if key in ("space", "affine", "grid")}
    return xr.DataArray(values, coords, ("component", "unit"), attrs=attrs)


def infer_profiles(voxels: Responses, weights: xr.DataArray) -> Responses:
    """Infer the responses of components from voxels whose weights are known, by least squares.

    Parameters
    ----------
    voxels : Responses
        Dims ``(stimulus, unit)`` or ``(repetition, stimulus, unit)``; to any sounds.
    weights : DataArray, dims (component, unit)
        Weight of each component in each voxel; matched to the voxels by unit id. The second dimension may have another
        name (``voxel``, ``electrode``) if it has ids.

    Returns
    -------
    Responses
        As `voxels`, with the components as units: ``voxels @ pinv(weights)``, repetition by repetition.

    Raises
    ------
    BrainError
        If a voxel has no weights or values that are not finite, the weights have no ids of voxels, or they do not
        determine the components.
    """
    check_labelled("responses of voxels", voxels, (DIMS, DIMS_REPEATED))
    weights = _of_units(weights)
    check_finite("responses of voxels", voxels)
    missing = voxels.indexes["unit"].difference(weights.indexes["unit"], sort=False)
    if len(missing):
        raise BrainError(f"no weights for the units {name_some(missing)}")
    check_finite("weights", weights := weights.sel(unit=voxels["unit"]))
    W = weights.transpose("component", "unit").values
    rank = np.linalg.matrix_rank(W)
    if rank < len(W):
        raise BrainError(f"weights of rank {rank} do not determine {len(W)} components")
    source = f"components estimated from {voxels.attrs.get('source', 'voxels')}"
    return _profiles(voxels.values @ np.linalg.pinv(W), weights["component"].values.tolist(), voxels, source)


def _of_units(weights: xr.DataArray) -> xr.DataArray:
    """Call the dimension of weights along which voxels lie ``unit``, and raise if it has no ids."""
    if not isinstance(weights, xr.DataArray) or "component" not in weights.dims or weights.ndim != 2:
        found = weights.dims if isinstance(weights, xr.DataArray) else type(weights).__name__
        raise BrainError(f"weights must be a DataArray with dims ('component', 'unit'), found {found}")
    (dim,) = (str(d) for d in weights.dims if d != "component")
    if dim not in weights.indexes:
        raise BrainError(
            f"weights have dims {weights.dims}, but no ids along {dim!r} to match them to the units of the responses; "
            f"if their order is known: weights.assign_coords({dim}=responses['unit'].values)"
        )
    return weights if dim == "unit" else weights.rename({dim: "unit"})


def infer_weights(profiles: Responses, responses: Responses) -> xr.DataArray:
    """Infer the weights of components in other voxels that heard the same sounds, by least squares.

    Parameters
    ----------
    profiles : Responses, dims (stimulus, unit)
        Of the components.
    responses : Responses
        Of the voxels, to the same stimuli in any order; repetitions are averaged.

    Returns
    -------
    DataArray, dims (component, unit)
        ``pinv(profiles) @ responses``.

    Raises
    ------
    BrainError
        If there are repetitions of profiles, values that are not finite, or the profiles do not determine the weights.
    ResponseError
        If the stimuli differ.
    """
    check_labelled("profiles", profiles, (DIMS, DIMS_REPEATED))
    check_labelled("responses of voxels", responses, (DIMS, DIMS_REPEATED))
    if profiles.dims != DIMS:
        raise BrainError(f"profiles have dims {profiles.dims}, expected ('stimulus', 'unit'); average repetitions")
    check_finite("profiles", profiles)
    check_finite("responses of voxels", responses)
    profiles, responses = align(profiles, average_repetitions(responses))
    rank = np.linalg.matrix_rank(profiles.values)
    if rank < profiles.sizes["unit"]:
        raise BrainError(f"profiles of rank {rank} do not determine the weights of {profiles.sizes['unit']} components")
    W = np.linalg.pinv(profiles.values) @ responses.values
    return _weights(W, profiles["unit"].values.tolist(), responses)
