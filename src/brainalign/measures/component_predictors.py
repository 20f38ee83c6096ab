"""Profiles that stand for a set of units beside a brain component: the ridge prediction, and the best single unit.

Both are made on the training sounds of a split and scored on its test sounds, with the sounds of the brain in their
measured order and permuted. Both hold as well what the scores are without each sound, from which intervals follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.layer_fits import COLUMNS, VALUES, Positions
from brainalign.measures.profile_scores import (
    auc_of_columns,
    auc_without,
    category_means,
    category_r_without,
    pearson,
    pearson_without,
    relative_to_category,
)
from brainalign.measures.ridge import TIE, Decomposition, ridge_predict

Array = NDArray[np.float64]

R, CATEGORY_MEANS, WITHIN, AUC = "r", "r of category means", "r within categories", "auc"
#: Of the profile that was made for the component asked about, with every other component; it serves differences.
CROSS = "r of the profile asked about"
STATISTICS = (R, CATEGORY_MEANS, WITHIN, AUC, CROSS)
#: Numbers of units times columns that are correlated at a time.
CORRELATED = 20_000_000
#: Which null a statistic has: 0, all sounds permuted; 1, the sounds of the categories asked about within each.
_KIND = np.array([int(s == WITHIN) for s in STATISTICS])


@dataclass(frozen=True)
class Design:
    """What is asked of all units alike: components, splits, categories and permutations.

    Attributes
    ----------
    observed : ndarray, shape (n_stimuli, n_components)
        Responses of the components.
    columns : ndarray of int, shape (n_splits, n_targets)
        For each split, the component that is each target: its own number, but for a target that training sounds choose.
    positions : sequence of (train, test)
        Row numbers of each split.
    codes : ndarray of int, shape (n_stimuli,)
        Category of each sound.
    is_target : ndarray of bool, shape (n_stimuli,)
        Whether a sound is of the categories asked about.
    focus : int
        Column of the target asked about.
    orders : ndarray of int, shape (2, 1 + n_permutations, n_stimuli)
        Orders of the brain's sounds, the measured one first: all permuted, and permuted within the categories asked
        about.
    """

    observed: Array
    columns: NDArray[np.intp]
    positions: Positions
    codes: NDArray[np.intp]
    is_target: NDArray[np.bool_]
    focus: int
    orders: NDArray[np.intp]

    def targets(self, split: int, rows: Sequence[int], kind: int = 0, orders: slice = slice(1)) -> Array:
        """Return the targets of a split in some orders: (n_rows, n_orders, n_targets)."""
        return self.observed[self.orders[kind, orders][:, list(rows)].T][..., self.columns[split]]

    def component_auc(self) -> Array:
        """Return the AUC of the components themselves on the test sounds, mean over splits: (n_targets,)."""
        tests = [test for _, test in self.positions]
        return np.asarray(
            np.mean([auc_of_columns(self.targets(s, t), self.is_target[list(t)]) for s, t in enumerate(tests)], axis=0)[
                0
            ]
        )

    def score(self, rows: Sequence[int], profiles: Array, observed: Array, statistic: str) -> Array:
        """Score profiles on some sounds.

        Parameters
        ----------
        rows : sequence of int
            Numbers of the sounds.
        profiles, observed : ndarray, shape (n_rows, n_variants, n_targets)
            Profiles and what was measured; either may have one variant for all of the other.
        statistic : str
            One of `STATISTICS`.

        Returns
        -------
        ndarray, shape (n_variants, n_targets)
            The scores.
        """
        own, codes = self.is_target[list(rows)], self.codes[list(rows)]
        if statistic == AUC:
            return auc_of_columns(profiles, own)
        if statistic == CROSS:
            return pearson(profiles[..., [self.focus]], observed)
        if statistic == CATEGORY_MEANS:
            return pearson(category_means(profiles, codes), category_means(observed, codes))
        if statistic == WITHIN:
            profiles, observed = (relative_to_category(x[own], codes[own]) for x in (profiles, observed))
        return pearson(profiles, observed)

    def score_without(self, rows: Sequence[int], profile: Array, observed: Array, statistic: str) -> Array:
        """Score profiles without each of the sounds.

        Parameters
        ----------
        rows, statistic
            As for :meth:`score`.
        profile, observed : ndarray, shape (n_rows, n_targets)
            Profiles and what was measured.

        Returns
        -------
        ndarray, shape (n_rows, n_targets)
            In row i the scores of all sounds but that of ``rows[i]``.
        """
        own, codes = self.is_target[list(rows)], self.codes[list(rows)]
        if statistic == AUC:
            return auc_without(profile, own)
        if statistic == CATEGORY_MEANS:
            return category_r_without(profile, observed, codes)
        if statistic == WITHIN:
            out = np.tile(self.score(rows, profile[:, None], observed[:, None], WITHIN), (len(profile), 1))
            out[own] = pearson_without(profile[own], observed[own], codes[own])
            return out
        return pearson_without(profile[:, [self.focus]] if statistic == CROSS else profile, observed)


@dataclass
class Profiles:
    """Scores of one kind of profile of one set of units.

    Attributes
    ----------
    scores : ndarray, shape (n_statistics, n_splits, n_orders, n_targets)
        On the test sounds, for the measured order of the brain's sounds and for permuted ones.
    without : ndarray, shape (n_statistics, n_splits, n_stimuli, n_targets)
        Without each sound, in training and test.
    criterion : ndarray, shape (2, n_splits, n_orders, n_targets)
        How well the profile fits the training sounds, for both kinds of orders: by this a layer is chosen.
    tested : list of ndarray, each of shape (n_test, n_targets)
        The profiles on the test sounds of each split.
    """

    scores: Array
    without: Array
    criterion: Array
    tested: list[Array]

    def take_better(self, other: Profiles, focus: int) -> None:
        """Put in, for each split, order and target, another layer's profile where it fits the training sounds better.

        Parameters
        ----------
        other : Profiles
            Of a deeper layer, whose profiles replace these in place.
        focus : int
            Column of the target asked about.
        """
        better = np.nan_to_num(other.criterion, nan=-np.inf) > np.nan_to_num(self.criterion, nan=-np.inf) + TIE
        by_statistic = better[_KIND]
        by_statistic[STATISTICS.index(CROSS)] = better[0][..., [focus]]
        np.copyto(self.scores, other.scores, where=by_statistic)
        np.copyto(self.without, other.without, where=by_statistic[:, :, :1])
        np.copyto(self.criterion, other.criterion, where=better)
        for old, new, where in zip(self.tested, other.tested, better[0, :, 0], strict=True):
            np.copyto(old, new, where=where)


def encoding_profiles(bases: Sequence[Decomposition], design: Design) -> Profiles:
    """Predict each target by ridge regression and score the predictions.

    Parameters
    ----------
    bases : sequence of Decomposition
        The units' responses for each split, see :func:`~brainalign.measures.ridge_basis.decompose_splits`.
    design : Design
        What is asked.

    Returns
    -------
    Profiles
        The criterion is 1 - leave-one-out error / variance of the training sounds. ``without`` repeats the fits without
        each sound, with penalties held fixed.
    """

    def predict(split: int, y: Array) -> tuple[Array, Array]:
        fit = ridge_predict(bases[split], y)
        return fit.predictions, fit.loo_r2

    def refit(split: int, y: Array) -> Array:
        return _predictions_without(bases[split], y, ridge_predict(bases[split], y).alphas)

    return _profiles(design, predict, refit)


def best_unit_profiles(values: NDArray[np.floating], design: Design) -> Profiles:
    """Take for each target the unit of highest correlation on the training sounds, and score it on the test sounds.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        Responses.
    design : Design
        What is asked.

    Returns
    -------
    Profiles
        The criterion is the correlation on the training sounds. ``without`` holds the choice of the unit fixed.
    """

    def predict(split: int, y: Array) -> tuple[Array, Array]:
        train, test = design.positions[split]
        x = _standardised(values[list(train)])
        unit, r = np.empty(y.shape[1], dtype=np.intp), np.empty(y.shape[1])
        step = max(1, CORRELATED // x.shape[1])
        for start in range(0, y.shape[1], step):
            part = slice(start, start + step)
            found = x.T @ _standardised(y[:, part])
            unit[part], r[part] = found.argmax(axis=0), found.max(axis=0)
        return values[list(test)].astype(np.float64)[:, unit], r

    return _profiles(design, predict, None)


@dataclass(frozen=True)
class UnitCorrelations:
    """Correlations of all units with all components, over all sounds; nothing is selected.

    Attributes
    ----------
    each : ndarray, shape (n_units, n_components)
        Pearson correlations; 0 for a unit that responds alike to all sounds.
    without : ndarray, shape (n_stimuli, n_components)
        Mean over units, without each sound.
    null : ndarray, shape (n_permutations, n_components)
        Mean over units, the brain's sounds permuted.
    """

    each: Array
    without: Array
    null: Array


def unit_correlations(values: NDArray[np.floating], observed: Array, orders: NDArray[np.intp]) -> UnitCorrelations:
    """Correlate every unit with every component.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        Responses.
    observed : ndarray, shape (n_stimuli, n_components)
        The components.
    orders : ndarray of int, shape (n_permutations, n_stimuli)
        Random orders of the components' sounds.

    Returns
    -------
    UnitCorrelations
        For means and distributions over units.
    """
    x, y = _standardised(values), _standardised(observed)
    each = x.T @ y
    without = np.stack([pearson_without(x, y[:, [t]]).mean(axis=1) for t in range(y.shape[1])], axis=1)
    mean = x.mean(axis=1)
    null = np.stack([mean @ y[order] for order in orders]) if len(orders) else np.empty((0, y.shape[1]))
    return UnitCorrelations(each, without, null)


def _profiles(
    design: Design,
    predict: Callable[[int, Array], tuple[Array, Array]],
    refit: Callable[[int, Array], Array] | None,
) -> Profiles:
    n_splits, n_targets = design.columns.shape
    n_orders, n = design.orders.shape[1:]
    scores = np.empty((len(STATISTICS), n_splits, n_orders, n_targets))
    without = np.empty((len(STATISTICS), n_splits, n, n_targets))
    criterion = np.empty((2, n_splits, n_orders, n_targets))
    tested = []
    step = max(1, min(COLUMNS // n_targets, VALUES // (n * n_targets)))
    for split, (train, test) in enumerate(design.positions):
        for kind in (0, 1):
            asked = [i for i, k in enumerate(_KIND) if k == kind]
            for start in range(0, n_orders, step):
                part = slice(start, start + step)
                y = design.targets(split, train, kind, part)
                made, fitted = predict(split, y.reshape(len(y), -1))
                criterion[kind, split, part] = fitted.reshape(y.shape[1:])
                made, seen = made.reshape(len(test), *y.shape[1:]), design.targets(split, test, kind, part)
                for i in asked:
                    scores[i, split, part] = design.score(test, made, seen, STATISTICS[i])
                if kind == 0 and start == 0:
                    tested.append(made[:, 0].copy())
        refitted = None if refit is None else refit(split, design.targets(split, train)[:, 0])
        without[:, split] = _scores_without(design, split, tested[-1], refitted)
    return Profiles(scores, without, criterion, tested)


def _scores_without(design: Design, split: int, profile: Array, refitted: Array | None) -> Array:
    """Return all scores of a split without each sound: (n_statistics, n_stimuli, n_targets)."""
    train, test = design.positions[split]
    seen = design.targets(split, test)
    out = np.empty((len(STATISTICS), len(design.observed), profile.shape[1]))
    for i, statistic in enumerate(STATISTICS):
        out[i] = design.score(test, profile[:, None], seen, statistic)
        if refitted is not None:
            out[i, list(train)] = design.score(test, refitted, seen, statistic)
        out[i, list(test)] = design.score_without(test, profile, seen[:, 0], statistic)
    return out


def _predictions_without(decomposition: Decomposition, y: Array, alphas: Array) -> Array:
    """Return the predictions of fits that lack one training sound each: (n_test, n_train, n_targets).

    To leave sound i out is to replace its target by what the others predict for it: with H the matrix that takes
    training targets to predictions and e_i the leave-one-out residual, predictions change by -H_ji e_i.
    """
    n = len(y)
    u, eigenvalues = decomposition.basis, decomposition.eigenvalues[:, None]
    centred = y - y.mean(axis=0)
    inside = u.T @ centred
    lost = alphas / (eigenvalues + alphas)
    if decomposition.spans_all:
        # Residual and room go to zero together with the penalty; a common scale keeps their quotient.
        lost = lost / lost.max(axis=0)
        left_out = (u @ (lost * inside)) / (u**2 @ lost)
    else:
        left_out = (centred - u @ ((1 - lost) * inside)) / (1 - 1 / n - u**2 @ (1 - lost))
    shrink = 1 / (eigenvalues + alphas)
    predictions = decomposition.projection @ (shrink * inside) + y.mean(axis=0)
    hat = np.einsum("jr,rt,ir->jit", decomposition.projection, shrink, u, optimize=True) + 1 / n
    return np.asarray(predictions[:, None] - hat * left_out)


def _standardised(values: NDArray[np.floating]) -> Array:
    """Return columns of mean 0 and length 1; constant ones become 0."""
    x = np.asarray(values, dtype=np.float64)
    constant = np.ptp(x, axis=0) == 0
    x = x - x.mean(axis=0)
    return np.asarray(np.where(constant, 0, x / np.where(constant, 1, np.sqrt((x**2).sum(axis=0)))))
