"""Fits of layers to targets: every split, the measured order of stimuli and permuted ones, the choice of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.ridge import TIE, Decomposition, decompose_splits, ridge_predict
from brainalign.measures.scores import score

Array = NDArray[np.float64]
Positions = Sequence[tuple[Sequence[int], Sequence[int]]]

#: Name of the pseudo-layer whose rows report, for each split, the layer that fitted the training part best.
CHOSEN = "chosen"
#: Columns of targets, permuted ones included, that are held at a time.
COLUMNS = 16_384
#: Numbers in them, so that many stimuli take no more memory than few: 32 MiB.
VALUES = 2**22
#: Columns that are scored at a time.
SCORED = 512


@dataclass(frozen=True)
class Penalties:
    """How the fits choose their penalties.

    Attributes
    ----------
    alphas : ndarray, shape (n_alphas,), optional
        The grid; a relative one if not given.
    folds : list of ndarray, each of shape (n_train,), optional
        For each split, labels of training stimuli that are left out together; leave-one-out if not given.
    per_target : bool
        Or else one penalty for all targets.
    dtype : {'float64', 'float32'}
        Precision of the search.
    device : str, optional
        A torch device for the search.
    """

    alphas: Array | None = None
    folds: list[NDArray[np.generic]] | None = None
    per_target: bool = True
    dtype: str = "float64"
    device: str | None = None

    def for_split(self, split: int, n_orders: int, n_targets: int) -> dict[str, Any]:
        """Return the options of :func:`~brainalign.measures.ridge.ridge_predict` for a split.

        Parameters
        ----------
        split : int
            Its number.
        n_orders, n_targets : int
            Orders of stimuli, each with all targets, whose columns stand beside each other.

        Returns
        -------
        dict
            Keyword arguments.
        """
        return {
            "alphas": self.alphas,
            "folds": None if self.folds is None else self.folds[split],
            "share": None if self.per_target else np.repeat(np.arange(n_orders), n_targets),
            "dtype": self.dtype,
            "device": self.device,
        }


@dataclass(frozen=True)
class LayerFit:
    """Fits of all targets from one layer.

    Attributes
    ----------
    predictions : list of ndarray, each of shape (n_test, n_targets)
        For each split the predictions of its test stimuli, relative to the training mean.
    scores : ndarray, shape (n_splits, n_orders, n_targets)
        Squared clipped correlations.
    loo_r2 : ndarray, shape (n_splits, n_orders, n_targets)
        Score on training stimuli that were left out.
    at_edge : ndarray of bool, shape (n_splits, n_targets)
        Whether the chosen penalty ends the grid. Predictions and edges are those of the first order.
    """

    predictions: list[Array]
    scores: Array
    loo_r2: Array
    at_edge: NDArray[np.bool_]


def fit_layer(
    bases: Sequence[Decomposition] | NDArray[np.floating],
    targets: Array,
    positions: Positions,
    orders: NDArray[np.intp],
    penalties: Penalties | None = None,
) -> LayerFit:
    """Fit and score all targets, with the stimuli of the targets in the orders given.

    Permuted targets are further columns of the same regression: one decomposition serves them all.

    Parameters
    ----------
    bases : ndarray, shape (n_stimuli, n_features), or sequence of Decomposition
        Activations of a layer, or what :func:`~brainalign.measures.ridge_basis.decompose_splits` made of them.
    targets : ndarray, shape (n_stimuli, n_targets)
        Components or voxels.
    positions : sequence of (train, test)
        Row numbers of each split.
    orders : ndarray of int, shape (n_orders, n_stimuli)
        Row orders of the targets.
    penalties : Penalties, optional
        How penalties are chosen.

    Returns
    -------
    LayerFit
        Scores of every split.
    """
    if isinstance(bases, np.ndarray):
        bases = decompose_splits(bases, positions)
    return _fit_columns(bases, _columns(targets, orders), positions, len(orders), penalties or Penalties())


def _columns(targets: Array, orders: NDArray[np.intp]) -> Array:
    """Return the targets in each order, beside each other: (n_stimuli, n_orders x n_targets)."""
    return targets[orders.T].reshape(len(targets), -1)


def _fit_columns(
    bases: Sequence[Decomposition], columns: Array, positions: Positions, n_orders: int, penalties: Penalties
) -> LayerFit:
    n_targets = columns.shape[1] // n_orders
    shape = (len(positions), n_orders, n_targets)
    scores, loo_r2 = np.empty(shape), np.empty(shape)
    at_edge = np.empty((len(positions), n_targets), dtype=bool)
    predictions = []
    for s, (train, test) in enumerate(positions):
        y = columns[list(train)]
        # The mean of a column is taken by itself, see ridge_predict.
        y_mean = np.ascontiguousarray(y.T).mean(axis=1)
        fit = ridge_predict(bases[s], y - y_mean, **penalties.for_split(s, n_orders, n_targets))
        scores[s] = _scores(fit.predictions, columns[list(test)]).reshape(shape[1:])
        loo_r2[s] = fit.loo_r2.reshape(shape[1:])
        at_edge[s] = fit.at_edge[:n_targets]
        predictions.append(fit.predictions[:, :n_targets].copy())
    return LayerFit(predictions, scores, loo_r2, at_edge)


def _scores(predictions: Array, observed: Array) -> Array:
    # Some columns at a time: what lies between two steps then stays in the cache.
    parts = [slice(start, start + SCORED) for start in range(0, observed.shape[1], SCORED)]
    return np.concatenate([score(predictions[:, part], observed[:, part]) for part in parts])


def choose_layer(fits: Sequence[LayerFit]) -> LayerFit:
    """Take, for each split, order and target, the layer of highest score on training stimuli that were left out.

    Parameters
    ----------
    fits : sequence of LayerFit
        One per layer, in order of depth; of equal layers the first is taken.

    Returns
    -------
    LayerFit
        As if of one layer.
    """
    first = fits[0]
    chosen = LayerFit(
        [p.copy() for p in first.predictions], first.scores.copy(), first.loo_r2.copy(), first.at_edge.copy()
    )
    for other in fits[1:]:
        take_better(chosen, other)
    return chosen


def take_better(chosen: LayerFit, other: LayerFit) -> None:
    """Put what another layer gave into a choice, wherever it fits the training stimuli better.

    Parameters
    ----------
    chosen : LayerFit
        See :func:`choose_layer`; changed in place, so that fits of many layers need not be held.
    other : LayerFit
        Of a deeper layer.
    """
    better = np.nan_to_num(other.loo_r2, nan=-np.inf) > np.nan_to_num(chosen.loo_r2, nan=-np.inf) + TIE
    np.copyto(chosen.scores, other.scores, where=better)
    np.copyto(chosen.loo_r2, other.loo_r2, where=better)
    np.copyto(chosen.at_edge, other.at_edge, where=better[:, 0])
    for old, new, where in zip(chosen.predictions, other.predictions, better[:, 0], strict=True):
        np.copyto(old, new, where=where)


def permuted_p(
    bases: Mapping[str, Sequence[Decomposition]],
    values: Mapping[str, Array],
    targets: Array,
    positions: Positions,
    orders: NDArray[np.intp],
    penalties: Penalties,
) -> dict[str, Array]:
    """Return one-sided p-values of median scores under permuted stimulus labels, all fits and choices repeated.

    Permutations that reach the measured value are counted as they come, so that memory does not grow with their
    number.

    Parameters
    ----------
    bases : mapping of str to sequence of Decomposition
        Features of each layer, for each split.
    values : mapping of str to ndarray, shape (n_targets,)
        Measured medians over splits, of each layer and, if there, of the chosen one.
    targets : ndarray, shape (n_stimuli, n_targets)
        Components or voxels.
    positions : sequence of (train, test)
        Row numbers of each split.
    orders : ndarray of int, shape (n_permutations, n_stimuli)
        Random orders; with none, p is NaN.
    penalties : Penalties
        As of the measured fits.

    Returns
    -------
    dict of str to ndarray, shape (n_targets,)
        (k + 1) / (n_permutations + 1), as :func:`~brainalign.stats.permutation_p`.
    """
    n_targets = targets.shape[1]
    if len(orders) == 0:
        return {layer: np.full(n_targets, np.nan) for layer in values}
    reached = {layer: np.zeros(n_targets, dtype=int) for layer in values}
    step = max(1, min(COLUMNS // n_targets, VALUES // targets.size))
    for start in range(0, len(orders), step):
        block = orders[start : start + step]
        columns = _columns(targets, block)
        chosen: LayerFit | None = None
        for layer, own in bases.items():
            fit = _fit_columns(own, columns, positions, len(block), penalties)
            _count(reached[layer], fit, values[layer])
            if chosen is not None:
                take_better(chosen, fit)
            elif CHOSEN in values:
                chosen = fit
        if chosen is not None:
            _count(reached[CHOSEN], chosen, values[CHOSEN])
    return {layer: (count + 1) / (len(orders) + 1) for layer, count in reached.items()}


def _count(reached: NDArray[np.int_], fit: LayerFit, values: Array) -> None:
    # A difference of rounding counts as equal.
    reached += (np.median(fit.scores, axis=0) >= values * (1 - 1e-13)).sum(axis=0)
