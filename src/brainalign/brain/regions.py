"""Regions of an atlas: their numbers, their names, and a choice of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._reading import reading
from brainalign.errors import BrainError, did_you_mean, name_some


def region_names(labels: Any, numbers: NDArray[Any]) -> dict[int, str]:
    """Give the regions of an atlas their names.

    Parameters
    ----------
    labels : mapping, sequence, DataFrame, path-like or None
        Names of the regions: number to name; or names in the order of the numbers (if the first is ``"Background"`` it
        stands for 0); or a table with the columns ``index`` and ``name`` (csv or tsv, as BIDS ``dseg.tsv``). By
        default the numbers.
    numbers : ndarray
        The atlas, 0 where there is no region.

    Returns
    -------
    dict of int to str
        Name by number, for the numbers that occur, in their order.

    Raises
    ------
    BrainError
        If a number has no name, or two have the same.
    """
    present = [int(n) for n in np.unique(numbers) if n != 0]
    if isinstance(labels, str | Path):
        if not Path(labels).is_file():
            raise BrainError(f"no table of labels {labels}")
        with reading(labels, "a table of labels", BrainError):
            labels = pd.read_csv(labels, sep="\t" if str(labels).endswith(".tsv") else ",", compression=None)
    if isinstance(labels, pd.DataFrame):
        if not {"index", "name"} <= set(labels.columns):
            raise BrainError(
                f"a table of labels has the columns 'index' and 'name', found {name_some(labels.columns, 10)}"
            )
        labels = dict(zip(labels["index"], labels["name"], strict=True))
    elif labels is None:
        labels = {n: str(n) for n in present}
    elif not isinstance(labels, Mapping):
        listed = [n.decode() if isinstance(n, bytes) else str(n) for n in labels]
        background = bool(listed) and listed[0].lower() == "background"
        labels = dict(enumerate(listed)) if background else dict(enumerate(listed, start=1))
    unnamed = [n for n in present if n not in labels]
    if unnamed:
        raise BrainError(f"the labels have no name for the numbers {name_some(unnamed)} of the atlas")
    names = {n: str(labels[n]) for n in present}
    twice = [name for name, count in pd.Series(list(names.values())).value_counts().items() if count > 1]
    if twice:
        raise BrainError(f"several regions of the atlas are named {name_some(map(repr, twice))}")
    return names


def choose_regions(names: Mapping[int, str], regions: Sequence[str]) -> dict[int, str]:
    """Keep the regions that are asked for.

    Parameters
    ----------
    names : mapping of int to str
        All regions, by number.
    regions : sequence of str
        The names asked for.

    Returns
    -------
    dict of int to str
        Those.

    Raises
    ------
    BrainError
        If the atlas has no region of a name.
    """
    missing = [r for r in regions if r not in names.values()]
    if missing or not len(regions):
        asked = name_some(map(repr, missing)) or "at all"
        raise BrainError(f"no region {asked}; {did_you_mean(missing[0] if missing else '', names.values())}")
    return {number: name for number, name in names.items() if name in regions}
