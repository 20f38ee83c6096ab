"""Response components of human auditory cortex (Norman-Haignere, Kanwisher & McDermott 2015, Neuron 88:1281)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign._files import sha256
from brainalign.brain._mat import read_mat
from brainalign.brain.checks import file_in
from brainalign.brain.data import BrainData
from brainalign.errors import BrainError, name_some
from brainalign.responses import make_responses
from brainalign.stimuli.fetch import check_fetched, published_digests

COMPONENTS = ("lowfreq", "highfreq", "envsounds", "pitch", "speech", "music")
_FILE = "data/components.mat"
_FIELDS = ("R", "W", "stim_names", "component_names", "category_labels")


def load_nh2015_components(path: str | Path | None = None) -> BrainData:
    """Load the six response components, inferred from fMRI voxels of ten listeners to 165 natural sounds.

    Parameters
    ----------
    path : path-like, optional
        A ``components.mat`` of the public release, or a folder that holds it, itself or in ``data/``; the fetched one
        if not given.

    Returns
    -------
    BrainData
        Responses (165 sounds, 6 components): ``lowfreq, highfreq, envsounds, pitch, speech, music``, each
        scaled to the same maximum, in arbitrary units, with the coordinate ``category``. ``arrays["weights"]``
        (component, voxel) are the weights of the components in 11,065 voxels. Neither the places nor the responses of
        these voxels are released with them; where the weights lie on average show the group maps of
        :func:`~brainalign.brain.nh2015_maps.load_nh2015_maps`, and the voxels of Tuckute et al. 2023
        (``nh2015-voxels``) are those of eight of the ten listeners.

    Raises
    ------
    BrainError
        If the fetched file is not the published one, or a file cannot be read, or holds other fields or components than
        the published ones.
    DownloadError
        If the data have not been fetched.
    """
    published = published_digests("natsound165")[_FILE]
    if path is None:
        path = check_fetched("natsound165", [_FILE]) / _FILE
        if sha256(path) != published:
            raise BrainError(f"{path} is not the published file; do: brainalign fetch natsound165")
    path = file_in(path, _FILE)
    content = _read_mat(path)
    names = _strings(path, content, "component_names")
    if tuple(names) != COMPONENTS:
        raise BrainError(
            f"{path.name} holds the components {name_some(names, 10)}, expected {name_some(COMPONENTS, 10)}"
        )
    profiles, weights = _matrix(path, content, "R"), _matrix(path, content, "W")
    stimuli = _strings(path, content, "stim_names")
    if profiles.shape != (len(stimuli), len(names)) or weights.shape[0] != len(names):
        raise BrainError(
            f"{path.name}: R is {profiles.shape} and W is {weights.shape} for {len(stimuli)} stimuli and "
            f"{len(names)} components"
        )
    responses = make_responses(
        profiles,
        stimuli,
        names,
        stimulus_info={"category": _strings(path, content, "category_labels")},
        attrs={"source": "nh2015-components"},
    )
    return BrainData(
        name="nh2015-components",
        responses=responses,
        version="neuron2015-b41b99f" if sha256(path) == published else f"file with SHA-256 {sha256(path)}",
        citation="Norman-Haignere, Kanwisher & McDermott 2015, Neuron 88:1281-1296, doi:10.1016/j.neuron.2015.11.035",
        licence="public release of the authors, without a licence file; cite the paper",
        arrays={"weights": xr.DataArray(weights, dims=("component", "voxel"), coords={"component": names})},
    )


def _read_mat(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BrainError(f"no components file {path}")
    content = read_mat(path)
    lacking = [f for f in _FIELDS if f not in content]
    if lacking:
        found = sorted(k for k in content if not k.startswith("__"))
        raise BrainError(f"{path.name} lacks {name_some(lacking)}; it holds {name_some(found, 10)}")
    return content


def _matrix(path: Path, content: dict[str, Any], field: str) -> NDArray[np.float64]:
    matrix = np.asarray(content[field])
    if matrix.dtype.kind not in "iuf" or not np.isfinite(matrix).all():
        raise BrainError(f"{path.name}: {field} is not a matrix of finite real numbers")
    return matrix.astype(np.float64)


def _strings(path: Path, content: dict[str, Any], field: str) -> list[str]:
    """Flatten a MATLAB cell array of strings, nested or not."""
    cells = [np.asarray(cell) for cell in np.asarray(content[field]).ravel()]
    if any(cell.size != 1 for cell in cells):
        raise BrainError(f"{path.name}: {field} is not a cell array of strings")
    return [str(cell.item()) for cell in cells]
