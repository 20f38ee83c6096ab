"""What is made of one representation before two are compared: fewer dimensions, centred kernels, shapes, bases."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError, did_you_mean

Array = NDArray[np.float64]
Kernel = Literal["linear", "rbf"]


def checked_array(x: ArrayLike) -> Array:
    """Return (n_stimuli, n_units) data as floats, or raise a MeasureError that says what is wrong with them."""
    array = np.asarray(x, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise MeasureError(f"a representation must be (n_stimuli, n_units), found an array of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise MeasureError(
            f"{len(bad)} of {len(array)} stimuli have NaN or infinite responses, the first in row {bad[0]}"
        )
    if not (array != array[0]).any():
        raise MeasureError(
            f"all {array.shape[1]} units respond alike to all {len(array)} stimuli, so there is nothing to compare"
        )
    return array


def reduce_units(x: Array) -> Array:
    """Return data with at most as many columns as rows, centred, with all inner products between rows kept.

    Parameters
    ----------
    x : ndarray, shape (n_stimuli, n_units)
        The data.

    Returns
    -------
    ndarray, shape (n_stimuli, min(n_stimuli, n_units))
        The centred data, in another orthogonal basis where they are wide.
    """
    centred: Array = x - x.mean(axis=0)
    if centred.shape[1] <= len(centred):
        return centred
    # X' = Q R with orthonormal columns of Q, so X Q = R' holds the same points in n_stimuli dimensions.
    return np.asarray(np.linalg.qr(centred.T, mode="r")).T


def unit_gram(x: Array, kernel: Kernel = "linear", debiased: bool = True, bandwidth: float = 1.0) -> Array:
    """Return the centred matrix of kernel values, scaled to norm 1: the sum of products of two of them is the CKA.

    Parameters
    ----------
    x : ndarray, shape (n_stimuli, n_units)
        The data.
    kernel, debiased, bandwidth
        See :func:`~brainalign.measures.alignment.cka`.

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        Symmetric.

    Raises
    ------
    MeasureError
        For an unknown kernel, a bandwidth that is not positive, or data of which nothing is left.
    """
    if kernel not in ("linear", "rbf"):
        raise MeasureError(f"no kernel {kernel!r}; {did_you_mean(kernel, ('linear', 'rbf'))}")
    gram = _rbf_gram(x, bandwidth) if kernel == "rbf" else np.asarray((x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T)
    size = np.linalg.norm(gram)
    centred = _u_centred(gram) if debiased else gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    norm = np.linalg.norm(centred)
    if norm <= 1e-12 * size:
        raise MeasureError(
            "all stimuli are equally far from each other, so there is no geometry to compare; check the responses"
        )
    scaled: Array = centred / norm
    return scaled


def _rbf_gram(x: Array, bandwidth: float) -> Array:
    from scipy.spatial.distance import pdist, squareform

    if not bandwidth > 0:
        raise MeasureError(f"bandwidth is {bandwidth}, expected a number above 0 (times the median distance)")
    distances = pdist(x)
    median = np.median(distances)
    if median == 0:
        raise MeasureError("half of all pairs of stimuli have equal responses, so the median distance is 0; no RBF CKA")
    gram: Array = np.exp(-0.5 * squareform(distances / (bandwidth * median)) ** 2)
    return gram


def _u_centred(gram: Array) -> Array:
    n = len(gram)
    off = gram - np.diag(np.diag(gram))
    rows = off.sum(axis=0)
    centred: Array = off - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    return centred


def unit_shape(x: Array) -> Array:
    """Return the data centred and scaled to norm 1, shape (n_stimuli, n_units)."""
    centred = x - x.mean(axis=0)
    scaled: Array = centred / np.linalg.norm(centred)
    return scaled


def orthonormal_basis(x: Array, variance: float = 1.0) -> Array:
    """Return an orthonormal basis of what the units span over stimuli.

    Parameters
    ----------
    x : ndarray, shape (n_stimuli, n_units)
        The data.
    variance : float
        Share of the variance that the leading principal components must explain; 1 for all that is not rounding.

    Returns
    -------
    ndarray, shape (n_stimuli, n_components)
        Orthonormal columns.

    Raises
    ------
    MeasureError
        For a share that is not above 0 and at most 1.
    """
    if not 0 < variance <= 1:
        raise MeasureError(f"variance is {variance}, expected a share above 0 and at most 1")
    vectors, sizes, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    rank = int((sizes > sizes[0] * max(x.shape) * np.finfo(np.float64).eps).sum())
    if variance < 1:
        explained = np.cumsum(sizes**2) / (sizes**2).sum()
        rank = min(rank, int(np.searchsorted(explained, variance)) + 1)
    basis: Array = vectors[:, :rank]
    return basis
