"""Likeness of profiles over sounds, and the same without each sound in closed form, for jackknife intervals.

Profiles stand in columns; the first axis is that of the sounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: What is left of the variance of a profile without a sound, relative to all of it, if it is rounding only.
ROUNDING = 1e-12


def pearson(a: Array, b: Array) -> Array:
    """Return correlations along the first axis.

    Parameters
    ----------
    a, b : ndarray, shape (n_stimuli, ...)
        Profiles; axes broadcast.

    Returns
    -------
    ndarray, shape (...)
        0 where a side is constant but for rounding.
    """
    p, q = a - a.mean(axis=0), b - b.mean(axis=0)
    sizes = np.abs(a).max(axis=0) * np.abs(b).max(axis=0) * len(a)
    return _quotient((p * q).sum(axis=0), (p**2).sum(axis=0), (q**2).sum(axis=0), ROUNDING * sizes)


def pearson_without(a: Array, b: Array, codes: NDArray[Any] | None = None) -> Array:
    """Return correlations without each sound, of profiles that are taken relative to the means of categories.

    Parameters
    ----------
    a, b : ndarray, shape (n_stimuli, n_targets)
        Profiles.
    codes : ndarray, shape (n_stimuli,), optional
        Category of each sound; all are of one, without it.

    Returns
    -------
    ndarray, shape (n_stimuli, n_targets)
        In row i the correlation of the other sounds, relative to their own means of categories.
    """
    codes = np.zeros(len(a), dtype=int) if codes is None else codes
    p, q = relative_to_category(a, codes), relative_to_category(b, codes)
    n = (codes[:, None] == codes).sum(axis=1)[:, None]
    # Without a sound, sums over its category fall by n / (n - 1) times the sound's own part; alone it has none.
    grow = n / np.maximum(n - 1, 1)
    products = [(x * y).sum(axis=0) - grow * x * y for x, y in ((p, q), (p, p), (q, q))]
    sizes = ((p**2).sum(axis=0) * (q**2).sum(axis=0)) ** 0.5
    return _quotient(products[0], products[1], products[2], ROUNDING * sizes)


def category_means(values: Array, codes: NDArray[Any]) -> Array:
    """Return the means of the categories that there are, in sorted order: (n_categories, ...)."""
    member = (codes == np.unique(codes)[:, None]).astype(np.float64)
    member /= member.sum(axis=1, keepdims=True)
    return np.asarray((member @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:]))


def relative_to_category(values: Array, codes: NDArray[Any]) -> Array:
    """Return values less the mean of their category."""
    return np.asarray(values - category_means(values, codes)[np.unique(codes, return_inverse=True)[1]])


def category_r_without(a: Array, b: Array, codes: NDArray[Any]) -> Array:
    """Return correlations of the means of categories without each sound.

    Parameters
    ----------
    a, b : ndarray, shape (n_stimuli, n_targets)
        Profiles.
    codes : ndarray, shape (n_stimuli,)
        Category of each sound.

    Returns
    -------
    ndarray, shape (n_stimuli, n_targets)
        Without its only sound a category is left out.
    """
    names, place, n = np.unique(codes, return_inverse=True, return_counts=True)
    own = n[place][:, None]
    out = np.empty(a.shape)
    sides = []
    for x in (a, b):
        means = category_means(x, codes)
        tensor = np.repeat(means[:, None], len(x), axis=1)
        tensor[place, np.arange(len(x))] = (own * means[place] - x) / np.maximum(own - 1, 1)
        sides.append(tensor)
    out[:] = pearson(*sides)
    for i in np.flatnonzero(own[:, 0] == 1):
        others = names != codes[i]
        out[i] = pearson(sides[0][others, i], sides[1][others, i])
    return out


def auc_of_columns(profiles: Array, is_target: NDArray[np.bool_]) -> Array:
    """Return the share of pairs in which a target sound has the higher value, ties counting half.

    Parameters
    ----------
    profiles : ndarray, shape (n_stimuli, ...)
        Profiles.
    is_target : ndarray of bool, shape (n_stimuli,)
        Target or rest.

    Returns
    -------
    ndarray, shape (...)
        Between 0 and 1.
    """
    from scipy.stats import rankdata

    n1 = int(is_target.sum())
    above = rankdata(profiles, axis=0)[is_target].sum(axis=0) - n1 * (n1 + 1) / 2
    return np.asarray(above / (n1 * (len(is_target) - n1)))


def auc_without(profiles: Array, is_target: NDArray[np.bool_]) -> Array:
    """Return the same without each sound: (n_stimuli, n_targets)."""
    x, y = profiles[is_target][:, None], profiles[~is_target]
    wins = (x > y) + 0.5 * (x == y)
    n1, n0 = wins.shape[:2]
    out = np.empty(profiles.shape)
    out[is_target] = (wins.sum(axis=(0, 1)) - wins.sum(axis=1)) / ((n1 - 1) * n0)
    out[~is_target] = (wins.sum(axis=(0, 1)) - wins.sum(axis=0)) / (n1 * (n0 - 1))
    return out


def _quotient(product: Array, first: Array, second: Array, least: Array) -> Array:
    norm = np.sqrt(np.maximum(first, 0) * np.maximum(second, 0))
    defined = norm > least
    return np.asarray(np.where(defined, product / np.where(defined, norm, 1), 0))
