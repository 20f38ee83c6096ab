"""Surface files: data, labels and masks on the vertices of one hemisphere, of GIFTI and FreeSurfer."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign._reading import reading, unpack
from brainalign.brain.image_files import image_name, opened
from brainalign.errors import BrainError, name_some

#: Names that annotations give to vertices of no region.
_NO_REGION = {"unknown", "???", "medial_wall", "medialwall", "background", "none"}


def read_surface(path: Any) -> NDArray[np.float32]:
    """Read the data of one hemisphere.

    Parameters
    ----------
    path : path-like or nibabel image
        GIFTI (``.func.gii``, ``.shape.gii``: one array per volume), FreeSurfer ``.mgh`` or ``.mgz`` or its NIfTI
        (vertices along the first axes, volumes along the fourth), or FreeSurfer morphometry (``lh.thickness``).

    Returns
    -------
    ndarray of float32, shape (n_volumes, n_vertices)
        The data.

    Raises
    ------
    BrainError
        If the file is missing or holds no data on vertices.
    """
    import nibabel

    if _is_morphometry(path):
        return _morphometry(Path(path))[None, :]
    if str(path).endswith((".gii", ".gii.gz")):
        path = _gifti(path)
    if isinstance(path, nibabel.GiftiImage):
        return _gifti_values(path)
    with opened(path) as image:
        name = image_name(path)
        if isinstance(image, nibabel.Cifti2Image):
            raise BrainError(
                f"{name} is a CIFTI file, which holds both hemispheres: give it alone, to open_cifti_reader"
            )
        # The second axis is 1 even where FreeSurfer folds a mesh that is too large for NIfTI over the other two.
        if image.ndim not in (3, 4) or image.shape[1] != 1:
            raise BrainError(f"{name} has the shape {image.shape}: a volume, not data on vertices")
        n_volumes = image.shape[3] if image.ndim == 4 else 1
        data = np.asarray(image.dataobj, dtype=np.float32).reshape((-1, n_volumes), order="F")
    return np.ascontiguousarray(data.T)


def _is_morphometry(path: Any) -> bool:
    return isinstance(path, str | Path) and not str(path).endswith(
        (".gii", ".gii.gz", ".mgh", ".mgz", ".nii", ".nii.gz", ".annot", ".label")
    )


def _morphometry(path: Path) -> NDArray[np.float32]:
    from nibabel.freesurfer.io import read_morph_data

    if not path.is_file():
        raise BrainError(f"no surface file {path}")
    with reading(path, "FreeSurfer morphometry", BrainError):
        return np.asarray(read_morph_data(path), dtype=np.float32)  # type: ignore[no-untyped-call]


def _gifti(path: Any) -> Any:
    import nibabel

    file = Path(path)
    if not file.is_file():
        raise BrainError(f"no surface file {file}")
    with reading(file, "GIFTI", BrainError):
        content = file.read_bytes()
        content = unpack(file, content, BrainError) if file.suffix == ".gz" else content
        _check_packed(file, content)
        # In memory, what lies in other files is not looked for.
        image = nibabel.GiftiImage.from_bytes(content)
    image.set_filename(str(file))
    return image


def _check_packed(file: Path, content: bytes) -> None:
    """Raise if the arrays of a GIFTI file unpack to far more than its size."""
    total = 0
    for array in ElementTree.fromstring(content).iter("DataArray"):
        if array.get("Encoding") == "GZipBase64Binary":
            for data in array.iter("Data"):
                total += len(unpack(file, base64.b64decode(data.text or ""), BrainError, total))


def _gifti_values(image: Any) -> NDArray[np.float32]:
    name = image_name(image)
    meshes = {"NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"}
    intents = {_intent(d) for d in image.darrays}
    if not intents or intents & meshes:
        raise BrainError(f"{name} holds {'a mesh' if intents else 'nothing'}, expected data on vertices")
    arrays = [np.asarray(d.data, dtype=np.float32) for d in image.darrays]
    if len({a.shape for a in arrays}) > 1 or any(a.ndim > 2 for a in arrays):
        raise BrainError(f"{name} holds arrays of the shapes {name_some(a.shape for a in arrays)}, expected one")
    if arrays[0].ndim == 2:
        return np.ascontiguousarray(np.concatenate(arrays, axis=1).T)
    return np.stack(arrays)


def _intent(array: Any) -> str:
    from nibabel.nifti1 import intent_codes

    return str(intent_codes.niistring[array.intent])


def read_labels(path: Any) -> list[str]:
    """Read the region of each vertex of one hemisphere.

    Parameters
    ----------
    path : path-like
        A FreeSurfer ``.annot`` or a GIFTI ``.label.gii``.

    Returns
    -------
    list of str
        The name of the region, ``""`` for vertices of none (numbers below 0; names like ``unknown``, ``???``,
        ``Medial_wall``).

    Raises
    ------
    BrainError
        If the file is missing, is no such file, or a number has no name.
    """
    from nibabel.freesurfer.io import read_annot

    file = Path(path)
    if not file.is_file():
        raise BrainError(f"no file of labels {file}")
    if file.name.endswith((".gii", ".gii.gz")):
        image = _gifti(file)
        if [_intent(d) for d in image.darrays] != ["NIFTI_INTENT_LABEL"]:
            raise BrainError(f"{file.name} is no GIFTI file with one array of labels")
        numbers = np.asarray(image.darrays[0].data).ravel()
        names = {int(n): str(name) for n, name in image.labeltable.get_labels_as_dict().items()}
    else:
        with reading(file, "an annotation", BrainError):
            numbers, _, listed = read_annot(file)  # type: ignore[no-untyped-call]
            names = {n: name.decode() if isinstance(name, bytes) else str(name) for n, name in enumerate(listed)}
    return name_regions(numbers, names, file.name)


def name_regions(numbers: NDArray[Any], names: Mapping[int, str], file: str) -> list[str]:
    """Turn numbers of regions into names, ``""`` for no region.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_units,)
        Numbers; below 0 is no region.
    names : mapping of int to str
        The table of labels.
    file : str
        For the message.

    Returns
    -------
    list of str
        Name of the region of each unit.

    Raises
    ------
    BrainError
        If a number has no name.
    """
    unnamed = sorted({int(n) for n in numbers if n >= 0} - set(names))
    if unnamed:
        raise BrainError(f"{file} names no region for the numbers {name_some(unnamed)}")
    known = {n: "" if name.lower() in _NO_REGION else name for n, name in names.items()}
    return [known[int(n)] if n >= 0 else "" for n in numbers]


def read_vertex_mask(mask: Any, n_vertices: int) -> NDArray[np.bool_]:
    """Read which vertices of one hemisphere count.

    Parameters
    ----------
    mask : path-like or array_like
        A FreeSurfer ``.label`` (a list of vertices), a map or an array that is not 0 where vertices count.
    n_vertices : int
        Of the hemisphere.

    Returns
    -------
    ndarray of bool
        One entry per vertex of the mask: `n_vertices` for a label.

    Raises
    ------
    BrainError
        If the file is missing or damaged, or holds no single map of finite numbers.
    """
    from nibabel.freesurfer.io import read_label

    if not isinstance(mask, str | Path):
        values = np.atleast_2d(np.asarray(mask))
    elif not str(mask).endswith(".label"):
        values = read_surface(mask)
    elif not Path(mask).is_file():
        raise BrainError(f"no label {mask}")
    else:
        with reading(mask, "a label", BrainError):
            listed = np.atleast_1d(read_label(mask))  # type: ignore[no-untyped-call]
        if not listed.size or listed.min() < 0:
            raise BrainError(f"{Path(mask).name} names {'a vertex below 0' if listed.size else 'no vertex'}")
        if listed.max() >= n_vertices:
            raise BrainError(f"{Path(mask).name} names vertex {listed.max()} of a mesh of {n_vertices}")
        return np.isin(np.arange(n_vertices), listed)
    if len(values) != 1 or not np.isfinite(values).all():
        raise BrainError(f"a mask of vertices is one finite map, found {len(values)} maps")
    return np.asarray(values[0] != 0)
