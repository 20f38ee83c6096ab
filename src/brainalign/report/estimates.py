"""Figures of estimates with their intervals: by layer, by target, and response ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign.errors import MeasureError
from brainalign.measures.encoding import CHOSEN
from brainalign.report._draw import new_figure, plain
from brainalign.report.colours import GRID, INK, MUTED, PAPER, ModelStyle, model_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from brainalign.measures.result import Result


def plot_layer_curves(
    table: pd.DataFrame, *, figure: Figure | None = None, n_columns: int = 3,
    styles: Mapping[str, ModelStyle] | None = None, label: str = "value", ceilings: Mapping[str, float] | None = None,
) -> Figure:  # fmt: skip
    """Draw the value by layer for every model, one panel per target.

    Parameters
    ----------
    table : DataFrame
        Result rows of one statistic: ``model``, ``layer`` (in the order of the network), ``target``, ``value``,
        ``ci_low``, ``ci_high``. Rows of the layer ``"chosen"`` become points at the right.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.
    n_columns : int
        Panels side by side.
    styles : mapping of str to ModelStyle, optional
        Style by model; :func:`brainalign.report.colours.model_styles` if not given.
    label : str
        What the value is.
    ceilings : mapping of str to float, optional
        By target, the value that noise in the measurements leaves to a perfect model; see :func:`noise_ceilings`.

    Returns
    -------
    matplotlib Figure
        One axes per target, on one scale.
    """
    targets = list(dict.fromkeys(table["target"]))
    n_columns = min(n_columns, len(targets))
    n_rows = -(-len(targets) // n_columns)
    figure = figure or new_figure(11 if n_columns > 2 else 5.5 * n_columns + 1, 2.6 * n_rows + 0.6)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    styles = styles or model_styles(list(table["model"]))
    depth = _Depth.of(table)
    for ax, target in zip(axes.flat, targets, strict=False):
        draw_layers(ax, table[table["target"] == target], styles, depth)
        ax.set_title(plain(target))
        if ceilings and target in ceilings:
            ax.axhline(ceilings[target], color=INK, linestyle=":", linewidth=1.2, label="noise ceiling")
    for ax in axes.flat[len(targets) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel(label)
    found = [ax.get_legend_handles_labels() for ax in axes.flat]
    legend = {label: handle for pair in found for handle, label in zip(*pair, strict=True)}
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3, handlelength=3)
    return figure


def noise_ceilings(results: Sequence[Result], brain: str) -> dict[str, float]:
    """Return the r² that noise leaves to a perfect model, by unit of the brain, where `reliability` was measured.

    Parameters
    ----------
    results : sequence of Result
        Of a run.
    brain : str
        Name of the brain data.

    Returns
    -------
    dict of str to float
        Empty without a ``reliability`` of these data with the statistic ``noise-ceiling``.
    """
    for result in results:
        if result.kind == "reliability" and "noise-ceiling" in result.arrays and (result.table["brain"] == brain).all():
            values = result.arrays["noise-ceiling"]
            units = values["unit"].values.astype(str).tolist()
            return {u: float(v) for u, v in zip(units, values.values, strict=True) if np.isfinite(v)}
    return {}


@dataclass(frozen=True)
class _Depth:
    """Where layers stand on the horizontal axis, for all panels of a figure alike.

    By index if all networks have the same layers, else from 0 (first) to 1 (last).
    """

    layers: dict[str, list[str]]
    chosen: list[str]

    @classmethod
    def of(cls, table: pd.DataFrame) -> _Depth:
        by_layer, chosen = table[table["layer"] != CHOSEN], table[table["layer"] == CHOSEN]
        groups = by_layer.groupby("model", sort=False)["layer"]
        layers = {str(model): list(dict.fromkeys(names)) for model, names in groups}
        return cls(layers, [m for m in dict.fromkeys(chosen["model"]) if len(layers.get(m, [])) != 1])

    @property
    def networks(self) -> list[list[str]]:
        """Layers of each model that has several."""
        return [names for names in self.layers.values() if len(names) > 1]

    @property
    def shared(self) -> bool:
        """Whether there is one list of layers for all."""
        return len({tuple(names) for names in self.networks}) == 1

    @property
    def right(self) -> float:
        """Position of the last layer."""
        return len(self.networks[0]) - 1 if self.shared else 1

    def position(self, model: str, layer: str) -> float:
        """Return where a layer stands."""
        if layer == CHOSEN:
            return self.right * (1.14 + 0.07 * self.chosen.index(model))
        return self.right * self.layers[model].index(layer) / (len(self.layers[model]) - 1)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Return positions and labels."""
        at, names = [0.0, 0.5, 1.0], ["first", "middle layer", "last"]
        if self.shared:
            names = [plain(name, 18) for name in self.networks[0]]
            at = [float(i) for i in range(len(names))]
        if not self.networks:
            at, names = [], []
        if self.chosen:
            at, names = [*at, self.right * (1.14 + 0.035 * (len(self.chosen) - 1))], [*names, CHOSEN]
        return at, names


def draw_layers(ax: Axes, table: pd.DataFrame, styles: Mapping[str, ModelStyle], depth: _Depth | None = None) -> None:
    """Draw the value by layer for every model: the rows of one statistic and one target."""
    depth = depth or _Depth.of(table)
    if table.duplicated(["model", "layer"]).any():
        first = table[table.duplicated(["model", "layer"])].iloc[0]
        raise MeasureError(f"two values for layer {first['layer']!r} of {first['model']!r}: select one statistic first")
    for name, rows in table.groupby("model", sort=False):
        model = str(name)
        style, label = styles[model], plain(model) or "brain"
        curve = rows[rows["layer"] != CHOSEN]
        if len(depth.layers.get(model, [])) == 1:
            curve = pd.concat([curve, curve])
            at, label = [0.0, depth.right], f"{label} (one layer)"
            line: dict[str, Any] = {"ls": (0, (6, 3)), "lw": 1.4}
        else:
            at = [depth.position(model, str(layer)) for layer in curve["layer"]]
            line = {"ls": style.line, "marker": style.marker, "ms": 4.5, "lw": 1.6}
            for _, row in rows[rows["layer"] == CHOSEN].iterrows():
                _interval(ax, depth.position(model, CHOSEN), row, style, vertical=True)
        if len(curve):
            ax.fill_between(at, curve["ci_low"], curve["ci_high"], color=style.colour, alpha=0.13, lw=0)
            ax.plot(at, curve["value"], color=style.colour, label=label, **line)
    ticks, names = depth.ticks()
    ax.set_xticks(ticks, names)
    if depth.shared and max(map(len, names)) * len(names) > 40:
        ax.tick_params(axis="x", rotation=40)
        for text in ax.get_xticklabels():
            text.set_horizontalalignment("right")
            text.set_rotation_mode("anchor")
    if depth.chosen:
        ax.axvline(depth.right * 1.06, color=GRID, lw=0.8)
    ax.axhline(0, color=MUTED, lw=0.7)
    ax.grid(axis="y")
    ax.locator_params(axis="y", nbins=5)


def _interval(
    ax: Axes, at: float, row: pd.Series, style: ModelStyle, *, vertical: bool = False, hollow: bool = False
) -> None:
    """Draw a dot with its interval; hollow if the row is flagged."""
    ends = [row["ci_low"], row["ci_high"]]
    line, dot = (([at, at], ends), (at, row["value"])) if vertical else ((ends, [at, at]), (row["value"], at))
    ax.plot(*line, color=style.colour, lw=1.6, solid_capstyle="butt", zorder=2)
    ax.plot(*[[x] for x in dot], style.marker, ms=6, color=style.colour, mew=1.4, zorder=3,
            mfc=PAPER if hollow else style.colour)  # fmt: skip


def plot_targets(ax: Axes, table: pd.DataFrame, *, styles: Mapping[str, ModelStyle] | None = None) -> Axes:
    """Draw one dot with interval per target and model, models side by side within a target.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    table : DataFrame
        Result rows of one statistic. Of a model with rows of the layer ``"chosen"`` only those are drawn.
    styles : mapping of str to ModelStyle, optional
        Style by model.

    Returns
    -------
    matplotlib Axes
        `ax`: one line per target, or per target and layer where a model has several layers and none is chosen.
    """
    table = headline_rows(table)
    styles = styles or model_styles(list(table["model"]))
    many = table.duplicated(["model", "target"]).any()
    key = table["target"] + (" · " + table["layer"] if many else "")
    groups, models = list(dict.fromkeys(key)), list(dict.fromkeys(table["model"]))
    for (_, row), group in zip(table.iterrows(), key, strict=True):
        shift = (models.index(row["model"]) - (len(models) - 1) / 2) * 0.7 / len(models)
        _interval(ax, groups.index(group) + shift, row, styles[row["model"]], hollow=bool(row["note"]))
    ax.set_yticks(range(len(groups)), [plain(g) for g in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.axvline(0, color=MUTED, lw=0.7)
    ax.grid(axis="x")
    _model_legend(ax, {m: styles[m] for m in models})
    return ax


def headline_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of the layer ``"chosen"`` for every model and target that has one, and all rows of the others."""
    has = table[table["layer"] == CHOSEN].set_index(["model", "target"]).index
    other = ~pd.MultiIndex.from_frame(table[["model", "target"]]).isin(has)
    return table[(table["layer"] == CHOSEN) | other]


def _model_legend(ax: Axes, styles: Mapping[str, ModelStyle]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=s.colour, marker=s.marker, ls="none") for s in styles.values()]
    labels = [plain(m) or "model" for m in styles]
    ax.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)


def plot_ratios(
    ax: Axes, table: pd.DataFrame, *, styles: Mapping[str, ModelStyle] | None = None,
    targets: str = "the target categories",
) -> Axes:  # fmt: skip
    """Draw response ratios: a dot with its interval per group of units, and a line at 1 (no preference).

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    table : DataFrame
        Result rows of the statistic ``"ratio"``. Rows with a ``note`` are hollow: read the note first.
    styles : mapping of str to ModelStyle, optional
        Style by model; the brain (model ``""``) is drawn in the colour of the text.
    targets : str
        What to call the target sounds.

    Returns
    -------
    matplotlib Axes
        `ax`, rows from top to bottom. The axis is linear. A row whose interval is wider than twice its ratio, or whose
        ratio is more than ten times the median, does not stretch it: its interval may run off the axis, and a ratio off
        the axis is an arrow at the edge with its value.
    """
    styles = dict(styles or model_styles([m for m in table["model"] if m]))
    styles[""] = ModelStyle(INK, "D", "-")
    low, high = _ratio_limits(table)
    several = table.loc[table["model"] != "", "target"].nunique() > 1
    names = []
    for i, (_, row) in enumerate(table.iterrows()):
        style = styles[row["model"]]
        parts = (
            [row["model"], row["layer"], *([row["target"]] if several else [])]
            if row["model"]
            else ["brain", row["target"]]
        )
        names.append(" · ".join(plain(part, 32) for part in parts if part))
        _interval(ax, i, row, style, hollow=bool(row["note"]))
        if not np.isfinite(row["value"]):
            ax.annotate("not defined", (1, i), (6, 0), textcoords="offset points", va="center", fontsize=8)
        for edge, beyond in ((low, row["value"] < low), (high, row["value"] > high)):
            if beyond:
                _arrow(ax, edge, i, row, style, left=edge == low)
    ax.axvline(1, color=INK, lw=0.9, ls=(0, (4, 3)))
    ax.set_xlim(low, high)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="x")
    ax.set_xlabel(f"mean response to {plain(targets, 60)} / mean response to the rest")
    return ax


def _ratio_limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return axis limits that hold 1 and all rows that are known well enough to be read off a common axis.

    That is: rows with an interval no wider than twice the ratio, and a ratio of at most ten times the median.
    """
    cells = table[["value", "ci_low", "ci_high"]].to_numpy(float)
    value = np.abs(cells[:, 0])
    known = np.isfinite(value) & ~(cells[:, 2] - cells[:, 1] > 2 * value)
    if known.any():
        known &= value <= 10 * np.median(value[known])
    ends = np.append(cells[known][np.isfinite(cells[known])], 1.0)
    margin = 0.06 * max(np.ptp(ends), 0.1)
    return float(ends.min() - margin), float(ends.max() + margin)


def _arrow(ax: Axes, edge: float, at: float, row: pd.Series, style: ModelStyle, *, left: bool) -> None:
    """Draw a ratio that lies outside the axis: an arrow at the edge and the value; hollow if flagged."""
    face = PAPER if row["note"] else style.colour
    ax.plot([edge], [at], "<" if left else ">", color=style.colour, mfc=face, ms=7, clip_on=False, zorder=4)
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
    ax.annotate(f"{row['value']:.3g}", (edge, at), (8 if left else -8, 0), textcoords="offset points", bbox=box,
                ha="left" if left else "right", va="center", fontsize=8)  # fmt: skip


def plot_rsa(ax: Axes, table: pd.DataFrame, *, styles: Mapping[str, ModelStyle] | None = None) -> Axes:
    """Draw the correlation of brain and model RDMs by layer, with its interval, for every model.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    table : DataFrame
        Result rows of the measure "rsa": ``model``, ``layer``, ``value``, ``ci_low``, ``ci_high``.
    styles : mapping of str to ModelStyle, optional
        Style by model.

    Returns
    -------
    matplotlib Axes
        `ax`.
    """
    draw_layers(ax, table, styles or model_styles(list(table["model"])))
    ax.set_ylabel("RDM correlation (Spearman)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, handlelength=3)
    return ax
