"""A map of the sounds: points that lie as far apart as a representational dissimilarity matrix (RDM) says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.report._draw import by_id, new_figure, plain
from brainalign.report.colours import MUTED, category_colours, category_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Method = Literal["mds", "tsne"]
#: Of more sounds than this a map is made by t-SNE: multidimensional scaling would crowd them in the middle.
MANY_SOUNDS = 1000
_METHODS = ("mds", "tsne")
#: Shapes by category, those that are told apart most easily first.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "*", "h")


@dataclass(frozen=True)
class SoundMap:
    """Where sounds lie in two dimensions, and how much of their dissimilarities that shows.

    Attributes
    ----------
    points : DataFrame
        ``x`` and ``y`` by stimulus id; the axes have neither unit nor direction.
    method : {'mds', 'tsne'}
        Metric multidimensional scaling, or t-SNE.
    stress : float
        Normalised stress of the scaling, see :func:`sound_map`; NaN for t-SNE, whose distances have another scale.
    rank_correlation : float
        Spearman correlation of the distances in the map with the dissimilarities, over pairs of sounds.
    n_raised : int
        Pairs whose dissimilarity is below 0, as unbiased estimates may be, and was taken as 0.
    """

    points: pd.DataFrame
    method: Method
    stress: float
    rank_correlation: float
    n_raised: int = 0


def sound_map(rdm: xr.DataArray, *, method: Method | None = None, seed: int = 0) -> SoundMap:
    """Lay sounds out in two dimensions by their dissimilarities.

    Parameters
    ----------
    rdm : DataArray, dims (stimulus, stimulus_2)
        Dissimilarities, symmetric.
    method : {'mds', 'tsne'}, optional
        Metric multidimensional scaling by SMACOF (de Leeuw, 1977; Borg and Groenen, 2005), or t-SNE (van der Maaten and
        Hinton, 2008), both of scikit-learn and both from the classical scaling of the RDM (Torgerson, 1952), so that
        the same RDM gives the same map. Scaling if not given, and t-SNE above :data:`MANY_SOUNDS` sounds.
    seed : int
        Seed of t-SNE; scaling draws nothing.

    Returns
    -------
    SoundMap
        Its stress is the square root of the sum of squared differences between distances and dissimilarities over the
        sum of squared dissimilarities: 0 for a map that shows all. Kruskal (1964) called .05 good, .1 fair and .2 poor
        (of ranks, which fit more easily).

    Raises
    ------
    MeasureError
        If there are fewer than four sounds, a dissimilarity is missing, or none is above 0.
    """
    ids = [str(s) for s in rdm["stimulus"].values]
    matrix = rdm.sel(stimulus_2=rdm["stimulus"].values).to_numpy().astype(float)
    above = np.triu_indices(len(ids), 1)
    _check(matrix, ids)
    if method is not None and method not in _METHODS:
        raise MeasureError(f"no method {method!r} for a map of sounds; {did_you_mean(method, _METHODS)}")
    n_raised = int((matrix[above] < 0).sum())
    matrix = np.maximum((matrix + matrix.T) / 2, 0)
    np.fill_diagonal(matrix, 0)
    method = method or ("tsne" if len(ids) > MANY_SOUNDS else "mds")
    start = _classical_scaling(matrix)
    at = _tsne(matrix, start, seed) if method == "tsne" else _scaled(matrix, start)
    at -= at.mean(axis=0)
    distances = np.linalg.norm(at[above[0]] - at[above[1]], axis=1)
    wanted = matrix[above]
    stress = float(np.sqrt(((distances - wanted) ** 2).sum() / (wanted**2).sum())) if method == "mds" else np.nan
    points = pd.DataFrame(at, index=pd.Index(ids, name="stimulus_id"), columns=["x", "y"])
    return SoundMap(points, method, stress, _spearman(distances, wanted), n_raised)


def aligned(found: SoundMap, to: SoundMap) -> SoundMap:
    """Turn and mirror a map so that its sounds lie as near as they can to where they lie in another.

    Parameters
    ----------
    found : SoundMap
        What to turn; distances in it stay what they are.
    to : SoundMap
        A map of the same sounds, in any order and on any scale.

    Returns
    -------
    SoundMap
        `found` with other points (orthogonal Procrustes problem: Schoenemann, 1966).

    Raises
    ------
    MeasureError
        If the maps are of different sounds.
    """
    if set(found.points.index) != set(to.points.index):
        raise MeasureError("the two maps are of different sounds, so one cannot be turned like the other")
    own = found.points.to_numpy()
    left, _, right = np.linalg.svd(own.T @ to.points.loc[found.points.index].to_numpy())
    points = pd.DataFrame(own @ left @ right, index=found.points.index, columns=found.points.columns)
    return replace(found, points=points)


def category_markers(categories: Iterable[str]) -> dict[str, str]:
    """Give each category a shape, so that no reader depends on colour; beyond twelve, shapes come again.

    Parameters
    ----------
    categories : iterable of str
        Names; repeats are allowed.

    Returns
    -------
    dict of str to str
        Matplotlib marker by category, in the order of :func:`brainalign.report.colours.category_order`.
    """
    return {c: _MARKERS[i % len(_MARKERS)] for i, c in enumerate(category_order(categories))}


def plot_sound_map(ax: Axes, found: SoundMap, category: pd.Series) -> Axes:
    """Draw a map of sounds, one point each, coloured and shaped by category.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    found : SoundMap
        From :func:`sound_map`.
    category : Series
        Category of each sound, indexed by stimulus id.

    Returns
    -------
    matplotlib Axes
        `ax`, with one scale for both axes and no ticks. The graphics id of each point (``get_gid``) names the sound;
        points come category by category, and within a category by stimulus id, so that maps of the same sounds have
        one order.

    Raises
    ------
    MeasureError
        If a sound has no category.
    """
    _, category = by_id(found.points["x"], category)
    colours, markers = category_colours(category), category_markers(category)
    for kind in colours:
        for stimulus in sorted(category.index[category == kind]):
            x, y = found.points.loc[stimulus]
            (point,) = ax.plot([x], [y], markers[kind], color=colours[kind], ms=7, mec=MUTED, mew=0.8, clip_on=False)
            point.set_gid(f"{stimulus} ({kind})")
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.margins(0.04)
    return ax


def plot_sound_maps(maps: Mapping[str, SoundMap], category: pd.Series, *, figure: Figure | None = None) -> Figure:
    """Draw maps of the same sounds side by side, with a legend of the categories below.

    Parameters
    ----------
    maps : mapping of str to SoundMap
        By the title of each.
    category : Series
        Category of each sound, indexed by stimulus id.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Figure
        One axes per map.
    """
    from matplotlib.lines import Line2D

    figure = figure or new_figure(5.5 * len(maps), 5.2)
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for ax, (title, found) in zip(axes, maps.items(), strict=True):
        plot_sound_map(ax, found, category).set_title(plain(title))
    drawn = category[[str(i) in next(iter(maps.values())).points.index for i in category.index]].astype(str)
    colours, markers = category_colours(drawn), category_markers(drawn)
    handles = [
        Line2D([], [], ls="none", marker=markers[c], color=colours[c], ms=7, mec=MUTED, mew=0.8) for c in colours
    ]
    figure.legend(handles, [plain(c, 24) for c in colours], loc="outside lower center", ncols=min(len(colours), 9),
                  handletextpad=0.2, columnspacing=1.2)  # fmt: skip
    return figure


def map_table(maps: Mapping[str, SoundMap], category: pd.Series) -> pd.DataFrame:
    """Return the numbers of :func:`plot_sound_maps`.

    Parameters
    ----------
    maps, category
        As for :func:`plot_sound_maps`.

    Returns
    -------
    DataFrame
        One row for each map and sound: ``map``, ``stimulus_id``, ``category``, ``x``, ``y``.
    """
    parts = []
    for title, found in maps.items():
        _, kinds = by_id(found.points["x"], category)
        parts.append(found.points.reset_index().assign(map=title, category=kinds.to_numpy()))
    return pd.concat(parts, ignore_index=True)[["map", "stimulus_id", "category", "x", "y"]]


def words_of(found: SoundMap) -> str:
    """Say how much of the dissimilarities a map shows.

    Parameters
    ----------
    found : SoundMap
        From :func:`sound_map`.

    Returns
    -------
    str
        Rank correlation, stress if there is one, and how many dissimilarities were raised to 0.
    """
    kept = f"rank correlation of distances with dissimilarities {found.rank_correlation:.2f}".replace("-", "−")
    stress = f", stress {found.stress:.2f}" if found.method == "mds" else ""
    raised = f", {found.n_raised} dissimilarities below 0 taken as 0" if found.n_raised else ""
    return kept + stress + raised


def _check(matrix: NDArray[np.float64], ids: list[str]) -> None:
    if len(ids) < 4:
        raise MeasureError(f"a map needs at least 4 sounds, found {len(ids)}")
    missing = np.argwhere(~np.isfinite(matrix) & ~np.eye(len(ids), dtype=bool))
    if len(missing):
        first, second = missing[0]
        raise MeasureError(
            f"{len(missing) // 2} dissimilarities are not defined, the first that of {ids[first]!r} and "
            f"{ids[second]!r}; leave these sounds out, or take another distance"
        )
    if not (matrix[~np.eye(len(ids), dtype=bool)] > 0).any():
        raise MeasureError("no dissimilarity is above 0: all sounds would lie on one point")


def _classical_scaling(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two principal coordinates of dissimilarities, with signs that do not depend on the solver."""
    from scipy.sparse.linalg import eigsh

    centred = matrix**2
    centred = centred - centred.mean(axis=0) - centred.mean(axis=1)[:, None] + centred.mean()
    values, vectors = eigsh(-centred / 2, k=2, which="LA", v0=np.linspace(1, 2, len(matrix)))
    vectors = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])
    return np.asarray(vectors * np.where(signs == 0, 1, signs))


def _scaled(matrix: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.manifold import smacof

    at: Any = smacof(matrix, n_components=2, init=start, n_init=1, max_iter=500, eps=1e-6, normalized_stress=False)[0]
    return np.asarray(at, float)


def _tsne(matrix: NDArray[np.float64], start: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    # As scikit-learn scales a start by principal components.
    start = (start / start[:, 0].std() * 1e-4).astype(np.float32)
    perplexity = min(30.0, (len(matrix) - 1) / 3)
    tsne = TSNE(metric="precomputed", init=start, perplexity=perplexity, random_state=seed, n_jobs=1)
    return np.asarray(tsne.fit_transform(matrix.astype(np.float32)), float)


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (first, second)]
    if any(np.ptp(r) == 0 for r in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
