"""The pictures of the brain that a result, or brain data alone, give: maps and histograms of units, with captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainalign.brain.data import BrainData
from brainalign.brain.geometry import N_VERTICES
from brainalign.errors import BrainError, ResultsError, name_some
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.result import Result
from brainalign.report._draw import new_figure, plain
from brainalign.report.brain_maps import (
    Layout,
    Scale,
    colour_scale,
    fsaverage5_maps,
    layout_of,
    plot_patch_map,
    plot_surface_map,
    plot_surface_maps,
)
from brainalign.report.brain_volumes import plot_volume_maps
from brainalign.report.colours import INK
from brainalign.report.words import number
from brainalign.responses import Responses
from brainalign.stats.ceilings import split_half_reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

#: Most histograms by region, and by subject.
MAX_GROUPS = 6
_BARS, _CEILING = "#0072b2", "#d55e00"
_PLACE = ("subject", "hemisphere", "region", "vertex", "i", "j", "k", "x", "y", "z")
_DRAWN = {
    "surface": "on the inflated cortex of fsaverage5 (A anterior, P posterior; ventral views have the lateral side up)",
    "volume": "in the volume",
    "patch": "on flat patches",
}


@dataclass(frozen=True)
class UnitMaps:
    """Values of units that belong into one picture.

    Attributes
    ----------
    name : str
        Short name, for files: ``score``, ``best-stage``, ``reliability``, ``weights``.
    label : str
        What the values are, for axes and colour bars.
    about : str
        The same as the beginning of a sentence.
    columns : dict of str to ndarray, shape (n_units,)
        The values, by layer or component. All share a scale.
    units : Responses
        Whose they are, with coordinates and attributes.
    signed : bool
        Whether 0 is the middle of the scale.
    limits : (float, float) or None
        Ends of the scale, if they are not to follow from the values.
    ceiling : ndarray, shape (n_units,), or None
        The highest value that noise lets each unit reach.
    """

    name: str
    label: str
    about: str
    columns: Mapping[str, Array]
    units: Responses
    signed: bool = False
    limits: tuple[float, float] | None = None
    ceiling: Array | None = None

    @property
    def scale(self) -> Scale:
        """Colours for all columns."""
        return colour_scale(np.concatenate(list(self.columns.values())), signed=self.signed, limits=self.limits)

    def table(self) -> pd.DataFrame:
        """Return the values with one row per unit: where it lies, a column for each map, and the ceiling."""
        coords = self.units.coords
        table = pd.DataFrame({"unit": self.units["unit"].values})
        table = table.assign(**{c: coords[c].values for c in _PLACE if c in coords})
        table = table.assign(**{name or self.name: values for name, values in self.columns.items()})
        return table if self.ceiling is None else table.assign(noise_ceiling=self.ceiling)


@dataclass(frozen=True)
class BrainFigure:
    """A picture with what stands below and beside it.

    Attributes
    ----------
    title : str
        What it shows, in a few words.
    figure : matplotlib Figure
        The picture.
    data : DataFrame
        The values that are drawn, one row per unit.
    caption : str
        One to three sentences with numbers.
    """

    title: str
    figure: Figure
    data: pd.DataFrame = field(repr=False)
    caption: str


def brain_map_figures(result: Result | None, brain: BrainData) -> dict[str, Figure]:
    """Draw what there is to see on the brain of a result, or of brain data alone.

    Parameters
    ----------
    result : Result or None
        Of ``voxel-encoding`` (scores, with the layer chosen in training) or ``depth-profile`` (best stage); None for
        the brain data alone (reliability over repetitions, and component weights).
    brain : BrainData
        The data that the result is about; they say where the units lie.

    Returns
    -------
    dict of str to matplotlib Figure
        For instance ``score-map`` and ``score-histogram``. Empty if units have neither a place nor a region or subject,
        or the result has no value for each unit.

    Raises
    ------
    ResultsError
        If the result has units that the brain data do not have.
    BrainError
        If units lie on a mesh that is not fsaverage5 and does not contain it, or `brain` is no BrainData.
    """
    return {name: picture.figure for name, picture in brain_figures(result, brain).items()}


def brain_figures(result: Result | None, brain: BrainData) -> dict[str, BrainFigure]:
    """Draw as :func:`brain_map_figures`, with data and captions.

    Parameters
    ----------
    result, brain
        As for :func:`brain_map_figures`.

    Returns
    -------
    dict of str to BrainFigure
        By name.
    """
    return {name: picture for maps in unit_maps(result, brain) for name, picture in figures_of(maps).items()}


def unit_maps(result: Result | None, brain: BrainData) -> list[UnitMaps]:
    """Gather the values of units that a result, or brain data alone, hold.

    Parameters
    ----------
    result, brain
        As for :func:`brain_map_figures`.

    Returns
    -------
    list of UnitMaps
        Only what has a finite value.
    """
    if not isinstance(brain, BrainData):
        raise BrainError(f"brain must be BrainData, see load_brain; found {type(brain).__name__}")
    found = list(_of_brain(brain) if result is None else _of_result(result, brain))
    return [maps for maps in found if any(np.isfinite(v).any() for v in maps.columns.values())]


def _of_brain(brain: BrainData) -> Iterator[UnitMaps]:
    units = brain.responses
    if units.sizes.get("repetition", 1) > 1:
        reliability = split_half_reliability(units.values)
        about = "Split-half reliability over sounds of the mean over repetitions (Spearman-Brown)"
        yield UnitMaps("reliability", "reliability", about, {"": reliability}, units)
    weights = brain.arrays.get("weights")
    if weights is not None and {"component", "unit"} == set(weights.dims) and "unit" in weights.coords:
        weights = weights.sel(unit=units["unit"]).transpose("component", "unit")
        columns = {str(c): weights.sel(component=c).values.astype(float) for c in weights["component"].values}
        yield UnitMaps("weights", "weight", "Weight of each component", columns, units,
                       signed=bool((weights.values < 0).any()))  # fmt: skip


def _of_result(result: Result, brain: BrainData) -> Iterator[UnitMaps]:
    model = next((str(m) for m in result.table["model"] if m), "the model")
    if result.kind == "voxel-encoding" and "scores" in result.arrays:
        scores = result.arrays["scores"]
        layers = [str(name) for name in scores["layer"].values]
        layer = CHOSEN if CHOSEN in layers else layers[0]
        how = "with the layer chosen in training" if layer == CHOSEN else f"from layer {layer}"
        statistic = str(result.settings.get("statistic", "score"))
        corrected = result.settings.get("correction", "none") != "none"
        label = f"held-out {statistic}{', noise-corrected' if corrected else ''}"
        about = f"{label[0].upper()}{label[1:]} of each unit by {model}, {how}"
        yield UnitMaps("score", label, about, {"": scores.isel(layer=layers.index(layer)).values.astype(float)},
                       _units_of(scores, brain, result), ceiling=_ceiling(result, statistic, corrected))  # fmt: skip
    if result.kind == "encoding-map":
        for name, label, signed in (("r", "held-out r", False), ("unique", "unique R²", True)):
            if name in result.arrays:
                array = result.arrays[name]
                columns = {str(m): array.sel(model=m).values.astype(float) for m in array["model"].values}
                about = f"{label[0].upper()}{label[1:]} of each unit by each embedding"
                yield UnitMaps(name, label, about, columns, _units_of(array, brain, result), signed=signed)
    if result.kind == "depth-profile" and "best_stage" in result.arrays:
        stage = result.arrays["best_stage"]
        about = f"Where the layer of {model} lies that predicts each unit best, from the first (0) to the last (1)"
        yield UnitMaps("best-stage", "relative best stage", about, {"": stage.values.astype(float)},
                       _units_of(stage, brain, result), limits=(0.0, 1.0))  # fmt: skip


def _ceiling(result: Result, statistic: str, corrected: bool) -> Array | None:
    """Return the score that a perfect prediction would have: of corrected scores 1, else what reliability allows."""
    n_units = result.arrays["scores"].sizes["unit"]
    if corrected:
        return np.ones(n_units)
    if "reliability" not in result.arrays:
        return None
    reliability: Array = np.clip(result.arrays["reliability"].values, 0, 1)
    return np.asarray(np.sqrt(reliability) if statistic == "r" else reliability)


def _units_of(array: Any, brain: BrainData, result: Result) -> Responses:
    """Return the units of an array as the brain data know them, matched by id."""
    known, asked = brain.responses.indexes["unit"], pd.Index([str(u) for u in array["unit"].values])
    if len(lacking := asked.difference(known, sort=False)):
        raise ResultsError(
            f"{result.measure} has {len(asked)} units, of which {brain.name} ({len(known)} units) lacks "
            f"{name_some(lacking)}; give the brain data that the result is about"
        )
    return brain.responses.sel(unit=asked)


def figures_of(maps: UnitMaps) -> dict[str, BrainFigure]:
    """Draw the map and the histogram of values of units.

    Parameters
    ----------
    maps : UnitMaps
        The values.

    Returns
    -------
    dict of str to BrainFigure
        A map if the units have a place; a histogram of a single column, if they have a place, region or subject.
    """
    layout = layout_of(maps.units)
    labels = {name: maps.units[name].values.astype(str) for name in ("region", "subject") if name in maps.units.coords}
    title, data = maps.name.replace("-", " "), maps.table()
    found = {}
    if layout is not None:
        figure = _draw_map(maps, layout)
        found[f"{maps.name}-map"] = BrainFigure(f"{title}, map", figure, data, _caption(maps, layout))
    if (layout is not None or labels) and len(maps.columns) == 1:
        (values,) = maps.columns.values()
        figure = plot_unit_histograms(values, labels, label=maps.label, ceiling=maps.ceiling)
        groups = f", in all and by {' and '.join(labels)}" if labels else ""
        text = f"{maps.about}: how many units have which value{groups}. {_numbers(values)} Dashed: median."
        if maps.name == "reliability" and np.nanmin(values) < -0.5:
            text += (
                " Values far below 0 are of halves that correlate negatively, which Spearman-Brown makes more negative "
                "without bound: read them as 0."
            )
        if maps.ceiling is not None:
            median = number(float(np.nanmedian(maps.ceiling)), 2)
            text += f" Outline: the noise ceiling of the units, median {median} (what reliability allows, from 0 to 1)."
        found[f"{maps.name}-histogram"] = BrainFigure(f"{title}, histogram", figure, data, text)
    return found


def _draw_map(maps: UnitMaps, layout: Layout) -> Figure:
    if len(maps.columns) == 1:
        (values,) = maps.columns.values()
        return plot_brain_map(maps.units, values, label=maps.label, signed=maps.signed, limits=maps.limits)
    if layout == "surface":
        columns = {name: fsaverage5_maps(maps.units, values) for name, values in maps.columns.items()}
        return plot_surface_maps(columns, label=maps.label, scale=maps.scale)
    if layout == "volume":
        return plot_volume_maps(maps.units, maps.columns, label=maps.label, scale=maps.scale)
    n_rows = -(-len(maps.columns) // 2)
    figure = new_figure(11, 2.3 * n_rows)
    parts = figure.subfigures(n_rows, 2, squeeze=False).ravel()
    for part, (name, values) in zip(parts, maps.columns.items(), strict=False):
        part.suptitle(plain(name), x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        plot_patch_map(maps.units, values, label=maps.label, scale=maps.scale, figure=part)
    return figure


def plot_brain_map(
    units: Responses | BrainData,
    values: ArrayLike,
    *,
    label: str = "",
    signed: bool = False,
    limits: tuple[float, float] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw one value per unit where the units lie: on the cortex, in a glass brain or on a flat patch.

    Parameters
    ----------
    units : Responses or BrainData
        Whose units the values belong to; with their coordinates and attributes.
    values : array_like, shape (n_units,)
        For instance scores, weights or best stages; NaN is no value.
    label : str
        What the values are.
    signed, limits
        As for :func:`~brainalign.report.brain_maps.colour_scale`.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Figure
        As :func:`~brainalign.report.brain_maps.plot_surface_map`,
        :func:`~brainalign.report.brain_volumes.plot_volume_maps` or
        :func:`~brainalign.report.brain_maps.plot_patch_map` draw it.

    Raises
    ------
    BrainError
        If the units have no place or a hemisphere that is neither left nor right, their number is another than that of
        the values, or the values are no numbers or none of them is finite.
    """
    units = units.responses if isinstance(units, BrainData) else units
    if not isinstance(units, xr.DataArray) or "unit" not in units.dims:
        raise BrainError(f"units must be Responses or BrainData, found {type(units).__name__}")
    column = np.asarray(values)
    if column.dtype.kind not in "biuf":
        raise BrainError(f"the values of units must be numbers, found {column.dtype}")
    column = column.astype(np.float64)
    if column.shape != (units.sizes["unit"],):
        raise BrainError(f"found values of shape {column.shape}, expected one for each of {units.sizes['unit']} units")
    layout = layout_of(units)
    if layout is None:
        raise BrainError(
            "the units have no place to be drawn at: they need the coordinates 'hemisphere' and 'vertex' (a mesh), "
            "'i', 'j' and 'k' (a volume), or 'hemisphere', 'x' and 'y' (a patch)"
        )
    scale = colour_scale(column, signed=signed, limits=limits)
    if layout == "surface":
        maps = fsaverage5_maps(units, column)
        return plot_surface_map(maps, label=label, scale=scale, figure=figure)
    if layout == "volume":
        return plot_volume_maps(units, {"": column}, label=label, scale=scale, figure=figure)
    return plot_patch_map(units, column, label=label, scale=scale, figure=figure)


def plot_unit_histograms(
    values: ArrayLike,
    groups: Mapping[str, ArrayLike],
    *,
    label: str = "",
    ceiling: ArrayLike | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw how many units have which value: of all units, and of the largest groups of each kind.

    Parameters
    ----------
    values : array_like, shape (n_units,)
        NaN is left out; the titles say how many units count.
    groups : mapping of str to array_like of str, shape (n_units,)
        Labels of the units by kind, for instance ``region`` and ``subject``.
    label : str
        What the values are.
    ceiling : array_like, shape (n_units,), optional
        The highest value that each unit can reach, drawn as an outline.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Figure
        All axes have the same bins, which hold every value.
    """
    values = np.asarray(values, dtype=np.float64)
    panels = [("all units", np.ones(values.shape, dtype=bool))]
    for kind, labels in groups.items():
        names = pd.Series(np.asarray(labels).astype(str)).value_counts(sort=True).index[:MAX_GROUPS]
        panels += [(f"{kind} {name}", np.asarray(labels).astype(str) == name) for name in sorted(names)]
    limit = None if ceiling is None else np.asarray(ceiling, dtype=np.float64)
    everything = values if limit is None else np.concatenate([values, limit])
    edges = np.histogram_bin_edges(everything[np.isfinite(everything)], bins=30)
    n_columns = min(4, len(panels))
    figure = figure or new_figure(10.5, 1.75 * -(-len(panels) // n_columns) + 0.5)
    grid = figure.subplots(-(-len(panels) // n_columns), n_columns, sharex=True, squeeze=False).ravel()
    for ax, (name, here) in zip(grid, panels, strict=False):
        own = values[here & np.isfinite(values)]
        ax.hist(own, edges, color=_BARS, label="units")
        if limit is not None:
            ax.hist(limit[here & np.isfinite(limit)], edges, histtype="step", color=_CEILING, label="noise ceiling")
        if len(own):
            ax.axvline(np.median(own), color=INK, ls="--", lw=1.1, label="median")
        ax.set_title(f"{plain(name, 24)}, n = {len(own)}")
        ax.locator_params(axis="y", nbins=4, integer=True)
        ax.tick_params(labelbottom=True)
    for ax in grid[len(panels) :]:
        ax.remove()
    figure.supxlabel(plain(label), fontsize=9)
    figure.supylabel("units", fontsize=9)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names))
    return figure


def _numbers(values: Array) -> str:
    """Say median and range of the values, and how many units have none."""
    finite = values[np.isfinite(values)]
    low, median, high = (number(v, 2) for v in np.percentile(finite, (5, 50, 95)))
    n_none = len(values) - len(finite)
    none = f"; {n_none} have none" if n_none else ""
    return f"Median {median} (5th to 95th percentile {low} to {high}) over {len(finite)} units{none}."


def _caption(maps: UnitMaps, layout: Layout) -> str:
    units = maps.units
    text = f"{maps.about}, {_DRAWN[layout]}. "
    if len(maps.columns) == 1:
        text += _numbers(next(iter(maps.columns.values())))
    else:
        text += f"All {len(maps.columns)} maps have one scale."
    n_subjects = len(set(units["subject"].values)) if "subject" in units.coords else 1
    if n_subjects > 1 and layout == "surface":
        text += f" Where several of the {n_subjects} subjects have a value, their mean is drawn."
    if layout == "surface":
        vertices = units["vertex"].values
        away = int((vertices < 0).sum() + (vertices >= N_VERTICES["fsaverage5"]).sum())
        text += f" {away} units lie on no vertex of fsaverage5 and are not drawn." if away else ""
    scale = maps.scale
    beyond = sum(int(((v < scale.low) | (v > scale.high)).sum()) for v in maps.columns.values())
    if beyond and scale.extend != "neither":
        text += f" {beyond} values of units lie beyond the colour bar, whose ends have arrows."
    return text
