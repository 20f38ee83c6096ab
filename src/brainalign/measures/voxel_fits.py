"""What voxel encoding stands on: fits of one layer, the running choice between layers, and medians by subject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.layer_fits import COLUMNS, VALUES
from brainalign.measures.ridge import TIE, Decomposition, ridge_predict
from brainalign.measures.scores import FoldRule, Statistic, aggregate_folds, median_present, score
from brainalign.responses import Responses
from brainalign.stats.ceilings import reliability_divisor, split_half_reliability, tuckute2023_divisor

Array = NDArray[np.float64]
Correction = Literal["none", "reliability", "tuckute2023", "tuckute2023-unbounded"]
ChooseBy = Literal["voxel", "subject", "region"]
Positions = Sequence[tuple[list[int], list[int]]]

#: The target that holds all units of a subject.
ALL_UNITS = "all units"
#: Units whose resampled scores are held at a time.
UNITS = 256


@dataclass(frozen=True)
class Scoring:
    """How predictions become scores.

    Attributes
    ----------
    statistic : {'r2', 'r', 'R2'}
        See :func:`~brainalign.measures.scores.score`.
    correction : {'none', 'reliability', 'tuckute2023', 'tuckute2023-unbounded'}
        For noise.
    least : float or None
        Reliability on the training stimuli below which a unit does not count in a split.
    folds : {'median', 'mean'}
        How splits are put together.
    """

    statistic: Statistic
    correction: Correction
    least: float | None
    folds: FoldRule

    @property
    def published(self) -> bool:
        """Whether the correction needs the fits to single repetitions."""
        return self.correction.startswith("tuckute2023")

    def together(self, scores: Array, divisors: Array, axis: int = 0) -> Array:
        """Return corrected scores over splits, before they are bounded."""
        return aggregate_folds(scores / divisors, self.folds, axis)

    def bounded(self, scores: Array) -> Array:
        """Return scores of at most 1 if the correction is the bounded one."""
        return np.minimum(scores, 1) if self.correction == "tuckute2023" else scores


@dataclass(frozen=True)
class Groups:
    """Which units belong to which subject and region.

    Attributes
    ----------
    subjects : list of str
        In order of appearance.
    targets : list of str
        All units first, then the regions.
    members : dict
        Positions of the units of each (subject, target); pairs without units are not there.
    """

    subjects: list[str]
    targets: list[str]
    members: dict[tuple[int, int], NDArray[np.intp]]

    def medians(self, values: Array) -> Array:
        """Return the median over units by subject and target, (..., unit) -> (..., subject, target)."""
        result = np.full((*values.shape[:-1], len(self.subjects), len(self.targets)), np.nan)
        for (s, t), units in self.members.items():
            result[..., s, t] = median_present(values[..., units], axis=-1)
        return result


def group_units(units: Responses) -> Groups:
    """Return the groups that the coordinates ``subject`` and ``region`` tell apart.

    Parameters
    ----------
    units : Responses
        Of a brain. Without ``subject`` all units are one subject's; a unit whose ``region`` is empty counts among
        all units only.

    Returns
    -------
    Groups
        Positions of units.
    """
    subject, region = unit_labels(units, "subject"), unit_labels(units, "region")
    subjects = list(dict.fromkeys(subject.tolist()))
    targets = [ALL_UNITS, *(r for r in dict.fromkeys(region.tolist()) if r)]
    members = {}
    for s, name in enumerate(subjects):
        for t, target in enumerate(targets):
            positions = np.flatnonzero((subject == name) & ((region == target) | (t == 0)))
            if len(positions):
                members[s, t] = positions
    return Groups(subjects, targets, members)


def unit_labels(units: Responses, name: str) -> NDArray[np.str_]:
    """Return a coordinate of the units as text, empty where there is none."""
    if name not in units.coords:
        return np.full(units.sizes["unit"], "", dtype="<U1")
    return np.where(np.asarray(units[name].isnull()), "", units[name].values.astype(str))


@dataclass(frozen=True)
class Setup:
    """What the fits of all layers share.

    Attributes
    ----------
    y : ndarray, shape (n_stimuli, n_units)
        Responses, averaged over repetitions.
    runs : ndarray, shape (n_repetitions, n_stimuli, n_units), or None
        Single repetitions.
    positions : sequence of (train, test)
        Row numbers of each split.
    scoring : Scoring
        How to score.
    alphas : ndarray or None
        Penalties; relative ones if None.
    groups : Groups
        Subjects and regions.
    voters : ndarray of int, shape (n_units,)
        Who chooses a layer together, see :class:`BestLayer`.
    """

    y: Array
    runs: Array | None
    positions: Positions
    scoring: Scoring
    alphas: Array | None
    groups: Groups
    voters: NDArray[np.intp]


@dataclass(frozen=True)
class LayerScores:
    """Scores of all units from one layer, by split.

    Attributes
    ----------
    scores : ndarray, shape (n_splits, n_units)
        Not corrected.
    divisors : ndarray, shape (n_splits, n_units)
        What noise correction divides them by; NaN where a unit does not count.
    loo_r2 : ndarray, shape (n_splits, n_units)
        Leave-one-out score on the training stimuli.
    at_edge : ndarray of bool, shape (n_splits, n_units)
        Whether the penalty is the first or last of the grid.
    predictions : list of ndarray, each of shape (n_test, n_units)
        Relative to the training mean, in units of the responses; empty if they were not to be kept.
    """

    scores: Array
    divisors: Array
    loo_r2: Array
    at_edge: NDArray[np.bool_]
    predictions: list[Array]


def split_divisors(setup: Setup, order: NDArray[np.intp] | None = None) -> Array:
    """Return what reliability on the training stimuli of each split divides by, NaN for units it leaves out.

    Parameters
    ----------
    setup : Setup
        The data and how to score.
    order : ndarray of int, shape (n_stimuli,), optional
        A permutation of the rows of the responses.

    Returns
    -------
    ndarray, shape (n_splits, n_units)
        Ones where nothing is corrected or left out.
    """
    scoring = setup.scoring
    divisors = np.ones((len(setup.positions), setup.y.shape[1]))
    if setup.runs is None or scoring.least is None:
        return divisors
    for s, (train, _) in enumerate(setup.positions):
        rows = train if order is None else order[train]
        usable = reliability_divisor(
            split_half_reliability(setup.runs[:, rows]), squared=scoring.statistic != "r", least=scoring.least
        )
        divisors[s] = usable if scoring.correction == "reliability" else np.where(np.isnan(usable), np.nan, 1)
    return divisors


def fit_layer_scores(
    bases: Sequence[Decomposition], divisors: Array, setup: Setup, *, keep_predictions: bool = True
) -> LayerScores:
    """Fit all units from one layer and score them on the test stimuli of each split.

    Parameters
    ----------
    bases : sequence of Decomposition
        Of the layer, one for each split.
    divisors : ndarray, shape (n_splits, n_units)
        See :func:`split_divisors`; the published correction multiplies its own into them.
    setup : Setup
        The data and how to score.
    keep_predictions : bool
        Only resampled scores need them, and they are most of the memory: five times the responses for ten half-splits.

    Returns
    -------
    LayerScores
        By split.
    """
    n_units = setup.y.shape[1]
    shape = (len(setup.positions), n_units)
    scores, loo_r2, at_edge = np.empty(shape), np.empty(shape), np.empty(shape, dtype=bool)
    divisors = divisors.copy()
    predictions = [np.empty((len(test), n_units)) for _, test in setup.positions] if keep_predictions else []
    for start in range(0, n_units, COLUMNS):
        units = slice(start, start + COLUMNS)
        for s, basis in enumerate(bases):
            at = s, units
            predicted, scores[at], loo_r2[at], at_edge[at], divisor = _fit_units(basis, setup, s, units)
            divisors[at] *= divisor
            if keep_predictions:
                predictions[s][:, units] = predicted
    return LayerScores(scores, divisors, loo_r2, at_edge, predictions)


def _fit_units(
    basis: Decomposition, setup: Setup, split: int, units: slice
) -> tuple[Array, Array, Array, NDArray[np.bool_], Array | float]:
    """Return predictions, scores, leave-one-out scores, edges and the divisor that only fits give, of some units."""
    (train, test), scoring = setup.positions[split], setup.scoring
    y, runs = setup.y[:, units], setup.runs[..., units] if setup.runs is not None and scoring.published else None
    fitted = y[train] if runs is None else np.hstack([y[train], *runs[:, train]])
    # The mean of a column is taken by itself, see ridge_predict.
    train_mean = np.ascontiguousarray(fitted.T).mean(axis=1)
    fit = ridge_predict(basis, fitted - train_mean, setup.alphas)
    n = y.shape[1]
    predicted = fit.predictions[:, :n]
    scores = score(predicted, y[test] - train_mean[:n], scoring.statistic)
    divisor: Array | float = 1.0
    if runs is not None:
        single = fit.predictions[:, n:].reshape(len(test), len(runs), n).transpose(1, 0, 2)
        divisor = tuckute2023_divisor(runs[:, train], single, repaired=scoring.correction == "tuckute2023")
    return predicted, scores, fit.loo_r2[:n], fit.at_edge[:n], divisor


class BestLayer:
    """Keeps, split by split, what the layer gave that predicts best within the training part, as layers come in.

    Parameters
    ----------
    voters : ndarray of int, shape (n_units,)
        Units of the same number choose together, by the median of their leave-one-out scores; a number of its own
        for each unit lets it choose by itself.
    """

    def __init__(self, voters: NDArray[np.intp]) -> None:
        self._groups = [] if len(np.unique(voters)) == len(voters) else [voters == v for v in np.unique(voters)]
        self._best: Array | None = None
        self.layer: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self.kept: list[list[NDArray[Any]]] = []

    def offer(self, layer: int, loo_r2: Array, *arrays: Any) -> None:
        """Take what a layer gave where it is better than all before; of equal layers the first stays.

        Parameters
        ----------
        layer : int
            Its number; kept in the attribute ``layer``, of the shape of `loo_r2`.
        loo_r2 : ndarray, shape (n_splits, ..., n_units)
            Leave-one-out scores; NaN for units that have no vote.
        *arrays
            What to keep of it, split by split, each (..., n_units); kept in the attribute ``kept``.
        """
        votes = loo_r2.copy()
        for units in self._groups:
            votes[..., units] = median_present(loo_r2[..., units], axis=-1)[..., None]
        votes = np.nan_to_num(votes, nan=-np.inf)
        if self._best is None:
            self._best, self.layer = votes, np.full(votes.shape, layer)
            self.kept = [[part.copy() for part in array] for array in arrays]
            return
        better = votes > self._best + TIE
        self._best[better], self.layer[better] = votes[better], layer
        for kept, array in zip(self.kept, arrays, strict=True):
            for s, part in enumerate(array):
                np.copyto(kept[s], part, where=better[s])


def null_scores(bases: Sequence[Sequence[Decomposition]], setup: Setup, orders: NDArray[np.intp]) -> Iterator[Array]:
    """Give uncorrected scores of permuted stimulus labels, all fits and the choice of a layer repeated.

    Parameters
    ----------
    bases : sequence over layers of sequences over splits of Decomposition
        The features.
    setup : Setup
        The data and how to score.
    orders : ndarray of int, shape (n_permutations, n_stimuli)
        Row orders of the responses.

    Yields
    ------
    ndarray, shape (n_layers, n_orders, n_units)
        Over splits, for some of the orders at a time; the chosen layer last, if there is more than one. NaN for a unit
        that is too unreliable in every split: its reliability is taken anew in each order.
    """
    y, scoring = setup.y, setup.scoring
    step = max(1, min(COLUMNS // y.shape[1], VALUES // y.size))
    for start in range(0, len(orders), step):
        block = orders[start : start + step]
        shape = (len(setup.positions), len(block), y.shape[1])
        counted = np.ones(shape)
        if scoring.least is not None:
            divisors = np.stack([split_divisors(setup, order) for order in block], axis=1)
            counted = np.where(np.isnan(divisors), np.nan, 1)
        shuffled = y[block.T].reshape(len(y), -1)
        best, layers = BestLayer(setup.voters), []
        for k, own in enumerate(bases):
            scores, loo_r2 = np.empty(shape), np.empty(shape)
            for s, (train, test) in enumerate(setup.positions):
                train_mean = np.ascontiguousarray(shuffled[train].T).mean(axis=1)
                fit = ridge_predict(own[s], shuffled[train] - train_mean, setup.alphas)
                scored = score(fit.predictions, shuffled[test] - train_mean, scoring.statistic)
                scores[s], loo_r2[s] = scored.reshape(shape[1:]), fit.loo_r2.reshape(shape[1:])
            layers.append(scoring.together(scores, counted))
            if len(bases) > 1:
                best.offer(k, loo_r2 * counted, scores)
        if len(bases) > 1:
            layers.append(scoring.together(np.stack(best.kept[0]), counted))
        yield np.stack(layers)


def resampled_medians(weights: Array, fit: LayerScores, setup: Setup) -> Array:
    """Return medians over units under weights of the stimuli, fits and divisors held fixed.

    Parameters
    ----------
    weights : ndarray, shape (n_resamples, n_stimuli)
        For instance how often a bootstrap drew each stimulus.
    fit : LayerScores
        Of a layer.
    setup : Setup
        The data and how to score.

    Returns
    -------
    ndarray, shape (n_resamples, n_subjects, n_targets)
        NaN where a subject has no units.
    """
    groups, scoring = setup.groups, setup.scoring
    result = np.full((len(weights), len(groups.subjects), len(groups.targets)), np.nan)
    for s in range(len(groups.subjects)):
        units = groups.members[s, 0]
        values = np.empty((len(weights), len(units)))
        for start in range(0, len(units), UNITS):
            part = units[start : start + UNITS]
            own = setup.y[:, part]
            scores = np.stack(
                [
                    score(predicted[:, part], own[test] - own[train].mean(axis=0), scoring.statistic, weights[:, test])
                    for predicted, (train, test) in zip(fit.predictions, setup.positions, strict=True)
                ]
            )
            corrected = scoring.together(scores, fit.divisors[:, None, part])
            values[:, start : start + UNITS] = scoring.bounded(corrected)
        for t in range(len(groups.targets)):
            if (s, t) in groups.members:
                among = np.searchsorted(units, groups.members[s, t])
                result[:, s, t] = median_present(values[:, among], axis=-1)
    return result
