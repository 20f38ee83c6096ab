"""Where the six components of Norman-Haignere et al. 2015 have weight: group maps and clusters on fsaverage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign._files import sha256
from brainalign._reading import reading
from brainalign.brain.geometry import N_VERTICES
from brainalign.brain.nh2015 import COMPONENTS
from brainalign.errors import BrainError, name_some
from brainalign.stimuli.fetch import check_fetched, published_digests

SPACE = "fsaverage"
HEMISPHERES = {"left": "lh", "right": "rh"}
_MAPS = "data/component-weight-significances/group/{side}.comp{number}.mgz"
_CLUSTERS = "data/component-clusters-top10/{side}.comp{number}.label"


def load_nh2015_maps(path: str | Path | None = None) -> xr.Dataset:
    """Load the group maps of the component weights and their clusters.

    The files are those of Figure 2B of the paper. They hold the significance of a component's weight over the ten
    listeners, a signed measure (positive: weight above 0), not the weights themselves; those are in
    ``load_nh2015_components().arrays["weights"]``, for voxels whose places are not released. The maps of single
    listeners and the voxels' responses are elsewhere (see ``docs/brain-data.md``).

    Parameters
    ----------
    path : path-like, optional
        A copy of the public repository, or the folder of the set ``natsound165``; the fetched one if not given.

    Returns
    -------
    Dataset
        Dims ``(component, hemisphere, vertex)``, on ``fsaverage`` (163,842 vertices in each hemisphere):
        ``significance``, float32, NaN outside the auditory cortex that was measured; ``cluster``, bool: in each
        hemisphere the largest cluster of vertices among the top 10 %. Attributes ``space``, ``citation``, ``licence``.

    Raises
    ------
    BrainError
        If a file is not the published one, or cannot be read.
    DownloadError
        If the files have not been fetched.
    """
    if path is not None and not isinstance(path, str | Path):
        raise BrainError(f"path must name a folder, found {path!r}")
    wanted = [
        (component, hemisphere, form.format(side=side, number=number))
        for form in (_MAPS, _CLUSTERS)
        for number, component in enumerate(COMPONENTS, start=1)
        for hemisphere, side in HEMISPHERES.items()
    ]
    files = [file for _, _, file in wanted]
    folder = check_fetched("natsound165", files) if path is None else Path(path)
    _check_files(folder, files)
    shape = (len(COMPONENTS), len(HEMISPHERES), N_VERTICES[SPACE])
    values, inside = np.empty(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    sides = list(HEMISPHERES)
    for component, hemisphere, file in wanted:
        place = COMPONENTS.index(component), sides.index(hemisphere)
        if file.endswith(".mgz"):
            values[place] = _read(folder / file, _surface_values)
        else:
            inside[(*place, _read(folder / file, _label_vertices))] = True
    dims = ("component", "hemisphere", "vertex")
    return xr.Dataset(
        {"significance": (dims, values), "cluster": (dims, inside)},
        coords={"component": list(COMPONENTS), "hemisphere": sides},
        attrs={
            "space": SPACE,
            "citation": "Norman-Haignere, Kanwisher & McDermott 2015, Neuron 88:1281-1296, "
            "doi:10.1016/j.neuron.2015.11.035",
            "licence": "public release of the authors, without a licence file; cite the paper",
        },
    )


def _check_files(folder: Path, files: list[str]) -> None:
    missing = [f for f in files if not (folder / f).is_file()]
    if missing:
        raise BrainError(f"{folder} lacks {len(missing)} of {len(files)} maps and clusters: {name_some(missing)}")
    published = published_digests("natsound165")
    other = [f for f in files if sha256(folder / f) != published[f]]
    if other:
        raise BrainError(
            f"{name_some(other)} in {folder} are not the published files; do: brainalign fetch natsound165"
        )


def _read(path: Path, reader: Callable[[Path], NDArray[Any]]) -> NDArray[Any]:
    with reading(path, "a file of FreeSurfer", BrainError):
        return reader(path)


def _surface_values(path: Path) -> NDArray[np.float32]:
    import nibabel

    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj, dtype=np.float32).reshape(N_VERTICES[SPACE])


def _label_vertices(path: Path) -> NDArray[np.intp]:
    from nibabel.freesurfer.io import read_label

    return np.asarray(read_label(path), dtype=np.intp)  # type: ignore[no-untyped-call]
