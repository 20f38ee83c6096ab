"""RDMs in and out: netCDF, npz, and the objects of rsatoolbox."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from brainalign._files import HDF5Stream, write_then_rename
from brainalign._reading import check_netcdf, read_npz, reading
from brainalign.errors import MeasureError, MissingExtraError, did_you_mean, name_some
from brainalign.measures.rdm import RDMs, check_rdms, make_rdms, pair_values
from brainalign.measures.rdm_compare import square

_ARRAYS = ("rdms", "rdm", "stimulus")


def save_rdms(rdms: RDMs, path: str | Path) -> Path:
    """Write RDMs as netCDF-4 or npz.

    Parameters
    ----------
    rdms : RDMs
        Checked RDMs.
    path : path-like
        Ends in ``.nc``, or in ``.npz``: arrays ``rdms`` (n_rdms, n_stimuli, n_stimuli), ``rdm`` and ``stimulus``
        (names) and, if there is one, ``category``, all without pickles.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    MeasureError
        If the RDMs are faulty or the name ends otherwise.
    """
    path = Path(path)
    check_rdms(rdms)
    if path.suffix not in (".nc", ".npz"):
        raise MeasureError(f"RDMs are saved as netCDF or npz: {path.name!r} must end in '.nc' or '.npz'")
    with write_then_rename(path) as temporary:
        if path.suffix == ".nc":
            with HDF5Stream(temporary) as stream:
                rdms.drop_attrs().rename("rdms").to_dataset().to_netcdf(stream, engine="h5netcdf")
        else:
            names: dict[str, Any] = {name: rdms[name].values.astype(str) for name in ("rdm", "stimulus")}
            if "category" in rdms.coords:
                names["category"] = rdms["category"].values.astype(str)
            np.savez_compressed(temporary, rdms=rdms.values, **names)
    return path


def load_rdms(path: str | Path) -> RDMs:
    """Read RDMs as :func:`save_rdms` writes them.

    Parameters
    ----------
    path : path-like
        A netCDF-4 or npz file; nothing is unpickled.

    Returns
    -------
    RDMs
        In memory, checked.

    Raises
    ------
    MeasureError
        If the file is missing, of another kind, or holds no sound RDMs.
    """
    path = Path(path)
    if not path.is_file():
        raise MeasureError(f"no file {path}")
    if path.suffix == ".npz":
        found = read_npz(path, MeasureError)
    else:
        check_netcdf(path, MeasureError)
        with reading(path, "RDMs", MeasureError), xr.open_dataset(path, engine="h5netcdf") as dataset:
            found = {str(name): dataset[name].values for name in dataset.variables}
    lacking = [name for name in _ARRAYS if name not in found]
    if lacking:
        raise MeasureError(
            f"{path.name} holds no {name_some(map(repr, lacking))}, found {name_some(found) or 'nothing'}"
        )
    return make_rdms(
        found["rdms"],
        [str(s) for s in found["stimulus"]],
        [str(r) for r in found["rdm"]],
        found.get("category"),
    )


def to_rsatoolbox(rdms: RDMs) -> Any:
    """Return RDMs as an object of rsatoolbox.

    Parameters
    ----------
    rdms : RDMs
        Checked RDMs.

    Returns
    -------
    rsatoolbox.rdm.RDMs
        Pattern descriptor ``stimulus`` (and ``category``), RDM descriptor ``rdm``.

    Raises
    ------
    MissingExtraError
        If rsatoolbox is not installed.
    """
    check_rdms(rdms)
    try:
        rsatoolbox_rdm = import_module("rsatoolbox.rdm")
    except ImportError as why:
        raise MissingExtraError("rsatoolbox", "test") from why
    patterns = {"stimulus": rdms["stimulus"].values.tolist()}
    if "category" in rdms.coords:
        patterns["category"] = rdms["category"].values.tolist()
    return rsatoolbox_rdm.RDMs(
        pair_values(rdms), rdm_descriptors={"rdm": rdms["rdm"].values.tolist()}, pattern_descriptors=patterns
    )


def from_rsatoolbox(rdms: Any, *, stimulus: str = "stimulus", name: str | None = None) -> RDMs:
    """Return RDMs from an object of rsatoolbox.

    Parameters
    ----------
    rdms : rsatoolbox.rdm.RDMs
        RDMs without missing distances.
    stimulus : str
        The pattern descriptor that holds the stimulus ids. They stay in their order.
    name : str, optional
        The RDM descriptor that names the RDMs (a subject, say); ``rdm`` if there is one, else they are numbered.

    Returns
    -------
    RDMs
        Checked; ``category`` comes along if it is a pattern descriptor.

    Raises
    ------
    MeasureError
        If there is no such descriptor, or distances are missing (the stimuli are named).
    """
    ids = _descriptor(rdms.pattern_descriptors, stimulus, "pattern")
    if name is None:
        name = "rdm" if "rdm" in rdms.rdm_descriptors else "index"
    category = rdms.pattern_descriptors.get("category")
    return make_rdms(
        square(np.asarray(rdms.dissimilarities, dtype=np.float64)),
        [str(s) for s in ids],
        [str(n) for n in _descriptor(rdms.rdm_descriptors, name, "RDM")],
        None if category is None else np.asarray(category),
    )


def _descriptor(descriptors: dict[str, Sequence[Any]], name: str, kind: str) -> Sequence[Any]:
    if name not in descriptors:
        raise MeasureError(f"the RDMs have no {kind} descriptor {name!r}; {did_you_mean(name, descriptors)}")
    return descriptors[name]
