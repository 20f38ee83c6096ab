"""Response ratio: how much stronger a group of units responds to some categories of sound than to the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.resampling import Level, Resamples, Seed, draw_counts, interval
from brainalign.measures.result import Result, result_table
from brainalign.measures.targets import find_targets
from brainalign.responses import Responses
from brainalign.stats import rank_sum

Array = NDArray[np.float64]
#: The target of the units of a layer that are averaged.
MEAN_OF_UNITS = "mean of units"
#: What the note says of a ratio of responses some of which are negative.
NEGATIVE = re.compile(r"(\d+) of (\d+) responses are negative")


def response_ratio(
    responses: Responses,
    *,
    categories: Sequence[str],
    group: str | None = None,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the mean response to some categories with the mean response to all others.

    Parameters
    ----------
    responses : Responses
        Of a model or a brain, with the coordinate ``category`` along stimulus (several labels separated by ``|``; mixed
        sounds are left out by the rule of Kim et al. 2024). Repetitions are averaged.
    categories : sequence of str
        The target categories, for instance ``["Music", "Song"]``.
    group : str, optional
        A coordinate along unit; units that share its value are averaged. By default ``layer`` where there is
        one (a model), else every unit by itself (components).
    alternative : {'two-sided', 'greater', 'less'}
        Of the rank-sum test; ``greater``: stronger responses to the target categories.
    n_bootstrap : int
        Resamples of stimuli, within targets and within the rest, for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of the resamples.

    Returns
    -------
    Result
        One row per group, statistic ``ratio``: mean over target stimuli / mean over other stimuli (Kim et al.
        2024), with BCa interval; p and effect size (common-language, U / (n1 n2)) of the Wilcoxon rank-sum test
        over stimuli, n1 and n2 in ``n_target`` and ``n_rest``. A note flags groups with negative responses,
        where a ratio is not a gain factor. Array ``profiles`` (profile, stimulus): the responses.

    Raises
    ------
    MeasureError
        If a category is unknown or has fewer than two stimuli beside it, or the responses have no categories or
        no such coordinate.
    ResponseError
        If values are missing.
    """
    targets = find_targets(responses, categories)
    responses, is_target = targets.responses, targets.is_target
    profiles = _profiles(responses, group)
    values = np.asarray(profiles.values, dtype=np.float64)
    ratios = _ratio(values, is_target, np.ones((1, len(is_target))))[0]
    ids = [str(s) for s in responses["stimulus"].values]
    counts = draw_counts(len(is_target), n_bootstrap, np.random.default_rng(seed), strata=is_target, ids=ids)
    low, high, notes = interval(ratios, counts, lambda w: _ratio(values, is_target, w), level, strata=is_target)
    test = rank_sum(values[:, is_target].T, values[:, ~is_target].T, alternative=alternative)
    rows = []
    for i in range(len(values)):
        flag = negative_note(values[i])
        rows.append(
            {
                "measure": "response-ratio",
                **{name: str(profiles[name].values[i]) for name in ("model", "layer", "brain", "target")},
                "statistic": "ratio",
                "value": ratios[i],
                "ci_low": low[i],
                "ci_high": high[i],
                "p": float(np.atleast_1d(test.p)[i]),
                "effect_size": float(np.atleast_1d(test.effect_size)[i]),
                "n": len(is_target),
                "n_of": "stimuli",
                "note": "; ".join(n for n in (flag, notes[i]) if n),
                "n_target": int(is_target.sum()),
                "n_rest": int((~is_target).sum()),
            }
        )
    return Result(
        measure="response-ratio",
        table=result_table(rows),
        arrays={"profiles": profiles},
        settings={
            "categories": list(categories),
            "n_mixed_left_out": targets.n_mixed,
            "group": group,
            "alternative": alternative,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": f"Wilcoxon rank-sum over stimuli, {alternative}, effect size U / (n1 n2)",
            "interval": "BCa bootstrap over stimuli, within targets and within the rest",
        },
        warnings=targets.warnings(),
    )


def negative_note(values: Array) -> str:
    """Return the note for a ratio of responses some of which are negative; empty if none is."""
    negative = int((values < 0).sum())
    return f"{negative} of {values.size} responses are negative, so the ratio is not a gain factor" if negative else ""


def _along_units(responses: Responses) -> list[str]:
    return [str(c) for c in responses.coords if responses[c].dims == ("unit",)]


def _profiles(responses: Responses, group: str | None) -> xr.DataArray:
    """Average units by group: (profile, stimulus), labelled with what each profile is of."""
    if group is None and "layer" in responses.coords:
        group = "layer"
    if group is not None and group not in _along_units(responses):
        raise MeasureError(f"units have no coordinate {group!r}; {did_you_mean(group, _along_units(responses))}")
    labels = responses[group or "unit"].values
    names = list(dict.fromkeys(labels.tolist()))
    values = np.stack([responses.values[:, labels == name].mean(axis=1, dtype=np.float64) for name in names])
    source, is_model = responses.attrs.get("source", ""), "layer" in responses.coords
    blank = [""] * len(names)
    coords: dict[str, Any] = {
        "stimulus": responses["stimulus"].values,
        "category": ("stimulus", responses["category"].values),
        "model": ("profile", [source if is_model else ""] * len(names)),
        "brain": ("profile", ["" if is_model else source] * len(names)),
        "layer": ("profile", [str(n) for n in names] if group == "layer" else blank),
        "target": ("profile", [MEAN_OF_UNITS] * len(names) if group == "layer" else [str(n) for n in names]),
    }
    return xr.DataArray(values, dims=("profile", "stimulus"), coords=coords)


def _ratio(values: Array, is_target: NDArray[np.bool_], weights: Array) -> Array:
    """Return the ratio of weighted means, (n_resamples, n_profiles)."""

    def mean(part: NDArray[np.bool_]) -> Array:
        w = weights[:, part]
        return np.asarray(w @ values[:, part].T / w.sum(axis=1, keepdims=True))

    return mean(is_target) / mean(~is_target)
