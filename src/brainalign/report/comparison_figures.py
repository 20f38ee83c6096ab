"""Figures of comparisons beyond single components: voxels by layer, best stages, similarity, models together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainalign.measures.result import Result
from brainalign.measures.voxel_fits import ALL_UNITS
from brainalign.report._draw import plain
from brainalign.report.colours import INK, MUTED, ModelStyle, model_styles
from brainalign.report.estimates import draw_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Styles = Mapping[str, ModelStyle]


def plot_statistic_by_layer(ax: Axes, table: pd.DataFrame, styles: Styles | None = None) -> Axes:
    """Draw a statistic of all units by layer, with its interval, for every model.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    table : DataFrame
        Result rows of ``voxel-encoding``, ``similarity`` or ``dimensionality``, of one or several models; drawn are
        those of the first statistic and of the target ``"all units"``.
    styles : mapping of str to ModelStyle, optional
        Style by model.

    Returns
    -------
    matplotlib Axes
        `ax`.
    """
    rows = table[(table["target"] == ALL_UNITS) & (table["statistic"] == table["statistic"].iloc[0])]
    styles = styles or model_styles([m for m in rows["model"] if m])
    draw_layers(ax, rows, {**styles, "": ModelStyle(INK, "D", "-")})
    ax.set_ylabel(plain(str(rows["statistic"].iloc[0])))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, handlelength=3)
    return ax


def plot_depth_profile(ax: Axes, result: Result) -> Axes:
    """Draw the relative best stage of each region, a grey line per subject and the mean with its interval."""
    table = result.table[result.table["statistic"] == "relative_best_stage"]
    regions = list(table["target"])
    for subject in result.arrays["subject_stages"].sel(target=regions).values:
        ax.plot(range(len(regions)), subject, color=MUTED, lw=0.8, alpha=0.6)
    errors = np.abs(table[["ci_low", "ci_high"]].to_numpy(float).T - table["value"].to_numpy(float))
    ax.errorbar(range(len(regions)), table["value"], yerr=np.nan_to_num(errors), fmt="o", color=INK, capsize=3)
    ax.set_xticks(range(len(regions)), [plain(r) for r in regions])
    ax.set_xlim(-0.4, len(regions) - 0.6)
    ax.set_ylim(-0.05, 1.05)
    ax.set_ylabel("relative best stage (0: first layer, 1: last)")
    return ax


def plot_layer_map(ax: Axes, result: Result) -> Axes:
    """Draw the similarity of all layers with all layers of the models as a matrix."""
    grid = result.arrays["layer_map"]
    image = ax.imshow(grid.values, cmap="viridis")
    whose = dict.fromkeys(str(m) for m in grid["model"].values)
    names = [
        plain(f"{m} · {layer}" if len(whose) > 1 else str(layer), 40)
        for m, layer in zip(grid["model"].values, grid["layer"].values, strict=True)
    ]
    ax.set_xticks(range(len(names)), [plain(str(layer), 18) for layer in grid["layer_2"].values], rotation=90)
    ax.set_yticks(range(len(names)), names)
    ax.figure.colorbar(image, ax=ax, label=plain(str(result.table["statistic"].iloc[0])), shrink=0.8)
    return ax


def plot_compared_models(ax: Axes, result: Result) -> Axes:
    """Draw the score of every candidate with its interval, and the band between the noise ceilings."""
    table = result.table[~result.table["statistic"].str.startswith("difference")]
    styles = model_styles(list(table["model"]))
    names = []
    for i, (_, row) in enumerate(table.iterrows()):
        style = styles[str(row["model"])]
        ax.plot([row["ci_low"], row["ci_high"]], [i, i], color=style.colour, lw=1.6)
        ax.plot(row["value"], i, style.marker, color=style.colour)
        names.append(" · ".join(plain(str(row[c]), 32) for c in ("model", "layer") if row[c]))
    low, high = (table[c].dropna() for c in ("ceiling_lower", "ceiling_upper"))
    if len(low) and len(high):
        ax.axvspan(low.iloc[0], high.iloc[0], color=MUTED, alpha=0.25, lw=0, label="noise ceiling, lower to upper")
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    ax.axvline(0, color=MUTED, lw=0.7)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x")
    ax.set_xlabel(f"{plain(str(table['statistic'].iloc[0]))} of RDMs")
    return ax


def plot_variance_partition(ax: Axes, result: Result) -> Axes:
    """Draw the unique and shared parts of each target with their intervals, side by side."""
    parts = result.table[result.table["statistic"] != "R2"]
    targets = list(dict.fromkeys(parts["target"]))
    names = list(dict.fromkeys(parts["model"]))
    for i, (name, style) in enumerate(model_styles(names).items()):
        rows = parts[parts["model"] == name]
        at = np.array([targets.index(t) for t in rows["target"]]) + 0.7 * ((i + 0.5) / len(names) - 0.5)
        ax.plot([rows["ci_low"], rows["ci_high"]], [at, at], color=style.colour, lw=1.6)
        ax.plot(rows["value"], at, style.marker, color=style.colour, label=plain(str(name)))
    ax.axvline(0, color=MUTED, lw=0.7)
    ax.set_yticks(range(len(targets)), [plain(t) for t in targets])
    ax.set_ylim(len(targets) - 0.5, -0.5)
    ax.grid(axis="x")
    ax.set_xlabel("share of the variance on new sounds: unique to a space, shared by spaces (&)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax


#: Figures that hold all models: drawn from the rows of all results of a measure.
TOGETHER: dict[str, Callable[[Axes, pd.DataFrame, Styles | None], Axes]] = {
    "voxel-encoding": plot_statistic_by_layer,
    "similarity": plot_statistic_by_layer,
    "dimensionality": plot_statistic_by_layer,
}
#: Figures of one result.
MAIN: dict[str, Callable[[Axes, Result], Axes]] = {
    "depth-profile": plot_depth_profile,
    "layer-map": plot_layer_map,
    "compare-models": plot_compared_models,
    "variance-partition": plot_variance_partition,
}
