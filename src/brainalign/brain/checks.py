"""Checks of numbers and responses that several parts of the brain package share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from brainalign.errors import BrainError, name_some


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise unless a value is a whole number of at least so much.

    Parameters
    ----------
    name : str
        Of the parameter, for the message.
    value : object
        What was given; True and False are no numbers.
    least : int
        The smallest that is allowed.

    Raises
    ------
    BrainError
        If it is none.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
        raise BrainError(f"{name} must be a whole number of at least {least}, found {value!r}")


def check_labelled(what: str, array: Any, dims: tuple[tuple[str, ...], ...]) -> None:
    """Raise unless something is a DataArray with expected dims, whatever their order.

    Parameters
    ----------
    what : str
        What it should be, for the message.
    array : object
        What was given.
    dims : tuple of tuple of str
        The dims that are allowed.

    Raises
    ------
    BrainError
        If it is none, or has other dims.
    """
    if not isinstance(array, xr.DataArray):
        raise BrainError(f"{what} must be a DataArray with ids, found {type(array).__name__}; see make_responses")
    if not any(set(array.dims) == set(own) for own in dims):
        raise BrainError(f"{what} have dims {array.dims}, expected {' or '.join(map(str, dims))}")


def check_finite(what: str, array: xr.DataArray, dim: str = "unit") -> None:
    """Raise if values are NaN or infinite, and name where along one dimension.

    Parameters
    ----------
    what : str
        What the values are, for the message.
    array : DataArray
        The values.
    dim : str
        The dimension whose ids are named.

    Raises
    ------
    BrainError
        If some are not finite.
    """
    finite = np.isfinite(array.values).all(axis=tuple(i for i, d in enumerate(array.dims) if d != dim))
    if not finite.all():
        names = array[dim].values[~finite] if dim in array.coords else np.flatnonzero(~finite)
        raise BrainError(
            f"{what} are NaN or infinite in {len(names)} of {len(finite)} {dim}s: {name_some(names)}; leave them out "
            f"by name"
        )


def file_in(path: str | Path, file: str) -> Path:
    """Return a file that was named, or the one that is looked for in a folder that was named.

    Parameters
    ----------
    path : path-like
        The file itself, whatever it is called, or a folder.
    file : str
        Where in its folder the published file lies (``"data/components.mat"``); it may lie in the folder itself too.

    Returns
    -------
    Path
        The file; whether there is one at a path that is no folder is not checked.

    Raises
    ------
    BrainError
        If `path` is no path, or a folder without the file.
    """
    if not isinstance(path, str | Path):
        raise BrainError(f"path must name a file or a folder, found {path!r}")
    path = Path(path)
    if not path.is_dir():
        return path
    for candidate in (path / file, path / Path(file).name):
        if candidate.is_file():
            return candidate
    raise BrainError(f"the folder {path} holds no {file}; name the file or its folder")
