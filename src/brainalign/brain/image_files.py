"""Image files: opening them, their grids, and what makes a unit unusable."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign._reading import check_unpacked, reading, reason
from brainalign.errors import BrainError, name_some

#: What nibabel raises on files that are cut short or damaged.
DAMAGED = (OSError, EOFError, ValueError, zlib.error)

_TOLERANCE_MM = 1e-3


def open_image(path: Any) -> Any:
    """Open an image without reading its data.

    Parameters
    ----------
    path : path-like or nibabel image
        An image that is open already is given back.

    Returns
    -------
    nibabel image
        With a proxy of its data.

    Raises
    ------
    BrainError
        If the file is missing or is no image.
    """
    import nibabel

    if not isinstance(path, str | Path):
        if not hasattr(path, "dataobj"):
            raise BrainError(f"expected an image or its path, found {type(path).__name__}")
        return path
    with reading(path, "an image", BrainError):
        if not Path(path).is_file():  # which fails for names that no file can have
            raise BrainError(f"no image {path}")
        image: Any = nibabel.load(path)
        _check_size(Path(path), image)
        return image


def _check_size(path: Path, image: Any) -> None:
    """Raise if an image announces more values than its file can hold."""
    shape, dtype = getattr(image, "shape", None), getattr(image, "get_data_dtype", None)
    if shape is None or dtype is None:
        return
    if any(n < 0 for n in shape):
        raise BrainError(f"{path.name} announces the shape {shape}")
    n_bytes = math.prod(int(n) for n in shape) * dtype().itemsize
    # Headers with an image of their own are read from two files.
    if path.suffix in (".gz", ".mgz", ".bz2", ".zst") or path.suffix in (".hdr", ".img"):
        check_unpacked(path.with_suffix(".img") if path.suffix == ".hdr" else path, n_bytes, BrainError)
    elif n_bytes > path.stat().st_size:
        raise BrainError(
            f"{path.name} is damaged or cut short: it announces {n_bytes:,} bytes of shape {shape}, and has "
            f"{path.stat().st_size:,}"
        )


@contextmanager
def opened(path: Any) -> Iterator[Any]:
    """Open an image, and check after reading that its file is whole.

    A compressed file is read forwards once, however few volumes are read at a time, and to its end: its checksum stands
    there, and damage within would otherwise pass for data.

    Parameters
    ----------
    path : path-like or nibabel image
        An image that is open already is given back.

    Yields
    ------
    nibabel image
        With a proxy of its data.

    Raises
    ------
    BrainError
        If the file is missing, is no image, or turns out to be damaged.
    """
    image = open_image(path)
    compressed = isinstance(path, str | Path) and str(path).endswith((".gz", ".mgz")) and hasattr(image, "from_stream")
    try:
        if compressed:
            with gzip.open(path) as stream:
                yield type(image).from_stream(stream)
                while stream.read(2**20):
                    check_unpacked(path, stream.tell(), BrainError)
        else:
            yield image
    except (*DAMAGED, MemoryError) as why:
        raise BrainError(f"{image_name(path)} is damaged or cut short: {reason(why)}") from why


def load_image(path: Any) -> Any:
    """Read an image into memory.

    Parameters
    ----------
    path : path-like or nibabel image
        The image.

    Returns
    -------
    nibabel.Nifti1Image
        With an array of its data; 3-D if there is a single volume.

    Raises
    ------
    BrainError
        If the file is missing, is no image, or is damaged.
    """
    import nibabel

    with opened(path) as image:
        data = np.asarray(image.dataobj)
        if data.ndim > 3 and data.size == np.prod(data.shape[:3]):
            data = data.reshape(data.shape[:3])
        return nibabel.Nifti1Image(data, image.affine, image.header)  # type: ignore[no-untyped-call]


def image_name(path: Any) -> str:
    """Return how messages call an image: its file name, if it has one."""
    if isinstance(path, str | Path):
        return Path(path).name
    name = path.get_filename()
    return Path(name).name if name else "the image"


def same_grid(one: Any, other: Any) -> bool:
    """Say whether two images have the same grid: shape, and affine within 0.001 mm."""
    return bool(one.shape[:3] == other.shape[:3] and np.allclose(one.affine, other.affine, rtol=0, atol=_TOLERANCE_MM))


def describe_grid(image: Any) -> str:
    """Describe a grid for a message: shape, voxel size, where the first voxel lies."""
    size = np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
    shape, mm, origin = (
        " x ".join(map(str, image.shape[:3])),
        " x ".join(f"{s:g}" for s in size.round(3)),
        ", ".join(f"{o:g}" for o in image.affine[:3, 3].round(3)),
    )
    return f"{shape} voxels of {mm} mm from ({origin})"


def mean_image(path: Any) -> Any:
    """Average the volumes of an image, one at a time; NaN count as 0.

    Parameters
    ----------
    path : path-like or nibabel image
        3-D or 4-D.

    Returns
    -------
    nibabel.Nifti1Image
        3-D.

    Raises
    ------
    BrainError
        If the file is missing, is no image, or is damaged.
    """
    import nibabel

    with opened(path) as image:
        n_volumes = image.shape[3] if image.ndim == 4 else 1
        total = np.zeros(image.shape[:3])
        for v in range(n_volumes):
            total += np.nan_to_num(image.dataobj[..., v] if image.ndim == 4 else image.dataobj)
        return nibabel.Nifti1Image(total / n_volumes, image.affine, image.header)  # type: ignore[no-untyped-call]


def bad_units(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which units cannot be used.

    Parameters
    ----------
    values : ndarray, shape (n_volumes, n_units)
        As read.

    Returns
    -------
    ndarray of bool, shape (n_units,)
        True where a value is NaN or infinite, or all of at least two volumes are equal.
    """
    bad: NDArray[np.bool_] = ~np.isfinite(values).all(axis=0)
    if len(values) > 1:
        bad |= (values == values[0]).all(axis=0)
    return bad


def check_units(values: NDArray[Any], units: Sequence[str], name: str) -> None:
    """Raise if units are NaN or constant.

    Parameters
    ----------
    values : ndarray, shape (n_volumes, n_units)
        As read.
    units : sequence of str
        Their ids.
    name : str
        Of the image, for the message.

    Raises
    ------
    BrainError
        Naming some of the units, and their number.
    """
    bad = bad_units(values)
    if bad.any():
        which = name_some(np.asarray(units)[bad])
        raise BrainError(
            f"{int(bad.sum())} of {len(units)} units of {name} are NaN or constant over the volumes: {which}; give a "
            f"mask without them"
        )
