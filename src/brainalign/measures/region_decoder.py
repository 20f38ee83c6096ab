"""Decoding by regions: ridge regression from the voxels of each region, the best regions averaged.

The protocol of Denk et al. 2023 (arXiv 2307.11078): in each region by itself, min ||X b - y||^2 + alpha ||b||^2 with
one alpha for each target dimension by cross-validation on the training rows; of the regions that predict the left-out
rows best, the predictions are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, name_some
from brainalign.measures.region_penalties import FoldScore, choose_penalties, predict_left_out
from brainalign.measures.ridge import ridge_coefficients
from brainalign.measures.ridge_basis import decompose, decompose_gram, gram_matrix
from brainalign.measures.splits import make_splits

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Regions whose predictions Denk et al. 2023 average.
PUBLISHED_REGIONS = 6


def clip_folds(clips: Sequence[str], n_folds: int = 5, seed: int = 0) -> Index:
    """Deal clips out to folds; all rows (windows) of a clip come into the same one.

    Parameters
    ----------
    clips : sequence of str, length n_rows
        The clip of each row.
    n_folds : int
        Folds, of at least three clips each.
    seed : int
        Seed of the draw, which depends on which clips there are and not on their order.

    Returns
    -------
    ndarray of int, shape (n_rows,)
        The number of the fold of each row.

    Raises
    ------
    MeasureError
        If the clips are too few.
    """
    splits = make_splits(sorted(set(clips)), "kfold", n_splits=n_folds, seed=seed)
    number = {clip: k for k, split in enumerate(splits) for clip in split.test}
    return np.array([number[clip] for clip in clips], dtype=np.intp)


class RegionDecoder:
    """Ridge regression from voxels to targets in each region, predictions of the best regions averaged.

    Voxels and targets are centred by the rows that are fitted, never scaled: bring voxels to one scale beforehand.

    Parameters
    ----------
    n_regions : int or None
        How many regions predict together; fewer where there are fewer; None for all.
    alphas : array_like, optional
        Penalties, see :func:`choose_penalties`. Denk et al. 2023 do not give theirs.
    n_folds : int
        Folds of the training clips.
    score : {'l2', 'r2', 'r'}
        What a penalty is chosen by, see :func:`choose_penalties`.
    seed : int
        Seed of the folds.

    Attributes
    ----------
    region_names_ : list of str
        The regions.
    correlation_ : ndarray, shape (n_regions, n_groups)
        Pearson correlation on left-out training rows, mean over folds and the targets of a group.
    chosen_ : ndarray of bool, shape (n_regions, n_groups)
        The regions whose predictions are averaged.
    alphas_ : ndarray, shape (n_regions, n_targets)
        Penalties.
    at_edge_ : ndarray of bool, shape (n_regions, n_targets)
        Whether they are the first or last of the grid.
    folds_ : ndarray of int, shape (n_rows,)
        The inner fold of each row that was fitted.
    """

    def __init__(
        self,
        n_regions: int | None = PUBLISHED_REGIONS,
        *,
        alphas: Sequence[float] | Array | None = None,
        n_folds: int = 5,
        score: FoldScore = "l2",
        seed: int = 0,
    ) -> None:
        if n_regions is not None and n_regions < 1:
            raise MeasureError(f"n_regions is {n_regions}, expected at least 1, or None for all regions")
        self.n_regions, self.n_folds, self.seed = n_regions, n_folds, seed
        self.alphas = None if alphas is None else np.asarray(alphas, dtype=np.float64)
        self.score: FoldScore = score

    def fit(
        self,
        voxels: NDArray[np.floating],
        targets: NDArray[np.floating],
        regions: Mapping[str, Index],
        *,
        clips: Sequence[str] | None = None,
        groups: NDArray[np.generic] | None = None,
        rows: Index | None = None,
    ) -> RegionDecoder:
        """Choose penalties and regions by cross-validation, and fit the chosen regions to all training rows.

        Parameters
        ----------
        voxels : ndarray, shape (n_rows, n_voxels)
            Single or double precision; only one region at a time is copied.
        targets : ndarray, shape (n_rows, n_targets)
            For instance an embedding of the sounds.
        regions : mapping of str to ndarray of int
            The columns of each region.
        clips : sequence of str, length n_rows, optional
            Rows of one clip are never torn apart by a fold; each row is one of its own, if not given.
        groups : ndarray, shape (n_targets,), optional
            Targets of one label choose their regions together; all do, if not given.
        rows : ndarray of int, optional
            The rows to fit; no other is read. All, if not given.

        Returns
        -------
        RegionDecoder
            Itself.

        Raises
        ------
        MeasureError
            If there is no region, the clips are too few, or a region is constant.
        """
        own = np.arange(len(voxels)) if rows is None else np.asarray(rows)
        empty = [name for name, columns in regions.items() if len(columns) == 0]
        if empty or not regions:
            raise MeasureError(f"no voxels to decode from{': ' + name_some(empty) if empty else ''}")
        y = np.asarray(targets[own], dtype=np.float64)
        labels = [str(i) for i in range(len(voxels))] if clips is None else list(clips)
        self.folds_ = clip_folds([labels[i] for i in own], self.n_folds, self.seed)
        self.regions = dict(regions)
        self.region_names_ = list(regions)
        choices = []
        for name in self.region_names_:
            try:
                choices.append(choose_penalties(self._part(voxels, name, own), y, self.folds_, self.alphas, self.score))
            except MeasureError as why:
                raise MeasureError(f"region {name!r}: {why}") from why
        self.alphas_ = np.stack([c.alphas for c in choices])
        self.at_edge_ = np.stack([c.at_edge for c in choices])
        self._groups = _group_members(groups, y.shape[1])
        correlations = np.stack([c.correlation for c in choices])
        self.correlation_ = np.stack([_present_mean(correlations[:, m]) for m in self._groups], axis=1)
        self.chosen_ = _best(self.correlation_, self.n_regions)
        self._fitted = {
            r: _fit_all(self._part(voxels, name, own), y[:, self._members(r)], self.alphas_[r, self._members(r)])
            for r, name in enumerate(self.region_names_)
            if self.chosen_[r].any()
        }
        return self

    def predict(self, voxels: NDArray[np.floating], rows: Index | None = None) -> Array:
        """Predict the targets.

        Parameters
        ----------
        voxels : ndarray, shape (n_rows, n_voxels)
            Columns as in :meth:`fit`.
        rows : ndarray of int, optional
            The rows to predict; all, if not given.

        Returns
        -------
        ndarray, shape (n_rows, n_targets)
            Mean of the predictions of the chosen regions.
        """
        own = np.arange(len(voxels)) if rows is None else np.asarray(rows)
        predictions = np.zeros((len(own), self.alphas_.shape[1]))
        for r, (coefficients, intercepts) in self._fitted.items():
            part = self._part(voxels, self.region_names_[r], own)
            predictions[:, self._members(r)] += part @ coefficients + intercepts
        return predictions / self._n_averaged()

    def predict_left_out(
        self, voxels: NDArray[np.floating], targets: NDArray[np.floating], rows: Index | None = None
    ) -> Array:
        """Predict the training rows, each from the other inner folds.

        Penalties and regions were chosen by these very rows, so correlations are far too high (of noise .18 to .31).

        Parameters
        ----------
        voxels, targets, rows
            As they were fitted.

        Returns
        -------
        ndarray, shape (n_rows, n_targets)
            Mean of the predictions of the chosen regions.
        """
        own = np.arange(len(voxels)) if rows is None else np.asarray(rows)
        y = np.asarray(targets[own], dtype=np.float64)
        predictions = np.zeros(y.shape)
        for r in self._fitted:
            members = self._members(r)
            part = self._part(voxels, self.region_names_[r], own)
            predictions[:, members] += predict_left_out(part, y[:, members], self.folds_, self.alphas_[r, members])
        return predictions / self._n_averaged()

    def _part(self, voxels: NDArray[np.floating], name: str, rows: Index) -> NDArray[np.floating]:
        return voxels[np.ix_(rows, self.regions[name])]

    def _members(self, region: int) -> Index:
        """Return the targets whose groups chose a region."""
        return np.sort(np.concatenate([m for m, c in zip(self._groups, self.chosen_[region], strict=True) if c]))

    def _n_averaged(self) -> Array:
        count = np.empty(self.alphas_.shape[1])
        for members, chosen in zip(self._groups, self.chosen_.T, strict=True):
            count[members] = chosen.sum()
        return count


def _group_members(groups: NDArray[np.generic] | None, n_targets: int) -> list[Index]:
    if groups is None:
        return [np.arange(n_targets)]
    labels = list(dict.fromkeys(groups.tolist()))
    return [np.flatnonzero(groups == label) for label in labels]


def _present_mean(values: Array) -> Array:
    """Return means over the columns that are no NaN; NaN where there is none."""
    present = ~np.isnan(values)
    count = present.sum(axis=1)
    return np.where(count > 0, np.where(present, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _best(correlation: Array, n: int | None) -> NDArray[np.bool_]:
    """Mark the regions of highest correlation in each column; of equal ones the first."""
    order = np.argsort(-np.nan_to_num(correlation, nan=-np.inf), axis=0, kind="stable")
    rank = np.argsort(order, axis=0, kind="stable")
    return rank < (len(correlation) if n is None else n)


def _fit_all(voxels: NDArray[np.floating], targets: Array, alphas: Array) -> tuple[Array, Array]:
    """Return coefficients and intercepts of the fit to all rows."""
    n, p = voxels.shape
    basis = decompose(voxels, voxels[:0]) if p < n else decompose_gram(gram_matrix(voxels), range(n), [])
    return ridge_coefficients(basis, voxels, targets, alphas)
