"""Representational similarity analysis: whether model and brain find the same sounds alike.

RDMs are compared over pairs of stimuli, by Spearman's rank correlation unless asked otherwise. Pairs are not
independent, so the p is from permuted stimulus labels and the interval from resampled stimuli
(``rdm_inference``).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError
from brainalign.measures.rdm import NOISELESS, Distance, compute_rdm, pair_values
from brainalign.measures.rdm_compare import Comparison, check_comparison, check_varied
from brainalign.measures.rdm_inference import permuted_scores, weighted_scores
from brainalign.measures.resampling import Count, Level, Resamples, Seed, draw_counts, draw_orders, interval
from brainalign.measures.result import Result, result_table
from brainalign.responses import Responses, align, average_repetitions, units_by_layer
from brainalign.stats import permutation_p

Array = NDArray[np.float64]

#: Fewer stimuli have too few different permutations and resamples to say anything.
MINIMUM_STIMULI = 6
#: With more stimuli an interval takes long: each is left out in turn, and all pairs of the others are compared.
MANY_STIMULI = 1000


def rsa(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    distance: Distance = "correlation",
    comparison: Comparison = "spearman",
    n_permutations: Count = 1000,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the RDM of each layer with that of the brain.

    Parameters
    ----------
    responses : Responses
        Of a model; each value of the unit coordinate ``layer`` is compared by itself.
    brain : BrainData or Responses
        At least two units (voxels, components); repetitions are averaged, but for the crossnobis distance. Stimuli are
        matched by id.
    distance : str
        See :func:`~brainalign.measures.rdm.compute_rdm`. A model has no noise: beside ``"mahalanobis"`` it gets
        ``"euclidean"``, beside ``"crossnobis"`` ``"squared-euclidean"``.
    comparison : str
        See :func:`~brainalign.measures.rdm_compare.compare_rdms`.
    n_permutations : int
        Permutations of stimulus labels for the p. 0 leaves it empty.
    n_bootstrap : int
        Resamples of stimuli for the interval. 0 leaves it empty, which saves hours with thousands of stimuli.
    level : float
        Coverage of the interval.
    seed : int
        Seed of permutations and resamples.

    Returns
    -------
    Result
        Statistic `comparison` (``spearman``), BCa interval over stimuli, one-sided p (more alike than with labels
        permuted). Arrays: ``rdms`` (rdm, stimulus, stimulus_2), one for each layer, and
        ``brain_rdm`` (stimulus, stimulus_2).

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If there are fewer than 6 stimuli, a distance that is not defined (a single unit or a stimulus with a constant
        pattern, for the correlation), or an RDM without differences.
    """
    check_comparison(comparison)
    measured = brain.responses if isinstance(brain, BrainData) else brain
    measured, responses = align(measured, average_repetitions(responses))
    n = measured.sizes["stimulus"]
    if n < MINIMUM_STIMULI:
        raise MeasureError(f"RSA needs at least {MINIMUM_STIMULI} stimuli, found {n}")
    if n > MANY_STIMULI and n_bootstrap > 0:
        warnings.warn(
            f"RSA with an interval leaves out each of the {n:,} stimuli in turn, which may take hours; "
            f"n_bootstrap = 0 leaves the interval away",
            stacklevel=2,
        )
    brain_rdm = compute_rdm(measured, distance)
    own_distance = NOISELESS.get(distance, distance)
    rdms = {
        layer: compute_rdm(responses.isel(unit=units), own_distance)
        for layer, units in units_by_layer(responses).items()
    }
    rng = np.random.default_rng(seed)
    ids = [str(s) for s in responses["stimulus"].values]
    orders, counts = draw_orders(n, n_permutations, rng, ids), draw_counts(n, n_bootstrap, rng, ids=ids)
    models, target = pair_values(np.stack(list(rdms.values()))), pair_values(brain_rdm)[None]
    check_varied(np.concatenate([models, target]), [*(layer or "the model" for layer in rdms), "the brain"])
    observed, null = np.split(permuted_scores(models, target, orders, comparison), [1])
    observed = observed[0]
    low, high, notes = interval(
        observed, counts, lambda w: weighted_scores(models, target, w, comparison)[:, :, 0], level
    )
    rows = [
        {
            "measure": "rsa",
            "model": responses.attrs.get("source", ""),
            "layer": layer,
            "brain": measured.attrs.get("source", ""),
            "target": "all units",
            "statistic": comparison,
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
        arrays=_arrays(rdms, brain_rdm, measured),
        settings={
            "distance": distance,
            "distance_of_models": own_distance,
            "comparison": f"{comparison} over pairs of stimuli",
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": "one-sided permutation of stimulus labels",
            "interval": "BCa bootstrap over stimuli, by pair weights",
        },
    )


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
