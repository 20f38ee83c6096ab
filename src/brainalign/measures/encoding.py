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
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError
from brainalign.measures.resampling import Count, Level, Seed, draw_counts, draw_orders, interval
from brainalign.measures.result import Result, result_table
from brainalign.measures.ridge import TIE, decompose, ridge_predict
from brainalign.measures.splits import Split, make_splits
from brainalign.responses import Responses, align, average_repetitions, check_responses, units_by_layer
from brainalign.stats import permutation_p

Array = NDArray[np.float64]
Protocol = Literal["brainalign", "tuckute2023"]

#: Name of the pseudo-layer whose rows report, for each split, the layer that fitted the training part best.
CHOSEN = "chosen"
#: Fewer stimuli cannot be split into parts to fit on and parts to correlate on.
MINIMUM_STIMULI = 8
#: Columns of targets, permuted ones included, that are held at a time.
COLUMNS = 16_384
_PUBLISHED_ALPHAS: Array = np.power(10.0, np.arange(-50, 50))


def component_encoding(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    splits: str | Sequence[Split] = "tuckute2023",
    n_splits: int = 10,
    protocol: Protocol = "brainalign",
    n_permutations: Count = 1000,
    n_bootstrap: Count = 1000,
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
    splits : {'tuckute2023', 'kfold'} or sequence of Split
        Which sounds are fitted and which tested, see :func:`~brainalign.measures.splits.make_splits`.
    n_splits : int
        How many, if `splits` is a name.
    protocol : {'brainalign', 'tuckute2023'}
        How the penalty is chosen by leave-one-out. ``tuckute2023`` searches 1e-50 to 1e49 as published: for
        targets that cannot be predicted, the penalties above about 1e12 tie to rounding, so that rounding
        decides the score. ``brainalign`` searches 16 penalties from 1e-9 to 1e6 times the mean eigenvalue of X
        X'.
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
        all. For layer ``chosen``, each split and target uses the layer of least leave-one-out error on the
        training sounds. Arrays: ``observed`` (stimulus, target), ``predictions`` (layer, stimulus, target; mean
        over the splits that tested the sound), ``scores`` (layer, split, target).

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If the splits are impossible, or a target is constant.
    """
    targets = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    targets, responses = align(targets, average_repetitions(responses))
    check_responses(targets, allow_constant=True)
    check_responses(responses, allow_constant=True)
    _refuse_constant(targets)
    ids = [str(s) for s in targets["stimulus"].values]
    parts = make_splits(ids, splits, n_splits=n_splits, seed=seed) if isinstance(splits, str) else list(splits)
    if protocol not in ("brainalign", "tuckute2023"):
        raise MeasureError(f"no protocol {protocol!r}; known: 'brainalign', 'tuckute2023'")
    alphas = _PUBLISHED_ALPHAS if protocol == "tuckute2023" else None
    index = {s: i for i, s in enumerate(ids)}
    positions = [([index[s] for s in p.train], [index[s] for s in p.test]) for p in parts]
    rng = np.random.default_rng(seed)
    orders = draw_orders(len(ids), n_permutations, rng)
    counts = draw_counts(len(ids), n_bootstrap, rng)
    y = np.asarray(targets.values, dtype=np.float64)
    fits = {
        layer: fit_layer(responses.values[:, units], y, positions, orders, alphas)
        for layer, units in units_by_layer(responses).items()
    }
    if len(fits) > 1:
        fits[CHOSEN] = choose_layer(list(fits.values()))
    names = [str(t) for t in targets["unit"].values]
    rows = []
    for layer, fit in fits.items():
        values = np.median(fit.scores[:, 0], axis=0)
        low, high, notes = interval(values, counts, partial(_resampled, fit, y, positions), level)
        for t, target in enumerate(names):
            value = float(values[t])
            null = np.median(fit.scores[:, 1:, t], axis=0)
            rows.append(
                {
                    "measure": "component-encoding",
                    "model": responses.attrs.get("source", ""),
                    "layer": layer,
                    "brain": targets.attrs.get("source", ""),
                    "target": target,
                    "statistic": "r2",
                    "value": value,
                    "ci_low": low[t],
                    "ci_high": high[t],
                    "p": permutation_p(value, null, alternative="greater") if n_permutations else np.nan,
                    "effect_size": value,
                    "n": len(ids),
                    "n_of": "stimuli",
                    "note": notes[t],
                    "n_splits": len(parts),
                    "n_train": len(parts[0].train),
                    "n_test": len(parts[0].test),
                }
            )
    return Result(
        measure="component-encoding",
        table=result_table(rows),
        arrays=_arrays(fits, targets, positions),
        settings={
            "protocol": protocol,
            "splits": splits if isinstance(splits, str) else "given",
            "n_splits": len(parts),
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "score": "squared Pearson r on test stimuli, negative r as 0, median over splits, no noise correction",
            "test": "one-sided permutation of stimulus labels, all fits repeated",
            "interval": "BCa bootstrap over test stimuli, fits held fixed",
            "layer_choice": "least leave-one-out error on the training stimuli of each split, for each target",
        },
        warnings=_edge_warnings(fits, responses.attrs.get("source", "")),
    )


@dataclass(frozen=True)
class LayerFit:
    """Fits of all targets from one layer.

    Attributes
    ----------
    predictions : list of ndarray, each of shape (n_test, n_targets)
        For each split the predictions of its test stimuli, relative to the training mean.
    scores : ndarray, shape (n_splits, n_orders, n_targets)
        Squared clipped correlations; order 0 is the measured one, the others are permuted.
    loo_r2 : ndarray, shape (n_splits, n_orders, n_targets)
        Leave-one-out score on the training stimuli.
    at_edge : ndarray of bool, shape (n_splits, n_targets)
        Whether the chosen penalty ends the grid.
    """

    predictions: list[Array]
    scores: Array
    loo_r2: Array
    at_edge: NDArray[np.bool_]


def fit_layer(
    features: NDArray[np.floating],
    targets: Array,
    positions: Sequence[tuple[list[int], list[int]]],
    orders: NDArray[np.intp],
    alphas: Array | None = None,
) -> LayerFit:
    """Fit and score all targets, in the measured order of stimuli and in permuted ones.

    Permuted targets are further columns of the same regression: one decomposition serves them all.

    Parameters
    ----------
    features : ndarray, shape (n_stimuli, n_features)
        Activations of a layer.
    targets : ndarray, shape (n_stimuli, n_targets)
        Components or voxels.
    positions : sequence of (train, test)
        Row numbers of each split.
    orders : ndarray of int, shape (n_orders, n_stimuli)
        Row orders of the targets; the first is the measured one.
    alphas : ndarray, optional
        Penalties; relative ones if not given.

    Returns
    -------
    LayerFit
        Scores of every split.
    """
    n_targets, n_orders = targets.shape[1], len(orders)
    shape = (len(positions), n_orders, n_targets)
    scores, loo_r2 = np.empty(shape), np.empty(shape)
    at_edge = np.empty((len(positions), n_targets), dtype=bool)
    predictions = []
    step = max(1, COLUMNS // n_targets)
    for s, (train, test) in enumerate(positions):
        decomposition = decompose(features[train], features[test])
        for start in range(0, n_orders, step):
            block = slice(start, start + step)
            shuffled = targets[orders[block].T].reshape(len(targets), -1)
            y = shuffled[train]
            # The mean of a column is taken by itself, see ridge_predict.
            y_mean = np.ascontiguousarray(y.T).mean(axis=1)
            fit = ridge_predict(decomposition, y - y_mean, alphas)
            scores[s, block] = squared_clipped_r(fit.predictions, shuffled[test] - y_mean).reshape(-1, n_targets)
            loo_r2[s, block] = fit.loo_r2.reshape(-1, n_targets)
            if start == 0:
                at_edge[s] = fit.at_edge[:n_targets]
                predictions.append(fit.predictions[:, :n_targets])
    return LayerFit(predictions, scores, loo_r2, at_edge)


def choose_layer(fits: Sequence[LayerFit]) -> LayerFit:
    """Take, for each split, order and target, the layer of highest leave-one-out score on the training stimuli.

    Parameters
    ----------
    fits : sequence of LayerFit
        One per layer, in order of depth; of equal layers the first is taken.

    Returns
    -------
    LayerFit
        As if of one layer.
    """
    loo = np.stack([np.nan_to_num(f.loo_r2, nan=-np.inf) for f in fits])
    best = (loo >= loo.max(axis=0) - TIE).argmax(axis=0)[None]
    scores, loo_r2 = (
        np.take_along_axis(np.stack([getattr(f, name) for f in fits]), best, axis=0)[0] for name in ("scores", "loo_r2")
    )
    at_edge = np.take_along_axis(np.stack([f.at_edge for f in fits]), best[:, :, 0], axis=0)[0]
    predictions = [
        np.take_along_axis(np.stack([f.predictions[s] for f in fits]), best[:, s, 0][:, None], axis=0)[0]
        for s in range(len(best[0]))
    ]
    return LayerFit(predictions, scores, loo_r2, at_edge)


def squared_clipped_r(predictions: Array, observed: Array, weights: Array | None = None) -> Array:
    """Return the squared correlation of columns, negative and undefined correlations counting as 0.

    Parameters
    ----------
    predictions, observed : ndarray, shape (n_stimuli, n_targets)
        What is correlated.
    weights : ndarray, shape (n_resamples, n_stimuli), optional
        Weights of the stimuli, for instance how often a bootstrap drew them.

    Returns
    -------
    ndarray, shape (n_targets,) or (n_resamples, n_targets)
        Between 0 and 1.
    """
    w = np.ones((1, len(predictions))) if weights is None else weights
    # A prediction that is the same for all stimuli has no correlation; centred by its mean it would be rounding noise.
    constant = np.ptp(predictions, axis=0) == 0
    # Moments about the plain mean lose no digits where predictions are large against their spread; unit scale avoids
    # underflow where a penalty has shrunk them to nothing.
    p, q = predictions - predictions.mean(axis=0), observed - observed.mean(axis=0)
    p = p / np.where(constant, 1, np.abs(p).max(axis=0))
    total = w.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p_mean, q_mean = w @ p / total, w @ q / total
        covariance = w @ (p * q) / total - p_mean * q_mean
        variances = (w @ p**2 / total - p_mean**2) * (w @ q**2 / total - q_mean**2)
        r = covariance / np.sqrt(variances)
    r = np.where(np.isfinite(r) & ~constant, r, 0).clip(0, 1) ** 2
    return r[0] if weights is None else r


def _resampled(fit: LayerFit, y: Array, positions: Sequence[tuple[list[int], list[int]]], weights: Array) -> Array:
    """Return the median score under weights of the stimuli: (n_resamples, n_targets)."""
    scores = [
        squared_clipped_r(predicted, y[test], weights[:, test])
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


def _arrays(
    fits: dict[str, LayerFit], targets: Responses, positions: Sequence[tuple[list[int], list[int]]]
) -> dict[str, xr.DataArray]:
    """Collect what lies behind the scores, labelled."""
    n_stimuli, n_targets = targets.shape
    n_tested = np.zeros(n_stimuli)
    for _, test in positions:
        n_tested[test] += 1
    predictions = np.zeros((len(fits), n_stimuli, n_targets))
    for k, fit in enumerate(fits.values()):
        for predicted, (train, test) in zip(fit.predictions, positions, strict=True):
            predictions[k, test] += predicted + targets.values[train].mean(axis=0)
    with np.errstate(invalid="ignore"):
        predictions /= np.where(n_tested > 0, n_tested, np.nan)[:, None]
    names = targets["unit"].values
    along: dict[str, Any] = {"stimulus": targets["stimulus"].values}
    if "category" in targets.coords:
        along["category"] = ("stimulus", targets["category"].values)
    return {
        "observed": xr.DataArray(targets.values, dims=("stimulus", "target"), coords={**along, "target": names}),
        "predictions": xr.DataArray(
            predictions, dims=("layer", "stimulus", "target"), coords={**along, "layer": list(fits), "target": names}
        ),
        "scores": xr.DataArray(
            np.stack([f.scores[:, 0] for f in fits.values()]),
            dims=("layer", "split", "target"),
            coords={"layer": list(fits), "target": names},
        ),
    }


def _edge_warnings(fits: dict[str, LayerFit], source: str) -> list[str]:
    at_edge = np.concatenate([f.at_edge.ravel() for name, f in fits.items() if name != CHOSEN])
    if not at_edge.any():
        return []
    return [
        f"{source}: in {int(at_edge.sum())} of {at_edge.size} fits the penalty is the first or last of the grid; "
        f"at the upper end a target cannot be predicted at all"
    ]
