"""Scores of decoded embeddings: identification among the true ones, correlation, cosine, and what chance gives.

Identification follows Denk et al. 2023 (arXiv 2307.11078): C_ij is the Pearson correlation of the prediction for clip i
with the embedding of clip j, over dimensions, and the accuracy of clip i is the share of the other clips j with
C_ii > C_ij. It ranks the embeddings for a given prediction (rows of C); ranking the predictions for a given embedding
(columns) gives another number. Here a tie counts half.

Each score is a table (n, n), the score of prediction i if k were its true clip: the mean of the diagonal is the value,
and means over permuted columns are its null distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError
from brainalign.measures.scores import score

Array = NDArray[np.float64]
#: Correlations that differ by less are equal but for rounding.
DECIMALS = 12


def cosines(predicted: Array, targets: Array) -> Array:
    """Return the cosine of each prediction with each embedding.

    Parameters
    ----------
    predicted, targets : ndarray, shape (n, n_dimensions) and (m, n_dimensions)
        A row of zeros has the cosine 0 with every other.

    Returns
    -------
    ndarray, shape (n, m)
        From -1 to 1.
    """
    return _unit(np.asarray(predicted, dtype=np.float64)) @ _unit(np.asarray(targets, dtype=np.float64)).T


def correlation_matrix(predicted: Array, targets: Array) -> Array:
    """Return the Pearson correlation, over dimensions, of each prediction with each embedding.

    Parameters
    ----------
    predicted, targets : ndarray, shape (n, n_dimensions) and (m, n_dimensions)
        A row of equal values has the correlation 0 with every other.

    Returns
    -------
    ndarray, shape (n, m)
        C_ij.
    """
    return cosines(_centred(predicted), _centred(targets))


@dataclass(frozen=True)
class Ranks:
    """How each candidate does for each prediction, from which every score of identification follows.

    Attributes
    ----------
    wins : ndarray, shape (n, n)
        The share of the true clip's win over candidate j: 1, 0, or 1/2 for a tie; 0 where j is no candidate.
    above : ndarray of int, shape (n, n)
        If k were the true clip of prediction i: how many other candidates correlate more.
    equal : ndarray of int, shape (n, n)
        And how many as much.
    candidates : ndarray of bool, shape (n, n)
        Who competes with whom; the diagonal is False.
    """

    wins: Array
    above: NDArray[np.intp]
    equal: NDArray[np.intp]
    candidates: NDArray[np.bool_]

    @property
    def shares(self) -> Array:
        """If k were the true clip: its accuracy in row i, by the pairwise rule; NaN where it could not be."""
        n_others = self.candidates.sum(axis=1)[:, None]
        possible = self.candidates | np.eye(len(n_others), dtype=bool)
        return np.where(possible, 1 - (self.above + self.equal / 2) / n_others, np.nan)


def rank_candidates(
    predicted: Array, targets: Array, groups: Sequence[str] | NDArray[np.generic] | None = None
) -> Ranks:
    """Rank the embeddings by their correlation with each prediction.

    Parameters
    ----------
    predicted, targets : ndarray, shape (n, n_dimensions)
        Row i of both is of the same clip.
    groups : sequence, length n, optional
        Only clips of one label compete, for instance those that the same fit predicted; all, if not given.

    Returns
    -------
    Ranks
        See there.

    Raises
    ------
    MeasureError
        If shapes differ, or a clip has no competitor.
    """
    if predicted.shape != targets.shape or predicted.ndim != 2 or predicted.shape[1] < 2:
        raise MeasureError(
            f"predictions have shape {predicted.shape} and embeddings {targets.shape}; "
            f"expected the same, of clips x at least 2 dimensions"
        )
    n = len(predicted)
    labels = np.zeros(n) if groups is None else np.asarray(groups)
    same = labels[:, None] == labels
    if (same.sum(axis=1) < 2).any():
        raise MeasureError("identification needs at least 2 clips to choose from, found 1")
    # Two clips of equal embeddings may differ by rounding.
    c = np.round(correlation_matrix(predicted, targets), DECIMALS)
    above, equal = np.zeros((2, n, n), dtype=np.intp)
    for i, row in enumerate(c):
        ranked = np.sort(row[same[i]])
        upper = np.searchsorted(ranked, row, side="right")
        above[i] = len(ranked) - upper
        equal[i] = upper - np.searchsorted(ranked, row, side="left") - 1
    above, equal = np.where(same, above, 0), np.where(same, equal, 0)
    candidates = same & ~np.eye(n, dtype=bool)
    own = np.diagonal(c)[:, None]
    wins = np.where(candidates, (own > c) + (own == c) / 2, 0.0)
    return Ranks(wins, above, equal, candidates)


def identification_accuracy(ranks: Ranks) -> Array:
    """Return the pairwise (2-way) accuracy of each clip; chance is 0.5.

    Parameters
    ----------
    ranks : Ranks
        See :func:`rank_candidates`.

    Returns
    -------
    ndarray, shape (n,)
        Their mean is the identification accuracy of Denk et al. 2023.
    """
    return np.diagonal(ranks.shares).copy()


def weighted_identification(ranks: Ranks, weights: Array) -> Array:
    """Return mean pairwise accuracies under weights of the clips.

    Clips drawn anew are drawn as predictions and as candidates; a copy of a clip does not compete with itself.

    Parameters
    ----------
    ranks : Ranks
        See :func:`rank_candidates`.
    weights : ndarray, shape (n_resamples, n)
        For instance how often a bootstrap drew each clip.

    Returns
    -------
    ndarray, shape (n_resamples,)
        With weights of 1 the mean of :func:`identification_accuracy`; 0.5 in a resample that leaves nothing to compare.
    """
    per_row = ranks.candidates.sum(axis=1)[:, None]
    won = np.einsum("bi,bi->b", weights, weights @ (ranks.wins / per_row).T)
    there = np.einsum("bi,bi->b", weights, weights @ (ranks.candidates / per_row).T)
    return np.where(there > 0, won / np.where(there > 0, there, 1), 0.5)


def correlation_table(
    predicted: Array, targets: Array, groups: Sequence[str] | NDArray[np.generic] | None = None
) -> Array:
    """Return the table of the correlation of each dimension over clips, mean over dimensions.

    Parameters
    ----------
    predicted, targets : ndarray, shape (n, n_dimensions)
        Row i of both is of the same clip.
    groups : sequence, length n, optional
        Correlated are the clips of one label, and the mean over labels is taken.

    Returns
    -------
    ndarray, shape (n, n)
        See the head of this module; NaN between labels. Dimensions of which the embeddings are constant do not count; a
        constant prediction has the correlation 0.
    """
    n = len(predicted)
    labels = np.zeros(n) if groups is None else np.asarray(groups)
    names = np.unique(labels)
    table = np.full((n, n), np.nan)
    for name in names:
        own = np.flatnonzero(labels == name)
        varies = np.ptp(targets[own], axis=0) > 0
        p, t = (_unit(_centred(x[own][:, varies].T)) for x in (predicted, targets))
        table[np.ix_(own, own)] = p.T @ t / max(varies.sum(), 1) * n / len(names)
    return table


def weighted_correlation(
    predicted: Array, targets: Array, weights: Array, groups: Sequence[str] | NDArray[np.generic] | None = None
) -> Array:
    """Return the same correlation under weights of the clips.

    Parameters
    ----------
    predicted, targets, groups
        As for :func:`correlation_table`.
    weights : ndarray, shape (n_resamples, n)
        For instance how often a bootstrap drew each clip.

    Returns
    -------
    ndarray, shape (n_resamples,)
        With weights of 1 the mean of the diagonal of the table.
    """
    labels = np.zeros(len(predicted)) if groups is None else np.asarray(groups)
    values = []
    for name in np.unique(labels):
        own = labels == name
        varies = np.ptp(targets[own], axis=0) > 0
        if varies.any():
            r = score(predicted[own][:, varies], targets[own][:, varies], "r", weights[:, own]).mean(axis=1)
        else:
            r = np.zeros(len(weights))
        values.append(r)
    return np.asarray(np.mean(values, axis=0))


def top_k_table(ranks: Ranks, n_way: int | None = None, k: int = 1) -> Array:
    """Return the probability that a clip is among the best k of `n_way` candidates.

    The other candidates are a random choice from all; the probability is exact, nothing is drawn.

    Parameters
    ----------
    ranks : Ranks
        See :func:`rank_candidates`.
    n_way : int, optional
        Candidates, the true one included; all, if not given. With 2 this is the pairwise accuracy.
    k : int
        How many best count as found. Chance is k / n_way.

    Returns
    -------
    ndarray, shape (n, n)
        If k were the true clip of prediction i; the truth is the diagonal. Ties are broken at random.

    Raises
    ------
    MeasureError
        If there are fewer candidates, or k leaves nothing to miss.
    """
    n_others = ranks.candidates.sum(axis=1)
    fewest = int(n_others.min()) + 1
    way = fewest if n_way is None else n_way
    if not 2 <= way <= fewest:
        raise MeasureError(f"{way}-way identification: there are {fewest} candidates; expected 2 to {fewest}")
    if not 1 <= k < way:
        raise MeasureError(f"the best {k} of {way} candidates: expected 1 to {way - 1}")
    table = np.full(ranks.above.shape, np.nan)
    for n in np.unique(n_others):
        rows = n_others == n
        found = np.array([_found(int(n), above, way, k) for above in range(int(n) + 1)])
        # Of e ties each number from none to all ranks before the true clip with the same probability.
        running = np.concatenate([[0.0], np.cumsum(found)])
        above, equal = ranks.above[rows], ranks.equal[rows]
        table[rows] = (running[above + equal + 1] - running[above]) / (equal + 1)
    possible = ranks.candidates | np.eye(len(table), dtype=bool)
    return np.where(possible, table, np.nan)


def permuted_means(table: Array, orders: NDArray[np.intp], among: NDArray[np.bool_] | None = None) -> Array:
    """Return the mean scores when predictions are given to other clips.

    Parameters
    ----------
    table : ndarray, shape (n, n)
        The score of prediction i if k were its true clip, such as :attr:`Ranks.shares`.
    orders : ndarray of int, shape (n_permutations, n)
        Permutations, within what competes.
    among : ndarray of bool, shape (n,), optional
        The predictions whose mean is taken; all, if not given.

    Returns
    -------
    ndarray, shape (n_permutations,)
        The null distribution of the mean score.
    """
    rows = np.arange(len(table)) if among is None else np.flatnonzero(among)
    return np.asarray(table[rows, orders[:, rows]].mean(axis=1))


def identification_null_sd(n: int) -> float:
    """Return the standard deviation of the mean accuracy of `n` clips, when nothing is decoded.

    The rank of the true clip is then uniform in each row, and rows are independent: the variance is (n + 1) / (12 n
    (n - 1)). For 60 clips the standard deviation is 0.038.

    Parameters
    ----------
    n : int
        Clips, each a candidate for all.

    Returns
    -------
    float
        About the chance level of 0.5.

    Raises
    ------
    MeasureError
        For fewer than 2 clips.
    """
    if n < 2:
        raise MeasureError(f"identification needs at least 2 clips to choose from, found {n}")
    return float(np.sqrt((n + 1) / (12 * n * (n - 1))))


def average_clips(values: NDArray[np.floating], clips: Sequence[str] | NDArray[np.str_]) -> tuple[list[str], Array]:
    """Average the rows (windows) of each clip.

    Parameters
    ----------
    values : ndarray, shape (n_rows, n_dimensions)
        Predicted or true embeddings.
    clips : sequence of str, length n_rows
        The clip of each row.

    Returns
    -------
    names : list of str
        The clips, sorted.
    means : ndarray, shape (n_clips, n_dimensions)
        In double precision.
    """
    names, inverse, counts = np.unique(np.asarray(clips, dtype=str), return_inverse=True, return_counts=True)
    means = np.zeros((len(names), values.shape[1]))
    np.add.at(means, inverse, values)
    return names.tolist(), means / counts[:, None]


def _found(n_others: int, above: int, way: int, k: int) -> float:
    """Return how likely fewer than k of way - 1 candidates, drawn from `n_others`, are among the `above` better."""
    drawn = way - 1
    hits = sum(comb(above, x) * comb(n_others - above, drawn - x) for x in range(min(k, drawn + 1)))
    return hits / comb(n_others, drawn)


def _centred(values: Array) -> Array:
    # What is left of equal values after their mean is taken off would be rounding.
    constant = np.ptp(values, axis=1, keepdims=True) == 0
    return np.asarray(np.where(constant, 0.0, values - values.mean(axis=1, keepdims=True)))


def _unit(rows: Array) -> Array:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0))
