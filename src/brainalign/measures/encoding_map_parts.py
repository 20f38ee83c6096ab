"""What an encoding map is made of: fits in blocks of voxels, nulls of their scores, and weights of clips.

Everything is written for many voxels and few tested clips: predictions live as long as a block of voxels does, and
what is kept of them are sums over the windows of each clip, from which every resample of clips follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, name_some
from brainalign.measures.decoding_plan import Plan
from brainalign.measures.feature_spaces import FeatureSpace, Members
from brainalign.measures.region_decoder import clip_folds
from brainalign.measures.ridge import Decomposition, decompose, ridge_predict
from brainalign.responses import units_by_layer

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Null = Literal["permutation", "gaussian"]

#: Voxels that are fitted at a time.
BLOCK = 8192
#: Entries of the tables of clips by clips that are held at a time.
TABLE_ENTRIES = 4_000_000
#: Resamples of clips that are scored at a time.
RESAMPLES = 32
#: Where fewer permutations reach a score, its p comes from the tail of a distribution of their variance.
COUNTED = 10
#: Sums of squares that are zero but for rounding, relative to those before a mean was taken off.
ROUNDING = 1e-14


@dataclass(frozen=True)
class ClipRows:
    """The tested rows, clip by clip.

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        Row numbers, sorted by clip and, within it, by stimulus id.
    clips : ndarray of str, shape (n_clips,)
        Names, sorted.
    starts : ndarray of int, shape (n_clips,)
        Where the rows of each clip begin.
    strata : ndarray, shape (n_clips,)
        Scores are taken, and clips permuted, within a label: the folds of a cross-validation.
    part : ndarray of int, shape (n_clips,)
        Which fit predicts the clip.
    """

    rows: Index
    clips: NDArray[np.str_]
    starts: Index
    strata: Index
    part: Index

    @classmethod
    def of(cls, plan: Plan, ids: NDArray[np.str_]) -> ClipRows:
        """Sort the tested rows of a plan.

        Parameters
        ----------
        plan : Plan
            What is fitted and tested.
        ids : ndarray of str, shape (n_stimuli,)
            Stimulus ids.

        Returns
        -------
        ClipRows
            Of all parts together.
        """
        rows = plan.tested[np.lexsort((ids[plan.tested], plan.clips[plan.tested]))]
        clips, starts = np.unique(plan.clips[rows], return_index=True)
        part_of = np.empty(len(plan.clips), dtype=np.intp)
        for k, (_, test) in enumerate(plan.parts):
            part_of[test] = k
        strata = np.unique(plan.compete[rows], return_inverse=True)[1]
        return cls(rows, clips, starts.astype(np.intp), strata[starts], part_of[rows][starts])

    @property
    def lengths(self) -> Index:
        """How many rows each clip has."""
        return np.diff(np.append(self.starts, len(self.rows)))

    def by_clip(self, values: Array) -> Array:
        """Sum over the rows of each clip, (n_rows, n) -> (n_clips, n)."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=0))

    def centred(self, values: Array) -> Array:
        """Take off the mean of each stratum and scale columns to unit length; what is constant becomes 0."""
        stratum = np.repeat(self.strata, self.lengths)
        before = np.einsum("ij,ij->j", values, values)
        result = values.copy()
        for label in np.unique(stratum):
            own = stratum == label
            result[own] -= result[own].mean(axis=0)
        squares = np.einsum("ij,ij->j", result, result)
        varies = squares > ROUNDING * before
        return np.asarray(np.where(varies, result / np.sqrt(np.where(varies, squares, 1)), 0))


def space_features(spaces: Sequence[FeatureSpace], train: Index) -> Array:
    """Put feature spaces side by side, each with a summed variance of 1 over the training rows.

    Parameters
    ----------
    spaces : sequence of FeatureSpace
        Responses to the same stimuli in the same order.
    train : ndarray of int
        Row numbers.

    Returns
    -------
    ndarray, shape (n_stimuli, n_features)
        The layers of a space have equal shares of its variance.

    Raises
    ------
    MeasureError
        If a layer does not differ between training rows.
    """
    blocks = []
    for space in spaces:
        layers = units_by_layer(space.responses)
        for layer, units in layers.items():
            values = np.asarray(space.responses.values[:, units], dtype=np.float64)
            if np.ptp(values[train], axis=0).max() == 0:
                name = f"{space.name}:{layer}" if len(layers) > 1 else space.name
                raise MeasureError(f"{name} does not differ between the training stimuli: nothing can be predicted")
            blocks.append(values / np.sqrt(values[train].var(axis=0).sum() * len(layers)))
    return np.concatenate(blocks, axis=1)


@dataclass(frozen=True)
class Part:
    """One fit: what trains, what is tested, folds of the training rows, and the features of a set of spaces."""

    train: Index
    #: Where the test rows stand among all tested rows.
    place: Index
    folds: Index
    basis: Decomposition


def make_parts(
    spaces: Sequence[FeatureSpace], members: Members, plan: Plan, tested: ClipRows, n_folds: int, seed: int
) -> list[Part]:
    """Decompose the features of a set of spaces for every part of a plan.

    Parameters
    ----------
    spaces : sequence of FeatureSpace
        All spaces.
    members : tuple of int
        Numbers of those in the set.
    plan, tested
        What is fitted and tested.
    n_folds, seed : int
        Folds of training clips, which choose penalties.

    Returns
    -------
    list of Part
        One for each part of the plan.
    """
    place = np.empty(len(plan.clips), dtype=np.intp)
    place[tested.rows] = np.arange(len(tested.rows))
    parts = []
    for train, test in plan.parts:
        features = space_features([spaces[m] for m in members], train)
        folds = clip_folds(plan.clips[train].tolist(), n_folds, seed)
        parts.append(Part(train, place[test], folds, decompose(features[train], features[test])))
    return parts


@dataclass(frozen=True)
class BlockFit:
    """What a set of spaces makes of a block of voxels.

    Attributes
    ----------
    predictions : ndarray, shape (n_rows, n_units)
        Of the tested rows, less the training mean of their part.
    left_out_r2 : ndarray, shape (n_parts, n_units)
        1 - error / variance of training clips that the inner folds left out.
    at_edge : int
        Fits of which the penalty is the first or last of the grid.
    """

    predictions: Array
    left_out_r2: Array
    at_edge: int


def fit_block(parts: Sequence[Part], y: Array, n_rows: int, alphas: Array | None) -> BlockFit:
    """Fit a block of voxels by every part and predict the tested rows.

    Parameters
    ----------
    parts : sequence of Part
        Of a set of spaces.
    y : ndarray, shape (n_stimuli, n_units)
        Responses of the voxels.
    n_rows : int
        Tested rows.
    alphas : ndarray or None
        Penalties, relative to the summed variance of the features; the default grid if None.

    Returns
    -------
    BlockFit
        Each voxel with its own penalty in each part.
    """
    predictions, left_out, at_edge = np.empty((n_rows, y.shape[1])), [], 0
    for part in parts:
        targets = y[part.train]
        targets -= targets.mean(axis=0)
        grid = None if alphas is None else alphas * part.basis.eigenvalues.sum() / len(targets)
        fit = ridge_predict(part.basis, targets, grid, folds=part.folds)
        predictions[part.place] = fit.predictions
        left_out.append(fit.loo_r2)
        at_edge += int(fit.at_edge.sum())
    return BlockFit(predictions, np.stack(left_out), at_edge)


def blocks_of(values: NDArray[np.floating], units: Index, names: NDArray[np.str_]) -> Iterator[tuple[slice, Array]]:
    """Give the responses of voxels in double precision, a block at a time.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_all_units)
        Of all subjects.
    units : ndarray of int
        Those of a subject.
    names : ndarray of str
        Ids of all units.

    Yields
    ------
    part : slice
        Which of `units`.
    y : ndarray, shape (n_stimuli, n_block)
        Their responses.

    Raises
    ------
    MeasureError
        If a voxel responds alike to all stimuli.
    """
    for start in range(0, len(units), BLOCK):
        part = slice(start, min(start + BLOCK, len(units)))
        y = np.asarray(values[:, units[part]], dtype=np.float64)
        constant = np.ptp(y, axis=0) == 0
        if constant.any():
            raise MeasureError(
                f"units respond alike to all stimuli, for instance {name_some(names[units[part]][constant])}; "
                f"leave them out with select_units"
            )
        yield part, y


def gaussian_p(r: Array, n_rows: int, n_strata: int = 1) -> Array:
    """Return the p of correlations if both sides were independent Gaussian noise, one-sided.

    Parameters
    ----------
    r : ndarray
        Correlations.
    n_rows : int
        Over how many rows.
    n_strata : int
        Within how many strata means were taken off.

    Returns
    -------
    ndarray
        From Student's t with n_rows - n_strata - 1 degrees of freedom, which is what drawing pairs of Gaussian vectors
        of that length converges to.
    """
    return _t_tail(r, np.asarray(float(n_rows - n_strata - 1)))


def _t_tail(r: Array, freedom: Array) -> Array:
    from scipy.special import stdtr

    inside = np.clip(r, -1 + 1e-15, 1 - 1e-15)
    return np.asarray(stdtr(freedom, -inside * np.sqrt(freedom / (1 - inside**2))))


@dataclass(frozen=True)
class PermutedClips:
    """Correlations of voxels with predictions for other clips.

    Attributes
    ----------
    p : ndarray, shape (n_units,)
        One-sided.
    sums : ndarray, shape (n_permutations, n_targets)
        Of the correlations over the units of each target.
    """

    p: Array
    sums: Array


def permute_clips(x: Array, y: Array, tested: ClipRows, orders: Index, members: Array) -> PermutedClips:
    """Give the predictions of whole clips to other clips.

    Windows stay in their order: what all clips have in common (a response to their beginning) counts for the null,
    and so does the likeness of windows that overlap.

    Parameters
    ----------
    x, y : ndarray, shape (n_rows, n_units)
        Predictions and responses of the tested rows, as :meth:`ClipRows.centred` gives them.
    tested : ClipRows
        Clips of equally many windows.
    orders : ndarray of int, shape (n_permutations, n_clips)
        Permutations of the clips.
    members : ndarray, shape (n_units, n_targets)
        1 where a unit belongs to a target.

    Returns
    -------
    PermutedClips
        Where fewer than 10 permutations reach the correlation, p is the tail of the distribution that a correlation of
        independent values has with the mean and variance of the permutations (Winkler, A. M. et al. 2016, Faster
        permutation inference in brain imaging, NeuroImage 141, 502-516, use moments likewise): thousands of voxels
        need smaller p than permutations can count. None is smaller than 1 / n_clips! (over strata: the product), since
        there are no more orders. From 1e-2 to 5e-5 these p are right on average, and each within a factor of 3, beside
        200,000 permutations.
    """
    from scipy.sparse import csr_matrix
    from scipy.special import gammaln

    n, n_orders, n_units = len(tested.clips), len(orders), x.shape[1]
    place = (orders * n + np.arange(n)).ravel()
    # Row k of this matrix, times a table of clips by clips, adds up what order k pairs.
    choose = csr_matrix((np.ones(len(place)), place, np.arange(0, len(place) + 1, n)), shape=(n_orders, n * n))
    by_clip = [np.ascontiguousarray(a.reshape(n, -1, n_units).transpose(2, 0, 1)) for a in (x, y)]
    sums, p = np.zeros((n_orders, members.shape[1])), np.empty(n_units)
    least = float(np.exp(-gammaln(np.unique(tested.strata, return_counts=True)[1] + 1).sum()))
    step = max(1, TABLE_ENTRIES // n**2)
    for start in range(0, n_units, step):
        own = slice(start, start + step)
        table = by_clip[0][own] @ by_clip[1][own].transpose(0, 2, 1)
        r = np.trace(table, axis1=1, axis2=2)
        null = choose @ table.reshape(len(table), -1).T
        sums += null @ members[own]
        reached = (null >= r - 1e-13).sum(axis=0)
        spread = null.var(axis=0, ddof=1)
        # The correlation of m independent pairs has the variance 1 / (m - 1).
        freedom = 1 / np.where(spread > 0, spread, 1) - 1
        counted = (reached + 1) / (n_orders + 1)
        tail = _t_tail(r - null.mean(axis=0), np.where(freedom >= 1, freedom, 1))
        p[own] = np.maximum(np.where((reached < COUNTED) & (freedom >= 1), tail, counted), least)
    return PermutedClips(p, sums)


@dataclass(frozen=True)
class ClipSums:
    """Sums over the windows of each clip, from which correlations under weights of clips follow; (n_clips, n_units).

    Single precision: predictions and responses have unit length.
    """

    x: NDArray[np.float32]
    xx: NDArray[np.float32]
    y: NDArray[np.float32]
    yy: NDArray[np.float32]
    xy: NDArray[np.float32]
    lengths: Index

    @classmethod
    def empty(cls, n_clips: int, n_units: int, lengths: Index) -> ClipSums:
        """Return sums that are to be filled block by block."""
        x, xx, y, yy, xy = np.empty((5, n_clips, n_units), dtype=np.float32)
        return cls(x, xx, y, yy, xy, lengths)

    def fill(self, part: slice, x: Array, y: Array, tested: ClipRows) -> None:
        """Put in the sums of a block."""
        for own, values in zip((self.x, self.xx, self.y, self.yy, self.xy), (x, x * x, y, y * y, x * y), strict=True):
            own[:, part] = tested.by_clip(values)

    def correlations(self, weights: Array) -> Array:
        """Return correlations under weights of clips.

        Parameters
        ----------
        weights : ndarray, shape (n_resamples, n_clips)
            For instance how often a bootstrap drew each clip.

        Returns
        -------
        ndarray, shape (n_resamples, n_units)
            0 where one side is constant.
        """
        w = weights.astype(np.float32)
        total = w @ self.lengths[:, None].astype(np.float32)
        x, y = w @ self.x, w @ self.y
        xx, yy, xy = w @ self.xx - x * x / total, w @ self.yy - y * y / total, w @ self.xy - x * y / total
        defined = (xx > 1e-6) & (yy > 1e-6)
        return np.where(defined, xy / np.sqrt(np.where(defined, xx * yy, 1)), 0).astype(np.float64)


class UniqueErrors:
    """Errors of the best models with and without each space, of which unique variance is the difference.

    For each voxel and part, the model of some spaces is that set among them which predicts left-out training clips
    best: band weights of 0 or 1. A set is thus never worse in training than one within it.

    Parameters
    ----------
    sets : sequence of tuple of int
        All sets of spaces, small ones first.
    n_clips, n_units : int
        Of the tests, and of the subject.
    """

    def __init__(self, sets: Sequence[Members], n_clips: int, n_units: int) -> None:
        self._sets = list(sets)
        self.n_spaces = max(map(len, sets))
        #: Squared errors by clip relative to those of the training mean in all: with all spaces first, then without
        #: each; and of the training mean itself last.
        self.errors = np.empty((self.n_spaces + 2, n_clips, n_units), dtype=np.float32)

    def fill(self, part: slice, fits: dict[Members, BlockFit], y: Array, tested: ClipRows) -> None:
        """Put in a block: `y` are responses less the training mean, (n_rows, n_units)."""
        total = tested.by_clip(y * y)
        scale = total.sum(axis=0)
        own = {s: tested.by_clip((y - fits[s].predictions) ** 2) / scale for s in self._sets}
        self.errors[-1, :, part] = total / scale
        for k, lacking in enumerate([None, *range(self.n_spaces)]):
            nested = [s for s in self._sets if lacking not in s]
            left_out = np.stack([fits[s].left_out_r2 for s in nested])
            best = (left_out >= left_out.max(axis=0) - 1e-12).argmax(axis=0)[tested.part]
            chosen = np.zeros_like(total)
            for number, members in enumerate(nested):
                np.copyto(chosen, own[members], where=best == number)
            self.errors[k, :, part] = chosen

    def r2(self, weights: Array) -> Array:
        """Return R2 of all spaces, then the unique part of each, under weights of clips.

        Parameters
        ----------
        weights : ndarray, shape (n_resamples, n_clips)
            For instance how often a bootstrap drew each clip.

        Returns
        -------
        ndarray, shape (n_resamples, 1 + n_spaces, n_units)
            Unique: R2 of all spaces - R2 without this one.
        """
        errors = np.moveaxis(weights.astype(np.float32) @ self.errors, 0, 1).astype(np.float64)
        r2 = 1 - errors[:, :-1] / errors[:, -1:]
        return np.concatenate([r2[:, :1], r2[:, :1] - r2[:, 1:]], axis=1)


def all_sets(n_spaces: int) -> list[Members]:
    """Return all sets of spaces but the empty one, small ones first."""
    return [s for k in range(1, n_spaces + 1) for s in combinations(range(n_spaces), k)]
