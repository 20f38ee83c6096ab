"""The basis in which ridge regression works: one decomposition of the features for all penalties and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError

Array = NDArray[np.float64]

#: Features that are held in double precision at a time.
FEATURE_BLOCK = 4096


@dataclass(frozen=True)
class Decomposition:
    """Centred training features in the basis of their left singular vectors.

    Attributes
    ----------
    basis : ndarray, shape (n_train, rank)
        Left singular vectors U; orthogonal to the constant.
    eigenvalues : ndarray, shape (rank,)
        Squared singular values, all positive.
    projection : ndarray, shape (n_test, rank)
        X_test X_train' U: what predictions are made of.
    """

    basis: Array
    eigenvalues: Array
    projection: Array

    @property
    def spans_all(self) -> bool:
        """Whether the features can reach every centred target."""
        return bool(self.basis.shape[1] == self.basis.shape[0] - 1)


def decompose(train: NDArray[np.floating], test: NDArray[np.floating]) -> Decomposition:
    """Centre features by their training mean and decompose them, from the smaller side.

    Parameters
    ----------
    train : ndarray, shape (n_train, n_features)
        Training features.
    test : ndarray, shape (n_test, n_features)
        Test features.

    Returns
    -------
    Decomposition
        In double precision; of many features only blocks are ever held so.

    Raises
    ------
    MeasureError
        If the features do not differ between training stimuli.
    """
    n, p = train.shape
    if p >= n:
        gram = gram_matrix(np.concatenate([train, test]))
        return decompose_gram(gram, range(n), range(n, len(gram)))
    mean = train.mean(axis=0, dtype=np.float64)
    basis, singular, right = np.linalg.svd(train - mean, full_matrices=False)
    return _keep_rank(basis, singular**2, (test - mean) @ right.T * singular)


def gram_matrix(features: NDArray[np.floating]) -> Array:
    """Return the products X X' of stimuli, features centred by their mean over all of them.

    One such matrix serves every split, see :func:`decompose_gram`.

    Parameters
    ----------
    features : ndarray, shape (n_stimuli, n_features)
        In single or double precision.

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        In double precision.
    """
    n, p = features.shape
    gram = np.zeros((n, n))
    for start in range(0, p, FEATURE_BLOCK):
        x = features[:, start : start + FEATURE_BLOCK].astype(np.float64)
        x -= x.mean(axis=0)
        gram += x @ x.T
    return gram


def decompose_gram(gram: Array, train: Sequence[int], test: Sequence[int]) -> Decomposition:
    """Decompose features of which only the Gram matrix is at hand, centred by their training mean.

    Parameters
    ----------
    gram : ndarray, shape (n_stimuli, n_stimuli)
        See :func:`gram_matrix`.
    train, test : sequence of int
        Row numbers.

    Returns
    -------
    Decomposition
        As that of the features themselves; with fewer features than training stimuli :func:`decompose` is the more
        exact way.

    Raises
    ------
    MeasureError
        If the features do not differ between training stimuli.
    """
    within, across = gram[np.ix_(train, train)], gram[np.ix_(test, train)]
    mean = within.mean(axis=0)
    within = within - mean - mean[:, None] + mean.mean()
    across = across - mean - across.mean(axis=1, keepdims=True) + mean.mean()
    eigenvalues, basis = np.linalg.eigh(within)
    return _keep_rank(basis, eigenvalues, across @ basis)


def decompose_splits(
    features: NDArray[np.floating], positions: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[Decomposition]:
    """Decompose the features of a layer for each split; products of many features are taken once for all splits.

    Parameters
    ----------
    features : ndarray, shape (n_stimuli, n_features)
        Activations of a layer.
    positions : sequence of (train, test)
        Row numbers of each split.

    Returns
    -------
    list of Decomposition
        One for each split.

    Raises
    ------
    MeasureError
        If the features do not differ between the training stimuli of a split.
    """
    if features.shape[1] < max(len(train) for train, _ in positions):
        return [decompose(features[list(train)], features[list(test)]) for train, test in positions]
    gram = gram_matrix(features)
    return [decompose_gram(gram, train, test) for train, test in positions]


def _keep_rank(basis: Array, eigenvalues: Array, projection: Array) -> Decomposition:
    # Centring takes one dimension away when p >= n; its eigenvalue is zero but for rounding.
    threshold = eigenvalues.max(initial=0.0) * len(basis) * np.finfo(float).eps
    keep = eigenvalues > threshold
    if not keep.any():
        raise MeasureError("the features do not differ between the training stimuli: nothing can be predicted")
    return Decomposition(basis[:, keep], eigenvalues[keep], projection[:, keep])
