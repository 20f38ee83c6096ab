"""How alike the representations of sounds are: of a model and the brain, or of the layers of models."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from brainalign.brain.data import BrainData
from brainalign.errors import BrainalignError, MeasureError
from brainalign.measures.alignment_inference import (
    Comparison,
    Estimates,
    Method,
    estimate,
    make_comparison,
    score_table,
)
from brainalign.measures.jackknife import lone_stimulus
from brainalign.measures.representation import checked_array, reduce_units
from brainalign.measures.resampling import Count, Level, Seed, Share, draw_orders
from brainalign.measures.result import Result, result_table
from brainalign.responses import Responses, align, average_repetitions, check_responses, units_by_layer

Array = NDArray[np.float64]
Bandwidth = Annotated[float, Field(gt=0)]

#: Fewer stimuli have too few different permutations to say anything.
MINIMUM_STIMULI = 6


def similarity(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    method: Method = "linear-cka",
    debiased: bool = True,
    bandwidth: Bandwidth = 1.0,
    variance: Share = 0.99,
    n_permutations: Count = 1000,
    interval: bool = True,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the representation in each layer with that in the brain, without an RDM or a regression between them.

    Parameters
    ----------
    responses : Responses
        Of a model; each value of the unit coordinate ``layer`` is compared by itself. Repetitions are averaged.
    brain : BrainData or Responses
        All units together; repetitions are averaged. Stimuli are matched by id.
    method : str
        ``"linear-cka"``, ``"rbf-cka"``, ``"rv"``, ``"cca"``, ``"svcca"``, ``"pwcca"`` (the model gives the weights):
        similarities, higher is more alike. ``"procrustes-distance"``, ``"angular-distance"``: distances, lower is more
        alike. Ranges and invariances stand in :mod:`brainalign.measures.alignment`. Only the debiased CKA is about 0
        for representations that have nothing to do with each other; for all others see the column ``chance``, and do
        not compare layers of different size by them.
    debiased : bool
        Of the two forms of CKA.
    bandwidth : float
        Of ``"rbf-cka"``, in units of the median distance between stimuli.
    variance : float
        Share of variance that the components of ``"svcca"`` explain.
    n_permutations : int
        Permutations of stimulus labels for p and chance. 0 leaves them empty.
    interval : bool
        Whether to compute intervals.
    level : float
        Coverage of the interval.
    seed : int
        Seed of the permutations.

    Returns
    -------
    Result
        One row per layer: the statistic (a CKA that is not debiased says so), one-sided p (more alike than with labels
        permuted), ``chance`` (the mean over permutations), and a jackknife interval over stimuli. The interval is for
        what the statistic is on average over sets of as many stimuli; for the debiased CKA this is about its value for
        endless stimuli. Simulated with 30 stimuli, 95 % intervals cover it 94 to 98 % of the time, those of canonical
        correlations and of unrelated representations almost always, but only 85 to 91 % where few stimuli with very
        strong responses (log-normal dimensions) rule the data. Bootstrap samples hold copies of stimuli, which changes
        these statistics, so they are not used. Where canonical correlations are 1 for any data, a note says how many;
        where all are, p and interval are empty.

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If there are fewer than 6 stimuli, an unknown method, or a side that responds alike to all stimuli, or to all
        but one.
    """
    comparison = make_comparison(method, debiased, bandwidth, variance)
    measured = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    measured, responses = align(measured, average_repetitions(responses))
    n = _check_number(measured)
    firsts = _sides(responses)
    found = estimate(
        comparison,
        firsts,
        {"the brain": _side(measured, "the brain")},
        draw_orders(n, n_permutations, np.random.default_rng(seed), measured["stimulus"].values.tolist()),
        level if interval else None,
    )
    rows = [
        {
            "measure": "similarity",
            "model": responses.attrs.get("source", ""),
            "layer": layer,
            "brain": measured.attrs.get("source", ""),
            "target": "all units",
            **_cell(found, comparison.statistic, n, (i, 0)),
        }
        for i, layer in enumerate(units_by_layer(responses))
    ]
    settings = _settings(method, debiased, bandwidth, variance, n_permutations, level if interval else None)
    return Result("similarity", result_table(rows), settings=settings | {"seed": seed}, warnings=_warnings(found))


def layer_map(
    all_responses: Mapping[str, Responses],
    *,
    method: Method = "linear-cka",
    debiased: bool = True,
    bandwidth: Bandwidth = 1.0,
    variance: Share = 0.99,
    n_permutations: Count = 0,
    interval: bool = True,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare each layer of each model with each layer of every other model; of a single model, its own layers.

    Parameters
    ----------
    all_responses : mapping of str to Responses
        The models by name. Stimuli are matched by id, repetitions are averaged.
    method, debiased, bandwidth, variance
        See :func:`similarity`; for ``"pwcca"`` the model that is named first gives the weights.
    n_permutations : int
        Permutations of stimulus labels for p and chance. 0 leaves them empty: layers that heard the same sounds are
        hardly ever unrelated.
    interval : bool
        Whether to compute intervals. Each needs one comparison per stimulus, which takes minutes for the shape
        distances of deep networks.
    level : float
        Coverage of the interval.
    seed : int
        Seed of the permutations.

    Returns
    -------
    Result
        One row per pair of layers, ``model`` and ``layer`` with ``model_2`` and ``layer_2``, otherwise as
        :func:`similarity`. Array ``layer_map`` (layer, layer_2): the values of all layers of all models with all, to be
        drawn; coordinates ``model`` and ``model_2`` say whose they are. For ``"pwcca"`` rows give the weights.

    Raises
    ------
    ResponseError
        If the stimuli differ, or values are missing.
    MeasureError
        As :func:`similarity`, or for a single model with one layer.
    """
    if hasattr(all_responses, "dims"):
        raise MeasureError("layer_map takes the responses of models by name: {'my-net': responses}")
    comparison = make_comparison(method, debiased, bandwidth, variance)
    if not all_responses:
        raise MeasureError("there is no model to compare")
    aligned = align(*(average_repetitions(r) for r in all_responses.values()))
    n = _check_number(aligned[0])
    models = {name: _sides(r, name) for name, r in zip(all_responses, aligned, strict=True)}
    layers = {name: list(units_by_layer(r)) for name, r in zip(all_responses, aligned, strict=True)}
    alone = len(models) == 1
    if alone and len(next(iter(models.values()))) < 2:
        raise MeasureError("one model with one layer leaves nothing to compare; give a second model or more layers")
    orders = draw_orders(n, n_permutations, np.random.default_rng(seed), aligned[0]["stimulus"].values.tolist())
    rows, warnings = [], []
    for one, two in [(name, name) for name in models] if alone else combinations(models, 2):
        wanted = np.ones((len(layers[one]), len(layers[two])), dtype=bool)
        wanted = np.triu(wanted, 1) if alone else wanted
        found = estimate(comparison, models[one], models[two], orders, level if interval else None, wanted)
        warnings += _warnings(found, f"{one} and {two}: ")
        rows += [
            {
                "measure": "layer-map",
                "model": one,
                "layer": layers[one][i],
                **_cell(found, comparison.statistic, n, (i, j)),
                "model_2": two,
                "layer_2": layers[two][j],
            }
            for i, j in np.argwhere(wanted).tolist()
        ]
    settings = _settings(method, debiased, bandwidth, variance, n_permutations, level if interval else None)
    arrays = {"layer_map": _full_map(comparison, models, layers)}
    return Result("layer-map", result_table(rows), arrays, settings | {"seed": seed}, warnings)


def _check_number(responses: Responses) -> int:
    n: int = responses.sizes["stimulus"]
    if n < MINIMUM_STIMULI:
        raise MeasureError(f"the similarity of representations needs at least {MINIMUM_STIMULI} stimuli, found {n}")
    return n


def _sides(responses: Responses, model: str = "") -> dict[str, Array]:
    """Return the responses of each layer, under the name that messages give it."""
    model = model or str(responses.attrs.get("source", "")) or "the model"
    names = {f"{model} {layer}".strip(): units for layer, units in units_by_layer(responses).items()}
    return {name: _side(responses.isel(unit=units), name) for name, units in names.items()}


def _side(responses: Responses, name: str) -> Array:
    try:
        check_responses(responses, allow_constant=True)
        values = checked_array(responses.values)
    except BrainalignError as why:
        raise type(why)(f"{name}: {why}") from why
    alone = lone_stimulus(values)
    if alone is not None:
        raise MeasureError(
            f"{name}: only the stimulus {str(responses['stimulus'].values[alone])!r} differs from the others, which "
            f"leaves no geometry to compare; leave these units out"
        )
    return values


def _cell(found: Estimates, statistic: str, n: int, place: tuple[int, int]) -> dict[str, Any]:
    return {
        "statistic": statistic,
        "value": found.values[place],
        "ci_low": found.low[place],
        "ci_high": found.high[place],
        "p": found.p[place],
        "effect_size": found.values[place],
        "n": n,
        "n_of": "stimuli",
        "note": found.notes[place],
        "chance": found.chance[place],
    }


def _warnings(found: Estimates, about: str = "") -> list[str]:
    """Say how many comparisons lack room for canonical correlations; each row has its own note."""
    noted = sum(map(bool, found.notes.ravel()))
    if not noted:
        return []
    return [
        f"{about}{noted} of {found.notes.size} comparisons have so many dimensions for so few stimuli that canonical "
        f"correlations are 1 for any data (see the notes); use CKA, fewer components or more stimuli"
    ]


def _settings(
    method: Method, debiased: bool, bandwidth: float, variance: float, n_permutations: int, level: float | None
) -> dict[str, Any]:
    settings: dict[str, Any] = {"method": method}
    if method in ("linear-cka", "rbf-cka"):
        settings["debiased"] = debiased
    if method == "rbf-cka":
        settings["bandwidth"] = bandwidth
    if method == "svcca":
        settings["variance"] = variance
    return settings | {
        "more_alike": "lower" if method.endswith("distance") else "higher",
        "n_permutations": n_permutations,
        "level": level,
        "test": "one-sided permutation of stimulus labels: more alike than representations that have nothing to do "
        "with each other",
        "interval": "none" if level is None else "jackknife over stimuli, t on the logit scale of the range",
    }


def _full_map(
    comparison: Comparison, models: Mapping[str, Mapping[str, Array]], layers: Mapping[str, list[str]]
) -> xr.DataArray:
    """Return the values of all layers with all, (layer, layer_2)."""
    sides = [x for own in models.values() for x in own.values()]
    firsts = [comparison.first(comparison.reduce_first(x)) for x in sides]
    seconds = [comparison.second(reduce_units(x)) for x in sides]
    values = score_table(comparison, firsts, seconds, np.ones((len(sides), len(sides)), dtype=bool))
    whose = [name for name, own in layers.items() for _ in own]
    names = [layer for own in layers.values() for layer in own]
    coords = {"layer": names, "layer_2": names, "model": ("layer", whose), "model_2": ("layer_2", whose)}
    return xr.DataArray(values, dims=("layer", "layer_2"), coords=coords, attrs={"statistic": comparison.statistic})
