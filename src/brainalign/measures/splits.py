"""Splits of stimuli into training and test parts, as data: lists of ids, never positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from brainalign.errors import MeasureError, did_you_mean


class Split(NamedTuple):
    """Stimulus ids to fit on and to test on."""

    train: list[str]
    test: list[str]


#: Named ways to split; `make_splits` takes these.
SPLITS = ("tuckute2023", "kfold")


def make_splits(stimulus: Sequence[str], name: str, *, n_splits: int = 10, seed: int = 0) -> list[Split]:
    """Split stimuli in a named way.

    The ids are sorted before anything is drawn, so a split depends on which stimuli there are, not on their order.

    Parameters
    ----------
    stimulus : sequence of str
        Stimulus ids.
    name : {'tuckute2023', 'kfold'}
        ``tuckute2023``: independent random halves (83 and 82 of 165), drawn as in the code released with
        Tuckute et al. 2023 (PLoS Biology, e3002366), which for ``seed=0`` and the 165 natural sounds gives
        their ten splits; a sound may be tested more or less often than another. ``kfold``: shuffled folds;
        every sound is tested once.
    n_splits : int
        How many.
    seed : int
        Seed of the draw.

    Returns
    -------
    list of Split
        Train and test are disjoint in each.

    Raises
    ------
    MeasureError
        If the name is unknown or the stimuli are too few.
    """
    ids = sorted(stimulus)
    if n_splits < 1:
        raise MeasureError(f"n_splits is {n_splits}, expected at least 1")
    if name == "tuckute2023":
        if len(ids) < 8:
            raise MeasureError(f"random halves of {len(ids)} stimuli are too small to fit on; at least 8 are needed")
        return _random_halves(ids, n_splits, seed)
    if name == "kfold":
        if not 2 <= n_splits <= len(ids) // 3:
            raise MeasureError(
                f"{n_splits} folds of {len(ids)} stimuli: a correlation needs at least 3 test stimuli a fold; "
                f"choose 2 to {len(ids) // 3} folds"
            )
        order = np.random.default_rng(seed).permutation(len(ids))
        folds = np.array_split(order, n_splits)
        return [
            Split([ids[i] for i in sorted(set(order) - set(fold))], [ids[i] for i in sorted(fold)]) for fold in folds
        ]
    raise MeasureError(f"no way to split named {name!r}; {did_you_mean(name, SPLITS)}")


def _random_halves(ids: list[str], n_splits: int, seed: int) -> list[Split]:
    # The legacy generator, because the published splits were drawn with it.
    rng = np.random.RandomState(seed)
    n, n_train = len(ids), (len(ids) + 1) // 2
    splits = []
    for _ in range(n_splits):
        train = rng.choice(n, n_train, replace=False)
        rest = list(set(range(n)) - set(train.tolist()))
        test = rng.choice(rest, n - n_train, replace=False)
        splits.append(Split([ids[i] for i in sorted(train)], [ids[i] for i in sorted(test)]))
    return splits
