"""Surface data as a matrix of volumes by units: the vertices of both hemispheres, or means over regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.brain.geometry import HEMISPHERES, N_VERTICES
from brainalign.brain.image_files import check_units, image_name
from brainalign.brain.regions import choose_regions
from brainalign.brain.surface_files import read_labels, read_surface, read_vertex_mask
from brainalign.errors import BrainError, did_you_mean, name_some


@dataclass(frozen=True)
class SurfaceReader:
    """Reads pairs of surface files into (n_volumes, n_units).

    Attributes
    ----------
    units : list of str
        Unit ids without the subject: ``"L_v00012"``, or ``"L_name"`` for means over regions.
    unit_info : DataFrame
        One row per unit: ``hemisphere``, ``vertex`` and, with labels, ``region``; means have ``n_vertices`` instead of
        ``vertex``.
    attrs : dict
        ``space`` and ``n_vertices`` (left, right) for the Responses.
    vertices : dict of str to ndarray
        The vertices that are read of each hemisphere.
    means : scipy.sparse array of shape (n_units, n_vertices), optional
        Weights of the vertices in each unit; None where each vertex is a unit.
    """

    units: list[str]
    unit_info: pd.DataFrame
    attrs: dict[str, Any]
    vertices: dict[str, NDArray[np.intp]]
    means: Any = None

    def read(self, files: Mapping[str, Any], *, allow_bad: bool = False) -> NDArray[np.float32]:
        """Read the files of the hemispheres.

        Parameters
        ----------
        files : mapping of str to path-like
            The file of each hemisphere, ``"left"`` and ``"right"`` (or the one that was asked for).
        allow_bad : bool
            Give units that are NaN, or constant over the volumes, as they are: the caller deals with
            :func:`~brainalign.brain.image_files.bad_units`.

        Returns
        -------
        ndarray of float32, shape (n_volumes, n_units)
            One volume for a single map.

        Raises
        ------
        BrainError
            If a hemisphere lacks, files cannot be read or do not fit the mesh or each other, or units are NaN or
            constant.
        """
        if set(files) != set(self.vertices):
            raise BrainError(
                f"found files of the hemispheres {name_some(files) or 'none'}, expected {name_some(self.vertices)}"
            )
        sizes = dict(zip(HEMISPHERES, self.attrs["n_vertices"], strict=True))
        parts = []
        for hemisphere, vertices in self.vertices.items():
            values = read_surface(files[hemisphere])
            _check_size(values[0], sizes[hemisphere], files[hemisphere], hemisphere, self.attrs["space"])
            parts.append(values[:, vertices])
        name = " and ".join(image_name(files[h]) for h in self.vertices)
        if len({len(p) for p in parts}) > 1:
            raise BrainError(
                f"{name} have {' and '.join(str(len(p)) for p in parts)} volumes; expected as many in both"
            )
        joined = np.concatenate(parts, axis=1)
        values = joined if self.means is None else (joined @ self.means.T).astype(np.float32)
        if not allow_bad:
            check_units(values, self.units, name)
        return values


def open_surface_reader(
    space: str = "fsaverage5",
    *,
    n_vertices: tuple[int, int] | None = None,
    mask: Mapping[str, Any] | None = None,
    labels: Mapping[str, Any] | None = None,
    regions: Sequence[str] | None = None,
    average_regions: bool = False,
    hemispheres: Sequence[str] = HEMISPHERES,
) -> SurfaceReader:
    """Choose what is read out of surface files: all vertices, those of a mask or of regions, or means over regions.

    Parameters
    ----------
    space : str
        Name of the mesh: ``"fsaverage5"``, ``"fsaverage6"``, ``"fsaverage"``, ``"fsLR-32k"``, or another with
        `n_vertices`.
    n_vertices : (int, int), optional
        Vertices of the left and the right hemisphere, for a mesh that is not among these.
    mask : mapping of str to path-like or array, optional
        For each hemisphere a FreeSurfer ``.label``, a map whose vertices count where it is not 0, or such an array.
    labels : mapping of str to path-like, optional
        For each hemisphere a FreeSurfer ``.annot`` or a GIFTI ``.label.gii``. Vertices of no region (numbers below 0,
        names like ``unknown``, ``???``, ``Medial_wall``) are left out.
    regions : sequence of str, optional
        Only these regions of the labels.
    average_regions : bool
        One unit per region and hemisphere, the mean of its vertices.
    hemispheres : sequence of str
        ``"left"``, ``"right"`` or both.

    Returns
    -------
    SurfaceReader
        With ``read({"left": path, "right": path})``, ``units``, ``unit_info`` and ``attrs``.

    Raises
    ------
    BrainError
        If the mesh is not known, files do not fit it, or no vertex is left.
    """
    sizes = _sizes(space, n_vertices)
    wanted = [h for h in HEMISPHERES if h in hemispheres]
    if not wanted or set(hemispheres) - set(HEMISPHERES):
        raise BrainError(f"hemispheres are 'left' and 'right', found {name_some(map(repr, hemispheres)) or 'none'}")
    for name, given in (("mask", mask), ("labels", labels)):
        if given is not None and not set(wanted) <= set(given):
            raise BrainError(f"{name} is given for {name_some(given)}, expected {name_some(wanted)}")
    if labels is None and (regions is not None or average_regions):
        raise BrainError("regions and average_regions need labels")
    tables, vertices = [], {}
    for h in wanted:
        inside = np.ones(sizes[h], bool)
        if mask is not None:
            inside = read_vertex_mask(mask[h], sizes[h])
            _check_size(inside, sizes[h], mask[h], h, space)
        table = pd.DataFrame({"hemisphere": h, "vertex": np.arange(sizes[h])})
        if labels is not None:
            named = read_labels(labels[h])
            _check_size(named, sizes[h], labels[h], h, space)
            table["region"] = named
            inside = inside & (table["region"] != "").to_numpy()
        tables.append(table[inside])
    info = pd.concat(tables, ignore_index=True)
    if regions is not None:
        chosen = choose_regions(dict(enumerate(sorted(set(info["region"])))), regions)
        info = info[info["region"].isin(list(chosen.values()))].reset_index(drop=True)
    if info.empty:
        raise BrainError("no vertex is left by mask and labels")
    for h in wanted:
        vertices[h] = info.loc[info["hemisphere"] == h, "vertex"].to_numpy(dtype=np.intp)
    attrs = {"space": space, "n_vertices": [sizes[h] for h in HEMISPHERES]}
    if average_regions:
        units, means_info, means = average_by_region(info)
        return SurfaceReader(units, means_info, attrs, vertices, means)
    return SurfaceReader(vertex_ids(info, max(sizes.values())), info, attrs, vertices)


def _sizes(space: str, n_vertices: tuple[int, int] | None) -> dict[str, int]:
    if n_vertices is None:
        if space not in N_VERTICES:
            raise BrainError(f"the mesh {space!r} is not known, give n_vertices; {did_you_mean(space, N_VERTICES)}")
        n_vertices = (N_VERTICES[space], N_VERTICES[space])
    elif space in N_VERTICES and set(n_vertices) != {N_VERTICES[space]}:
        raise BrainError(f"{space} has {N_VERTICES[space]} vertices per hemisphere, found n_vertices={n_vertices}")
    return dict(zip(HEMISPHERES, map(int, n_vertices), strict=True))


def _check_size(found: Any, n_vertices: int, file: Any, hemisphere: str, space: str) -> None:
    if len(found) != n_vertices:
        name = Path(file).name if isinstance(file, str | Path) else "the array"
        raise BrainError(
            f"{name} has {len(found)} vertices, but the {hemisphere} hemisphere of {space} has {n_vertices}"
        )


def vertex_ids(info: pd.DataFrame, n_vertices: int) -> list[str]:
    """Return ids such as ``L_v00012``, as wide as the largest of `n_vertices` numbers."""
    width = len(str(n_vertices - 1))
    pairs = info[["hemisphere", "vertex"]].itertuples(index=False)
    return [f"{hemisphere[0].upper()}_v{vertex:0{width}d}" for hemisphere, vertex in pairs]


def average_by_region(info: pd.DataFrame) -> tuple[list[str], pd.DataFrame, Any]:
    """Give unit ids, a table and averaging weights (sparse), one row per hemisphere and region of a table of units."""
    from scipy.sparse import csr_array

    number = info.groupby(["hemisphere", "region"], sort=True).ngroup().to_numpy()
    sizes = np.bincount(number)
    means = csr_array((1 / sizes[number], (number, np.arange(len(info)))))
    averaged = info[["hemisphere", "region"]].drop_duplicates().sort_values(["hemisphere", "region"], ignore_index=True)
    averaged["n_vertices"] = sizes
    units = [f"{h[0].upper()}_{region}" for h, region in averaged[["hemisphere", "region"]].itertuples(index=False)]
    return units, averaged, means
