"""A sample of the sounds of a large set, spread evenly over categories: what a page draws and plays of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest

import pandas as pd


def in_turn(lists: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the first of each list, then the second of each, and so on.

    Parameters
    ----------
    lists : sequence of sequence of str
        In any number, of any length.

    Returns
    -------
    iterator of str
        All elements.
    """
    return (one for turn in zip_longest(*lists) for one in turn if one is not None)


def evenly(lists: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give all elements in turn; wherever one stops, those of a list lie about evenly along it.

    The multiples of the golden ratio modulo 1 that are below any bound lie at no more than three distances (Steinhaus).

    Parameters
    ----------
    lists : sequence of sequence of str
        In any number, of any length.

    Returns
    -------
    iterator of str
        All elements.
    """
    golden = (5**0.5 - 1) / 2
    return in_turn([[one[i] for i in sorted(range(len(one)), key=lambda i: i * golden % 1)] for one in lists])


def sample_evenly(category: pd.Series, n_most: int) -> list[str]:
    """Choose sounds evenly over their categories, and within each of them.

    Parameters
    ----------
    category : Series
        Category of each sound, indexed by stimulus id.
    n_most : int
        Most sounds.

    Returns
    -------
    list of str
        Stimulus ids in the order of `category`: all of them, if they are no more than `n_most`.
    """
    category = category.set_axis(category.index.map(str)).astype(str)
    members = [list(category.index[category == kind]) for kind in dict.fromkeys(category)]
    taken = set(islice(evenly(members), n_most))
    return [i for i in category.index if i in taken]
