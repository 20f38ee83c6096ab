"""Response profiles of several components or groups of units, the brain beside models.

The form is that of Norman-Haignere, Kanwisher and McDermott (2015, Neuron), Figure 2.
The figures of one profile are in :mod:`brainalign.report.profiles`; here they stand together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import xarray as xr

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.report._draw import by_id, new_figure, plain, series
from brainalign.report.colours import INK, MUTED, category_colours
from brainalign.report.profiles import (
    category_legend,
    category_means,
    plot_category_means,
    plot_profile,
    sorted_ids,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ORDERS = ("response", "first", "category")


def ids_by_category(values: pd.Series, category: pd.Series) -> list[str]:
    """Return stimulus ids category by category, that of the strongest mean first, the strongest sound first in each.

    Parameters
    ----------
    values, category : Series
        As for :func:`~brainalign.report.profiles.plot_profile`.

    Returns
    -------
    list of str
        Every id once.
    """
    values, category = by_id(values, category)
    place = {c: i for i, c in enumerate(category_means(values, category).index)}
    table = pd.DataFrame({"place": [place[c] for c in category], "value": -values.to_numpy(float)}, index=values.index)
    return [str(i) for i in table.sort_values(["place", "value"], kind="stable").index]


def plot_response_profiles(
    profiles: Mapping[str, xr.DataArray],
    category: pd.Series,
    *,
    order: Literal["response", "first", "category"] = "response",
    figure: Figure | None = None,
) -> Figure:
    """Draw every profile as bars coloured by category with the category means beside it, the brain beside models.

    Parameters
    ----------
    profiles : mapping of str to DataArray, dims (stimulus, target)
        Responses of components or groups of units by whose they are; the first is the brain. All have the targets of
        the first.
    category : Series
        Category of each sound, indexed by stimulus id.
    order : {'response', 'first', 'category'}
        Sounds from left to right: each profile by its own responses (as in the paper), all by those of the first, or by
        category and within it by those of the first.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Figure
        A row for each target; for each of `profiles` the sounds, and the means by category with their SEM over sounds,
        in the order of the first.

    Raises
    ------
    MeasureError
        If there is no such order, or a target or a sound is on one side only.
    """
    if order not in _ORDERS:
        raise MeasureError(f"no order {order!r}; {did_you_mean(order, _ORDERS)}")
    targets = _targets(profiles)
    figure = figure or new_figure(5.4 * len(profiles) + 0.4, 2.1 * len(targets) + 0.4)
    axes = figure.subplots(len(targets), 2 * len(profiles), squeeze=False, width_ratios=[2.2, 1] * len(profiles))
    for row, target in zip(axes, targets, strict=True):
        first = series(next(iter(profiles.values())).sel(target=target))
        kinds = [str(k) for k in category_means(first, category).index]
        ids = ids_by_category(first, category) if order == "category" else sorted_ids(first)
        for i, (whose, responses) in enumerate(profiles.items()):
            values = series(responses.sel(target=target))
            bars, means = row[2 * i : 2 * i + 2]
            plot_profile(bars, values, category, order=None if order == "response" else ids)
            bars.set_title(f"{plain(target, 20)}, {plain(whose, 28)}")
            plot_category_means(means, values, category, order=kinds)
            if i == 0:
                bars.set_ylabel("response")
    axes[0, 1].set_title("category means ± SEM", fontsize=8.5)
    return figure


def plot_category_grid(
    profiles: Mapping[str, xr.DataArray], category: pd.Series, *, figure: Figure | None = None
) -> Figure:
    """Draw only the category means: a column for each component, a row for the brain and each model.

    Parameters
    ----------
    profiles, category, figure
        As for :func:`plot_response_profiles`.

    Returns
    -------
    matplotlib Figure
        In each column the categories have the order of the first row, and all rows one scale: responses must have one
        unit, as predictions of the brain's have. Lines are the SEM over sounds.

    Raises
    ------
    MeasureError
        If a target is on one side only.
    """
    targets, colours = _targets(profiles), category_colours(category.astype(str))
    figure = figure or new_figure(11, 1.7 * len(profiles) + 0.7)
    axes = figure.subplots(len(profiles), len(targets), squeeze=False, sharey="col")
    for column, target in enumerate(targets):
        order: list[str] = []
        for ax, (whose, responses) in zip(axes[:, column], profiles.items(), strict=True):
            means = category_means(series(responses.sel(target=target)), category)
            order = order or [str(c) for c in means.index]
            means = means.loc[order]
            ax.bar(np.arange(len(order)), means["mean"], yerr=means["sem"].fillna(0), color=[colours[c] for c in order],
                   error_kw={"ecolor": INK, "elinewidth": 0.8}, width=0.9)  # fmt: skip
            ax.axhline(0, color=MUTED, linewidth=0.7)
            ax.set_xticks([])
            ax.spines["bottom"].set_visible(False)
            ax.locator_params(axis="y", nbins=4)
            if column == 0:
                ax.set_ylabel(plain(whose, 22))
        axes[0, column].set_title(plain(target, 18))
    category_legend(figure, category)
    return figure


def category_table(profiles: Mapping[str, xr.DataArray], category: pd.Series) -> pd.DataFrame:
    """Return the numbers of :func:`plot_category_grid`.

    Parameters
    ----------
    profiles, category
        As for :func:`plot_response_profiles`.

    Returns
    -------
    DataFrame
        One row for each profile and category: ``whose``, ``target``, ``category``, ``mean``, ``sem``, ``n``.
    """
    parts = []
    for whose, responses in profiles.items():
        for target in _targets(profiles):
            means = category_means(series(responses.sel(target=target)), category)
            means = means.rename_axis("category").reset_index()
            parts.append(means.assign(whose=whose, target=target)[["whose", "target", "category", "mean", "sem", "n"]])
    return pd.concat(parts, ignore_index=True)


def _targets(profiles: Mapping[str, xr.DataArray]) -> list[str]:
    """Return the targets, the same of all profiles."""
    if not profiles:
        raise MeasureError("no profiles are given")
    first, *others = [[str(t) for t in p["target"].values] for p in profiles.values()]
    for whose, theirs in zip(list(profiles)[1:], others, strict=True):
        if odd := sorted(set(first) ^ set(theirs)):
            raise MeasureError(f"the targets of {whose} and {next(iter(profiles))} differ in {name_some(odd)}")
    return first
