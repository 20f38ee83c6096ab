"""Encoding: how well a layer's activations predict components or voxels, by cross-validated ridge regression.

The protocol is that of Tuckute, Feather, Boebinger & McDermott 2023 (PLoS Biology, e3002366): repeated
half-splits, features and targets centred by the training part, a penalty for each target by leave-one-out
error, and the squared correlation (negative ones count as 0) between prediction and measurement on the test
part, median over splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.layer_fits import CHOSEN, LayerFit, Penalties, Positions, fit_layer, permuted_p, take_better
from brainalign.measures.resampling import Count, Level, Resamples, Seed, ZeroOr, draw_counts, draw_orders, interval
from brainalign.measures.result import Result, result_table
from brainalign.measures.ridge import decompose_splits
from brainalign.measures.scores import score
from brainalign.measures.splits import Split, SplitCount, Splits, make_splits, split_responses, stimulus_labels
from brainalign.responses import Responses, align, average_repetitions, check_responses, units_by_layer

__all__ = ["CHOSEN", "MINIMUM_STIMULI", "component_encoding"]

Array = NDArray[np.float64]
Protocol = Literal["brainalign", "tuckute2023"]
Penalty = Literal["per target", "shared"]
Precision = Literal["float64", "float32"]

#: Fewer stimuli cannot be split into parts to fit on and parts to correlate on.
MINIMUM_STIMULI = 8
#: Targets whose resampled scores are held at a time.
TARGETS = 256
#: The penalties of Tuckute et al. 2023.
PUBLISHED_ALPHAS: Array = np.power(10.0, np.arange(-50, 50))


def component_encoding(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    splits: Splits = "tuckute2023",
    n_splits: SplitCount = 10,
    groups: str | None = None,
    protocol: Protocol = "brainalign",
    n_inner_folds: Annotated[int, ZeroOr(2)] = 0,
    penalty: Penalty = "per target",
    dtype: Precision = "float64",
    device: str | None = None,
    n_permutations: Count = 1000,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Predict each component (or voxel) from each layer and score the prediction on held-out sounds.

    Parameters
    ----------
    responses : Responses
        Of a model; each value of the unit coordinate ``layer`` is one set of features (all units, without it).
    brain : BrainData or Responses
        The targets; repetitions are averaged. Stimuli are matched by id.
    splits : str or sequence of Split
        Which sounds are fitted and which tested: a name that :func:`~brainalign.measures.splits.make_splits` knows
        (``tuckute2023``, ``kfold``, ``grouped-kfold``, ``leave-one-category-out``, ``stratified-halves``,
        ``stratified-kfold``), or the splits themselves.
    n_splits : int
        How many, if `splits` is a name.
    groups : str, optional
        Name of a coordinate along ``stimulus``: sounds that share its value (cut from one recording, say) must not
        be torn apart, neither by the splits, which are checked, nor when a penalty is chosen. Splits that go by
        category use the coordinate ``category`` otherwise.
    protocol : {'brainalign', 'tuckute2023'}
        From which penalties the choice is made. ``tuckute2023`` searches 1e-50 to 1e49 as published: for
        targets that cannot be predicted, the penalties above about 1e12 tie to rounding, so that rounding
        decides the score. ``brainalign`` searches 16 penalties from 1e-9 to 1e6 times the mean eigenvalue of X
        X'.
    n_inner_folds : int
        Folds of the training sounds by which a penalty (and a layer) is chosen; 0 leaves out one sound, or one of the
        `groups`, at a time.
    penalty : {'per target', 'shared'}
        One penalty for each target, or one for all.
    dtype : {'float64', 'float32'}
        Precision in which penalties are searched; single is about twice as fast and may choose another of two
        penalties whose errors differ by less than 1e-5 of themselves.
    device : str, optional
        A torch device for that search, such as ``"cuda"``.
    n_permutations : int
        Permutations of stimulus labels for the p; each repeats all fits. 0 leaves p empty.
    n_bootstrap : int
        Resamples of stimuli for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of splits, permutations and resamples.

    Returns
    -------
    Result
        Statistic ``r2``: median over splits of the squared, at 0 clipped, correlation on the test sounds; not
        corrected for noise. The interval (BCa bootstrap over test stimuli, with the fits held fixed) says how
        far the score depends on which sounds were tested. p: share of label permutations that reach the score,
        layer choice included for ``chosen``; it is the test's one-sided alternative that the layer predicts at
        all. For layer ``chosen``, each split and target uses the layer of least left-out error on the
        training sounds. Arrays: ``observed`` (stimulus, target), ``predictions`` (layer, stimulus, target; mean
        over the splits that tested the sound), ``scores`` (layer, split, target).

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If the splits are impossible or tear groups apart, or a target is constant.
    """
    targets = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    targets, responses = align(targets, average_repetitions(responses))
    check_responses(targets, allow_constant=True)
    check_responses(responses, allow_constant=True)
    _refuse_constant(targets)
    for what, given, known in (
        ("protocol", protocol, get_args(Protocol)),
        ("penalty", penalty, get_args(Penalty)),
        ("dtype", dtype, get_args(Precision)),
    ):
        if given not in known:
            raise MeasureError(f"no {what} {given!r}; {did_you_mean(given, known)}")
    ids = [str(s) for s in targets["stimulus"].values]
    sides = (targets, responses)
    labels = None if groups is None else stimulus_labels(groups, sides)
    parts = split_responses(splits, sides, n_splits=n_splits, seed=seed, groups=labels)
    index = {s: i for i, s in enumerate(ids)}
    positions = [([index[s] for s in p.train], [index[s] for s in p.test]) for p in parts]
    penalties = Penalties(
        alphas=PUBLISHED_ALPHAS if protocol == "tuckute2023" else None,
        folds=_inner_folds(parts, n_inner_folds, seed, labels),
        per_target=penalty == "per target",
        dtype=dtype,
        device=device,
    )
    rng = np.random.default_rng(seed)
    orders = draw_orders(len(ids), n_permutations, rng, ids)
    counts = draw_counts(len(ids), n_bootstrap, rng, ids=ids)
    y = np.asarray(targets.values, dtype=np.float64)
    bases = {
        layer: decompose_splits(responses.values[:, units], positions)
        for layer, units in units_by_layer(responses).items()
    }
    estimates, chosen = {}, None
    for layer, own in bases.items():
        fit = fit_layer(own, y, positions, orders[:1], penalties)
        estimates[layer] = _estimate(fit, y, positions, counts, level)
        if chosen is not None:
            take_better(chosen, fit)
        elif len(bases) > 1:
            chosen = fit
    if chosen is not None:
        estimates[CHOSEN] = _estimate(chosen, y, positions, counts, level)
    p = permuted_p(bases, {k: e.values for k, e in estimates.items()}, y, positions, orders[1:], penalties)
    names = [str(t) for t in targets["unit"].values]
    rows = []
    for layer, estimate in estimates.items():
        for t, target in enumerate(names):
            rows.append(
                {
                    "measure": "component-encoding",
                    "model": responses.attrs.get("source", ""),
                    "layer": layer,
                    "brain": targets.attrs.get("source", ""),
                    "target": target,
                    "statistic": "r2",
                    "value": estimate.values[t],
                    "ci_low": estimate.low[t],
                    "ci_high": estimate.high[t],
                    "p": p[layer][t],
                    "effect_size": estimate.values[t],
                    "n": len(ids),
                    "n_of": "stimuli",
                    "note": estimate.notes[t],
                    "n_splits": len(parts),
                    "n_train": len(parts[0].train),
                    "n_test": len(parts[0].test),
                }
            )
    return Result(
        measure="component-encoding",
        table=result_table(rows),
        arrays=_arrays(estimates, targets),
        settings={
            "protocol": protocol,
            "splits": splits if isinstance(splits, str) else "given",
            "n_splits": len(parts),
            "groups": groups or "",
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "score": "squared Pearson r on test stimuli, negative r as 0, median over splits, no noise correction",
            "test": "one-sided permutation of stimulus labels, all fits repeated",
            "interval": "BCa bootstrap over test stimuli, fits held fixed",
            "penalty": f"{penalty}, by {_left_out(n_inner_folds, groups)} error on the training stimuli, {dtype}",
            "layer_choice": f"least {_left_out(n_inner_folds, groups)} error on the training stimuli of each split, "
            "for each target",
        },
        warnings=_edge_warnings(estimates, responses.attrs.get("source", "")),
    )


def _inner_folds(
    parts: Sequence[Split], n_folds: int, seed: int, groups: dict[str, str] | None
) -> list[NDArray[np.generic]] | None:
    """Return, for each split, the inner fold of each training stimulus; nothing for plain leave-one-out."""
    if n_folds == 0:
        return None if groups is None else [np.array([groups[s] for s in part.train]) for part in parts]
    name = "kfold" if groups is None else "grouped-kfold"
    folds = []
    for part in parts:
        inner = make_splits(part.train, name, n_splits=n_folds, seed=seed, labels=groups)
        number = {s: k for k, split in enumerate(inner) for s in split.test}
        folds.append(np.array([number[s] for s in part.train]))
    return folds


def _left_out(n_inner_folds: int, groups: str | None) -> str:
    if n_inner_folds:
        return f"{n_inner_folds}-fold" + (f" (whole {groups})" if groups else "")
    return f"leave-one-{groups or 'out'}" + ("-out" if groups else "")


@dataclass(frozen=True)
class _Estimate:
    """What is kept of the fits of a layer: of targets (n_targets,) and of splits (n_splits, n_targets)."""

    values: Array
    low: Array
    high: Array
    notes: list[str]
    scores: Array
    at_edge: NDArray[np.bool_]
    #: Mean over the splits that tested a stimulus, (n_stimuli, n_targets).
    predictions: Array


def _estimate(fit: LayerFit, y: Array, positions: Positions, counts: NDArray[np.int64], level: float) -> _Estimate:
    scores = fit.scores[:, 0]
    values = np.asarray(np.median(scores, axis=0))
    blocks = [slice(start, start + TARGETS) for start in range(0, y.shape[1], TARGETS)]
    limits = [interval(values[b], counts, partial(_resampled, fit, y, positions, b), level) for b in blocks]
    low, high = (np.concatenate([limit[k] for limit in limits]) for k in (0, 1))
    n_tested, predictions = np.zeros(len(y)), np.zeros(y.shape)
    for predicted, (train, test) in zip(fit.predictions, positions, strict=True):
        n_tested[list(test)] += 1
        predictions[list(test)] += predicted + y[list(train)].mean(axis=0)
    predictions /= np.where(n_tested > 0, n_tested, np.nan)[:, None]
    notes = [note for limit in limits for note in limit[2]]
    return _Estimate(values, low, high, notes, scores.copy(), fit.at_edge.copy(), predictions)


def _resampled(fit: LayerFit, y: Array, positions: Positions, block: slice, weights: Array) -> Array:
    """Return the median score under weights of the stimuli: (n_resamples, n_targets)."""
    scores = [
        score(predicted[:, block], y[list(test), block], weights=weights[:, list(test)])
        for predicted, (_, test) in zip(fit.predictions, positions, strict=True)
    ]
    return np.asarray(np.median(scores, axis=0))


def _refuse_constant(targets: Responses) -> None:
    if targets.sizes["stimulus"] < MINIMUM_STIMULI:
        raise MeasureError(f"encoding needs at least {MINIMUM_STIMULI} stimuli, found {targets.sizes['stimulus']}")
    constant = [str(u) for u in targets["unit"].values[np.ptp(targets.values, axis=0) == 0]]
    if len(constant):
        raise MeasureError(
            f"{len(constant)} targets respond alike to all stimuli, the first is {constant[0]!r}: "
            f"nothing can be predicted; leave them out with select_units"
        )


def _arrays(estimates: dict[str, _Estimate], targets: Responses) -> dict[str, xr.DataArray]:
    """Collect what lies behind the scores, labelled."""
    names, layers = targets["unit"].values, list(estimates)
    along: dict[str, Any] = {"stimulus": targets["stimulus"].values}
    if "category" in targets.coords:
        along["category"] = ("stimulus", targets["category"].values)
    return {
        "observed": xr.DataArray(targets.values, dims=("stimulus", "target"), coords={**along, "target": names}),
        "predictions": xr.DataArray(
            np.stack([e.predictions for e in estimates.values()]),
            dims=("layer", "stimulus", "target"),
            coords={**along, "layer": layers, "target": names},
        ),
        "scores": xr.DataArray(
            np.stack([e.scores for e in estimates.values()]),
            dims=("layer", "split", "target"),
            coords={"layer": layers, "target": names},
        ),
    }


def _edge_warnings(estimates: dict[str, _Estimate], source: str) -> list[str]:
    at_edge = np.concatenate([e.at_edge.ravel() for name, e in estimates.items() if name != CHOSEN])
    if not at_edge.any():
        return []
    return [
        f"{source}: in {int(at_edge.sum())} of {at_edge.size} fits the penalty is the first or last of the grid; "
        f"at the upper end a target cannot be predicted at all, at the lower one the fit is all but unpenalised"
    ]
