"""Figures of representational dissimilarity matrices (RDMs)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from brainalign.report._draw import by_id, new_figure, plain
from brainalign.report.colours import category_colours, category_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_rdm(ax: Axes, rdm: xr.DataArray, category: pd.Series, *, rank: bool = False, labels: bool = True) -> Axes:
    """Draw a representational dissimilarity matrix, ordered by category with borders between categories.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    rdm : DataArray, dims (stimulus, stimulus_2)
        Dissimilarities, in any order of the sounds.
    category : Series
        Category of each sound, indexed by stimulus id.
    rank : bool
        Show the percentile rank of each dissimilarity among all pairs: what Spearman's correlation compares.
    labels : bool
        Name the categories along the rows.

    Returns
    -------
    matplotlib Axes
        `ax`, with one image. Categories are in the order of :func:`brainalign.report.colours.category_order`.
    """
    order = rdm_order(rdm, category)
    matrix = rdm.sel(stimulus=order, stimulus_2=order).to_numpy().astype(float)
    category = category.set_axis(category.index.map(str)).astype(str).loc[order]
    kinds = category_order(category)
    if rank:
        matrix = rank_pairs(matrix)
    # Up to this size every cell is kept; a larger matrix is averaged down to the resolution of the figure.
    ax.imshow(matrix, cmap="viridis", interpolation="none" if len(matrix) <= 256 else "antialiased")
    ends = np.cumsum([int((category == k).sum()) for k in kinds])
    for end in ends[:-1]:
        ax.axhline(end - 0.5, color="white", lw=0.5)
        ax.axvline(end - 0.5, color="white", lw=0.5)
    middles = ends - np.diff(ends, prepend=0) / 2 - 0.5
    colours = category_colours(category)
    for start, end, kind in zip([0, *ends], ends, kinds, strict=False):
        ax.plot([-0.025, -0.025], [start - 0.5, end - 0.5], color=colours[kind], lw=4, solid_capstyle="butt",
                clip_on=False, transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_xlim(-0.5, len(matrix) - 0.5)
    ax.set_ylim(len(matrix) - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks(
        _spread(middles, 0.055 * len(matrix)) if labels else [], [plain(k, 24) for k in kinds] if labels else []
    )
    ax.tick_params(axis="y", pad=8)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def rdm_order(rdm: xr.DataArray, category: pd.Series) -> list[str]:
    """Return the stimulus ids of an RDM in the order of its rows as drawn.

    Parameters
    ----------
    rdm : DataArray
        With the coordinate ``stimulus``.
    category : Series
        Category of each sound, indexed by stimulus id.

    Returns
    -------
    list of str
        By category, within categories in the order of the RDM.

    Raises
    ------
    MeasureError
        If a sound has no category.
    """
    ids = [str(s) for s in rdm["stimulus"].values]
    _, category = by_id(pd.Series(0.0, index=ids), category)
    kinds = category_order(category)
    return [str(i) for i in category.map(kinds.index).sort_values(kind="stable").index]


def _spread(at: np.ndarray[Any, Any], gap: float) -> np.ndarray[Any, Any]:
    """Move sorted positions apart until they are `gap` from each other, each as little as it takes from above."""
    at = at.copy()
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + gap)
    return at


def rank_pairs(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Replace dissimilarities by percentile ranks (0 to 100) over pairs; the diagonal becomes 0."""
    from scipy.stats import rankdata

    upper = np.triu_indices(len(matrix), 1)
    ranks = np.zeros_like(matrix)
    ranks[upper] = 100 * rankdata(matrix[upper], nan_policy="omit") / len(upper[0])
    return ranks + ranks.T


def plot_rdms(
    brain: xr.DataArray, rdms: xr.DataArray, category: pd.Series, *, figure: Figure | None = None, n_columns: int = 4
) -> Figure:  # fmt: skip
    """Draw the RDM of a brain and, beside it, those of the layers of a model, all as percentile ranks.

    Parameters
    ----------
    brain : DataArray, dims (stimulus, stimulus_2)
        RDM of the brain.
    rdms : DataArray, dims (rdm, stimulus, stimulus_2)
        RDMs of layers.
    category : Series
        Category of each sound, indexed by stimulus id.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.
    n_columns : int
        Matrices side by side.

    Returns
    -------
    matplotlib Figure
        The brain first, then the layers in their order.
    """
    panels = [("brain", brain), *((str(n), rdms.sel(rdm=n)) for n in rdms["rdm"].values)]
    n_columns = min(n_columns, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = figure or new_figure(2.45 * n_columns + 1.2, 2.55 * n_rows)
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for i, (ax, (name, rdm)) in enumerate(zip(axes.flat, panels, strict=False)):
        plot_rdm(ax, rdm, category, rank=True, labels=i % n_columns == 0).set_title(plain(name, 30))
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    bar = figure.colorbar(axes.flat[0].images[0], ax=axes, shrink=0.6 if n_rows > 1 else 0.9, aspect=25, pad=0.02)
    bar.set_label("dissimilarity (percentile rank)")
    bar.outline.set_visible(False)
    return figure
