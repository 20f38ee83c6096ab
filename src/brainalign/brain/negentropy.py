"""Negentropy of weights, and the rotation that makes it largest.

The measure and the search are those of the non-parametric ICA of Norman-Haignere, Kanwisher and McDermott (2015,
Neuron 88:1281): entropy from a histogram, and rotations of one pair of rows after the other over a grid of angles.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import BrainError

Array = NDArray[np.float64]
Pair = tuple[int, int]
_Search = Callable[[Array, Array], int]

#: Entropy of a Gaussian of variance 1, in nats.
GAUSSIAN_ENTROPY = float(np.log(2 * np.pi * np.e)) / 2
#: Directions whose histograms are counted at once: enough to save calls, few enough to stay in the processor's cache.
_BLOCK = 8


def negentropy(values: ArrayLike) -> Array:
    """Return how far distributions are from a Gaussian of the same variance.

    The entropy is that of a histogram with ceil(sqrt(n)) cells between half a mean spacing below the least and above
    the largest value, plus the log of a cell's width, with the correction of Miller and Madow for the bias.

    Parameters
    ----------
    values : array_like, shape (..., n)
        Samples along the last axis, at least 2; each is brought to variance 1.

    Returns
    -------
    ndarray, shape (...)
        Nats; 0 for a Gaussian in expectation, up to what is left of the bias.

    Raises
    ------
    BrainError
        If values are not finite or a sample is constant.
    """
    array = np.asarray(values, dtype=np.float64)
    rows = array.reshape(-1, array.shape[-1])
    if rows.shape[1] < 2 or not np.isfinite(rows).all() or (np.ptp(rows, axis=1) == 0).any():
        raise BrainError("negentropy needs samples of at least 2 finite values that are not all alike")
    entropies = _Histograms(rows.shape[1])(rows / rows.std(axis=1, keepdims=True))
    result: Array = (GAUSSIAN_ENTROPY - entropies).reshape(array.shape[:-1])
    return result


class _Histograms:
    """Entropies of linear combinations of rows with n columns."""

    def __init__(self, n: int) -> None:
        self.n, self.n_cells = n, int(np.ceil(np.sqrt(n)))
        p = np.arange(n + 1) / n
        self._p_log_p = p * np.log(np.where(p > 0, p, 1))
        self._values, self._cells = np.empty((_BLOCK, n)), np.empty((_BLOCK, n), np.intp)

    def __call__(self, rows: Array, mixing: Array | None = None) -> Array:
        """Return the entropy of each row of ``mixing @ rows``, or of the rows themselves."""
        n, m = self.n, self.n_cells
        mixing = np.eye(len(rows)) if mixing is None else mixing
        entropies = np.empty(len(mixing))
        for start in range(0, len(mixing), _BLOCK):
            some = mixing[start : start + _BLOCK]
            k = len(some)
            values, cells = self._values[:k], self._cells[:k]
            np.matmul(some, rows, out=values)
            low, high = values.min(axis=1), values.max(axis=1)
            low, high = low - (high - low) / (n - 1) / 2, high + (high - low) / (n - 1) / 2
            width = (high - low) / m
            # The cells of all k histograms are numbered through, so that one pass counts them all.
            values /= width[:, np.newaxis]
            np.add(values, (np.arange(k) * m - low / width)[:, np.newaxis], out=cells, casting="unsafe")
            counts = np.bincount(cells.ravel(), minlength=k * m).reshape(k, m)
            entropies[start : start + k] = np.log(width) - self._p_log_p[counts].sum(axis=1) + (m - 1) / (2 * n)
        return entropies


class RotationSearch:
    """Search for the rotation of uncorrelated rows whose mean negentropy is largest.

    Pairs of rows are rotated one after the other, by the best of `n_angles` angles from -45 to 45 degrees. The
    published search looks at all angles of a pair each time. :meth:`explore` looks at four and then closer and closer
    around the best, as a pair's negentropy has a hill or two; :meth:`polish` looks at all angles and returns only when
    no pair has a better one, which is where the published search stops.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, n)
        Uncorrelated rows of mean 0 and variance 1.
    n_angles : int
        Odd, so that no rotation is among them.
    max_sweeps : int
        After so many sweeps over pairs a search ends, wherever it is.
    """

    def __init__(self, rows: Array, n_angles: int, max_sweeps: int) -> None:
        self._rows, self._max_sweeps = rows, max_sweeps
        self._pairs: list[Pair] = list(combinations(range(len(rows)), 2))
        # The last angle, 45 degrees, is left out: it gives the two rows of the first, swapped.
        angles = np.linspace(-np.pi / 4, np.pi / 4, n_angles)[:-1]
        self._rotations = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
        self._middle = n_angles // 2
        self._step = max(1, len(angles) // 4)
        self._entropies = _Histograms(rows.shape[1])

    def random_rotation(self, rng: np.random.Generator) -> Array:
        """Return a product of random rotations of all pairs in random order, shape (n_rows, n_rows)."""
        Q = np.eye(len(self._rows))
        for which in rng.permutation(len(self._pairs)):
            a = rng.uniform(0, 2 * np.pi)
            here = list(self._pairs[which])
            Q[here] = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ Q[here]
        return Q

    def negentropies(self, Q: Array) -> Array:
        """Return the negentropy of each row after a rotation."""
        negentropies: Array = GAUSSIAN_ENTROPY - self._entropies(self._rows, Q)
        return negentropies

    def explore(self, Q: Array, rng: np.random.Generator) -> tuple[Array, bool]:
        """Improve a rotation with few angles per pair.

        Parameters
        ----------
        Q : ndarray, shape (n_rows, n_rows)
            Where to start.
        rng : numpy Generator
            Of the order of pairs.

        Returns
        -------
        Q : ndarray, shape (n_rows, n_rows)
            Where no pair finds a better angle this way.
        converged : bool
            Whether that was reached within `max_sweeps`.
        """
        return self._climb(Q, rng, thorough=False)

    def polish(self, Q: Array, rng: np.random.Generator) -> tuple[Array, bool]:
        """Improve a rotation until no pair has a better angle among all `n_angles`.

        Parameters
        ----------
        Q : ndarray, shape (n_rows, n_rows)
            Where to start.
        rng : numpy Generator
            Of the order of pairs.

        Returns
        -------
        Q : ndarray, shape (n_rows, n_rows)
            Where the published search would stop too.
        converged : bool
            Whether that was reached within `max_sweeps`.
        """
        return self._climb(Q, rng, thorough=True)

    def _climb(self, Q: Array, rng: np.random.Generator, *, thorough: bool) -> tuple[Array, bool]:
        rows, Q = Q @ self._rows, Q.copy()
        # -inf where the negentropy of a pair at an angle has not been computed since one of its rows last changed.
        known = {pair: np.full(len(self._rotations), -np.inf) for pair in self._pairs}
        for _ in range(self._max_sweeps):
            fresh = [pair for pair in self._pairs if (known[pair] == -np.inf).all()]
            for which in rng.permutation(len(fresh)):
                self._turn(rows, Q, known, fresh[which], self._search_coarse)
            if fresh:
                continue
            unchecked = [pair for pair in self._pairs if (known[pair] == -np.inf).any()] if thorough else []
            if not any(
                self._turn(rows, Q, known, unchecked[which], self._search_all)
                for which in rng.permutation(len(unchecked))
            ):
                return Q, True
        return Q, False

    def _turn(self, rows: Array, Q: Array, known: dict[Pair, Array], pair: Pair, search: _Search) -> bool:
        """Rotate a pair by its best angle, in place; say whether that is another than 0."""
        here = list(pair)
        best = search(rows[here], known[pair])
        if best == self._middle:
            return False
        rows[here], Q[here] = self._rotations[best] @ rows[here], self._rotations[best] @ Q[here]
        # The grid of angles has the period of the pair's negentropy, 90 degrees: what is known moves along.
        known[pair] = np.roll(known[pair], self._middle - best)
        for other in self._pairs:
            if other != pair and set(other) & set(pair):
                known[other][:] = -np.inf
        return True

    def _search_all(self, rows: Array, known: Array) -> int:
        return self._best(rows, known, np.arange(len(known)))

    def _search_coarse(self, rows: Array, known: Array) -> int:
        step = self._step
        best = self._best(rows, known, np.arange(self._middle % step, len(known), step))
        while step > 1:
            step = step // 2
            best = self._best(rows, known, np.array([best - step, best + step]) % len(known))
        return best

    def _best(self, rows: Array, known: Array, angles: NDArray[np.intp]) -> int:
        """Compute the negentropies at angles that are not known yet, and return the best angle that is."""
        new = angles[known[angles] == -np.inf]
        if len(new):
            entropies = self._entropies(rows, self._rotations[new].reshape(-1, 2))
            known[new] = GAUSSIAN_ENTROPY - (entropies[::2] + entropies[1::2]) / 2
        best = int(known.argmax())
        return self._middle if known[self._middle] == known[best] else best
