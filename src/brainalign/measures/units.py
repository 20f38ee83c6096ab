"""The table of all units: how selective each is, its rank, its ratio, the category that it likes best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.resampling import Count, Seed, Share
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import about_row
from brainalign.measures.selectivity import FRACTION, Index, rank_units, selectivity
from brainalign.measures.targets import find_targets, label_sets
from brainalign.responses import Responses, average_repetitions, units_by_layer
from brainalign.stats import adjust_p, permutation_p, permute_labels

Array = NDArray[np.float64]


def unit_table(
    responses: Responses,
    *,
    categories: Sequence[str],
    column: str = "category",
    index: Index = "welch-t",
    fraction: Share = FRACTION,
    n_permutations: Count = 1000,
    seed: Seed = 0,
) -> Result:
    """Describe every unit: selectivity index, rank within its layer, response ratio, best category.

    Parameters
    ----------
    responses : Responses
        Of a model or a brain; units are ranked within each ``layer``.
    categories : sequence of str
        The target categories.
    column : str
        The coordinate along stimulus that holds them; several labels of a sound are separated by ``|``, and mixed
        sounds are left out.
    index : str
        The selectivity index, see :func:`~brainalign.measures.selectivity.selectivity`.
    fraction : float
        Share of the units of a layer that the column ``selected`` marks.
    n_permutations : int
        Permutations of target and rest for the p. 0 leaves it empty.
    seed : int
        Seed of the permutations.

    Returns
    -------
    Result
        One row per unit: its id (``target``), the index (``value``), two-sided permutation p and ``p_fdr``
        (Benjamini-Hochberg over the units of a layer), AUC as effect size; columns ``channel``, ``rank`` (1 is the
        most selective), ``selected``, ``ratio``, ``best_category`` (highest mean response). A unit that responds
        alike to all sounds is flagged and has no value.

    Raises
    ------
    MeasureError
        If a category is unknown or has too few sounds.
    ResponseError
        If values are missing.
    """
    responses = average_repetitions(responses)
    targets = find_targets(responses, categories, column)
    labels = np.stack([targets.is_target[o] for o in _orders(len(targets.ids), n_permutations, seed)])
    best = _best_categories(responses, column)
    rows = []
    for layer, units in units_by_layer(responses).items():
        values = targets.responses.values[:, units].astype(np.float64)
        ranking = rank_units(values, targets.is_target, index)
        live = ~ranking.constant
        effect = selectivity(values, targets.is_target, "auc")
        p, p_fdr = _p_values(values, ranking.values, live, labels[1:], index)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = values[targets.is_target].mean(axis=0) / values[~targets.is_target].mean(axis=0)
        selected = ranking.top(fraction)
        for i, unit in enumerate(units):
            negative = bool((values[:, i] < 0).any())
            row = about_row("unit-table", responses, layer, str(responses["unit"].values[unit]))
            row |= {"statistic": index, "n": len(values), "n_of": "stimuli", "rank": int(ranking.rank[i])}
            row |= {"channel": int(responses["channel"].values[unit]) if "channel" in responses.coords else i}
            row |= {"selected": bool(selected[i]), "p_fdr": p_fdr[i], "p": p[i]}
            if live[i]:
                row |= {"value": ranking.values[i], "effect_size": effect[i], "best_category": best[unit]}
                # With responses below zero a ratio is not a gain factor.
                row |= {"ratio": np.nan if negative else ratio[i]}
            else:
                row |= {"note": "constant: responds alike to all sounds", "best_category": "", "ratio": np.nan}
            rows.append(row)
    return Result(
        measure="unit-table",
        table=result_table(rows),
        settings={
            "categories": list(categories),
            "column": column,
            "index": index,
            "fraction": fraction,
            "n_mixed_left_out": targets.n_mixed,
            "n_permutations": n_permutations,
            "seed": seed,
            "test": "two-sided permutation of target and rest; p_fdr: Benjamini-Hochberg within a layer",
            "use": "describes all sounds: what is selected here must be tested on other sounds",
        },
    )


def _orders(n: int, n_permutations: int, seed: int) -> NDArray[np.intp]:
    measured = np.arange(n, dtype=np.intp)[None]
    if not n_permutations:
        return measured
    return np.vstack([measured, permute_labels(n, n_permutations, np.random.default_rng(seed))])


def _p_values(
    values: Array, observed: Array, live: NDArray[np.bool_], labels: NDArray[np.bool_], index: Index
) -> tuple[Array, Array]:
    """Return p of each unit, raw and adjusted; NaN for constant units."""
    p, adjusted = np.full(len(observed), np.nan), np.full(len(observed), np.nan)
    if len(labels) and live.any():
        null = selectivity(values[:, live], labels, index)
        # Infinite indices keep their order as the largest numbers that there are.
        p[live] = permutation_p(np.nan_to_num(observed[live]), np.nan_to_num(null), alternative="two-sided")
        adjusted[live] = adjust_p(p[live], method="fdr_bh")
    return p, adjusted


def _best_categories(responses: Responses, column: str) -> list[str]:
    """Return for each unit the label of highest mean response; of equal ones the first in the alphabet."""
    sets = label_sets(responses, column)
    names = sorted(frozenset().union(*sets))
    membership = np.array([[name in labels for labels in sets] for name in names], dtype=np.float64)
    means = membership @ responses.values.astype(np.float64) / membership.sum(axis=1, keepdims=True)
    return [names[i] for i in means.argmax(axis=0)]
