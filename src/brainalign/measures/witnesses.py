"""Two witnesses: whether two sets of brain data give the same answer about a component.

The fMRI components and the ECoG components of the same sounds, say: other listeners, another method, another way of
decomposing. Where both rank layers and units alike, the answer does not hang on either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, name_some
from brainalign.measures.component_predictors import AUC, CATEGORY_MEANS, WITHIN, R
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.profile_scores import pearson
from brainalign.measures.resampling import Level, Resamples, Seed, check_seed, draw_counts, interval
from brainalign.measures.result import Result, result_table

Array = NDArray[np.float64]

AGREEMENT, UNIT_AGREEMENT = "spearman over layers", "spearman over units"
#: Fewer layers have no ranking to speak of.
LEAST_LAYERS = 4
_COLUMNS = ["model", "layer", "group", "predictor", "statistic", "target"]


def witness_agreement(
    first: Result, second: Result, *, n_bootstrap: Resamples = 1000, level: Level = 0.95, seed: Seed = 0
) -> Result:
    """Compare what two sets of brain data say about the same models and sounds.

    Parameters
    ----------
    first, second : Result
        Of :func:`~brainalign.measures.component_match.component_match`, each with its own brain; at least 4
        layers, of one model or of several, must be in both.
    n_bootstrap : int
        Resamples of sounds for the intervals. 0 leaves them empty.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of the resamples.

    Returns
    -------
    Result
        First the rows of both about the component that each asks about, side by side in the column ``brain``. Then, for
        every predictor and statistic, ``spearman over layers``: the rank correlation between the scores of all layers
        of all models (without ``chosen``) in both, with a BCa bootstrap interval over sounds, drawn by id, the same
        draw for both; and ``spearman over units``: between the correlations of all single units with both components,
        pooled over models, and within each model (``model``). Neither has a p, for layers and units of a network are
        not independent; those over units have no interval. Scores are noisy on both sides, so agreement is
        underestimated.

    Raises
    ------
    MeasureError
        If a result is of another measure, the sounds differ, or there are too few layers in both.
    """
    check_seed(seed)
    for result in (first, second):
        if not isinstance(result, Result):
            raise MeasureError(f"agreement is of two results of component-match, found {type(result).__name__}")
        if not {"contributions", "unit_r"} <= set(result.arrays):
            raise MeasureError(f"agreement is of two results of component-match, found one of {result.kind}")
    sides = [_side(r) for r in (first, second)]
    ids = [str(s) for s in sides[0]["stimulus"].values]
    others = {str(s) for s in sides[1]["stimulus"].values}
    if set(ids) != others:
        lacking = sorted(set(ids) ^ others)
        raise MeasureError(f"the two results are about different sounds; in one only: {name_some(lacking)}")
    sides[1] = sides[1].sel(stimulus=sides[0]["stimulus"].values)
    brains = [str(r.table["brain"].iloc[0]) for r in (first, second)]
    names = [str(r.settings["component"]) for r in (first, second)]
    about = {"measure": "witness-agreement", "brain": " & ".join(brains), "target": " & ".join(names)}
    counts = draw_counts(len(ids), n_bootstrap, np.random.default_rng(seed), ids=ids)
    rows = [about | row for row in _layer_rows(sides, counts, level)]
    rows += [about | row for row in _unit_rows(first, second, names)]
    shown = [_about_component(r, name) for r, name in zip((first, second), names, strict=True)]
    return Result(
        measure="witness-agreement",
        table=pd.concat([*shown, result_table(rows)], ignore_index=True),
        settings={
            "brains": brains,
            "components": names,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "interval": "BCa bootstrap over stimuli of their contributions to the scores, the same draw for both",
        },
        warnings=[f"{b}: {w}" for b, r in zip(brains, (first, second), strict=True) for w in r.warnings],
    )


def _side(result: Result) -> xr.DataArray:
    """Return contributions to the scores of whole layers with the component asked about."""
    found = result.arrays["contributions"]
    component = str(result.settings["component"])
    keep = (found["target"] == component) & (found["group"] == "") & (found["layer"] != CHOSEN)
    return found.isel(estimate=np.flatnonzero(keep.values))


def _about_component(result: Result, component: str) -> pd.DataFrame:
    table = result.table
    keep = (
        (table["target"] == component)
        & (table["group"] == "")
        & table["statistic"].isin([R, CATEGORY_MEANS, WITHIN, AUC])
    )
    return table[keep].assign(measure="witness-agreement")


def _layer_rows(sides: list[xr.DataArray], counts: NDArray[np.int64], level: float) -> list[dict[str, Any]]:
    keyed = [
        {key: i for i, key in enumerate(zip(*(s[c].values.tolist() for c in _COLUMNS[:-1]), strict=True))}
        for s in sides
    ]
    common = [key for key in keyed[0] if key in keyed[1]]
    n_layers = len({key[:2] for key in common})
    if n_layers < LEAST_LAYERS:
        raise MeasureError(
            f"both results hold {n_layers} layers in common, at least {LEAST_LAYERS} are needed to rank them"
        )
    rows = []
    for predictor, statistic in dict.fromkeys(key[3:] for key in common):
        keys = [key for key in common if key[3:] == (predictor, statistic)]
        scores = [s["value"].values[[k[key] for key in keys]] for s, k in zip(sides, keyed, strict=True)]
        parts = [s.values[[k[key] for key in keys]] for s, k in zip(sides, keyed, strict=True)]
        value = _spearman(scores[0][:, None], scores[1][:, None])
        low, high, notes = interval(value, counts, _resampled(scores, parts), level)
        rows.append(
            {
                "predictor": predictor,
                "score": statistic,
                "statistic": AGREEMENT,
                "value": value[0],
                "effect_size": value[0],
                "ci_low": low[0],
                "ci_high": high[0],
                "n": len(keys),
                "n_of": "layers",
                "note": notes[0],
            }
        )
    return rows


def _resampled(scores: list[Array], parts: list[Array]) -> Callable[[Array], Array]:
    """Return what gives the agreement under weights of sounds (n_resamples, n_stimuli)."""

    def agreement(weights: Array) -> Array:
        share = weights / weights.sum(axis=1, keepdims=True)
        return _spearman(*(value[:, None] + own @ share.T for value, own in zip(scores, parts, strict=True)))[:, None]

    return agreement


def _unit_rows(first: Result, second: Result, names: list[str]) -> list[dict[str, Any]]:
    a, b = (_unit_series(r, name) for r, name in zip((first, second), names, strict=True))
    both = pd.concat([a.rename("a"), b.rename("b")], axis=1, join="inner")
    note = "no interval: units of a network are not independent"
    rows = []
    for model, own in [("", both), *both.groupby(level="model", sort=False)]:
        if len(own) > 2:
            value = _spearman(own["a"].to_numpy()[:, None], own["b"].to_numpy()[:, None])[0]
            about = {"model": model, "predictor": "single units", "score": R, "statistic": UNIT_AGREEMENT, "note": note}
            rows.append(about | {"value": value, "effect_size": value, "n": len(own), "n_of": "units"})
    return rows


def _unit_series(result: Result, component: str) -> pd.Series:
    found = result.arrays["unit_r"]
    index = pd.MultiIndex.from_arrays([found["model"].values, found["unit"].values], names=["model", "unit"])
    return pd.Series(found.sel(target=component).values, index=index)


def _spearman(a: Array, b: Array) -> Array:
    """Return rank correlations along the first axis."""
    from scipy.stats import rankdata

    return pearson(rankdata(a, axis=0), rankdata(b, axis=0))
