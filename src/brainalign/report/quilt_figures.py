"""Figures of sound quilts: responses by segment length."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.quilt_sweep import REST, TARGETS
from brainalign.measures.result import Result
from brainalign.measures.selective import OTHER, SELECTED
from brainalign.report._draw import plain
from brainalign.report.colours import model_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_quilt_sweep(ax: Axes, result: Result, *, layer: str | None = None) -> Axes:
    """Draw the responses of the selected and of the other units to quilts of targets and of the rest.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    result : Result
        Of the measure "quilt-sweep", of one network or combined.
    layer : str, optional
        Which layer; the last if not given.

    Returns
    -------
    matplotlib Axes
        `ax`. Bands and bars are intervals; the original, cut to the length of the quilts, stands at the right.

    Raises
    ------
    MeasureError
        If there is no such layer.
    """
    table = _responses(result)
    layers = list(dict.fromkeys(table["layer"]))
    if layer is not None and layer not in layers:
        raise MeasureError(f"no quilt sweep of a layer {layer!r}; {did_you_mean(layer, layers)}")
    shown = layers[-1] if layer is None else layer
    table = table[table["layer"] == shown]
    styles = model_styles([TARGETS, REST])
    for group, dashes, face in ((SELECTED, "-", None), (OTHER, (0, (4, 2)), "white")):
        for sounds, style in styles.items():
            rows = table[(table["target"] == group) & (table["sounds"] == sounds)]
            _curve(ax, rows, f"{group}, {sounds}", style.colour, style.marker, dashes, face)
    ax.set_title(plain(shown) or "all units")
    return _finish(ax, table)


def plot_quilt_conditions(ax: Axes, result: Result, *, target: str | None = None) -> Axes:
    """Draw the responses of a unit to quilts of each kind of sounds.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    result : Result
        Of the measure "quilt-conditions".
    target : str, optional
        Which voxel, region or unit; the first if not given.

    Returns
    -------
    matplotlib Axes
        `ax`. Bands and bars are intervals; originals, if there are any, stand at the right.

    Raises
    ------
    MeasureError
        If there is no such unit.
    """
    table = _responses(result)
    targets = list(dict.fromkeys(table["target"]))
    if target is not None and target not in targets:
        raise MeasureError(f"no responses of {target!r} to quilts; {did_you_mean(target, targets)}")
    shown = targets[0] if target is None else target
    table = table[table["target"] == shown]
    for sounds, style in model_styles(list(dict.fromkeys(table["sounds"]))).items():
        _curve(ax, table[table["sounds"] == sounds], sounds, style.colour, style.marker, "-", None)
    ax.set_title(plain(shown))
    return _finish(ax, table)


#: Main figure of each measure; takes axes and a result.
MAIN: dict[str, Callable[[Axes, Result], Axes]] = {
    "quilt-sweep": plot_quilt_sweep,
    "quilt-conditions": plot_quilt_conditions,
}


def _responses(result: Result) -> pd.DataFrame:
    """Return the rows to draw; the original stands one octave beyond the longest segments."""
    table = result.table[result.table["statistic"] == "response"].dropna(subset="value")
    if table.empty:
        raise MeasureError("the result holds no responses to quilts: there is nothing to draw")
    return table.assign(at=table["segment_ms"].fillna(2 * table["segment_ms"].max()))


def _curve(
    ax: Axes,
    rows: pd.DataFrame,
    label: str,
    colour: str,
    marker: str,
    dashes: str | tuple[int, tuple[int, int]],
    face: str | None,
) -> None:
    if rows.empty:
        return
    rows = rows.sort_values("at")
    quilts, original = rows[rows["segment_ms"].notna()], rows[rows["segment_ms"].isna()]
    marks: dict[str, Any] = {"marker": marker, "color": colour, "markerfacecolor": face or colour, "ms": 4.5}
    ax.plot(quilts["at"], quilts["value"], ls=dashes, label=plain(label), **marks)
    ax.fill_between(
        quilts["at"].to_numpy(float),
        quilts["ci_low"].to_numpy(float),
        quilts["ci_high"].to_numpy(float),
        color=colour,
        alpha=0.12,
        lw=0,
    )
    ax.vlines(original["at"], original["ci_low"], original["ci_high"], color=colour, lw=1.2)
    ax.plot(original["at"], original["value"], ls="", **marks)


def _finish(ax: Axes, table: pd.DataFrame) -> Axes:
    at = np.unique(table["at"])
    lengths = set(table["segment_ms"].dropna())
    ax.set_xscale("log", base=2)
    ax.set_xticks(at, [f"{x:g}" if x in lengths else "original" for x in at])
    ax.minorticks_off()
    ax.set_xlabel("segment length (ms)")
    ax.set_ylabel("mean response")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax
