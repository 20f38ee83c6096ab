"""CIFTI-2 files (dscalar, dtseries): vertices of both hemispheres and voxels below the cortex as one set of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.brain.geometry import HEMISPHERES, N_VERTICES
from brainalign.brain.image_files import check_units, image_name, opened
from brainalign.brain.images import voxel_ids
from brainalign.brain.regions import choose_regions
from brainalign.brain.surface_files import name_regions
from brainalign.brain.surfaces import average_by_region, vertex_ids
from brainalign.errors import BrainError, did_you_mean, name_some

_PREFIX = "CIFTI_STRUCTURE_"
_CORTEX = {f"{_PREFIX}CORTEX_{h.upper()}": h for h in HEMISPHERES}


@dataclass(frozen=True)
class CiftiReader:
    """Reads CIFTI files of one brain model into (n_volumes, n_units).

    Attributes
    ----------
    units : list of str
        Unit ids without the subject: ``"L_v00012"`` for a vertex, ``"v00012"`` for a voxel, ``"L_name"`` for a mean.
    unit_info : DataFrame
        One row per unit: ``structure``, ``hemisphere`` (``""`` for voxels), ``vertex`` (-1 for voxels), ``i, j, k`` (-1
        for vertices), ``x, y, z`` in mm (NaN for vertices) and, with labels, ``region``. Means have ``hemisphere``,
        ``region`` and ``n_vertices``.
    attrs : dict
        ``space``, ``n_vertices`` (left, right), and of the volume ``affine`` and ``grid``.
    axis : nibabel.cifti2.BrainModelAxis
        What the files must hold.
    positions : ndarray
        Which entries of `axis` are read.
    means : scipy.sparse array of shape (n_units, n_positions), optional
        Weights of the entries in each unit; None where each is a unit.
    """

    units: list[str]
    unit_info: pd.DataFrame
    attrs: dict[str, Any]
    axis: Any
    positions: NDArray[np.intp]
    means: Any = None

    def read(self, path: Any, *, allow_bad: bool = False) -> NDArray[np.float32]:
        """Read a file.

        Parameters
        ----------
        path : path-like or nibabel image
            ``.dscalar.nii`` (one row per map) or ``.dtseries.nii`` (one row per volume).
        allow_bad : bool
            Give units that are NaN, or constant over the volumes, as they are.

        Returns
        -------
        ndarray of float32, shape (n_volumes, n_units)
            The data.

        Raises
        ------
        BrainError
            If the file cannot be read, holds other vertices and voxels, or units are NaN or constant.
        """
        with opened(path) as image:
            name, axis = image_name(path), _brain_axis(image, image_name(path))
            if axis != self.axis:
                raise BrainError(
                    f"{name} holds other vertices and voxels ({len(axis)}) than the first file ({len(self.axis)}); "
                    f"give files of one brain model"
                )
            values = np.asarray(image.dataobj, dtype=np.float32)[:, self.positions]
        if self.means is not None:
            values = (values @ self.means.T).astype(np.float32)
        if not allow_bad:
            check_units(values, self.units, name)
        return values


def open_cifti_reader(
    reference: Any,
    *,
    structures: Sequence[str] | None = None,
    labels: Any = None,
    regions: Sequence[str] | None = None,
    average_regions: bool = False,
    space: str | None = None,
) -> CiftiReader:
    """Choose what is read out of CIFTI files: all they hold, some structures or regions, or means over regions.

    Parameters
    ----------
    reference : path-like or nibabel image
        One of the files, which says what vertices and voxels there are.
    structures : sequence of str, optional
        ``"cortex"`` for both hemispheres, or names of brain structures (``"cortex_left"``, ``"thalamus_right"``).
    labels : path-like, optional
        A ``.dlabel.nii`` of the same vertices and voxels; those of no region are left out.
    regions : sequence of str, optional
        Only these regions of the labels.
    average_regions : bool
        One unit per hemisphere and region, the mean of its vertices or voxels.
    space : str, optional
        Name of the space; by default ``"fsLR-32k"`` or another known mesh by its size.

    Returns
    -------
    CiftiReader
        With ``read(path)``, ``units``, ``unit_info`` and ``attrs``.

    Raises
    ------
    BrainError
        If a file is no CIFTI file, a structure or region is not there, or nothing is left.
    """
    with opened(reference) as image:
        axis = _brain_axis(image, image_name(reference))
    if labels is None and (regions is not None or average_regions):
        raise BrainError("regions and average_regions need labels")
    info = _table(axis)
    if structures is not None:
        info = info[info["structure"].isin(_structures(info, structures))]
    if labels is not None:
        info = info.assign(region=np.asarray(_dlabels(labels, axis))[info.index])
        info = info[info["region"] != ""]
        if regions is not None:
            chosen = choose_regions(dict(enumerate(sorted(set(info["region"])))), regions)
            info = info[info["region"].isin(list(chosen.values()))]
    if info.empty:
        raise BrainError("no vertex or voxel is left by structures and labels")
    positions, info = info.index.to_numpy(dtype=np.intp), info.reset_index(drop=True)
    attrs = _attrs(axis, space)
    if average_regions:
        units, info, means = average_by_region(info)
        return CiftiReader(units, info, attrs, axis, positions, means)
    on_mesh = (info["vertex"] >= 0).to_numpy()
    ids = np.empty(len(info), dtype=object)
    ids[on_mesh] = vertex_ids(info[on_mesh], max([*attrs["n_vertices"], 1]))
    ids[~on_mesh] = voxel_ids(int((~on_mesh).sum()))
    return CiftiReader(list(ids), info, attrs, axis, positions)


def _brain_axis(image: Any, name: str) -> Any:
    from nibabel.cifti2.cifti2 import Cifti2Image
    from nibabel.cifti2.cifti2_axes import BrainModelAxis

    if not isinstance(image, Cifti2Image):
        raise BrainError(f"{name} is no CIFTI-2 file")
    axis = image.header.get_axis(image.ndim - 1)  # type: ignore[no-untyped-call]
    if image.ndim != 2 or not isinstance(axis, BrainModelAxis):
        raise BrainError(f"{name} is not of dense scalars or time series: its columns are a {type(axis).__name__}")
    return axis


def _table(axis: Any) -> pd.DataFrame:
    voxels = np.where(axis.volume_mask[:, None], axis.voxel, -1)
    info = pd.DataFrame(
        {
            "structure": [str(n).removeprefix(_PREFIX).lower() for n in axis.name],
            "hemisphere": [_CORTEX.get(str(n), "") for n in axis.name],
            "vertex": np.where(axis.surface_mask, axis.vertex, -1),
            **dict(zip("ijk", voxels.T, strict=True)),
        }
    )
    info[["x", "y", "z"]] = np.nan
    if axis.affine is not None:
        mm = voxels @ axis.affine[:3, :3].T + axis.affine[:3, 3]
        info[["x", "y", "z"]] = np.where(axis.volume_mask[:, None], mm, np.nan)
    return info


def _structures(info: pd.DataFrame, structures: Sequence[str]) -> list[str]:
    known = set(info["structure"])
    wanted: list[str] = []
    for name in [structures] if isinstance(structures, str) else structures:
        lower = name.lower()
        found = [f"cortex_{h}" for h in HEMISPHERES] if lower == "cortex" else [lower]
        if not known & set(found):
            raise BrainError(f"no structure {name!r}; {did_you_mean(lower, known)}")
        wanted += found
    return wanted


def _dlabels(path: Any, axis: Any) -> list[str]:
    from nibabel.cifti2.cifti2_axes import LabelAxis

    with opened(path) as image:
        name, own = image_name(path), _brain_axis(image, image_name(path))
        table = image.header.get_axis(0)
        if not isinstance(table, LabelAxis) or len(table) != 1:
            raise BrainError(f"{name} does not hold one map of labels")
        if own != axis:
            raise BrainError(f"{name} labels other vertices and voxels ({len(own)}) than the data have ({len(axis)})")
        numbers = np.asarray(image.dataobj)[0]
    return name_regions(numbers, {int(n): str(entry[0]) for n, entry in table.label[0].items()}, name)


def _attrs(axis: Any, space: str | None) -> dict[str, Any]:
    sizes = [int(axis.nvertices.get(structure, 0)) for structure in _CORTEX]
    # A file of one hemisphere does not say how large the other is.
    sizes = [n or max(sizes) for n in sizes]
    if space is None:
        fitting = [name for name, n in N_VERTICES.items() if set(sizes) == {n}]
        space = name_some(fitting) or "unknown"
    attrs: dict[str, Any] = {"space": space, "n_vertices": sizes}
    if axis.affine is not None:
        attrs |= {"affine": [float(v) for v in np.ravel(axis.affine)], "grid": [int(n) for n in axis.volume_shape]}
    return attrs
