"""Segregation: how far the target sounds lie apart from the rest in a two-dimensional embedding of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.resampling import Count, Seed
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import about_row
from brainalign.measures.targets import find_targets
from brainalign.responses import Responses, units_by_layer
from brainalign.stats import permutation_p, permute_labels

Array = NDArray[np.float64]
Protocol = Literal["brainalign", "kim2024"]


def segregation(
    responses: Responses,
    *,
    categories: Sequence[str],
    column: str = "category",
    protocol: Protocol = "brainalign",
    n_bins: Annotated[int, Field(ge=1)] = 64,
    perplexity: Annotated[float, Field(gt=0)] = 30.0,
    n_permutations: Count = 1000,
    seed: Seed = 0,
) -> Result:
    """Embed each layer by t-SNE and measure how little targets and rest overlap.

    Parameters
    ----------
    responses : Responses
        Of a model or a brain; each ``layer`` is embedded by itself, its units standardised.
    categories : sequence of str
        The target categories.
    column : str
        The coordinate along stimulus that holds them; several labels of a sound are separated by ``|``, and mixed
        sounds are left out.
    protocol : {'brainalign', 'kim2024'}
        See :func:`segregation_index`.
    n_bins : int
        Bins along each axis; 64 in the paper, whose embeddings hold 15,000 sounds. With few sounds take fewer: in
        cells with one sound at most nothing ever overlaps, as the column ``chance`` then shows.
    perplexity : float
        Of t-SNE; below the number of sounds.
    n_permutations : int
        Permutations of target and rest for ``chance`` and p. 0 leaves them empty.
    seed : int
        Seed of t-SNE and of the permutations.

    Returns
    -------
    Result
        Statistic ``segregation_index`` for each layer; column ``chance``: its mean with labels permuted, the embedding
        being the same; one-sided permutation p. No interval: resampled sounds fall on themselves and look segregated.
        Array ``embedding`` (layer, stimulus, axis).

    Raises
    ------
    MeasureError
        If a category is unknown or has too few sounds, or there are not more sounds than the perplexity.
    ResponseError
        If values are missing.
    """
    if protocol not in get_args(Protocol):
        raise MeasureError(f"no protocol {protocol!r}; {did_you_mean(protocol, get_args(Protocol))}")
    targets = find_targets(responses, categories, column)
    n = len(targets.ids)
    rng = np.random.default_rng(seed)
    labels = targets.is_target[permute_labels(n, n_permutations, rng)] if n_permutations else np.empty((0, n), bool)
    rows, embeddings = [], {}
    for layer, units in units_by_layer(responses).items():
        row = about_row("segregation", responses, layer, "targets and rest") | {"statistic": "segregation_index"}
        row |= {"n": n, "n_of": "stimuli", "n_target": int(targets.is_target.sum()), "n_bins": n_bins}
        values = targets.responses.values[:, units].astype(np.float64)
        if (np.ptp(values, axis=0) == 0).all():
            rows.append(row | {"note": "all units are constant: there is nothing to embed"})
            continue
        points = embed(values, perplexity=perplexity, seed=seed)
        value = segregation_index(points, targets.is_target, n_bins=n_bins, protocol=protocol)
        row |= {"value": value, "effect_size": value}
        if n_permutations:
            null = np.array([segregation_index(points, y, n_bins=n_bins, protocol=protocol) for y in labels])
            row |= {"chance": float(null.mean()), "p": permutation_p(value, null, alternative="greater")}
        rows.append(row)
        embeddings[layer] = points
    return Result(
        measure="segregation",
        table=result_table(rows),
        arrays={"embedding": _embedding(embeddings, targets.ids, targets.is_target)},
        settings={
            "categories": list(categories),
            "column": column,
            "protocol": protocol,
            "embedding": f"t-SNE of standardised units, perplexity {perplexity:g}, seed {seed}",
            "n_bins": n_bins,
            "n_mixed_left_out": targets.n_mixed,
            "n_permutations": n_permutations,
            "test": "one-sided permutation of target and rest in the embedding",
        },
    )


def segregation_index(
    points: Array, is_target: NDArray[np.bool_], *, n_bins: int = 64, protocol: Protocol = "brainalign"
) -> float:
    """Return 1 minus the Bhattacharyya coefficient of the two-dimensional histograms of targets and rest.

    Parameters
    ----------
    points : ndarray, shape (n_stimuli, 2)
        An embedding.
    is_target : ndarray of bool, shape (n_stimuli,)
        Which sounds are targets.
    n_bins : int
        Bins along each axis.
    protocol : {'brainalign', 'kim2024'}
        ``brainalign``: both histograms have one grid over the range of all points. ``kim2024``: as the released code
        of Kim et al. 2024 computes it, each histogram over the range of its own points (the common range is computed
        there, but not passed on). Cells then stand for different places, and the index hardly reacts to separation.

    Returns
    -------
    float
        0: the same distribution; 1 (shared grid): no cell holds sounds of both kinds.

    Raises
    ------
    MeasureError
        If there are no points of a kind, or fewer than one bin.
    """
    if n_bins < 1 or not 0 < is_target.sum() < len(is_target):
        raise MeasureError(
            f"a segregation index needs bins and sounds of both kinds, found {n_bins} bins and {int(is_target.sum())} "
            f"targets among {len(is_target)} sounds"
        )
    p, q = (
        _histogram(points[kind], points[kind] if protocol == "kim2024" else points, n_bins)
        for kind in (is_target, ~is_target)
    )
    return float(1 - np.sqrt(p * q).sum())


def _histogram(points: Array, extent: Array, n_bins: int) -> Array:
    """Return the shares of points in the cells of a grid over the range of `extent`."""
    edges = [np.histogram_bin_edges(axis, bins=n_bins) for axis in extent.T]
    return np.asarray(np.histogram2d(points[:, 0], points[:, 1], bins=edges)[0]) / len(points)


def embed(values: Array, *, perplexity: float = 30.0, seed: int = 0) -> Array:
    """Embed sounds in two dimensions by t-SNE (scikit-learn) of standardised units.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        Responses.
    perplexity : float
        About how many neighbours a sound has.
    seed : int
        Seed of the embedding; it starts from principal components and depends little on it.

    Returns
    -------
    ndarray, shape (n_stimuli, 2)
        The points; distances between far clusters mean little.

    Raises
    ------
    MeasureError
        If there are not more sounds than the perplexity.
    """
    if not 0 < perplexity < len(values):
        raise MeasureError(
            f"t-SNE with perplexity {perplexity:g} needs more sounds than that, found {len(values)}; choose a lower one"
        )
    from sklearn.manifold import TSNE
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    tsne = TSNE(n_components=2, perplexity=perplexity, random_state=seed)
    return np.asarray(make_pipeline(StandardScaler(), tsne).fit_transform(values), dtype=np.float64)


def _embedding(embeddings: dict[str, Array], ids: list[str], is_target: NDArray[np.bool_]) -> xr.DataArray:
    values = np.stack(list(embeddings.values())) if embeddings else np.empty((0, len(ids), 2))
    coords = {"layer": list(embeddings), "stimulus": ids, "is_target": ("stimulus", is_target), "axis": ["x", "y"]}
    return xr.DataArray(values, dims=("layer", "stimulus", "axis"), coords=coords)
