"""Kendall's tau-a of many RDMs with many others.

Pairs on which two orders disagree are what a merge sort has to exchange. All merges of one level are sorted at once, as
rows of an array whose keys carry in their last bit the half that they came from; the sum of the places of one half is
then Mann and Whitney's U, the number of exchanges.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
#: Blocks of at most this many values are compared directly.
BLOCK = 16


def tau_a(first: NDArray[Any], second: NDArray[Any], counts: NDArray[Any] | None = None) -> Array:
    """Return Kendall's tau-a of each row of one array with each row of another.

    Parameters
    ----------
    first, second : ndarray, shape (n_first, n_values) and (n_second, n_values)
        The values, such as the distances of RDMs, or their ranks.
    counts : ndarray of int, shape (n_values,), optional
        How often each value occurs; copies of one value are tied with each other.

    Returns
    -------
    ndarray, shape (n_first, n_second)
        (concordant - discordant) / all pairs of values, without a correction for ties; NaN with fewer than 2 values.

    Raises
    ------
    MeasureError
        If counts are not whole numbers.
    """
    one, two = dense_ranks(first), dense_ranks(second)
    if counts is not None:
        whole = np.rint(counts).astype(np.int64)
        if (whole != counts).any() or (whole < 0).any():
            raise MeasureError("tau-a takes whole numbers as weights, such as counts of a bootstrap sample")
        one, two = np.repeat(one, whole, axis=1), np.repeat(two, whole, axis=1)
    n = one.shape[1]
    total = n * (n - 1) / 2
    if n < 2:
        return np.full((len(one), len(two)), np.nan)
    tied = [np.array([_tied_pairs(row) for row in np.sort(ranks, axis=1)]) for ranks in (one, two)]
    result = np.empty((len(one), len(two)))
    for i, row in enumerate(one):
        in_order, tied_in_both = _in_order_of(row, two, permutes=tied[0][i] == 0 and row.max() == n - 1)
        discordant = inversions(in_order)
        result[i] = (total - tied[0][i] - tied[1] + tied_in_both - 2 * discordant) / total
    return result


def _in_order_of(row: Integers, others: Integers, *, permutes: bool) -> tuple[Integers, Array]:
    """Return ranks in the order of others, where those are tied in their own, and how many pairs are tied in both."""
    n = len(row)
    if permutes:
        order = np.empty(n, dtype=np.intp)
        order[row] = np.arange(n)
        return np.take(others, order, axis=1), np.zeros(len(others))
    bits = int(others.max()).bit_length()
    keys = np.sort((row.astype(np.int64) << bits) | others, axis=1)
    return keys & ((1 << bits) - 1), np.array([_tied_pairs(own) for own in keys])


def dense_ranks(values: NDArray[Any]) -> NDArray[np.int32]:
    """Return the ranks of each row, 0 for its least value, one more for each greater one; ties share a rank."""
    ranks = np.empty(values.shape, dtype=np.int32)
    for row, own in zip(values, ranks, strict=True):
        order = np.argsort(row)
        ordered = row[order]
        own[order] = np.cumsum(np.r_[False, ordered[1:] != ordered[:-1]], dtype=np.int32)
    return ranks


def inversions(values: Integers) -> NDArray[np.int64]:
    """Count, for each row, the pairs of places whose values descend.

    Parameters
    ----------
    values : ndarray of int, shape (n_rows, n)
        Not negative.

    Returns
    -------
    ndarray of int, shape (n_rows,)
        0 to n (n - 1) / 2.
    """
    n_rows, n = values.shape
    n_levels = max(0, int(np.ceil(np.log2(max(n, 1) / BLOCK))))
    size = -(-n // 2**n_levels)
    # At the end stand values above all others, which descend to none.
    beyond = int(values.max(initial=0)) + 1
    kind = np.uint16 if beyond < 2**15 else np.int64
    padded = np.full((n_rows, size * 2**n_levels), beyond, dtype=kind)
    padded[:, :n] = values
    places = np.ascontiguousarray(padded.reshape(-1, size).T)
    exchanges = np.zeros(places.shape[1], dtype=np.uint8)  # at most 16 * 15 / 2
    for i in range(size):
        for j in range(i + 1, size):
            exchanges += (places[i] > places[j]).view(np.uint8)
    count: NDArray[np.int64] = exchanges.reshape(n_rows, -1).sum(axis=1, dtype=np.int64)
    padded <<= 1
    width = padded.shape[1]
    for _ in range(n_levels):
        half, size = size, 2 * size
        place = np.tile(np.arange(size), width // size)
        merged = padded | (place >= half).astype(kind)
        merged.reshape(-1, size).sort(axis=1)
        merged &= 1
        # Places of the right half: among themselves, and after those of the left half, but for the exchanged ones.
        wide = size
        while wide < min(512, width):
            wide *= 2
        from_right = merged.reshape(n_rows, -1, wide).sum(axis=1, dtype=kind)
        count += width // size * (half**2 + half * (half - 1) // 2) - from_right.astype(np.int64) @ place[:wide]
    return count


def _tied_pairs(ordered: Integers) -> float:
    """Return how many pairs of sorted values are equal."""
    starts = np.flatnonzero(ordered[1:] != ordered[:-1])
    if len(starts) == len(ordered) - 1:
        return 0.0
    sizes = np.diff(np.r_[-1, starts, len(ordered) - 1]).astype(np.float64)
    return float(np.sum(sizes * (sizes - 1)) / 2)
