"""Inference on RDM comparisons: permuted labels, and bootstrap samples held as weights.

A bootstrap sample that drew stimulus i c_i times gives the pair (i, j) the weight c_i c_j; nothing is copied, so no
stimulus meets its own copy. Comparisons are then moments under these weights, computed for many samples in a few
matrix products. A mean over subjects needs no product of each model with each subject: the subjects' RDMs are first
added up, each divided by its size in that sample.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.rdm_compare import Comparison, check_comparison, embed, n_stimuli, residual, square
from brainalign.measures.rdm_tau import dense_ranks, tau_a

Array = NDArray[np.float64]
#: Values of a block of pair weights when ranks are computed, whose rows want to be long; others take an eighth.
BLOCK = 2**23


def weighted_scores(
    models: Array,
    brains: Array,
    weights: NDArray[Any],
    comparison: Comparison = "spearman",
    mixtures: Array | None = None,
) -> Array:
    """Compare RDMs under weights of the stimuli, and average over brains.

    Parameters
    ----------
    models, brains : ndarray, shape (n_models, n_pairs) and (n_brains, n_pairs)
        Distances, see :func:`~brainalign.measures.rdm.pair_values`.
    weights : ndarray, shape (n_samples, n_stimuli)
        Weight of each stimulus in each sample, such as how often it was drawn; a pair weighs their product.
    comparison : str
        See :func:`~brainalign.measures.rdm_compare.compare_rdms`; tau-a takes whole weights only. The whitened ones
        treat copies of a stimulus as stimuli of their own, whose mutual distances are missing.
    mixtures : ndarray, shape (n_samples, n_groups, n_brains), optional
        Weights with which the scores of the brains are added up; each brain by itself if not given.

    Returns
    -------
    ndarray, shape (n_samples, n_models, n_groups)
        The scores: those of a sample in which each stimulus is copied as often as it weighs, without the distances
        between copies. NaN where all distances that are left are the same.

    Notes
    -----
    The covariance of distances under equal independent noise is V = 2 I + M M', where M says which stimuli a pair
    consists of. So d' V^-1 e = (d' e - (M' d)' (2 I + M' M)^-1 (M' e)) / 2, and for copied stimuli the matrix in
    the middle is a diagonal plus a constant, whose inverse is known.
    """
    check_comparison(comparison)
    if mixtures is None:
        mixtures = np.broadcast_to(np.eye(len(brains)), (len(weights), len(brains), len(brains)))
    pairs = models.shape[1]
    result = np.empty((len(weights), len(models), mixtures.shape[1]))
    compute = _kernel(models, brains, comparison)
    step = max(8, (BLOCK if comparison in ("spearman", "rho-a") else BLOCK // 8) // pairs)
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, len(weights), step):
            rows = slice(start, start + step)
            result[rows] = compute(np.asarray(weights[rows], dtype=np.float64), mixtures[rows])
    return result


def _kernel(models: Array, brains: Array, comparison: Comparison) -> Callable[[Array, Array], Array]:
    """Return what computes scores of a block of samples from weights and mixtures."""
    if comparison in ("spearman", "rho-a"):
        rankers = [Ranker(row) for row in brains], [Ranker(row) for row in models]
        return lambda w, mix: _ranked(rankers[1], rankers[0], w, mix, tied=comparison == "rho-a")
    if comparison == "tau-a":
        ranks = dense_ranks(models), dense_ranks(brains)
        first, second = np.triu_indices(n_stimuli(models.shape[1]), 1)
        return lambda w, mix: np.stack(
            [tau_a(*ranks, row[first] * row[second]) @ own.T for row, own in zip(w, mix, strict=True)]
        )
    return _Moments(models, brains, comparison).scores


class _Moments:
    """RDMs of models and then brains, with what all samples need of them."""

    def __init__(self, models: Array, brains: Array, comparison: Comparison) -> None:
        rdms = np.concatenate([models, brains])
        self.n_models = len(models)
        self.correlates = comparison in ("pearson", "whitened-pearson")
        # A common offset changes no correlation and costs digits.
        self.values = rdms - rdms.mean(axis=1, keepdims=True) if self.correlates else rdms
        self.by_pair = np.ascontiguousarray(self.values[len(models) :].T)
        self.space = np.empty((2, 0))
        self.with_squares = np.concatenate([self.values, self.values**2])
        self.whitens = comparison.startswith("whitened")
        self.matrices = square(self.values)

    def scores(self, weights: Array, mixtures: Array) -> Array:
        """Return the scores of models with mixtures of brains."""
        m = self.n_models
        shape = (self.values.shape[1], len(weights))
        if self.space.shape[1] < shape[0] * shape[1]:
            self.space = np.empty((2, shape[0] * shape[1]))
        # Memory that is used again: new pages would cost as much as the products.
        pair_weights, target = (part[: shape[0] * shape[1]].reshape(shape) for part in self.space)
        weigh_pairs(weights, pair_weights)
        total = total_of_pairs(weights)
        sums, squared = np.split(self.with_squares @ pair_weights, 2)
        mean = sums / total if self.correlates else np.zeros_like(sums)
        squared -= total * mean**2
        if self.whitens:
            rows, meets = self._whitening(weights, mean)
            squared -= (rows * meets).sum(axis=1)
        norm = np.sqrt(np.maximum(squared, 0))
        result = np.empty((len(weights), m, mixtures.shape[1]))
        for g in range(mixtures.shape[1]):
            share = _shares(mixtures[:, g].T, norm[m:])
            np.matmul(self.by_pair, share, out=target)
            target *= pair_weights
            score = self.values[:m] @ target - mean[:m] * (total * (share * mean[m:]).sum(axis=0))
            if self.whitens:
                score -= np.einsum("mib,ib->mb", rows[:m], np.einsum("sib,sb->ib", meets[m:], share))
            result[:, :, g] = (score / norm[:m]).T
        return result

    def _whitening(self, weights: Array, mean: Array) -> tuple[Array, Array]:
        """Return the two factors of the term that whitening takes off: summed rows, and what they meet."""
        n = weights.sum(axis=1)
        rows = self.matrices @ weights.T - mean[:, None] * (n[:, None] - weights).T
        diagonal = (2 + n[:, None] - 2 * weights).T
        shared = (weights.T * rows / diagonal).sum(axis=1) / (1 + (weights.T / diagonal).sum(axis=0))
        return rows, weights.T * (rows - shared[:, None]) / diagonal


def _shares(mixture: Array, norm: Array) -> Array:
    """Return what each brain contributes; one that is left out contributes nothing even if it has no size."""
    return np.where(mixture == 0, 0.0, mixture / norm)


def _ranked(models: list[Ranker], brains: list[Ranker], weights: Array, mixtures: Array, *, tied: bool) -> Array:
    pair_weights, total = weigh_pairs(weights), total_of_pairs(weights)
    cubes = total if tied else total_of_pairs(weights**3)
    targets = [np.zeros_like(pair_weights) for _ in range(mixtures.shape[1])]
    for s, ranker in enumerate(brains):
        ranks, norm = ranker(pair_weights, total, cubes, tied=tied)
        for g, target in enumerate(targets):
            target += ranks * _shares(mixtures[:, g, s], norm)
    for target in targets:
        target *= pair_weights
    result = np.empty((len(weights), len(models), len(targets)))
    for m, ranker in enumerate(models):
        ranks, norm = ranker(pair_weights, total, cubes, tied=tied)
        for g, target in enumerate(targets):
            result[:, m, g] = np.einsum("pb,pb->b", ranks, target) / norm
    return result


class Ranker:
    """Gives weighted mid-ranks of one vector for many sets of weights; sorts once.

    Parameters
    ----------
    values : ndarray, shape (n_values,)
        What to rank.
    """

    def __init__(self, values: Array) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.group = np.empty(len(values), dtype=np.intp)
        self.group[self.order] = np.repeat(np.arange(len(self.starts)), np.diff(np.r_[self.starts, len(values)]))

    def __call__(self, weights: Array, total: Array, cubes: Array, *, tied: bool) -> tuple[Array, Array]:
        """Return centred mid-ranks, shape (n_values, n_samples) like the weights, and their weighted norms.

        The squared norm is (W^3 - sum of g^3) / 12, where W is the total weight and g the weight of each group of ties
        (`cubes`, where there are none). With `tied` it is that of ranks without ties, (W^3 - W) / 12.
        """
        own = weights[self.order]
        if len(self.starts) < len(own):
            own = np.add.reduceat(own, self.starts, axis=0)
            cubes = cubes if tied else np.einsum("pb,pb,pb->b", own, own, own)
        # Row by row, which is faster than a cumulative sum along the first axis.
        ranks = own.copy()
        ranks[0] -= 0.5 * total
        for before, row in pairwise(ranks):
            row += before
        own *= 0.5
        ranks -= own
        return ranks[self.group], np.sqrt((total**3 - cubes) / 12)


def total_of_pairs(weights: Array) -> Array:
    """Return the summed weights of all pairs, shape (n_samples,)."""
    total: Array = (weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)) / 2
    return total


def weigh_pairs(weights: Array, out: Array | None = None) -> Array:
    """Return the weights of pairs of stimuli.

    Parameters
    ----------
    weights : ndarray, shape (n_samples, n_stimuli)
        Weights of stimuli.
    out : ndarray, shape (n_pairs, n_samples), optional
        Where to write.

    Returns
    -------
    ndarray, shape (n_pairs, n_samples)
        Products, in the order of ``numpy.triu_indices(n_stimuli, 1)``.
    """
    columns = np.ascontiguousarray(weights.T, dtype=np.float64)
    n = len(columns)
    result = np.empty((n * (n - 1) // 2, columns.shape[1])) if out is None else out
    start = 0
    for i in range(n - 1):
        np.multiply(columns[i], columns[i + 1 :], out=result[start : start + n - 1 - i])
        start += n - 1 - i
    return result


def weighted_partial(
    models: Array, brains: Array, controls: Array, weights: NDArray[Any], comparison: Comparison, mixtures: Array
) -> Array:
    """Return partial comparisons under weights of the stimuli, averaged over brains.

    Parameters
    ----------
    models, brains, controls : ndarray, shape (..., n_pairs)
        Distances; the controls are taken out of models and brains.
    weights, comparison, mixtures
        See :func:`weighted_scores`; a comparison with a partial form.

    Returns
    -------
    ndarray, shape (n_samples, n_models, n_groups)
        From the comparisons of all RDMs with each other, as a partial correlation is from correlations.
    """
    check_comparison(comparison, partial=True)
    m, q = len(models), len(controls)
    all_scores = weighted_scores(
        np.concatenate([models, controls]), np.concatenate([controls, brains]), weights, comparison
    )
    with_controls, among = all_scores[:, :m, :q], all_scores[:, m:, :q]
    direct, brains_controls = all_scores[:, :m, q:], all_scores[:, m:, q:]
    inverse = np.linalg.pinv(np.nan_to_num(among), rcond=1e-10, hermitian=True)
    explained = with_controls @ inverse
    left = 1 - np.einsum("bmq,bmq->bm", explained, with_controls)
    brain_left = 1 - np.einsum("bqs,bqr,brs->bs", brains_controls, inverse, brains_controls)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = (direct - explained @ brains_controls) / np.sqrt(left[:, :, None] * brain_left[:, None])
    scored: Array = np.einsum("bms,bgs->bmg", scores, mixtures)
    return scored


def permuted_scores(
    models: Array, brains: Array, orders: NDArray[np.intp], comparison: Comparison, controls: Array | None = None
) -> Array:
    """Return the scores, averaged over brains, with the stimulus labels of the brains in other orders.

    Parameters
    ----------
    models, brains : ndarray, shape (n_models, n_pairs) and (n_brains, n_pairs)
        Distances.
    orders : ndarray of int, shape (n_orders, n_stimuli)
        Orders of the stimuli, all brains alike.
    comparison : str
        See :func:`~brainalign.measures.rdm_compare.compare_rdms`.
    controls : ndarray, shape (n_controls, n_pairs), optional
        RDMs that are taken out of both sides first; then what is left is permuted.

    Returns
    -------
    ndarray, shape (n_orders, n_models)
        The scores.
    """
    if comparison == "tau-a":
        check_comparison(comparison, partial=controls is not None)
        matrices = square(dense_ranks(brains))
        pairs = np.triu_indices(matrices.shape[-1], 1)
        ranks = dense_ranks(models)
        return np.stack([tau_a(ranks, matrices[:, o][:, :, o][:, *pairs]).mean(axis=1) for o in orders])
    one, two = embed(models, comparison), embed(brains, comparison)
    if controls is not None:
        taken = embed(controls, comparison)
        one, two = residual(one, taken), residual(two, taken)
    flat, target = one.reshape(len(one), -1), two.mean(axis=0)
    result = np.empty((len(orders), len(models)))
    step = max(1, BLOCK // 2 // target.size)
    for start in range(0, len(orders), step):
        block = orders[start : start + step]
        permuted = target[block[:, :, None], block[:, None, :]]
        result[start : start + step] = permuted.reshape(len(block), -1) @ flat.T
    return result


def dual_variance(both: Array, subjects: Array, stimuli: Array, n_subjects: int, n_stimuli: int) -> Array:
    """Return the variance over new subjects and new stimuli, from three bootstraps.

    Resampling both counts the noise of single measurements three times. The estimate is what the single bootstraps add
    up to, less that; it is held between each of them and the bootstrap of both.

    Parameters
    ----------
    both, subjects, stimuli : ndarray, any shape
        Variances of the bootstrap over both, over subjects, and over stimuli.
    n_subjects, n_stimuli : int
        How many there are, for the small-sample factors n / (n - 1).

    Returns
    -------
    ndarray
        The variances. As in rsatoolbox, the lower bounds carry the factors and the upper one does not.

    References
    ----------
    Schütt, H. H. et al. (2023). Statistical inference on representational geometries. eLife 12, e82566, eqs. 4-6.
    """
    a, b = n_subjects / (n_subjects - 1), n_stimuli / (n_stimuli - 1)
    estimate = a * subjects + b * stimuli - a * b * (both - subjects - stimuli)
    bounded: Array = np.minimum(np.maximum(np.maximum(estimate, a * subjects), b * stimuli), both)
    return bounded
