"""What the selective units do on sounds that did not select them: response ratios, and likeness to the brain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError
from brainalign.measures.ratio import negative_note
from brainalign.measures.resampling import Count, Level, Resamples, Seed, Share, draw_counts, draw_orders, interval
from brainalign.measures.result import Result, result_table
from brainalign.measures.selectivity import FRACTION, Index, rank_units
from brainalign.measures.targets import Part, Parts, make_parts
from brainalign.responses import Responses, align, average_repetitions, units_by_layer
from brainalign.stats import permutation_p, rank_sum
from brainalign.stats.rank_nulls import Alternative

Array = NDArray[np.float64]
SELECTED, OTHER = "selected units", "other units"
CONDITIONAL = "BCa bootstrap over test stimuli, within targets and within the rest; the selection held fixed"
RANK_SUM = "Wilcoxon rank-sum over test stimuli; when cross-fitted, twice the mean p of the two directions"


def selective_ratio(
    responses: Responses,
    *,
    selection: Responses | None = None,
    categories: Sequence[str],
    column: str = "category",
    index: Index = "welch-t",
    fraction: Share = FRACTION,
    allow_overlap: bool = False,
    alternative: Alternative = "greater",
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Measure how much stronger the units selective for some categories respond to them, on other sounds.

    Parameters
    ----------
    responses : Responses
        To the test sounds; units are ranked within each ``layer``.
    selection : Responses, optional
        Of the same units to other sounds, which select. Without them random halves select for each other.
    categories : sequence of str
        The target categories, for instance ``["Music", "Song"]``.
    column : str
        The coordinate along stimulus that holds them; several labels of a sound are separated by ``|``, and mixed
        sounds are left out (Kim et al. 2024).
    index : str
        The selectivity index, see :func:`~brainalign.measures.selectivity.selectivity`.
    fraction : float
        Share of the units of a layer that is selected.
    allow_overlap : bool
        Let the same sounds select and test. The ratio is then too high, for noise as well.
    alternative : {'greater', 'two-sided', 'less'}
        Of the rank-sum test; ``greater``: stronger responses to the target categories.
    n_bootstrap : int
        Resamples of test sounds for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of halves and resamples.

    Returns
    -------
    Result
        For each layer the statistic ``ratio`` of the selected units and of all other units: mean response to target
        sounds / mean response to the rest (Kim et al. 2024), averaged over both directions when cross-fitted.
        Effect size: U / (n1 n2) of the rank-sum test. Arrays: ``profiles`` (profile, stimulus), the mean response
        of each group to the test sounds, and ``roles`` (part, stimulus), which sounds selected and which tested.

    Raises
    ------
    MeasureError
        If selection and test share sounds, a category is unknown or has too few sounds, or the units differ.
    ResponseError
        If values are missing.

    Notes
    -----
    The two directions of cross-fitting depend on each other, also under the null hypothesis: selection from one half
    tests on the other and the other way round. Twice the mean of their p holds under any dependence (Vovk & Wang
    2020, Biometrika 107, 791-808), and is conservative.
    """
    parts = make_parts(responses, selection, categories, column=column, allow_overlap=allow_overlap, seed=seed)
    rng = np.random.default_rng(seed)
    counts = draw_counts(len(parts.is_target), n_bootstrap, rng, strata=parts.strata)
    rows, profiles = [], []
    for layer, units in units_by_layer(responses).items():
        masks = selected_units(parts, units, index, fraction)
        for group in (SELECTED, OTHER):
            chosen = masks if group == SELECTED else [~m for m in masks]
            about = about_row("selective-ratio", responses, layer, group)
            about |= {"n_units": int(np.mean([m.sum() for m in chosen])), "index": index}
            if not all(m.any() for m in chosen):
                if group == SELECTED:
                    rows.append(about | {"statistic": "ratio", "note": "all units are constant: none is selective"})
                continue
            means = [mean_response(p, units[m]) for p, m in zip(parts.parts, chosen, strict=True)]
            rows.append(about | ratio_row(parts, means, counts, alternative, level))
            profiles.append((layer, group, np.concatenate(means)))
    return Result(
        measure="selective-ratio",
        table=result_table(rows),
        arrays={"profiles": _profiles(parts, profiles, responses, column), "roles": parts.roles()},
        settings={
            "categories": list(categories),
            "column": column,
            "index": index,
            "fraction": fraction,
            **parts.settings(),
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": f"{RANK_SUM}; {alternative}",
            "interval": CONDITIONAL,
        },
        warnings=parts.warnings(),
    )


def selective_profile(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    selection: Responses | None = None,
    categories: Sequence[str],
    column: str = "category",
    index: Index = "welch-t",
    fraction: Share = FRACTION,
    allow_overlap: bool = False,
    n_permutations: Count = 1000,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Correlate the mean response of selective units with brain components, over sounds that did not select them.

    Parameters
    ----------
    responses, selection, categories, column, index, fraction, allow_overlap
        See :func:`selective_ratio`.
    brain : BrainData or Responses
        Components (or voxels, regions) over the sounds of `responses`, matched by id; repetitions are averaged.
    n_permutations : int
        Permutations of the brain's stimuli for the p. 0 leaves it empty.
    n_bootstrap : int
        Resamples of sounds for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of halves, permutations and resamples.

    Returns
    -------
    Result
        Statistic ``pearson`` for each layer, group of units (column ``units``) and component, averaged over both
        directions when cross-fitted, with BCa interval over sounds and one-sided permutation p. Array ``roles``.

    Raises
    ------
    ResponseError
        If the sounds of model and brain differ, or values are missing.
    MeasureError
        As :func:`selective_ratio`, or if a component is constant.
    """
    targets = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    responses, targets = align(average_repetitions(responses), targets)
    parts = make_parts(responses, selection, categories, column=column, allow_overlap=allow_overlap, seed=seed)
    measured = [np.asarray(targets.sel(stimulus=p.test.ids).values, dtype=np.float64) for p in parts.parts]
    for values in measured:
        if (np.ptp(values, axis=0) == 0).any():
            flat = targets["unit"].values[np.ptp(values, axis=0) == 0][0]
            raise MeasureError(f"the target {flat!r} is the same for all test sounds: nothing correlates with it")
    rng = np.random.default_rng(seed)
    counts = draw_counts(len(parts.is_target), n_bootstrap, rng, strata=parts.strata)
    orders = [draw_orders(len(y), n_permutations, rng)[1:] for y in measured]
    rows = []
    for layer, units in units_by_layer(responses).items():
        masks = selected_units(parts, units, index, fraction)
        for group in (SELECTED, OTHER):
            chosen = masks if group == SELECTED else [~m for m in masks]
            if not all(m.any() for m in chosen):
                continue
            means = [mean_response(p, units[m]) for p, m in zip(parts.parts, chosen, strict=True)]
            about = about_row("selective-profile", responses, layer, "")
            about |= {"brain": targets.attrs.get("source", ""), "statistic": "pearson", "units": group}
            about |= {"n": len(parts.is_target), "n_of": "stimuli"}
            if any(np.ptp(m) == 0 for m in means):
                rows += [
                    about | {"target": str(t), "note": f"the {group} are constant"} for t in targets["unit"].values
                ]
                continue
            values, limits = _correlated(parts, means, measured, counts, level)
            null = np.mean([_permuted_r(*x) for x in zip(means, measured, orders, strict=True)], axis=0)
            p = permutation_p(values, null, alternative="greater") if n_permutations else np.full(len(values), np.nan)
            for i, name in enumerate(targets["unit"].values):
                low, high, note = (x[i] for x in limits)
                numbers = {"value": values[i], "ci_low": low, "ci_high": high, "p": np.atleast_1d(p)[i]}
                rows.append(about | numbers | {"target": str(name), "effect_size": values[i], "note": note})
    return Result(
        measure="selective-profile",
        table=result_table(rows),
        arrays={"roles": parts.roles()},
        settings={
            "categories": list(categories),
            "column": column,
            "index": index,
            "fraction": fraction,
            **parts.settings(),
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": "one-sided permutation of the brain's stimuli among the test sounds of a part",
            "interval": CONDITIONAL,
        },
        warnings=parts.warnings(),
    )


def selected_units(parts: Parts, units: NDArray[np.intp], index: Index, fraction: float) -> list[NDArray[np.bool_]]:
    """Return for each part which of the units are selected, from its selection sounds alone."""
    return [
        rank_units(p.select.responses.values[:, units].astype(np.float64), p.select.is_target, index).top(fraction)
        for p in parts.parts
    ]


def mean_response(part: Part, units: NDArray[np.intp]) -> Array:
    """Return the mean response of units to the test sounds."""
    return np.asarray(part.test.responses.values[:, units].mean(axis=1, dtype=np.float64))


def about_row(measure: str, responses: Responses, layer: str, target: str) -> dict[str, Any]:
    """Return what a row is about; responses with layers are a model's."""
    source = responses.attrs.get("source", "")
    is_model = "layer" in responses.coords
    return {
        "measure": measure,
        "model": source if is_model else "",
        "layer": layer,
        "brain": "" if is_model else source,
        "target": target,
        "note": "",
    }


def ratio_row(
    parts: Parts, means: Sequence[Array], counts: NDArray[np.int64], alternative: Alternative, level: float
) -> dict[str, Any]:
    """Return ratio, interval and test of mean responses to the test sounds of each part."""
    pairs = [(m[p.test.is_target], m[~p.test.is_target]) for p, m in zip(parts.parts, means, strict=True)]

    def ratio(weights: Array) -> Array:
        one = [
            weighted_mean(m, w, p.test.is_target) / weighted_mean(m, w, ~p.test.is_target)
            for m, w, p in zip(means, parts.split(weights), parts.parts, strict=True)
        ]
        return np.asarray(np.mean(one, axis=0))[:, None]

    p, effect = combined_rank_sum(pairs, alternative)
    n = len(parts.is_target)
    row: dict[str, Any] = {"statistic": "ratio", "p": p, "effect_size": effect, "n": n, "n_of": "stimuli"}
    row |= {"n_target": int(parts.is_target.sum()), "n_rest": int((~parts.is_target).sum())}
    if any(rest.mean() == 0 for _, rest in pairs):
        return row | {"note": "no response to the rest on average: the ratio is not defined"}
    note = negative_note(np.concatenate(list(means)))
    value = ratio(np.ones((1, row["n"])))[0]
    low, high, more = finite_interval(value, counts, ratio, level, parts.strata)
    return row | {
        "value": value[0],
        "ci_low": low[0],
        "ci_high": high[0],
        "note": "; ".join(filter(None, (note, more[0]))),
    }


def weighted_mean(values: Array, weights: Array, keep: NDArray[np.bool_]) -> Array:
    """Return the mean of some values under each row of weights."""
    w = weights[:, keep]
    return np.asarray(w @ values[keep] / w.sum(axis=1))


def combined_rank_sum(pairs: Sequence[tuple[Array, Array]], alternative: Alternative) -> tuple[float, float]:
    """Test targets against the rest in one part, or in two that may depend on each other.

    Parameters
    ----------
    pairs : sequence of (targets, rest)
        Values of each part.
    alternative : {'two-sided', 'greater', 'less'}
        Of the rank-sum test.

    Returns
    -------
    p, effect_size : float
        Of the rank-sum test; of several parts twice the mean p and the mean effect size.
    """
    tests = [rank_sum(x, y, alternative=alternative) for x, y in pairs]
    effect = float(np.mean([t.effect_size for t in tests]))
    if len(tests) == 1:
        return float(tests[0].p), effect
    if alternative == "two-sided":
        # Both directions must point the same way: each one-sided p is combined, and the smaller doubled.
        return min(1.0, 2 * min(combined_rank_sum(pairs, "greater")[0], combined_rank_sum(pairs, "less")[0])), effect
    return min(1.0, 2 * float(np.mean([t.p for t in tests]))), effect


def finite_interval(
    values: Array,
    counts: NDArray[np.int64],
    statistic: Callable[[Array], Array],
    level: float,
    strata: NDArray[Any] | None,
) -> tuple[Array, Array, list[str]]:
    """Return the interval of a statistic, left empty where some resamples have none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        try:
            return interval(values, counts, statistic, level, strata=strata)
        except MeasureError:
            empty = np.full(len(values), np.nan)
            return empty, empty, ["no interval: the statistic is not defined in some resamples"] * len(values)


def _correlated(
    parts: Parts, means: Sequence[Array], measured: Sequence[Array], counts: NDArray[np.int64], level: float
) -> tuple[Array, tuple[Array, Array, list[str]]]:
    """Return the correlations with each target and their interval."""

    def pearson(weights: Array) -> Array:
        split = parts.split(weights)
        return np.asarray(np.mean([weighted_r(*x) for x in zip(means, measured, split, strict=True)], axis=0))

    values = pearson(np.ones((1, len(parts.is_target))))[0]
    return values, finite_interval(values, counts, pearson, level, parts.strata)


def weighted_r(x: Array, y: Array, weights: Array) -> Array:
    """Return Pearson correlations under weights.

    Parameters
    ----------
    x : ndarray, shape (n,)
        One variable.
    y : ndarray, shape (n, n_targets)
        Others.
    weights : ndarray, shape (n_resamples, n)
        Weight of each observation.

    Returns
    -------
    ndarray, shape (n_resamples, n_targets)
        The correlations.
    """
    x, y = (x - x.mean()) / x.std(), (y - y.mean(axis=0)) / y.std(axis=0)
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ x[:, None] / total, weights @ y / total
    covariance = weights @ (x[:, None] * y) / total - mean_x * mean_y
    variances = (weights @ (x**2)[:, None] / total - mean_x**2) * (weights @ y**2 / total - mean_y**2)
    return np.asarray(covariance / np.sqrt(variances))


def _permuted_r(x: Array, y: Array, orders: NDArray[np.intp]) -> Array:
    """Return correlations with the stimuli of x permuted, (n_permutations, n_targets)."""
    z = (x - x.mean()) / x.std()
    return np.asarray(z[orders] @ ((y - y.mean(axis=0)) / y.std(axis=0)) / len(x))


def _profiles(
    parts: Parts, profiles: Sequence[tuple[str, str, Array]], responses: Responses, column: str
) -> xr.DataArray:
    """Label the mean responses of groups of units to the test sounds."""
    tests = xr.concat([p.test.responses["stimulus"] for p in parts.parts], dim="stimulus")
    ids = tests["stimulus"].values
    category = np.concatenate([p.test.responses[column].values.astype(str) for p in parts.parts])
    is_model = "layer" in responses.coords
    source = responses.attrs.get("source", "")
    return xr.DataArray(
        np.stack([values for *_, values in profiles]) if profiles else np.empty((0, len(ids))),
        dims=("profile", "stimulus"),
        coords={
            "stimulus": ids,
            "category": ("stimulus", category),
            "model": ("profile", [source if is_model else ""] * len(profiles)),
            "layer": ("profile", [layer for layer, *_ in profiles]),
            "target": ("profile", [group for _, group, _ in profiles]),
        },
    )
