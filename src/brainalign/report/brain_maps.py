"""Pictures of values on the cortex: inflated surfaces and flat patches.

One value per unit is drawn where the unit lies (:mod:`brainalign.brain.geometry`). The cortex is that of fsaverage5,
which comes with nilearn; faces have the colours of the scale without light or shade, so that they can be read against
the colour bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.brain.geometry import (
    HEMISPHERES,
    N_VERTICES,
    Mesh,
    check_hemispheres,
    fsaverage5_mesh,
    surface_maps,
)
from brainalign.errors import BrainError, name_some
from brainalign.report._draw import new_figure, plain
from brainalign.report.colours import MUTED
from brainalign.responses import Responses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Layout = Literal["surface", "volume", "patch"]

VIEWS = ("lateral", "medial", "ventral")
#: Grey of gyri and sulci, where there is no value.
GYRUS, SULCUS = "#d3d6da", "#b4b9bf"
_COLOUR_MAPS = {False: "viridis", True: "RdBu_r"}


@dataclass(frozen=True)
class Scale:
    """How values become colours.

    Attributes
    ----------
    low, high : float
        Values of the first and the last colour.
    signed : bool
        Whether 0 lies in the middle, between two hues.
    extend : {'neither', 'min', 'max', 'both'}
        At which ends values lie beyond; the colour bar has an arrow there.
    """

    low: float
    high: float
    signed: bool
    extend: Literal["neither", "min", "max", "both"]

    def mappable(self) -> ScalarMappable:
        """Return what turns values into colours, and a colour bar is made from."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        return ScalarMappable(Normalize(self.low, self.high), _COLOUR_MAPS[self.signed])


def colour_scale(values: ArrayLike, *, signed: bool = False, limits: tuple[float, float] | None = None) -> Scale:
    """Choose the scale for values.

    Parameters
    ----------
    values : array_like
        All values that share the scale; NaN are left out.
    signed : bool
        Give positive and negative values hues of their own, and 0 the middle.
    limits : (float, float), optional
        Values of the first and last colour. By default from 0 (signed: from the mirror image of the end) to the 99th
        percentile of the sizes, so that one odd unit does not take the colours from the others.

    Returns
    -------
    Scale
        The scale.

    Raises
    ------
    BrainError
        If no value is finite, or the limits are not in order.
    """
    flat = np.ravel(np.asarray(values, dtype=np.float64))
    finite = flat[np.isfinite(flat)]
    if not len(finite):
        raise BrainError(f"none of {len(flat)} values is finite: there is nothing to draw")
    if limits is None:
        end = float(np.percentile(np.abs(finite) if signed else finite, 99))
        end = end if end > 0 else 1.0
        limits = (-end if signed else 0.0, end)
    low, high = limits
    if not low < high:
        raise BrainError(f"the limits of the colours are {low:g} and {high:g}, expected the lower one first")
    # What lies on an end, but for rounding, is not beyond it.
    slack = 1e-9 * (high - low)
    under, over = bool(finite.min() < low - slack), bool(finite.max() > high + slack)
    extend: Any = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[under, over]
    return Scale(low, high, signed, extend)


def layout_of(units: Responses) -> Layout | None:
    """Say how units can be drawn: on a surface, in a volume or on a flat patch; None if they have no place.

    Parameters
    ----------
    units : Responses
        With the coordinates that :mod:`brainalign.brain.geometry` describes, or ``hemisphere``, ``x`` and ``y`` (mm).

    Returns
    -------
    {'surface', 'volume', 'patch'} or None
        The first that is known of at least one unit.
    """
    coords = units.coords
    if {"hemisphere", "vertex"} <= set(coords) and (coords["vertex"].values >= 0).any():
        return "surface"
    if {"i", "j", "k"} <= set(coords) and (coords["i"].values >= 0).any():
        return "volume"
    if {"hemisphere", "x", "y"} <= set(coords) and "z" not in coords:
        return "patch"
    return None


def fsaverage5_maps(units: Responses, values: ArrayLike) -> dict[str, Array]:
    """Lay one value per unit onto fsaverage5: where there are several subjects, the mean of those who have a value.

    Parameters
    ----------
    units : Responses
        Units on the vertices of fsaverage5, fsaverage6 or fsaverage.
    values : array_like, shape (n_units,)
        NaN is taken as no unit.

    Returns
    -------
    dict of str to ndarray, shape (10242,)
        For ``"left"`` and ``"right"``, NaN where there is no value. The vertices of fsaverage5 are the first 10,242 of
        the finer meshes; values at the others are not in the maps.

    Raises
    ------
    BrainError
        If the units lie on another mesh, or no value is finite.
    """
    column = np.asarray(values, dtype=np.float64)
    present = np.isfinite(column)
    if column.shape == (units.sizes["unit"],):
        if not present.any():
            raise BrainError(f"none of {len(column)} values is finite: there is nothing to draw")
        units, column = units.isel(unit=present), column[present]
    maps = surface_maps(units, column, average_subjects=True)
    return {h: to_fsaverage5(m) for h, m in maps.items()}


def to_fsaverage5(values: ArrayLike) -> Array:
    """Return the values at the vertices of fsaverage5 of a map on it or on a mesh that contains it.

    Parameters
    ----------
    values : array_like, shape (10242,), (40962,) or (163842,)
        A map of one hemisphere on fsaverage5, fsaverage6 or fsaverage.

    Returns
    -------
    ndarray, shape (10242,)
        The first values: each mesh is the one before with vertices added at its edges.

    Raises
    ------
    BrainError
        If the map has another size.
    """
    column = np.asarray(values, dtype=np.float64)
    known = [N_VERTICES[name] for name in ("fsaverage5", "fsaverage6", "fsaverage")]
    if column.ndim != 1 or len(column) not in known:
        raise BrainError(
            f"a map of shape {column.shape} cannot be drawn on fsaverage5: expected {name_some(known)} vertices for "
            f"fsaverage5, fsaverage6 or fsaverage; resample it to one of them"
        )
    return column[: known[0]]


@cache
def _mesh() -> dict[str, Mesh]:
    return fsaverage5_mesh("inflated")


@cache
def sulcal_depth() -> dict[str, Array]:
    """Return the sulcal depth of fsaverage5 for ``"left"`` and ``"right"``; positive in sulci."""
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_data

    files = fetch_surf_fsaverage("fsaverage5")
    return {h: np.asarray(load_surf_data(files[f"sulc_{h}"]), dtype=np.float64) for h in HEMISPHERES}


def face_values(values: ArrayLike, faces: NDArray[np.int64]) -> Array:
    """Return the mean over the vertices of each face that have a value; NaN if none has one.

    Parameters
    ----------
    values : array_like, shape (n_vertices,)
        NaN where there is no value.
    faces : ndarray, shape (n_faces, 3)
        Vertices of each face.

    Returns
    -------
    ndarray, shape (n_faces,)
        The means.
    """
    corners = np.asarray(values, dtype=np.float64)[faces]
    count = np.isfinite(corners).sum(axis=1)
    return np.where(count > 0, np.nansum(corners, axis=1) / np.maximum(count, 1), np.nan)


def plot_hemisphere(ax: Axes, values: ArrayLike, hemisphere: str, view: str, scale: Scale) -> Axes:
    """Draw a map on one inflated hemisphere of fsaverage5.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    values : array_like, shape (n_vertices,)
        A map that :func:`to_fsaverage5` takes; where it is NaN the cortex is grey, gyri light and sulci dark.
    hemisphere : {'left', 'right'}
        Which one.
    view : {'lateral', 'medial', 'ventral'}
        From where. In ventral views the lateral side is up, so that front and back are as in lateral ones.
    scale : Scale
        Colours of the values.

    Returns
    -------
    matplotlib Axes
        `ax`, in mm. It holds one collection of the faces that are seen, an image in vector files.

    Raises
    ------
    BrainError
        If the map is of another mesh, or there is no such hemisphere or view.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    values = to_fsaverage5(values)
    if hemisphere not in HEMISPHERES or view not in VIEWS:
        raise BrainError(
            f"no {view!r} view of a {hemisphere!r} hemisphere; there are {name_some(VIEWS)} of left, right"
        )
    coordinates, faces = _mesh()[hemisphere]
    right, up, depth = (coordinates @ axis for axis in _axes(hemisphere, view))
    corners: Any = np.stack([right, up], axis=1)[faces]
    front = np.flatnonzero(_apparent_areas(coordinates, faces, hemisphere, view) > 0)
    order = front[np.argsort(-depth[faces[front]].mean(axis=1), kind="stable")]
    shown = face_values(values, faces[order])
    sulcus = sulcal_depth()[hemisphere][faces[order]].mean(axis=1) > 0
    colours = np.where(sulcus[:, None], to_rgba(SULCUS), to_rgba(GYRUS))
    there = np.isfinite(shown)
    colours[there] = scale.mappable().to_rgba(shown[there])
    # Faces overlap by a hair's breadth, or the paper would shine through.
    ax.add_collection(PolyCollection(corners[order], facecolors=colours, edgecolors=colours, linewidths=0.25,
                                     antialiaseds=False, rasterized=True))  # fmt: skip
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.margins(0.01)
    ax.set_axis_off()
    return ax


def _axes(hemisphere: str, view: str) -> Array:
    """Return what is to the right, up, and away from the viewer, in RAS."""
    side = -1.0 if hemisphere == "left" else 1.0
    axes = {
        "lateral": [[0, side, 0], [0, 0, 1], [-side, 0, 0]],
        "medial": [[0, -side, 0], [0, 0, 1], [side, 0, 0]],
        "ventral": [[0, side, 0], [side, 0, 0], [0, 0, 1]],
    }
    return np.array(axes[view], dtype=np.float64)


def plot_surface_map(
    maps: Mapping[str, ArrayLike], *, label: str = "", scale: Scale | None = None, figure: Figure | None = None
) -> Figure:
    """Draw a map on both inflated hemispheres of fsaverage5: lateral, medial and ventral.

    Parameters
    ----------
    maps : mapping of str to array_like, shape (n_vertices,)
        As :func:`to_fsaverage5` takes them, for ``"left"`` and ``"right"``, NaN where there is no value.
    label : str
        What the values are; it stands at the colour bar.
    scale : Scale, optional
        By default :func:`colour_scale` of the values.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Figure
        Axes in rows, left hemisphere first, and the colour bar.
    """
    scale = scale or colour_scale(np.concatenate([np.ravel(maps[h]) for h in HEMISPHERES]))
    figure = figure or new_figure(10.5, 4.6)
    grid = figure.subplots(2, 3, squeeze=False)
    for row, hemisphere in zip(grid, HEMISPHERES, strict=True):
        for ax, view in zip(row, VIEWS, strict=True):
            plot_hemisphere(ax, maps[hemisphere], hemisphere, view, scale)
            ax.set_title(f"{hemisphere} hemisphere, {view}")
            _mark_front(ax, hemisphere, view)
    add_colour_bar(figure, list(grid.ravel()), scale, label)
    return figure


def plot_surface_maps(
    columns: Mapping[str, Mapping[str, ArrayLike]],
    *,
    label: str = "",
    scale: Scale | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw several maps with one scale, both hemispheres of each.

    Parameters
    ----------
    columns : mapping of str to mapping
        Maps as for :func:`plot_surface_map`, by name.
    label, scale, figure
        As for :func:`plot_surface_map`.

    Returns
    -------
    matplotlib Figure
        Each map in lateral view, and in those other views in which what has a value looks at least a third as large;
        and the colour bar.
    """
    scale = scale or colour_scale(np.concatenate([np.ravel(m[h]) for m in columns.values() for h in HEMISPHERES]))
    views = _views_with_values(columns.values())
    sides = [(h, view) for h in HEMISPHERES for view in views]
    beside = 2 if len(views) == 1 and len(columns) > 1 else 1
    n_rows = -(-len(columns) // beside)
    figure = figure or new_figure(10.5, (6.9 if len(sides) * beside < 5 else 5.2) / 4 * n_rows + 0.3)
    grid = figure.subplots(n_rows, beside * len(sides), squeeze=False)
    for axes, (name, maps) in zip(grid.reshape(-1, len(sides)), columns.items(), strict=False):
        for ax, (hemisphere, view) in zip(axes, sides, strict=True):
            plot_hemisphere(ax, maps[hemisphere], hemisphere, view, scale)
            _mark_front(ax, hemisphere, view)
            ax.text(0.5, 0.02, f"{hemisphere}, {view}", transform=ax.transAxes, ha="center", va="top", fontsize=8)
        axes[0].set_title(plain(name, 24))
    for ax in grid.ravel()[len(columns) * len(sides) :]:
        ax.remove()
    add_colour_bar(figure, [ax for ax in grid.ravel() if ax.figure is not None], scale, label)
    return figure


def _views_with_values(columns: Iterable[Mapping[str, ArrayLike]]) -> list[str]:
    """Return the lateral view, and those in which what has a value looks at least a third as large."""
    size = dict.fromkeys(VIEWS, 0.0)
    for maps in columns:
        for hemisphere in HEMISPHERES:
            coordinates, faces = _mesh()[hemisphere]
            there = faces[np.isfinite(face_values(to_fsaverage5(maps[hemisphere]), faces))]
            for view in VIEWS:
                size[view] += float(np.maximum(_apparent_areas(coordinates, there, hemisphere, view), 0).sum())
    return [v for v in VIEWS if v == "lateral" or size[v] > size["lateral"] / 3]


def _apparent_areas(coordinates: Array, faces: NDArray[np.int64], hemisphere: str, view: str) -> Array:
    """Return how large faces look (in mm^2): positive where vertices run anticlockwise, and the outside is seen."""
    right, up, _ = _axes(hemisphere, view)
    corners = np.stack([coordinates @ right, coordinates @ up], axis=1)[faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def _mark_front(ax: Axes, hemisphere: str, view: str) -> None:
    """Write A at the anterior end of a view and P at the posterior one."""
    anterior_left = (hemisphere == "left") == (view != "medial")
    for x, letter in zip((0.03, 0.97), "AP" if anterior_left else "PA", strict=True):
        ax.text(x, 0.02, letter, transform=ax.transAxes, ha="center", va="bottom", fontsize=8)


def plot_patch_map(
    units: Responses, values: ArrayLike, *, label: str = "", scale: Scale | None = None, figure: Figure | None = None
) -> Figure:
    """Draw values of units that have a place on a flat patch of each hemisphere.

    Parameters
    ----------
    units : Responses
        With ``hemisphere``, ``x`` (mm, from posterior to anterior) and ``y`` (mm).
    values : array_like, shape (n_units,)
        Units without a value are small grey rings.
    label, scale, figure
        As for :func:`plot_surface_map`.

    Returns
    -------
    matplotlib Figure
        The left and the right patch, all subjects in one, and the colour bar.

    Raises
    ------
    BrainError
        If a hemisphere has another name than left and right.
    """
    column = np.asarray(values, dtype=np.float64)
    check_hemispheres(units, np.ones(units.sizes["unit"], dtype=bool))
    scale = scale or colour_scale(column)
    mappable = scale.mappable()
    figure = figure or new_figure(10.5, 3.7)
    grid = figure.subplots(1, 2, sharex=True, sharey=True)
    for ax, hemisphere in zip(grid, HEMISPHERES, strict=True):
        own = units["hemisphere"].values == hemisphere
        x, y = units["x"].values, units["y"].values
        none, some = own & ~np.isfinite(column), own & np.isfinite(column)
        ax.scatter(x[none], y[none], s=8, facecolors="none", edgecolors=MUTED, linewidths=0.5)
        ax.scatter(x[some], y[some], s=24, c=column[some], cmap=mappable.cmap, norm=mappable.norm, linewidths=0)
        ax.set_title(f"{hemisphere} hemisphere, flat")
        ax.set_xlabel("mm, posterior to anterior")
        ax.set_aspect("equal")
    grid[0].set_ylabel("mm")
    add_colour_bar(figure, list(grid), scale, label)
    return figure


def add_colour_bar(figure: Figure, axes: list[Axes], scale: Scale, label: str) -> None:
    """Add the bar of a scale at the right of axes."""
    bar = figure.colorbar(scale.mappable(), ax=axes, label=plain(label), extend=scale.extend, shrink=0.7, aspect=25)
    bar.outline.set_visible(False)
