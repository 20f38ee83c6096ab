"""Figures of component matches: layers by components, models beside baselines, sounds within categories, two brains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.component_match import ENCODING
from brainalign.measures.component_predictors import WITHIN, R
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.profile_scores import relative_to_category
from brainalign.measures.result import Result
from brainalign.report._draw import plain
from brainalign.report.colours import INK, MUTED, category_colours, model_styles
from brainalign.report.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: p up to which a cell of the matrix is marked; not corrected for the number of cells.
MARKED = 0.05


def plot_match_matrix(ax: Axes, result: Result, *, predictor: str = ENCODING, statistic: str = R) -> Axes:
    """Draw the scores of all layers with all components as a matrix; a dot marks p <= .05 against the null.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    result : Result
        Of ``component-match``.
    predictor, statistic : str
        Which scores, see :func:`~brainalign.measures.component_match.component_match`.

    Returns
    -------
    matplotlib Axes
        `ax`, with one image, a row for each layer of each model.
    """
    _check_kind(result, "component-match")
    table = _scores(result.table, predictor, statistic)
    targets = list(dict.fromkeys(table["target"]))
    places = list(dict.fromkeys(zip(table["model"], table["layer"], strict=True)))
    rows = table.set_index(["model", "layer", "target"])
    grid, p = (np.array([[rows.loc[(*place, t), c] for t in targets] for place in places]) for c in ("value", "p"))
    image = ax.imshow(grid.astype(float), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    y, x = np.nonzero(np.nan_to_num(p.astype(float), nan=1.0) <= MARKED)
    # White on the dark ends of the scale.
    tone = np.where(np.abs(grid[y, x].astype(float)) > 0.6, "white", "black")
    ax.scatter(x, y, s=7, c=list(tone), linewidths=0, label=f"p ≤ {MARKED:g}, permutation")
    ax.set_xticks(range(len(targets)), [plain(t, 24) for t in targets], rotation=30, ha="right")
    ax.set_yticks(range(len(places)), [" · ".join(plain(n, 26) for n in dict.fromkeys(place) if n) for place in places])
    # A line between models.
    for i in range(1, len(places)):
        if places[i][0] != places[i - 1][0]:
            ax.axhline(i - 0.5, color=INK, lw=0.8)
    ax.tick_params(length=0)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label(f"{plain(statistic)}, {predictor}")
    return ax


def plot_against_baselines(ax: Axes, result: Result, *, target: str | None = None, statistic: str = R) -> Axes:
    """Draw each model's score with the component asked about, its interval, and the top of the null.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    result : Result
        Of ``component-match``.
    target : str, optional
        Another component.
    statistic : str
        Which score.

    Returns
    -------
    matplotlib Axes
        `ax`: filled marks are models and open ones baselines, by the layer chosen inside the training sounds; an
        upright stroke is the 95th percentile of the null.
    """
    _check_kind(result, "component-match")
    table = heads(_scores(result.table, ENCODING, statistic))
    target = target or str(result.settings["component"])
    if target not in set(table["target"]):
        raise MeasureError(f"no component {target!r}; {did_you_mean(target, set(table['target']))}")
    table = table[table["target"] == target]
    baselines = list(result.settings["baselines"])
    order = table.iloc[np.argsort(table["model"].isin(baselines).to_numpy(), kind="stable")]
    styles = model_styles(list(result.table["model"]))
    for i, (_, row) in enumerate(order.iterrows()):
        style, is_baseline = styles[str(row["model"])], row["model"] in baselines
        ax.plot([row["ci_low"], row["ci_high"]], [i, i], color=style.colour, lw=1.6)
        ax.plot(row["value"], i, style.marker, color=style.colour, markerfacecolor="white" if is_baseline else None)
        ax.plot(row["null_p95"], i, "|", color=MUTED, ms=13, mew=1.4, label="95 % of the null" if i == 0 else None)
    names = [f"{plain(str(m), 34)}{' (baseline)' if m in baselines else ''}" for m in order["model"]]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.axvline(0, color=MUTED, lw=0.7)
    ax.grid(axis="x")
    ax.set_xlabel(f"{plain(statistic)} of prediction and {plain(target)}, new sounds")
    if order["null_p95"].notna().any():
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


def plot_within(ax: Axes, result: Result, *, model: str | None = None) -> Axes:
    """Draw the sounds of the categories asked about: predicted against measured, both relative to their category.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    result : Result
        Of ``component-match``.
    model : str, optional
        Which model; the first, if not given.

    Returns
    -------
    matplotlib Axes
        `ax`, titled with the model and its score.
    """
    _check_kind(result, "component-match")
    profiles, observed = result.arrays["profiles"], result.arrays["observed"]
    models = [str(m) for m in profiles["profile"].values]
    model = model or models[0]
    if model not in models:
        raise MeasureError(f"no model {model!r}; {did_you_mean(model, models)}")
    target = str(result.settings["component"])
    both = np.column_stack([x.sel(target=target).values for x in (observed, profiles.sel(profile=model))])
    category = observed["category"].values.astype(str)
    keep = np.isin(category, result.settings["categories"]) & np.isfinite(both).all(axis=1)
    both, category = relative_to_category(both[keep], category[keep]), category[keep]
    for name, colour in category_colours(category).items():
        own = both[category == name]
        ax.scatter(own[:, 0], own[:, 1], s=18, color=colour, label=plain(name))
    ax.axhline(0, color=MUTED, lw=0.7)
    ax.axvline(0, color=MUTED, lw=0.7)
    table = heads(_scores(result.table, ENCODING, WITHIN))
    row = table[(table["model"] == model) & (table["target"] == target)].iloc[0]
    ax.set_title(f"{plain(model)}: r = {number(row['value'], 2)}")
    ax.set_xlabel(f"{plain(target)}, relative to the category")
    ax.set_ylabel("predicted, relative to the category")
    # Responses may be tiny or huge (weights, per cent, arbitrary units): a common factor keeps the numbers apart.
    ax.locator_params(nbins=6)
    ax.ticklabel_format(style="sci", scilimits=(-2, 3), useMathText=True)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


def plot_witnesses(ax: Axes, result: Result, *, predictor: str = ENCODING, statistic: str = R) -> Axes:
    """Draw the score of every layer with one brain's component against that with the other's, with both intervals.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    result : Result
        Of :func:`~brainalign.measures.witnesses.witness_agreement`.
    predictor, statistic : str
        Which scores.

    Returns
    -------
    matplotlib Axes
        `ax`. There is no line of equality: the two brains differ in noise, and so in the scores that can be reached.
    """
    _check_kind(result, "witness-agreement")
    table = _scores(result.table, predictor, statistic)
    table = table[table["layer"] != CHOSEN]
    brains, components = result.settings["brains"], result.settings["components"]
    one, two = (table[table["brain"] == b].set_index(["model", "layer"]) for b in brains)
    one, two = one.loc[one.index.intersection(two.index, sort=False)], two
    for model, style in model_styles([m for m, _ in one.index]).items():
        x = one.loc[[model]]
        y = two.loc[x.index]
        bars = [np.abs(t[["ci_low", "ci_high"]].to_numpy(float).T - t["value"].to_numpy(float)) for t in (x, y)]
        ax.errorbar(x["value"], y["value"], xerr=np.nan_to_num(bars[0]), yerr=np.nan_to_num(bars[1]), fmt=style.marker,
                    color=style.colour, elinewidth=0.5, ms=5, label=plain(str(model)))  # fmt: skip
    labels = [f"{plain(statistic)}: {plain(c, 30)}\n({plain(b, 40)})" for b, c in zip(brains, components, strict=True)]
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


def _check_kind(result: Result, kind: str) -> None:
    if not isinstance(result, Result) or result.kind != kind:
        found = result.kind if isinstance(result, Result) else type(result).__name__
        raise MeasureError(f"this draws a result of {kind}, found {found}")


def heads(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by which models are compared: layer ``chosen``, or the only one."""
    has_choice = table.groupby("model")["layer"].transform(lambda layers: (layers == CHOSEN).any()).astype(bool)
    return table[(table["layer"] == CHOSEN) | ~has_choice]


def _scores(table: pd.DataFrame, predictor: str, statistic: str) -> pd.DataFrame:
    """Return the scores of whole layers."""
    keep = (table["predictor"] == predictor) & (table["statistic"] == statistic) & (table["group"] == "")
    if not keep.any():
        raise MeasureError(
            f"no rows of predictor {predictor!r} and statistic {statistic!r}; there are "
            f"{', '.join(dict.fromkeys(map(str, table['statistic'])))}"
        )
    return table[keep]


#: Figures of one result.
MAIN: dict[str, Callable[[Axes, Result], Axes]] = {
    "component-match": plot_match_matrix,
    "witness-agreement": plot_witnesses,
}
