"""NIfTI images as a matrix of volumes by units: the voxels of a mask, or means over regions or spheres.

Which voxels and means: as in nilearn's NiftiMasker, NiftiLabelsMasker and NiftiSpheresMasker, and with the same values.
The images themselves are read a few volumes at a time, since a masker's whole image in floating point would not fit
beside others (96 x 96 x 68 x 410 voxels are 2 GB).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.brain.geometry import volume_coordinates
from brainalign.brain.image_files import (
    check_units,
    describe_grid,
    image_name,
    load_image,
    mean_image,
    open_image,
    opened,
    same_grid,
)
from brainalign.brain.regions import choose_regions, region_names
from brainalign.errors import BrainError, name_some

_BYTES_AT_ONCE = 2**27


@dataclass(frozen=True)
class ImageReader:
    """Reads images of one grid into (n_volumes, n_units).

    Attributes
    ----------
    units : list of str
        Unit ids without the subject: ``"v00012"``, or names of regions or spheres.
    unit_info : DataFrame
        One row per unit. Voxels: ``i, j, k, x, y, z`` and, with an atlas, ``region``. Means: ``region``, the centre
        ``x, y, z`` in mm, and ``n_voxels``.
    attrs : dict
        ``space``, ``affine`` and ``grid`` for the Responses.
    grid : nibabel image
        An image on the grid that images must have, or to which they are resampled.
    voxels : ndarray, shape (3, n_voxels)
        Indices of the voxels that are read.
    means : scipy.sparse array of shape (n_units, n_voxels), optional
        Weights of the voxels in each unit; None where each voxel is a unit.
    resample : bool
        Bring images of another grid to this one.
    """

    units: list[str]
    unit_info: pd.DataFrame
    attrs: dict[str, Any]
    grid: Any
    voxels: NDArray[np.intp]
    means: Any = None
    resample: bool = False

    def read(self, path: Any, *, allow_bad: bool = False) -> NDArray[np.float32]:
        """Read an image.

        Parameters
        ----------
        path : path-like or nibabel image
            3-D or 4-D.
        allow_bad : bool
            Give units that are NaN, or constant over the volumes, as they are: the caller deals with
            :func:`~brainalign.brain.image_files.bad_units`.

        Returns
        -------
        ndarray of float32, shape (n_volumes, n_units)
            One volume for a 3-D image.

        Raises
        ------
        BrainError
            If the file is missing, damaged or no image, is of another grid, or units are NaN or constant.
        """
        with opened(path) as image:
            name = image_name(path)
            if image.ndim not in (3, 4):
                raise BrainError(f"{name} has {image.ndim} dimensions, expected 3 or 4")
            if image.get_data_dtype().kind not in "iuf":
                raise BrainError(f"{name} holds {image.get_data_dtype()}, expected real numbers")
            if not same_grid(image, self.grid) and not self.resample:
                raise BrainError(
                    f"{name} is on the grid {describe_grid(image)}, the mask or atlas on {describe_grid(self.grid)}; "
                    f"give images of one grid, or say reading={{resample=true}} to bring the image to that of the mask"
                )
            values = self._read(image)
        if not allow_bad:
            check_units(values, self.units, name)
        return values

    def _read(self, image: Any) -> NDArray[np.float32]:
        from nilearn.image import resample_to_img

        resample = not same_grid(image, self.grid)
        n_volumes = image.shape[3] if image.ndim == 4 else 1
        values = np.empty((n_volumes, len(self.units)), dtype=np.float32)
        step = max(1, _BYTES_AT_ONCE // (8 * int(np.prod(image.shape[:3]))))
        for start in range(0, n_volumes, step):
            part = image.slicer[..., start : start + step] if image.ndim == 4 else image
            if resample:
                part = resample_to_img(
                    part, self.grid, interpolation="continuous", copy_header=True, force_resample=True
                )
            read = np.asarray(part.dataobj)[tuple(self.voxels)].reshape(self.voxels.shape[1], -1)
            values[start : start + step] = (read if self.means is None else self.means @ read.astype(np.float64)).T
        return values


def open_reader(
    mask: Any = None,
    *,
    atlas: Any = None,
    labels: Any = None,
    regions: Sequence[str] | None = None,
    average_regions: bool = False,
    spheres: Mapping[str, ArrayLike] | None = None,
    radius_mm: float | None = None,
    resample: bool = False,
    space: str | None = None,
    reference: Any = None,
) -> ImageReader:
    """Choose what is read out of images: the voxels of a mask or an atlas, or means over regions or spheres.

    Parameters
    ----------
    mask : path-like, nibabel image or "compute-epi", optional
        Voxels that are not 0. ``"compute-epi"``: nilearn's ``compute_epi_mask`` of the mean of `reference`. With an
        atlas or spheres, only their voxels within the mask count.
    atlas : path-like or nibabel image, optional
        Whole numbers, one per region; 0 is background.
    labels : mapping, sequence, DataFrame or path-like, optional
        Names of the regions: number to name; or names in the order of the numbers (if the first is ``"Background"`` it
        stands for 0); or a table with the columns ``index`` and ``name`` (csv or tsv, as BIDS ``dseg.tsv``). By
        default the numbers.
    regions : sequence of str, optional
        Only these regions of the atlas.
    average_regions : bool
        One unit per region, the mean of its voxels (as nilearn's NiftiLabelsMasker), instead of one per voxel.
    spheres : mapping of str to (x, y, z), optional
        Centres in mm, by name; one unit per sphere, the mean of its voxels (as nilearn's NiftiSpheresMasker).
    radius_mm : float, optional
        Radius of the spheres; the nearest voxel alone if not given.
    resample : bool
        Bring what is of another grid to that of the mask (else the atlas, else `reference`): images with nilearn's
        continuous (spline) interpolation, atlas labels by the nearest voxel.
    space : str, optional
        Name of the space; by default what the header says.
    reference : path-like or nibabel image, optional
        A functional image: for ``"compute-epi"``, and for the grid of spheres without a mask.

    Returns
    -------
    ImageReader
        With ``read(path)``, ``units``, ``unit_info`` and ``attrs``.

    Raises
    ------
    BrainError
        If nothing or too much is asked for, an image cannot be read, grids differ, or a region or sphere has no name
        or no voxel.
    """
    if atlas is not None and spheres is not None:
        raise BrainError("give an atlas or spheres, not both")
    if mask is None and atlas is None and spheres is None:
        raise BrainError("say what to read out of the images: mask, atlas or spheres")
    if atlas is None and (labels is not None or regions is not None or average_regions):
        raise BrainError("labels, regions and average_regions need an atlas")
    inside = _mask(mask, reference)
    if atlas is not None:
        return _atlas_reader(inside, atlas, labels, regions, average_regions, resample, space)
    if spheres is not None:
        return _sphere_reader(inside, spheres, radius_mm, resample, space, reference)
    info, attrs = volume_coordinates(inside, space)
    return ImageReader(voxel_ids(len(info)), info, attrs, inside, _indices(info), None, resample)


def _atlas_reader(
    inside: Any,
    atlas: Any,
    labels: Any,
    regions: Sequence[str] | None,
    average_regions: bool,
    resample: bool,
    space: str | None,
) -> ImageReader:
    import nibabel

    image = load_image(atlas)
    grid = image if inside is None else inside
    numbers = np.asarray(_to_grid(image, grid, "the atlas", resample).dataobj)
    if numbers.ndim != 3 or numbers.dtype.kind not in "iuf" or (numbers != np.round(numbers)).any():
        raise BrainError(
            f"an atlas is a 3-D image of whole numbers, found shape {numbers.shape}, dtype {numbers.dtype}"
        )
    if inside is not None:
        numbers = np.where(np.asarray(inside.dataobj) != 0, numbers, 0)
    names = region_names(labels, np.asarray(image.dataobj))
    if regions is not None:
        names = choose_regions(names, regions)
    chosen = np.where(np.isin(numbers, list(names)), numbers, 0).astype(np.int32)
    empty = [name for number, name in names.items() if not (chosen == number).any()]
    if empty:
        raise BrainError(f"no voxel is left of the regions {name_some(empty)}; leave them out with regions=[...]")
    info, attrs = volume_coordinates(nibabel.Nifti1Image(chosen, grid.affine, grid.header), space)  # type: ignore[no-untyped-call]
    indices = _indices(info)
    number = chosen[tuple(indices)]
    if not average_regions:
        info["region"] = [names[int(n)] for n in number]
        return ImageReader(voxel_ids(len(info)), info, attrs, grid, indices, None, resample)
    members = np.asarray([number == n for n in names])
    return _means_reader(list(names.values()), members, info, attrs, grid, resample)


def _sphere_reader(
    inside: Any,
    spheres: Mapping[str, ArrayLike],
    radius_mm: float | None,
    resample: bool,
    space: str | None,
    reference: Any,
) -> ImageReader:
    import nibabel

    if inside is None and reference is None:
        raise BrainError("spheres lie on a grid: give a mask, or a reference image")
    if radius_mm is not None and not radius_mm > 0:
        raise BrainError(f"radius_mm must be positive, found {radius_mm}")
    grid = inside
    if inside is None:
        image = open_image(reference)
        grid = nibabel.Nifti1Image(np.ones(image.shape[:3], np.uint8), image.affine, image.header)  # type: ignore[no-untyped-call]
    info, attrs = volume_coordinates(grid, space)
    centres = np.asarray([np.asarray(c, dtype=np.float64) for c in spheres.values()])
    if centres.ndim != 2 or centres.shape[1] != 3 or not np.isfinite(centres).all():
        raise BrainError("the centre of a sphere is x, y, z in mm")
    positions = info[["x", "y", "z"]].to_numpy()
    nearest = np.round((centres - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T)
    members = np.asarray([(info[list("ijk")].to_numpy() == voxel).all(axis=1) for voxel in nearest])
    if radius_mm is not None:
        members |= np.asarray([((positions - c) ** 2).sum(axis=1) <= radius_mm**2 for c in centres])
    empty = [name for name, member in zip(spheres, members, strict=True) if not member.any()]
    if empty:
        raise BrainError(f"no voxel of the mask lies in the spheres {name_some(empty)}")
    used = np.flatnonzero(members.any(axis=0))
    return _means_reader(list(spheres), members[:, used], info.iloc[used], attrs, grid, resample)


def _means_reader(
    names: list[str], members: NDArray[np.bool_], info: pd.DataFrame, attrs: dict[str, Any], grid: Any, resample: bool
) -> ImageReader:
    from scipy.sparse import csr_array

    sizes = members.sum(axis=1)
    means = csr_array(members / sizes[:, None])
    centres = pd.DataFrame(means @ info[["x", "y", "z"]].to_numpy(), columns=["x", "y", "z"])
    centres.insert(0, "region", names)
    centres["n_voxels"] = sizes
    return ImageReader(names, centres, attrs, grid, _indices(info), means, resample)


@contextmanager
def quiet_masking() -> Iterator[None]:
    """Keep nilearn from printing that a mask is empty or full, with a line of its source: an empty one is an error."""
    from nilearn.exceptions import MaskWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MaskWarning)
        yield


def _mask(mask: Any, reference: Any) -> Any:
    from nilearn.masking import compute_epi_mask

    if mask is None:
        return None
    if isinstance(mask, str) and mask == "compute-epi":
        if reference is None:
            raise BrainError("mask='compute-epi' needs a functional image as reference")
        with quiet_masking():
            return compute_epi_mask(mean_image(reference))
    image = load_image(mask)
    inside = np.asarray(image.dataobj)
    if inside.ndim != 3 or not np.isfinite(inside).all() or not inside.any():
        raise BrainError(f"the mask {image_name(mask)} must be 3-D, finite, with voxels that are not 0")
    return image


def _to_grid(image: Any, grid: Any, name: str, resample: bool) -> Any:
    from nilearn.image import resample_to_img

    if same_grid(image, grid):
        return image
    if not resample:
        raise BrainError(
            f"{name} is on the grid {describe_grid(image)}, the mask on {describe_grid(grid)}; say "
            f"reading={{resample=true}} to bring it to the grid of the mask"
        )
    return resample_to_img(image, grid, interpolation="nearest", copy_header=True, force_resample=True)


def voxel_ids(n: int) -> list[str]:
    """Return running numbers as ids: ``v0``, ``v1``, ... with leading zeros."""
    width = len(str(max(n - 1, 0)))
    return [f"v{i:0{width}d}" for i in range(n)]


def _indices(info: pd.DataFrame) -> NDArray[np.intp]:
    return info[list("ijk")].to_numpy(dtype=np.intp).T
