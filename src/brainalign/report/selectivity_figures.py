"""Figures of selectivity: units by rank, read-outs, embeddings with contours, ablations, level sweeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.result import Result
from brainalign.measures.selective import OTHER, SELECTED
from brainalign.report._draw import plain
from brainalign.report.answers import target_names
from brainalign.report.colours import INK, MUTED, PAPER, ModelStyle, model_styles
from brainalign.report.estimates import draw_layers
from brainalign.report.words import p_words, present

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
#: Shares of the sounds of a kind that the contours enclose.
PROPORTIONS = (0.8, 0.6, 0.4, 0.2)
#: Up to so many units are drawn as points with their names.
FEW_UNITS = 20
RATIO = "response ratio (target sounds / rest),\non sounds that did not select"
Styles = Mapping[str, ModelStyle]
_TARGET, _REST = (style.colour for style in model_styles(["targets", "rest"]).values())


def plot_selective_ratio(ax: Axes, result: Result) -> Axes:
    """Draw the response ratio of the selected and of the other units of each layer; hollow where there is a note."""
    table = result.table.dropna(subset="value")
    layers = list(dict.fromkeys(table["layer"]))
    for group, colour, shift in ((SELECTED, _TARGET, -0.12), (OTHER, _REST, 0.12)):
        rows = table[table["target"] == group]
        _points(ax, rows, [layers.index(layer) + shift for layer in rows["layer"]], colour, group)
        noted = rows[rows["note"] != ""]
        at = [layers.index(layer) + shift for layer in noted["layer"]]
        ax.plot(at, noted["value"], "o", color=colour, mfc=PAPER, ms=5)
    ax.axhline(1, color=INK, lw=0.9, ls=(0, (4, 3)))
    _layer_axis(ax, layers, RATIO)
    _legend_outside(ax)
    return ax


def plot_selective_profile(ax: Axes, result: Result) -> Axes:
    """Draw the correlation of the selected units of each layer with each brain component."""
    table = result.table[result.table["units"] == SELECTED].dropna(subset="value")
    layers = list(dict.fromkeys(table["layer"]))
    targets = list(dict.fromkeys(table["target"]))
    for i, (target, style) in enumerate(model_styles(targets).items()):
        rows = table[table["target"] == target]
        shift = 0.6 * ((i + 0.5) / len(targets) - 0.5)
        _points(ax, rows, [layers.index(layer) + shift for layer in rows["layer"]], style.colour, target, style.marker)
    ax.axhline(0, color=INK, lw=0.9, ls=(0, (4, 3)))
    _layer_axis(ax, layers, "correlation of selected units with a component")
    _legend_outside(ax)
    return ax


def plot_units(ax: Axes, result: Result) -> Axes:
    """Draw the selectivity index of all units by rank, layer by layer; selected units are emphasised, few are named."""
    table = result.table.dropna(subset="value")
    for layer, style in model_styles(list(dict.fromkeys(table["layer"]))).items():
        rows = table[table["layer"] == layer].sort_values("rank")
        share = (rows["rank"] - 0.5) / len(rows)
        few = len(rows) <= FEW_UNITS
        label = plain(layer or rows["brain"].iloc[0]) or "units"
        ax.plot(share, rows["value"], "o" if few else "-", color=style.colour, lw=1.2, ms=5, label=label)
        top = rows["selected"].astype(bool)
        ax.plot(share[top], rows.loc[top, "value"], "o" if few else "-", color=style.colour, lw=3.5, ms=9,
                solid_capstyle="butt")  # fmt: skip
        for x, y, name in zip(share, rows["value"], rows["target"], strict=True) if few else ():
            ax.annotate(plain(name, 24), (x, y), (8, 0), textcoords="offset points", va="center", fontsize=8)
    ax.axhline(0, color=MUTED, lw=0.8)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"rank / number of units{' (thick: selected)' if table['selected'].any() else ''}")
    ax.set_ylabel(f"selectivity index ({result.settings['index']})")
    _legend_outside(ax)
    return ax


def plot_readout(ax: Axes, result: Result) -> Axes:
    """Draw the average precision of the targets by layer, of all units and of slices, with chance as a line."""
    table = result.table[result.table["target"] == "targets"].dropna(subset="value")
    layers, units = (list(dict.fromkeys(table[c])) for c in ("layer", "units"))
    for i, (name, style) in enumerate(model_styles(units).items()):
        rows = table[table["units"] == name]
        shift = 0.6 * ((i + 0.5) / len(units) - 0.5)
        at = [layers.index(layer) + shift for layer in rows["layer"]]
        _points(ax, rows, at, style.colour, "all units" if name == "all" else name, style.marker)
    ax.axhline(float(table["chance"].iloc[0]), color=INK, lw=0.9, ls=(0, (4, 3)))
    _layer_axis(ax, layers, "average precision (dashed: chance)")
    _legend_outside(ax)
    return ax


def plot_segregation(ax: Axes, result: Result) -> Axes:
    """Draw the embedding of the layer with the highest segregation index."""
    table = result.table.dropna(subset="value")
    if table.empty:
        raise MeasureError("no layer could be embedded: there is nothing to draw")
    best = int(table["value"].to_numpy().argmax())
    layer, value = str(table["layer"].iloc[best]), float(table["value"].iloc[best])
    plot_embedding(ax, result.arrays["embedding"], layer=layer, targets=target_names(result))
    chance = f", chance {table['chance'].iloc[best]:.2f}" if "chance" in table else ""
    ax.set_title(f"{plain(layer) or 'all units'}: segregation index {value:.2f}{chance}")
    return ax


def plot_embedding(ax: Axes, embedding: xr.DataArray, *, layer: str, targets: str = "targets") -> Axes:
    """Draw the embedding of a layer: a dot for each sound, contours that enclose shares of targets and of the rest.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    embedding : DataArray
        The array ``embedding`` (layer, stimulus, axis) of the measure "segregation", with ``is_target``.
    layer : str
        Which layer.
    targets : str
        What to call the target sounds.

    Returns
    -------
    matplotlib Axes
        `ax`, both axes on one scale. The contours of a Gaussian kernel density (Scott's rule) enclose 80, 60, 40 and
        20 % of its mass.

    Raises
    ------
    MeasureError
        If the layer was not embedded.
    """
    layers = [str(name) for name in embedding["layer"].values]
    if layer not in layers:
        raise MeasureError(f"no embedding of a layer {layer!r}; {did_you_mean(layer, layers)}")
    points = np.asarray(embedding.values[layers.index(layer)], dtype=np.float64)
    target = embedding["is_target"].values.astype(bool)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.15 * (high - low)
    xs, ys = (np.linspace(a, b, 100) for a, b in zip(low - margin, high + margin, strict=True))
    for kind, colour, label in ((~target, _REST, "other sounds"), (target, _TARGET, plain(targets))):
        ax.plot(*points[kind].T, ".", color=colour, ms=4, alpha=0.7, label=label)
        density = kernel_density(points[kind], xs, ys)
        if density is not None:
            ax.contour(xs, ys, density, levels=mass_levels(density, PROPORTIONS), colors=colour, linewidths=1)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("t-SNE 1")
    ax.set_ylabel("t-SNE 2")
    ax.set_aspect("equal")
    _legend_outside(ax)
    return ax


def kernel_density(points: Array, xs: Array, ys: Array) -> Array | None:
    """Return a Gaussian kernel density on a grid.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        The points.
    xs, ys : ndarray, shape (n_x,) and (n_y,)
        The grid.

    Returns
    -------
    ndarray, shape (n_y, n_x), or None
        None where there is no density: of fewer than three points, or points on a line.
    """
    from scipy.stats import gaussian_kde

    if len(points) < 3 or np.linalg.matrix_rank(points - points.mean(axis=0)) < 2:
        return None
    grid = np.stack([axis.ravel() for axis in np.meshgrid(xs, ys)])
    return np.asarray(gaussian_kde(points.T)(grid)).reshape(len(ys), len(xs))


def mass_levels(density: Array, proportions: tuple[float, ...]) -> list[float]:
    """Return the levels above which shares of the mass of a density lie.

    Parameters
    ----------
    density : ndarray
        On an even grid that holds nearly all of it.
    proportions : tuple of float
        The shares, falling.

    Returns
    -------
    list of float
        The levels, rising.
    """
    ordered = np.sort(density.ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    return [float(ordered[np.searchsorted(mass, share)]) for share in proportions]


def plot_ablation(ax: Axes, result: Result) -> Axes:
    """Draw the average precision of each category with each group of units silenced, its mean with p, and chance."""
    rows = result.table[result.table["statistic"] == "average_precision"]
    means = result.table[result.table["statistic"] == "mAP"].set_index("ablated")
    groups, at = list(means.index), np.arange(len(means))
    wide = rows.pivot(index="ablated", columns="target", values="value").reindex(groups)
    for category, style in model_styles(list(wide.columns)).items():
        ax.plot(at, wide[category], color=style.colour, ls=style.line, marker=style.marker, ms=3, lw=0.8,
                alpha=0.8, label=plain(category))  # fmt: skip
    ax.vlines(at, means["ci_low"], means["ci_high"], color=INK, lw=1.6)
    ax.plot(at, means["value"], "o", color=INK, ms=7, label="mean of categories")
    ax.axhline(float(means["chance"].iloc[0]), color=INK, lw=0.9, ls=(0, (4, 3)), label="chance (mean)")
    p = [f"\n{p_words(value)}" if present(value) else "" for value in means["p"]]
    ax.set_xticks(at, [plain("intact" if g == "none" else g) + text for g, text in zip(groups, p, strict=True)])
    ax.set_xlim(-0.4, len(groups) - 0.6)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("units silenced (p: lower than intact)")
    ax.set_ylabel("average precision")
    _legend_outside(ax)
    return ax


def plot_level_sweep(ax: Axes, result: Result) -> Axes:
    """Draw the response ratio of the selected units of each layer against the power of the target sounds."""
    table = result.table[(result.table["target"] == SELECTED) & (result.table["sounds"] == "normalised")]
    for layer, style in model_styles(list(dict.fromkeys(table["layer"]))).items():
        rows = table[table["layer"] == layer].sort_values("power_ratio")
        ax.plot(rows["power_ratio"], rows["value"], marker=style.marker, color=style.colour, ms=4, label=plain(layer))
        ax.fill_between(rows["power_ratio"], rows["ci_low"], rows["ci_high"], color=style.colour, alpha=0.15, lw=0)
    ax.axhline(1, color=INK, lw=0.9, ls=(0, (4, 3)))
    ax.set_xscale("log", base=2)
    at = sorted(set(table["power_ratio"]))
    ax.set_xticks(at, [f"1/{1 / x:g}" if x < 1 else f"{x:g}" for x in at])
    ax.minorticks_off()
    ax.invert_xaxis()
    ax.set_xlabel("power of target sounds / power of the rest")
    ax.set_ylabel("response ratio (target sounds / rest)\nof selected units")
    _legend_outside(ax)
    return ax


def plot_selective_ratios(ax: Axes, table: pd.DataFrame, styles: Styles) -> Axes:
    """Draw the response ratio of the selected units by layer, for every model; rows with a note are left out."""
    return _models_by_layer(ax, table[(table["target"] == SELECTED) & (table["note"] == "")], styles, RATIO, 1.0)


def plot_readouts(ax: Axes, table: pd.DataFrame, styles: Styles) -> Axes:
    """Draw the average precision of the targets from all units by layer, for every model, and chance."""
    rows = table[(table["target"] == "targets") & (table["units"] == "all")]
    return _models_by_layer(ax, rows, styles, "average precision, all units", float(rows["chance"].iloc[0]))


def plot_segregations(ax: Axes, table: pd.DataFrame, styles: Styles) -> Axes:
    """Draw the segregation index by layer, for every model; open marks are what chance gives."""
    _models_by_layer(ax, table, styles, "segregation index (open: chance)")
    if "chance" in table:
        for line, (_, rows) in zip(
            list(ax.lines), table.dropna(subset="value").groupby("model", sort=False), strict=False
        ):
            at = np.asarray(line.get_xdata())
            ax.plot(at, np.resize(rows["chance"], len(at)), ls="", marker="o", mfc="none", ms=4, color=line.get_color())
    return ax


def plot_ablations(ax: Axes, table: pd.DataFrame, styles: Styles) -> Axes:
    """Draw, for every model, how much higher the mean average precision is with other units silenced than the top."""
    rows = table[table["statistic"] == "mAP_difference"]
    groups, models = list(dict.fromkeys(rows["ablated"])), list(dict.fromkeys(rows["model"]))
    for i, model in enumerate(models):
        own = rows[rows["model"] == model]
        shift = 0.6 * ((i + 0.5) / len(models) - 0.5)
        style = styles[model]
        _points(ax, own, [groups.index(g) + shift for g in own["ablated"]], style.colour, model, style.marker)
    ax.axhline(0, color=INK, lw=0.9, ls=(0, (4, 3)))
    ax.set_xticks(range(len(groups)), [plain(g) for g in groups])
    ax.set_xlim(-0.6, len(groups) - 0.4)
    ax.set_xlabel("units silenced")
    ax.set_ylabel("difference in mean average precision")
    _legend_outside(ax)
    return ax


#: Figures of all models side by side, drawn from the rows of all results of a measure.
TOGETHER: dict[str, Callable[[Axes, pd.DataFrame, Styles], Axes]] = {
    "selective-ratio": plot_selective_ratios,
    "readout": plot_readouts,
    "segregation": plot_segregations,
    "ablation": plot_ablations,
}
#: Main figure of each measure; takes axes and a result.
MAIN: dict[str, Callable[[Axes, Result], Axes]] = {
    "selective-ratio": plot_selective_ratio,
    "selective-profile": plot_selective_profile,
    "unit-table": plot_units,
    "readout": plot_readout,
    "segregation": plot_segregation,
    "ablation": plot_ablation,
    "level-sweep": plot_level_sweep,
}


def _points(ax: Axes, rows: pd.DataFrame, at: list[float], colour: str, label: str, marker: str = "o") -> None:
    ax.vlines(at, rows["ci_low"], rows["ci_high"], color=colour, lw=1.2)
    ax.plot(at, rows["value"], marker, color=colour, ms=5, label=plain(label))


def _layer_axis(ax: Axes, layers: list[str], label: str) -> None:
    ax.set_xticks(range(len(layers)), [plain(layer) or "all units" for layer in layers])
    ax.set_xlim(-0.6, len(layers) - 0.4)
    ax.set_xlabel("layer")
    ax.set_ylabel(label)


def _models_by_layer(ax: Axes, rows: pd.DataFrame, styles: Styles, label: str, reference: float | None = None) -> Axes:
    """Draw a curve for each model, and a dashed line at what no effect gives."""
    draw_layers(ax, rows.dropna(subset="value"), {**styles, "": ModelStyle(INK, "D", "-")})
    if reference is not None:
        ax.axhline(reference, color=INK, lw=0.9, ls=(0, (4, 3)))
    ax.set_ylabel(label)
    _legend_outside(ax)
    return ax


def _legend_outside(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
