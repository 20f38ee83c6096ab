"""Representational similarity analysis: whether model and brain find the same sounds alike.

RDMs are compared by Spearman's rank correlation over pairs of stimuli. Pairs are not independent, so the p is
from permuted stimulus labels and the interval from resampled stimuli. A bootstrap sample of stimuli with counts
c gives the pair (i, j) the weight c_i c_j: ranks and moments are weighted instead of copying stimuli, which
would add the zero distances of copies to each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError
from brainalign.measures.rdm import correlation_rdm
from brainalign.measures.resampling import Count, Level, Seed, draw_counts, draw_orders, interval
from brainalign.measures.result import Result, result_table
from brainalign.responses import Responses, align, average_repetitions, check_responses, units_by_layer
from brainalign.stats import permutation_p

Array = NDArray[np.float64]

#: Fewer stimuli have too few different permutations and resamples to say anything.
MINIMUM_STIMULI = 6


def rsa(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    n_permutations: Count = 1000,
    n_bootstrap: Count = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the RDM of each layer with that of the brain.

    Parameters
    ----------
    responses : Responses
        Of a model; each value of the unit coordinate ``layer`` is compared by itself.
    brain : BrainData or Responses
        At least two units (voxels, components); repetitions are averaged. Stimuli are matched by id.
    n_permutations : int
        Permutations of stimulus labels for the p. 0 leaves it empty.
    n_bootstrap : int
        Resamples of stimuli for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of permutations and resamples.

    Returns
    -------
    Result
        Statistic ``spearman`` of the correlation-distance RDMs, BCa interval over stimuli, one-sided p (more
        alike than with labels permuted). Arrays: ``rdms`` (rdm, stimulus, stimulus_2), one for each layer, and
        ``brain_rdm`` (stimulus, stimulus_2).

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If there are fewer than 6 stimuli, a single unit, or a stimulus with a constant pattern.
    """
    targets = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    targets, responses = align(targets, average_repetitions(responses))
    n = targets.sizes["stimulus"]
    if n < MINIMUM_STIMULI:
        raise MeasureError(f"RSA needs at least {MINIMUM_STIMULI} stimuli, found {n}")
    check_responses(targets)
    check_responses(responses, allow_constant=True)
    brain_rdm = correlation_rdm(targets)
    rdms = {layer: correlation_rdm(responses.isel(unit=units)) for layer, units in units_by_layer(responses).items()}
    rng = np.random.default_rng(seed)
    orders, counts = draw_orders(n, n_permutations, rng), draw_counts(n, n_bootstrap, rng)
    pairs = np.triu_indices(n, 1)
    model_pairs = np.stack([rdm[pairs] for rdm in rdms.values()])
    observed, null = _permuted_spearman(model_pairs, brain_rdm, orders)
    low, high, notes = interval(observed, counts, lambda w: weighted_spearman(model_pairs, brain_rdm[pairs], w), level)
    rows = [
        {
            "measure": "rsa",
            "model": responses.attrs.get("source", ""),
            "layer": layer,
            "brain": targets.attrs.get("source", ""),
            "target": "all units",
            "statistic": "spearman",
            "value": observed[i],
            "ci_low": low[i],
            "ci_high": high[i],
            "p": permutation_p(observed[i], null[:, i], alternative="greater") if n_permutations else np.nan,
            "effect_size": observed[i],
            "n": n,
            "n_of": "stimuli",
            "note": notes[i],
        }
        for i, layer in enumerate(rdms)
    ]
    return Result(
        measure="rsa",
        table=result_table(rows),
        arrays=_arrays(rdms, brain_rdm, targets),
        settings={
            "distance": "1 - Pearson r between response patterns",
            "comparison": "Spearman over pairs of stimuli",
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": "one-sided permutation of stimulus labels",
            "interval": "BCa bootstrap over stimuli, by pair weights",
        },
    )


def weighted_spearman(models: Array, brain: Array, weights: Array, block: int = 64) -> Array:
    """Return Spearman correlations of RDMs under weights of the stimuli.

    Parameters
    ----------
    models : ndarray, shape (n_models, n_pairs)
        Dissimilarities, in the order of ``numpy.triu_indices(n_stimuli, 1)``.
    brain : ndarray, shape (n_pairs,)
        Dissimilarities to compare with.
    weights : ndarray, shape (n_resamples, n_stimuli)
        Weight of each stimulus, such as how often it was drawn; a pair weighs their product.
    block : int
        Resamples that are worked on at a time.

    Returns
    -------
    ndarray, shape (n_resamples, n_models)
        Correlations of weighted mid-ranks: the same as of a sample in which each pair is copied as often as it weighs.
    """
    first, second = np.triu_indices(weights.shape[1], 1)
    result = np.empty((len(weights), len(models)))
    rankers = [_Ranker(row) for row in (brain, *models)]
    for start in range(0, len(weights), block):
        w = weights[start : start + block]
        pair_weights = w[:, first] * w[:, second]
        total = pair_weights.sum(axis=1, keepdims=True)
        centred = []
        for ranker in rankers:
            ranks = ranker(pair_weights)
            centred.append(ranks - (pair_weights * ranks).sum(axis=1, keepdims=True) / total)
        target, spread = centred[0], (pair_weights * centred[0] ** 2).sum(axis=1)
        for m, ranks in enumerate(centred[1:]):
            own = (pair_weights * ranks**2).sum(axis=1)
            result[start : start + block, m] = (pair_weights * ranks * target).sum(axis=1) / np.sqrt(own * spread)
    return result


class _Ranker:
    """Gives weighted mid-ranks of one vector for many sets of weights; sorts once."""

    def __init__(self, values: Array) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.group = np.repeat(np.arange(len(self.starts)), np.diff(np.r_[self.starts, len(values)]))

    def __call__(self, weights: Array) -> Array:
        tied = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        ranks = np.cumsum(tied, axis=1) - tied / 2
        result = np.empty_like(weights)
        result[:, self.order] = ranks[:, self.group]
        return result


def _permuted_spearman(models: Array, brain_rdm: Array, orders: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return the correlations in the measured order, (n_models,), and in the others, (n_orders - 1, n_models)."""
    from scipy.stats import rankdata

    pairs = np.triu_indices(len(brain_rdm), 1)
    ranks = rankdata(models, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    ranks /= np.linalg.norm(ranks, axis=1, keepdims=True)
    brain = rankdata(brain_rdm[pairs])
    brain = (brain - brain.mean()) / np.linalg.norm(brain - brain.mean())
    square = np.zeros_like(brain_rdm)
    square[pairs] = brain
    square += square.T
    correlations = np.stack([ranks @ square[np.ix_(order, order)][pairs] for order in orders])
    return correlations[0], correlations[1:]


def _arrays(rdms: dict[str, Array], brain_rdm: Array, targets: Responses) -> dict[str, xr.DataArray]:
    ids = targets["stimulus"].values
    along: dict[str, Any] = {"stimulus": ids, "stimulus_2": ids}
    if "category" in targets.coords:
        along["category"] = ("stimulus", targets["category"].values)
    return {
        "rdms": xr.DataArray(
            np.stack(list(rdms.values())), dims=("rdm", "stimulus", "stimulus_2"), coords={**along, "rdm": list(rdms)}
        ),
        "brain_rdm": xr.DataArray(brain_rdm, dims=("stimulus", "stimulus_2"), coords=along),
    }
