"""Where units lie: voxels of a volume, vertices of a mesh, and the images and maps that values make of them.

Voxels have the coordinates ``i, j, k`` (indices) and ``x, y, z`` (mm, RAS); vertices have ``hemisphere`` and
``vertex``. The attributes of Responses name the ``space`` and hold the ``affine`` and ``grid`` of the volume, or
``n_vertices`` of the two hemispheres. All of them survive netCDF. A unit that is no voxel has ``i = -1``, one that is
no vertex has ``vertex = -1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import BrainError, did_you_mean, name_some
from brainalign.responses import Responses

HEMISPHERES = ("left", "right")
#: Vertices of one hemisphere of the common meshes.
N_VERTICES = {"fsaverage5": 10242, "fsaverage6": 40962, "fsaverage": 163842, "fsLR-32k": 32492}

#: A triangle mesh: coordinates (n_vertices, 3) in mm and faces (n_faces, 3).
Mesh = tuple[NDArray[np.float64], NDArray[np.int64]]

_SPACE_OF_CODE = {1: "scanner", 3: "Talairach", 4: "MNI152"}
_FSAVERAGE5 = {"inflated": "infl", "pial": "pial", "white": "white", "sphere": "sphere", "flat": "flat"}


def volume_coordinates(mask_img: Any, space: str | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Say where the voxels of a mask lie.

    Parameters
    ----------
    mask_img : nibabel image
        3-D; the voxels that are not 0, in the order of nilearn's maskers (C order of the array).
    space : str, optional
        Name of the space, for instance ``"MNI152"`` or ``"T1w"``; by default what the header's code says, or
        ``"unknown"``.

    Returns
    -------
    unit_info : DataFrame
        One row per voxel: ``i, j, k`` (indices), ``x, y, z`` (mm).
    attrs : dict
        ``space``, ``affine`` (16 floats, row by row), ``grid`` (3 ints).

    Raises
    ------
    BrainError
        If the mask is not 3-D or has no voxel.
    """
    inside = np.asarray(mask_img.dataobj) != 0
    if inside.ndim != 3 or not inside.any():
        raise BrainError(f"a mask is a 3-D image with voxels that are not 0, found shape {inside.shape}")
    voxels = np.argwhere(inside)
    info = pd.DataFrame(voxels, columns=list("ijk"))
    info[["x", "y", "z"]] = voxels @ mask_img.affine[:3, :3].T + mask_img.affine[:3, 3]
    return info, grid_attrs(mask_img, space)


def grid_attrs(img: Any, space: str | None = None) -> dict[str, Any]:
    """Describe the grid of an image.

    Parameters
    ----------
    img : nibabel image
        The image.
    space : str, optional
        Name of its space; by default what the header's code says, or ``"unknown"``.

    Returns
    -------
    dict
        ``space``, ``affine`` (16 floats, row by row), ``grid`` (3 ints).
    """
    if space is None:
        code = int(img.header["sform_code"] or img.header["qform_code"]) if "sform_code" in img.header else 0
        space = _SPACE_OF_CODE.get(code, "unknown")
    return {
        "space": space,
        "affine": [float(v) for v in np.ravel(img.affine)],
        "grid": [int(n) for n in img.shape[:3]],
    }


def combine_geometry(attrs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Join the geometry of several subjects into the attributes of one set of Responses.

    Parameters
    ----------
    attrs : mapping of str to mapping
        The attributes for each subject, as :func:`volume_coordinates` and the readers of images give them.

    Returns
    -------
    dict
        What all subjects share under its own name; what differs (native grids) as ``affine_sub-01`` and so on, where
        :func:`volume_image` and :func:`surface_maps` find it.
    """
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(n for one in attrs.values() for n in one):
        entries = {subject: one[name] for subject, one in attrs.items() if name in one}
        first = next(iter(entries.values()))
        if len(entries) == len(attrs) and all(_same(entry, first) for entry in entries.values()):
            joined[name] = first
        else:
            joined |= {f"{name}_{subject}": entry for subject, entry in entries.items()}
    return joined


def _same(one: Any, other: Any) -> bool:
    if np.asarray(one).dtype.kind == "f":
        return np.shape(one) == np.shape(other) and bool(np.allclose(one, other, rtol=0, atol=1e-3))
    return bool(np.array_equal(one, other))


def volume_image(units: Responses, values: ArrayLike, *, fill: float = np.nan, average_subjects: bool = False) -> Any:
    """Draw one value per unit into a volume.

    Parameters
    ----------
    units : Responses
        Whose units the values belong to; with the coordinates ``i, j, k``.
    values : array_like, shape (n_units,)
        For instance scores or component weights.
    fill : float
        What voxels without a unit get.
    average_subjects : bool
        Where units of several subjects lie on one voxel: take their mean (NaN if one of them is NaN).

    Returns
    -------
    nibabel.Nifti1Image
        On the grid of the units.

    Raises
    ------
    BrainError
        If the units are no voxels, several lie on one voxel, or they are of several grids.
    """
    import nibabel

    column, where = _columns(units, values, ("i", "j", "k"), "voxels of a volume")
    subjects = _subjects(units)[where]
    grid, affine = (_attribute(units, name, subjects) for name in ("grid", "affine"))
    if grid is None or affine is None:
        raise BrainError("the units have no attributes 'grid' and 'affine', which their volume needs")
    shape = tuple(int(n) for n in grid)
    voxels = np.stack([units[c].values[where] for c in "ijk"])
    if (voxels >= np.reshape(shape, (3, 1))).any():
        raise BrainError(f"units lie outside their grid of {shape} voxels")
    index = np.ravel_multi_index(tuple(voxels), shape)
    filled = _fill(int(np.prod(shape)), index, column[where], subjects, fill, average_subjects, "voxel")
    data = filled.reshape(shape).astype(np.float32)
    image = nibabel.Nifti1Image(data, np.reshape(affine, (4, 4)))  # type: ignore[no-untyped-call]
    if str(_attribute(units, "space", subjects)).startswith("MNI152"):
        image.set_sform(image.affine, code=4)  # type: ignore[no-untyped-call]
    return image


def surface_maps(
    units: Responses, values: ArrayLike, mesh: Mapping[str, Mesh] | None = None, *, average_subjects: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Lay one value per unit onto the vertices of the two hemispheres.

    Parameters
    ----------
    units : Responses
        Whose units the values belong to; with the coordinates ``hemisphere`` and ``vertex``.
    values : array_like, shape (n_units,)
        For instance scores or component weights.
    mesh : mapping of str to (coordinates, faces), optional
        The mesh for ``"left"`` and ``"right"``, as :func:`fsaverage5_mesh` gives it; by default its size follows from
        the attribute ``n_vertices`` or ``space``.
    average_subjects : bool
        Where units of several subjects lie on one vertex: take their mean (NaN if one of them is NaN).

    Returns
    -------
    dict of str to ndarray, shape (n_vertices,)
        Maps for ``"left"`` and ``"right"``, NaN where there is no unit.

    Raises
    ------
    BrainError
        If the units are no vertices, several lie on one vertex, their hemisphere is neither left nor right, or they do
        not fit the mesh.
    """
    column, where = _columns(units, values, ("vertex", "hemisphere"), "vertices of a mesh")
    check_hemispheres(units, where)
    subjects = _subjects(units)
    space, sizes = (_attribute(units, name, subjects[where]) for name in ("space", "n_vertices"))
    if mesh is not None:
        sizes = [len(mesh[h][0]) for h in HEMISPHERES]
    elif space in N_VERTICES:
        expected = [N_VERTICES[space]] * 2
        if sizes is not None and [int(n) for n in sizes] != expected:
            raise BrainError(
                f"the attribute n_vertices is {[int(n) for n in sizes]}, but the space {space!r} has {expected} "
                f"vertices in the left and right hemisphere: correct the attribute that is wrong"
            )
        sizes = expected
    if sizes is None:
        raise BrainError(f"the mesh of the space {space!r} is not known: give it as mesh")
    maps = {}
    for hemisphere, size in zip(HEMISPHERES, sizes, strict=True):
        here = where & (units["hemisphere"].values == hemisphere)
        vertices = units["vertex"].values[here].astype(np.intp)
        if len(vertices) and vertices.max() >= size:
            raise BrainError(
                f"the {hemisphere} hemisphere has {size} vertices, but there is a unit on vertex {vertices.max()}: "
                f"units and mesh are of different spaces"
            )
        maps[hemisphere] = _fill(
            int(size), vertices, column[here], subjects[here], np.nan, average_subjects, f"{hemisphere} vertex"
        )
    return maps


def check_hemispheres(units: Responses, where: NDArray[np.bool_]) -> None:
    """Raise if units that have a place are in a hemisphere of another name than ``left`` and ``right``.

    Parameters
    ----------
    units : Responses
        With the coordinate ``hemisphere``.
    where : ndarray of bool, shape (n_units,)
        Which units have a place.

    Raises
    ------
    BrainError
        Names the first other entry.
    """
    found = units["hemisphere"].values[where].astype(str)
    other = found[~np.isin(found, HEMISPHERES)]
    if len(other):
        raise BrainError(f"hemisphere is {str(other[0])!r} for {len(other)} units, expected 'left' or 'right'")


def fsaverage5_mesh(surface: str = "inflated") -> dict[str, Mesh]:
    """Return the fsaverage5 mesh that comes with nilearn (no download).

    Parameters
    ----------
    surface : {'inflated', 'pial', 'white', 'sphere', 'flat'}
        Which surface the coordinates are of.

    Returns
    -------
    dict of str to (coordinates, faces)
        For ``"left"`` and ``"right"``: coordinates (10242, 3) in mm and faces (20480, 3).

    Raises
    ------
    BrainError
        If there is no such surface.
    """
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_mesh

    if surface not in _FSAVERAGE5:
        raise BrainError(f"no surface {surface!r} of fsaverage5; {did_you_mean(surface, _FSAVERAGE5)}")
    files = fetch_surf_fsaverage("fsaverage5")
    meshes = {h: load_surf_mesh(files[f"{_FSAVERAGE5[surface]}_{h}"]) for h in HEMISPHERES}
    return {h: (m.coordinates.astype(np.float64), m.faces.astype(np.int64)) for h, m in meshes.items()}


def _columns(
    units: Responses, values: ArrayLike, needed: tuple[str, ...], kind: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Check one value per unit, and say which units have a place."""
    lacking = [c for c in needed if c not in units.coords]
    if lacking:
        raise BrainError(f"the units are not known as {kind}: they have no coordinate {name_some(map(repr, lacking))}")
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (units.sizes["unit"],):
        raise BrainError(f"found values of shape {column.shape}, expected one for each of {units.sizes['unit']} units")
    where = np.asarray(units[needed[0]].values >= 0)
    if not where.any():
        raise BrainError(f"none of the units is among the {kind}")
    return column, where


def _subjects(units: Responses) -> NDArray[Any]:
    if "subject" in units.coords:
        return np.asarray(units["subject"].values)
    return np.full(units.sizes["unit"], "")


def _attribute(units: Responses, name: str, subjects: NDArray[Any]) -> Any:
    """Give what the units' attributes say, for one subject where subjects differ."""
    if name in units.attrs:
        return units.attrs[name]
    present = sorted(set(subjects))
    own = [s for s in present if f"{name}_{s}" in units.attrs]
    if own and len(present) > 1:
        raise BrainError(
            f"the subjects {name_some(present)} each have a {name} of their own: select one with "
            f"select_units(responses, subject={present[0]!r})"
        )
    return units.attrs[f"{name}_{own[0]}"] if own else None


def _fill(
    size: int,
    index: NDArray[np.intp],
    values: NDArray[np.float64],
    subjects: NDArray[Any],
    fill: float,
    average_subjects: bool,
    place: str,
) -> NDArray[np.float64]:
    counts = np.bincount(index, minlength=size)
    if counts.max(initial=0) > 1:
        if pd.DataFrame({"place": index, "subject": subjects}).duplicated().any():
            raise BrainError(f"several units of one subject lie on one {place}")
        if not average_subjects:
            raise BrainError(
                f"units of several subjects ({name_some(sorted(set(subjects)))}) lie on one {place}: select one "
                f"with select_units, or pass average_subjects=True"
            )
    filled = np.full(size, fill, dtype=np.float64)
    there = counts > 0
    filled[there] = np.bincount(index, weights=values, minlength=size)[there] / counts[there]
    return filled
