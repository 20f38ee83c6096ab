"""Variance partitioning: what two or three feature spaces explain uniquely, and what they share.

Every set of spaces is fitted by banded ridge regression (:mod:`brainalign.measures.banded`) and scored on sounds that
were not fitted. Differences between sets divide the explained variance into parts, as areas of a Venn diagram:
the unique part of A beside B is R2(A + B) - R2(B), the shared part R2(A) + R2(B) - R2(A + B), and so on for three.

References
----------
de Heer, W. A., Huth, A. G., Griffiths, T. L., Gallant, J. L. & Theunissen, F. E. (2017). The hierarchical cortical
organization of human speech processing. J. Neurosci. 37, 6539-6557. Freedman, D. & Lane, D. (1983). A nonstochastic
interpretation of reported significance levels. J. Bus. Econ. Stat. 1, 292-298. Winkler, A. M. et al. (2014).
Permutation inference for the general linear model. NeuroImage 92, 381-397.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, name_some
from brainalign.measures.banded import BandedFit
from brainalign.measures.feature_spaces import FeatureSpace, Members, Positions, SpaceKernels, find_spaces
from brainalign.measures.resampling import Count, Level, Seed, draw_orders
from brainalign.measures.result import Result, result_table
from brainalign.measures.splits import LEAST_STIMULI, LEAST_TEST, SplitCount, Splits, split_responses
from brainalign.responses import Responses, align, average_repetitions, check_responses

Array = NDArray[np.float64]
#: Columns of targets, permuted ones included, that are held at a time.
COLUMNS = 16_384
#: Differences of R2 that are equal but for rounding.
ROUNDING = 1e-12
_NEGATIVE = {
    "R2": "negative: worse than predicting the training mean",
    "unique": "negative: on new sounds the space costs the others more than it adds",
    "shared": "negative: together the spaces explain more than apart (one clears the other of what does not matter), "
    "or noise around 0",
}


def variance_partition(
    all_responses: Mapping[str, Responses],
    brain: BrainData | Responses,
    *,
    spaces: list[str] | None = None,
    splits: Splits = "tuckute2023",
    n_splits: SplitCount = 10,
    n_permutations: Count = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Divide the variance that two or three models explain into what each explains alone and what they share.

    Parameters
    ----------
    all_responses : mapping of str to Responses
        The models by name. Stimuli are matched by id, repetitions are averaged.
    brain : BrainData or Responses
        The targets, components or voxels.
    spaces : list of str, optional
        The two or three feature spaces: names of models, or ``"model:layer"``; all models if not given. The layers of
        a whole model enter with equal mean eigenvalues on the training sounds, so that a layer of large activations
        does not drown the others.
    splits : str or sequence of Split
        Which sounds are fitted and which tested: a name that :func:`~brainalign.measures.splits.make_splits` knows, or
        the splits themselves. Penalties are chosen by leaving out single sounds, so sounds that belong together (cut
        from one recording, say) must be averaged or thinned out before.
    n_splits : int
        How many, if `splits` is a name.
    n_permutations : int
        Permutations for the p of each unique part; each repeats the fits, choices of penalties included. 0 leaves p
        empty, which is wise for thousands of voxels: the time grows with targets times permutations.
    level : float
        Coverage of the interval.
    seed : int
        Seed of splits and permutations.

    Returns
    -------
    Result
        Rows for each target, of three statistics. ``R2``: of each set of spaces (``model`` joins their names by
        ``" + "``), 1 - squared error of the prediction / squared error of predicting the training mean, both summed
        over the test sounds of all splits; 0 says that nothing is predicted, and noise scores below 0. ``unique``: R2
        of all spaces minus that without the one named. ``shared``: what exactly the spaces named (joined by ``" & "``)
        have in common, by inclusion and exclusion. The parts add up to the R2 of all spaces. Values are not corrected
        for noise; negative ones are kept, and their note says what they mean.

        Interval: jackknife. Each sound in turn is left out altogether, of the training parts (fits without it follow
        in closed form, penalties held fixed) as of the test parts; t limits with n - 1 degrees of freedom. It covers
        what the value is on average over sets of as many sounds. A bootstrap of the test sounds alone, fits held fixed,
        is not used: its 95 % limits covered 70 to 83 % in simulations with 66 sounds, because the difference of two
        sets of spaces hangs on the sounds that both were fitted to; those of the jackknife covered 89 to 98 %.

        p of a unique part: one-sided, against a target that consists of what the other spaces predict and noise that
        is exchangeable between sounds (Freedman & Lane 1983): leave-one-out residuals of the other spaces are permuted,
        added to their predictions, and all fits repeated. Features keep their correlations. A space that adds nothing
        costs something, so the null has its middle below 0: a small p says that the space carries something beyond the
        others, even where that is too little to improve the prediction; how much it improves, the interval says. A
        space that holds the same as another in fewer or better dimensions can help the prediction from few sounds, so
        a unique part above 0 need not be information that the other space lacks.

        Arrays: ``r2_without`` (model, stimulus, target), the R2 of each set of spaces without each stimulus, from which
        intervals of any difference follow; ``band_weights`` (split, target, space) and ``penalty`` (split, target) of
        the model of all spaces.

    Raises
    ------
    ResponseError
        If the stimuli differ, or values are missing.
    MeasureError
        If there are not two or three spaces, a space is unknown, named twice or constant, a target is constant, or the
        splits are impossible.
    """
    found = find_spaces(all_responses, spaces)
    if len(found) not in (2, 3):
        raise MeasureError(
            f"variance is partitioned between 2 or 3 feature spaces, found {len(found)}: "
            f"{name_some(space.name for space in found) or 'none'}; name them as spaces = [...]"
        )
    targets = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    targets, *features = align(targets, *(average_repetitions(space.responses) for space in found))
    _check_targets(targets)
    for own in features:
        check_responses(own, allow_constant=True)
    found = [replace(space, responses=own) for space, own in zip(found, features, strict=True)]
    if splits == "grouped-kfold":
        raise MeasureError(
            "'grouped-kfold' is not for variance partitioning: penalties are chosen by leaving out single stimuli, "
            "which tears groups apart; average the stimuli of a group first"
        )
    parts = split_responses(splits, [targets, *features], n_splits=n_splits, seed=seed, least_test=1)
    n_tested = len({s for _, test in parts for s in test})
    if n_tested < LEAST_TEST:
        raise MeasureError(f"the splits test {n_tested} stimuli, at least {LEAST_TEST} are needed")
    index = {str(s): i for i, s in enumerate(targets["stimulus"].values)}
    positions = [([index[s] for s in p.train], [index[s] for s in p.test]) for p in parts]
    kernels = SpaceKernels.of(found, positions)
    y = np.asarray(targets.values, dtype=np.float64)
    sets = _subsets(range(len(found)))
    fits = {s: [kernels.fit(s, split, y[train]) for split, (train, _) in enumerate(positions)] for s in sets}
    r2, without = _scores(kernels, fits, y)
    contrasts = np.concatenate([np.eye(len(sets)), partition_matrix(len(found))])
    values = contrasts @ r2
    used = sorted({i for split in positions for side in split for i in side})
    low, high = _jackknife_limits(values, np.tensordot(contrasts, without[:, used], 1), level)
    p = np.full(values.shape, np.nan)
    orders = draw_orders(len(y), n_permutations, np.random.default_rng(seed), list(index))[1:]
    if len(orders):
        for space in range(len(found)):
            unique = len(sets) + space
            p[unique] = _permuted_p(space, found, kernels, y, orders, values[unique])
    n = {"n": len(used), "n_splits": len(parts), "n_train": len(parts[0].train), "n_test": len(parts[0].test)}
    return Result(
        measure="variance-partition",
        table=result_table(_rows(found, sets, targets, (values, low, high, p), n)),
        arrays=_arrays(found, sets, targets, without, fits[sets[-1]]),
        settings={
            "spaces": [space.name for space in found],
            "splits": splits if isinstance(splits, str) else "given",
            "n_splits": len(parts),
            "n_permutations": n_permutations,
            "level": level,
            "seed": seed,
            "score": "1 - squared error / squared error of the training mean, summed over the test stimuli of all "
            "splits, no noise correction",
            "test": "one-sided permutation of leave-one-out residuals of the other spaces (Freedman-Lane), all fits "
            "repeated",
            "interval": "jackknife over stimuli, fits repeated with penalties held fixed, t limits",
            "penalty": "for each target and space (banded ridge), by leave-one-out error on the training stimuli",
        },
        warnings=_edge_warnings({s: _joined(found, s, " + ") for s in sets}, fits),
    )


def partition_matrix(n_spaces: int) -> Array:
    """Return what turns R2 of sets of spaces into the parts of the explained variance.

    Parameters
    ----------
    n_spaces : int
        Number of spaces.

    Returns
    -------
    ndarray, shape (n_sets, n_sets)
        Rows are parts and columns models, both in the order of sets by size: (0,), (1,), ..., (0, 1), ... The part
        that exactly the spaces T share is the sum over the subsets U of T of (-1)^(|U| + 1) R2(U and all spaces outside
        T), with R2 = 0 for no space. All parts together are R2 of all spaces.
    """
    sets = _subsets(range(n_spaces))
    matrix = np.zeros((len(sets), len(sets)))
    for row, shared in zip(matrix, sets, strict=True):
        outside = set(range(n_spaces)) - set(shared)
        for some in [(), *_subsets(shared)]:
            model = tuple(sorted(outside | set(some)))
            if model:
                row[sets.index(model)] = (-1) ** (len(some) + 1)
    return matrix


def _subsets(members: Sequence[int]) -> list[Members]:
    """Return all sets but the empty one, small ones first."""
    return [s for k in range(1, len(members) + 1) for s in combinations(members, k)]


def _check_targets(targets: Responses) -> None:
    check_responses(targets, allow_constant=True)
    if targets.sizes["stimulus"] < LEAST_STIMULI:
        raise MeasureError(
            f"variance partitioning needs at least {LEAST_STIMULI} stimuli, found {targets.sizes['stimulus']}"
        )
    constant = [str(u) for u in targets["unit"].values[np.ptp(targets.values, axis=0) == 0]]
    if constant:
        raise MeasureError(
            f"the targets {name_some(constant)} respond alike to all stimuli: there is no variance to partition; "
            f"leave them out with select_units"
        )


def _scores(kernels: SpaceKernels, fits: Mapping[Members, list[BandedFit]], y: Array) -> tuple[Array, Array]:
    """Return R2 of sets of spaces (n_sets, n_targets), and without each stimulus (n_sets, n_stimuli, n_targets)."""
    positions = kernels.positions
    means = [y[train].mean(axis=0) for train, _ in positions]
    total = _sum_errors(positions, y, means, [_mean_error_without(y, *split) for split in positions])
    errors = [
        _sum_errors(
            positions,
            y,
            [fit.predictions for fit in own],
            [kernels.error_without(s, split, y, fit) for split, fit in enumerate(own)],
        )
        for s, own in fits.items()
    ]
    whole, without = (np.stack([1 - own[k] / total[k] for own in errors]) for k in (0, 1))
    return whole, without


def _sum_errors(
    positions: Positions, y: Array, predictions: Sequence[Array], refitted: Sequence[Array]
) -> tuple[Array, Array]:
    """Sum squared errors over the test stimuli of all splits: of all stimuli, and without each in training and test.

    `refitted` are the sums of a split without each training stimulus, (n_train, n_targets).
    """
    whole, change = np.zeros(y.shape[1]), np.zeros(y.shape)
    for (train, test), predicted, other in zip(positions, predictions, refitted, strict=True):
        errors = (y[test] - predicted) ** 2
        whole += errors.sum(axis=0)
        change[test] -= errors
        change[train] += other - errors.sum(axis=0)
    return whole, whole + change


def _mean_error_without(y: Array, train: list[int], test: list[int]) -> Array:
    """Return the squared error on the test stimuli of the training mean without each training stimulus."""
    n, middle = len(train), y[test].mean(axis=0)
    means = (y[train].sum(axis=0) - y[train]) / (n - 1)
    return np.asarray(((y[test] - middle) ** 2).sum(axis=0) + len(test) * (middle - means) ** 2)


def _jackknife_limits(values: Array, without: Array, level: float) -> tuple[Array, Array]:
    """Return t limits of values (n_rows, n_targets); `without` holds those without each stimulus along its axis 1."""
    from scipy.special import stdtrit

    n = without.shape[1]
    reach = stdtrit(n - 1, (1 + level) / 2) * np.sqrt((n - 1) * without.var(axis=1))
    # A space that nowhere has a weight changes nothing, whichever stimulus is left out: that is no certainty.
    reach[reach < ROUNDING] = np.nan
    return values - reach, values + reach


def _permuted_p(
    space: int, spaces: list[FeatureSpace], kernels: SpaceKernels, y: Array, orders: NDArray[np.intp], values: Array
) -> Array:
    """Return p of the unique part of a space: residuals of the other spaces are permuted, and all fits repeated."""
    every = tuple(range(len(spaces)))
    others = tuple(s for s in every if s != space)
    everything = list(range(len(y)))
    predicted = SpaceKernels.of(spaces, [(everything, everything)]).left_out(others, 0, y)
    residuals = y - predicted
    reached = np.zeros(y.shape[1], dtype=int)
    step = max(1, COLUMNS // y.shape[1])
    for start in range(0, len(orders), step):
        some = orders[start : start + step]
        columns = (predicted[:, None] + residuals[some.T]).reshape(len(y), -1)
        gain, total = np.zeros(columns.shape[1]), np.zeros(columns.shape[1])
        for split, (train, test) in enumerate(kernels.positions):
            own, observed = columns[train], columns[test]
            full, reduced = (kernels.fit(members, split, own).predictions for members in (every, others))
            gain += ((observed - reduced) ** 2).sum(axis=0) - ((observed - full) ** 2).sum(axis=0)
            total += ((observed - own.mean(axis=0)) ** 2).sum(axis=0)
        # A difference of rounding counts as equal.
        reached += ((gain / total).reshape(len(some), -1) >= values - ROUNDING).sum(axis=0)
    return np.asarray((reached + 1) / (len(orders) + 1))


def _rows(
    spaces: list[FeatureSpace],
    sets: list[Members],
    targets: Responses,
    numbers: tuple[Array, Array, Array, Array],
    counts: dict[str, int],
) -> list[dict[str, Any]]:
    rows = []
    for t, target in enumerate(targets["unit"].values):
        for k, members in enumerate([*sets, *sets]):
            statistic = "R2" if k < len(sets) else "unique" if len(members) == 1 else "shared"
            value, low, high, p = (float(array[k, t]) for array in numbers)
            alone = spaces[members[0]] if len(members) == 1 else None
            rows.append(
                {
                    "measure": "variance-partition",
                    "model": alone.model if alone else _joined(spaces, members, " + " if statistic == "R2" else " & "),
                    "layer": alone.layer if alone else "",
                    "brain": targets.attrs.get("source", ""),
                    "target": str(target),
                    "statistic": statistic,
                    "value": value,
                    "ci_low": low,
                    "ci_high": high,
                    "p": p,
                    "effect_size": value,
                    "n_of": "stimuli",
                    "note": _note(statistic, value),
                    **counts,
                }
            )
    return rows


def _note(statistic: str, value: float) -> str:
    if statistic == "unique" and abs(value) < ROUNDING:
        return "0: the space has no weight in any split, which leaves no interval"
    return _NEGATIVE[statistic] if value < 0 else ""


def _joined(spaces: list[FeatureSpace], members: Members, by: str) -> str:
    return by.join(spaces[s].name for s in members)


def _arrays(
    spaces: list[FeatureSpace], sets: list[Members], targets: Responses, without: Array, fits: list[BandedFit]
) -> dict[str, xr.DataArray]:
    along = {"stimulus": targets["stimulus"].values, "target": targets["unit"].values}
    names = [_joined(spaces, s, " + ") for s in sets]
    return {
        "r2_without": xr.DataArray(without, dims=("model", "stimulus", "target"), coords={"model": names, **along}),
        "band_weights": xr.DataArray(
            np.stack([fit.weights for fit in fits]),
            dims=("split", "target", "space"),
            coords={"target": along["target"], "space": [space.name for space in spaces]},
        ),
        "penalty": xr.DataArray(
            np.stack([fit.alphas for fit in fits]), dims=("split", "target"), coords={"target": along["target"]}
        ),
    }


def _edge_warnings(names: Mapping[Members, str], fits: Mapping[Members, list[BandedFit]]) -> list[str]:
    warnings = []
    for members, own in fits.items():
        at_edge = np.concatenate([fit.at_edge for fit in own])
        if at_edge.any():
            warnings.append(
                f"{names[members]}: in {int(at_edge.sum())} of {at_edge.size} fits the penalty is the first or last of "
                f"the grid; at the upper end a target cannot be predicted at all, at the lower one the fit is all but "
                f"unpenalised"
            )
    return warnings
