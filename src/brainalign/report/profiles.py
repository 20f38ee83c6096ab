"""Figures of response profiles: one bar per sound, and means by category.

Sounds are matched by stimulus id, never by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, name_some
from brainalign.report._draw import by_id, new_figure, plain, series
from brainalign.report.colours import INK, MUTED, category_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A profile of more sounds than this is an image in a vector file, which would be huge else.
MANY = 400


def plot_profile(ax: Axes, values: pd.Series, category: pd.Series, *, order: Sequence[str] | None = None) -> Axes:
    """Draw a response profile: one bar per sound, coloured by category (as in Norman-Haignere 2015, Fig. 2).

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    values : Series, length n_stimuli
        Response to each sound, indexed by stimulus id, in the units of the responses.
    category : Series
        Category of each sound, indexed by stimulus id.
    order : sequence of str, optional
        Stimulus ids from left to right; strongest response first if not given.

    Returns
    -------
    matplotlib Axes
        `ax`. The graphics id of each bar (``get_gid``) names the sound; of more than :data:`MANY` sounds, bars are one
        collection and an image in a vector file.

    Raises
    ------
    MeasureError
        If a sound has no category, or `order` is not an order of the sounds.
    """
    values, category = by_id(values, category)
    if order is None:
        order = sorted_ids(values)
    elif sorted(order) != sorted(values.index):
        odd = set(order) ^ set(values.index)
        raise MeasureError(f"the order does not name each sound once: {name_some(odd or order)}")
    values, category = values.loc[list(order)], category.loc[list(order)]
    colours = category_colours(category)
    faces = [colours[c] for c in category]
    if len(values) > MANY:
        _many_bars(ax, values.to_numpy(float), faces)
    else:
        bars = ax.bar(np.arange(len(values)), values.to_numpy(float), width=1, color=faces)
        for bar, stimulus, kind, value in zip(bars, order, category, values, strict=True):
            bar.set_gid(f"{stimulus} ({kind}): {value:.3g}")
    ax.axhline(0, color=MUTED, linewidth=0.7)
    ax.set_xlim(-0.5, len(values) - 0.5)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    ax.locator_params(axis="y", nbins=4)
    return ax


def _many_bars(ax: Axes, values: NDArray[np.float64], colours: list[str]) -> None:
    """Draw bars as one collection: thousands of single patches would take a minute a figure."""
    from matplotlib.collections import PolyCollection

    left, nothing = np.arange(len(values)) - 0.5, np.zeros(len(values))
    corners = [(left, nothing), (left, values), (left + 1, values), (left + 1, nothing)]
    bars = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
    ax.add_collection(PolyCollection(list(bars), facecolors=colours, edgecolors="none", rasterized=True))
    ax.autoscale_view(scalex=False)


def sorted_ids(values: pd.Series) -> list[str]:
    """Return stimulus ids from the strongest response to the weakest; ties keep their order."""
    return [str(i) for i in values.sort_values(ascending=False, kind="stable").index]


def r2_of_bars(observed: pd.Series, predicted: pd.Series) -> float:
    """Return the squared correlation of two profiles over the sounds that both have, a negative one as 0.

    Parameters
    ----------
    observed, predicted : Series
        Responses, indexed by stimulus id.

    Returns
    -------
    float
        NaN if a profile is constant.
    """
    r = observed.astype(float).corr(predicted.astype(float))
    return float(max(r, 0.0) ** 2 if r == r else np.nan)


def category_means(values: pd.Series, category: pd.Series) -> pd.DataFrame:
    """Return mean, SEM (over sounds) and n by category, strongest first.

    Parameters
    ----------
    values, category : Series
        As for :func:`plot_profile`.

    Returns
    -------
    DataFrame
        Columns ``mean``, ``sem`` (NaN for a single sound), ``n``; indexed by category.
    """
    values, category = by_id(values, category)
    groups = values.groupby(category.to_numpy())
    table = pd.DataFrame({"mean": groups.mean(), "sem": groups.sem(), "n": groups.size()})
    return table.sort_values("mean", ascending=False, kind="stable")


def plot_category_means(
    ax: Axes, values: pd.Series, category: pd.Series, *, order: Sequence[str] | None = None
) -> Axes:
    """Draw the mean response to each category as horizontal bars, with the SEM over sounds.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    values, category : Series
        As for :func:`plot_profile`.
    order : sequence of str, optional
        Categories from top to bottom; strongest mean first if not given.

    Returns
    -------
    matplotlib Axes
        `ax`; the labels of the bars name the categories, so it serves as a legend.
    """
    means = category_means(values, category)
    means = means if order is None else means.loc[list(order)]
    colours = category_colours(category)
    at = np.arange(len(means))
    error = means["sem"].fillna(0).to_numpy()
    ax.barh(at, means["mean"], xerr=error, color=[colours[c] for c in means.index],
            error_kw={"ecolor": INK, "elinewidth": 0.8})  # fmt: skip
    ax.axvline(0, color=MUTED, linewidth=0.7)
    ax.set_yticks(at, [plain(c, 24) for c in means.index])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(means) - 0.4, -0.6)
    ax.locator_params(axis="x", nbins=4)
    return ax


def plot_profile_pair(
    observed: pd.Series, predicted: pd.Series | None, category: pd.Series,
    *, figure: Figure | None = None, name: str = "", model: str = "",
) -> Figure:  # fmt: skip
    """Draw a measured profile above its held-out prediction, with category means beside each.

    Parameters
    ----------
    observed, predicted : Series
        Measured and predicted responses, indexed by stimulus id; `predicted` may be None.
    category : Series
        Category of each sound, indexed by stimulus id.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.
    name, model : str
        What was measured, and what predicts it.

    Returns
    -------
    matplotlib Figure
        Axes in rows: profile, category means. Both rows have the order of the measured responses.
    """
    rows = [(observed, f"{plain(name)}, measured")]
    if predicted is not None:
        rows.append((predicted, f"held-out prediction by {plain(model)}"))
    figure = figure or new_figure(11, 2.35 * len(rows))
    order = sorted_ids(observed)
    kinds = [str(k) for k in category_means(observed, category).index]
    axes = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[4, 1], sharex="col")
    for (left, right), (values, title) in zip(axes, rows, strict=True):
        plot_profile(left, values, category, order=order).set_title(title)
        left.set_ylabel("response")
        plot_category_means(right, values, category, order=kinds)
    axes[-1, 0].set_xlabel(f"{len(order)} sounds, strongest measured response first")
    axes[0, 1].set_title("category means ± SEM")
    return figure


def plot_component_profiles(
    observed: xr.DataArray, predicted: xr.DataArray, category: pd.Series, table: pd.DataFrame,
    *, figure: Figure | None = None, n_columns: int = 3,
) -> Figure:  # fmt: skip
    """Draw every component's measured profile above the held-out prediction of it, in the same order.

    Parameters
    ----------
    observed, predicted : DataArray, dims (stimulus, target)
        Measured responses and a model's mean held-out predictions.
    category : Series
        Category of each sound, indexed by stimulus id.
    table : DataFrame
        Result rows, one per target, whose ``value`` and interval stand in the titles.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.
    n_columns : int
        Components side by side.

    Returns
    -------
    matplotlib Figure
        Two axes per component, measured then predicted, in the order of the targets.
    """
    targets = [str(t) for t in observed["target"].values]
    n_columns = min(n_columns, len(targets))
    n_rows = -(-len(targets) // n_columns)
    figure = figure or new_figure(11, 2.9 * n_rows + 0.5)
    grid = figure.add_gridspec(n_rows, n_columns)
    figure.set_layout_engine("constrained", h_pad=0.015, hspace=0)
    scores = {r["target"]: f"r² {r['value']:.2f} [{r['ci_low']:.2f}, {r['ci_high']:.2f}]" for _, r in table.iterrows()}
    for i, target in enumerate(targets):
        cell = grid[divmod(i, n_columns)].subgridspec(2, 1)
        upper, lower = figure.add_subplot(cell[0]), figure.add_subplot(cell[1])
        measured = series(observed.sel(target=target))
        order = sorted_ids(measured)
        plot_profile(upper, measured, category, order=order)
        plot_profile(lower, series(predicted.sel(target=target)), category, order=order)
        upper.set_title(plain(target), pad=9)
        upper.set_title(scores.get(target, ""), loc="right", fontweight="normal", fontsize=8.5)
        if i % n_columns == 0:
            upper.set_ylabel("measured")
            lower.set_ylabel("predicted")
    category_legend(figure, category)
    return figure


def category_legend(figure: Figure, category: pd.Series) -> None:
    """Add a legend of category colours below the axes of a figure with constrained layout."""
    from matplotlib.patches import Patch

    colours = category_colours(category)
    figure.legend(
        [Patch(color=c) for c in colours.values()], [plain(name, 24) for name in colours],
        loc="outside lower center", ncols=min(len(colours), 11), handlelength=0.9, handleheight=0.9,
        columnspacing=1.2,
    )  # fmt: skip
