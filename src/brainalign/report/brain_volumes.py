"""Pictures of values in a volume: a glass brain in MNI space, slices in other spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.brain.geometry import volume_image
from brainalign.report._draw import new_figure, plain
from brainalign.report.brain_maps import GYRUS, Scale, add_colour_bar, colour_scale
from brainalign.report.colours import INK, MUTED
from brainalign.responses import Responses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

#: Most subjects whose slices are drawn.
MAX_SUBJECTS = 4
#: The two axes of the plane that is seen along x, y and z.
_PLANES = ((1, 2), (0, 2), (0, 1))
#: Views of the glass brain: axis along which one looks, and the half of it that is seen (-1: left, 1: right).
_GLASS = {"l": (0, -1), "y": (1, 0), "r": (0, 1), "z": (2, 0)}


def plot_volume_maps(
    units: Responses,
    columns: Mapping[str, ArrayLike],
    *,
    label: str = "",
    scale: Scale | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw values of voxels, one map below the other: on glass brains in MNI space, else as slices of each subject.

    Parameters
    ----------
    units : Responses
        Voxels, with the coordinates and attributes of :func:`~brainalign.brain.geometry.volume_coordinates`.
    columns : mapping of str to array_like, shape (n_units,)
        Values by name; the name of a single map may be empty. NaN is taken as no unit.
    label : str
        What the values are; it stands at the colour bar.
    scale : Scale, optional
        By default :func:`~brainalign.report.brain_maps.colour_scale` of all values.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Figure
        A glass brain shows along each line of sight the value that is furthest from 0; voxels of several subjects
        are averaged. Other spaces, and subjects with grids of their own, have no common brain to look through: drawn
        are, for each subject up to :data:`MAX_SUBJECTS`, the slices that hold the most voxels; titles name the space.

    Raises
    ------
    BrainError
        If the units are no voxels or no value is finite.
    """
    values = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    scale = scale or colour_scale(np.concatenate(list(values.values())))
    space = str(units.attrs.get("space", "unknown"))
    # Subjects in MNI space may still have grids of their own.
    glass = space.startswith("MNI") and "affine" in units.attrs
    rows: dict[str, Any] = {}
    for name, column in values.items():
        own, there = units.isel(unit=np.isfinite(column)), column[np.isfinite(column)]
        if glass:
            rows[name] = volume_image(own, there, average_subjects=True)
            continue
        subjects = own["subject"].values.astype(str) if "subject" in own.coords else np.full(len(there), "")
        for subject in list(dict.fromkeys(subjects))[:MAX_SUBJECTS]:
            image = volume_image(own.isel(unit=subjects == subject), there[subjects == subject])
            rows[", ".join(filter(None, (name, subject))) + f": slices in {space} space"] = image
    if glass:
        return _glass_brains(rows, label, scale, figure)
    figure = figure or new_figure(10.5, 2.7 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for row, (title, image) in zip(grid, rows.items(), strict=True):
        _slices(row, image, scale)
        row[0].set_title(plain(title.removeprefix(": "), 60))
    add_colour_bar(figure, list(grid.ravel()), scale, label)
    return figure


def _glass_brains(images: Mapping[str, Any], label: str, scale: Scale, figure: Figure | None) -> Figure:
    """Draw projections within the outlines of nilearn, whose own projection takes no value for 0."""
    from nilearn.plotting import plot_glass_brain

    figure = figure or new_figure(10.5, 2.9 * len(images))
    figure.set_layout_engine("none")
    mappable, height = scale.mappable(), 1 / len(images)
    for i, (name, image) in enumerate(images.items()):
        ax = figure.add_axes((0.01, 1 - (i + 0.98) * height, 0.86, 0.9 * height))
        figure.text(0.01, 1 - (i + 0.02) * height, plain(name), va="top", fontweight="bold", fontsize=9.5)
        display = plot_glass_brain(None, display_mode="lyrz", figure=figure, axes=ax, annotate=False, black_bg=False)
        values, affine = _straight(image)
        for view, (axis, half) in _GLASS.items():
            place = affine[axis, 3] + affine[axis, axis] * np.arange(values.shape[axis])
            seen = np.take(values, np.flatnonzero(place * half >= 0), axis=axis)
            panel = display.axes[view].ax
            limits = panel.get_xlim(), panel.get_ylim()
            # A grid may lie on one side of the midline: the other half stays an outline.
            if seen.size:
                _show(panel, project(seen, axis), _extent(values, affine, axis), mappable)
            panel.set(xlim=limits[0], ylim=limits[1])
            # Black and grey, as nilearn draws them, would be lost on a dark page.
            for line in panel.patches:
                line.set_edgecolor(INK if sum(line.get_edgecolor()[:3]) < 0.3 else MUTED)
            if axis > 0:
                for x, letter in ((0.03, "L"), (0.97, "R")):
                    panel.text(x, 0.97, letter, transform=panel.transAxes, ha="center", va="top", fontsize=9)
    bar = figure.add_axes((0.9, 0.5 - 0.38 * height, 0.015, 0.76 * height))
    figure.colorbar(mappable, cax=bar, label=plain(label), extend=scale.extend).outline.set_visible(False)
    return figure


def project(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the value that is furthest from 0 along an axis.

    Parameters
    ----------
    values : ndarray, shape (n_x, n_y, n_z)
        NaN where there is none.
    axis : int
        Along which.

    Returns
    -------
    ndarray, 2-D
        NaN where there is no value along the whole line.
    """
    furthest = np.nan_to_num(np.abs(values), nan=-1).argmax(axis=axis)
    return np.take_along_axis(values, np.expand_dims(furthest, axis), axis).squeeze(axis)


def _slices(row: Sequence[Axes], image: Any, scale: Scale) -> None:
    """Draw the slices that hold the most voxels, around the voxels, in mm."""
    values, affine = _straight(image)
    inside = np.isfinite(values)
    mappable = scale.mappable()
    for axis, ax in enumerate(row):
        across = _PLANES[axis]
        most = int(inside.sum(axis=across).argmax())
        ax.set_facecolor(GYRUS)
        _show(ax, np.take(values, most, axis=axis), _extent(values, affine, axis), mappable)
        filled = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {a}))) for a in across]
        ends = [
            affine[a, 3] + affine[a, a] * np.array([f[0] - 2, f[-1] + 2]) for a, f in zip(across, filled, strict=True)
        ]
        ax.set(xlim=ends[0], ylim=ends[1])
        where = affine[axis, 3] + affine[axis, axis] * most
        ax.set_xlabel(f"{'xyz'[across[0]]} (mm), {'xyz'[axis]} = {round(where, 1):g} mm".replace("-", "−"))
        ax.set_ylabel(f"{'xyz'[across[1]]} (mm)")


def _show(
    ax: Axes, plane: NDArray[np.float64], extent: tuple[float, float, float, float], mappable: ScalarMappable
) -> None:
    image = ax.imshow(plane.T, origin="lower", extent=extent, cmap=mappable.cmap, interpolation="nearest", zorder=0)
    image.set_norm(mappable.norm)


def _straight(image: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values and affine with axes along x, y and z; a slanted grid is resampled to the nearest voxels."""
    from nilearn.image import new_img_like, reorder_img

    raw = np.asarray(image.dataobj, dtype=np.float64)
    # Outside the grid a resampled image is 0: values are told from it by a second image.
    inside = reorder_img(new_img_like(image, np.isfinite(raw).astype(np.float64)), resample="nearest", copy_header=True)
    filled = reorder_img(new_img_like(image, np.nan_to_num(raw)), resample="nearest", copy_header=True)
    values = np.where(np.asarray(inside.dataobj) > 0.5, np.asarray(filled.dataobj), np.nan)
    return values, np.asarray(inside.affine)


def _extent(values: NDArray[np.float64], affine: NDArray[np.float64], axis: int) -> tuple[float, float, float, float]:
    """Return the edges in mm of the plane that is seen along an axis."""
    edges = [float(affine[a, 3] + affine[a, a] * (n - 0.5)) for a in _PLANES[axis] for n in (0, values.shape[a])]
    return edges[0], edges[1], edges[2], edges[3]
