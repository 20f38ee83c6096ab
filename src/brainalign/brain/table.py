"""A lab's own responses: a table with one row per sound, arrays of numpy, or netCDF, which also keeps brain data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._files import sha256
from brainalign._reading import read_npz, reading
from brainalign.brain.data import BrainData
from brainalign.errors import BrainError, name_some
from brainalign.responses import Responses, from_table, load_responses, make_responses, save_responses


def save_brain(brain: BrainData, path: str | Path) -> Path:
    """Write brain data as netCDF-4, for :func:`load_table`.

    Parameters
    ----------
    brain : BrainData
        Its responses are kept, with citation, licence and warnings as attributes; its other arrays are not.
    path : path-like
        The file, ending in ``.nc``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ResponseError
        As :func:`~brainalign.responses.save_responses` does.
    """
    facts = {"citation": brain.citation, "licence": brain.licence, "warnings": json.dumps(brain.warnings)}
    return save_responses(brain.responses.assign_attrs(facts), path)


def load_table(
    path: str, *, stimulus_column: str = "stimulus_id", citation: str | None = None, licence: str | None = None
) -> BrainData:
    """Load responses from a CSV table, arrays of numpy or netCDF.

    Parameters
    ----------
    path : str
        A ``.csv`` file with a column of stimulus ids and one column per unit (voxel, electrode, component, region), or
        a ``.nc`` file that :func:`save_brain` or :func:`~brainalign.responses.save_responses` wrote, which can hold
        repetitions too, or a ``.npz`` file with the arrays ``responses``, (stimulus, unit) or (repetition, stimulus,
        unit), ``stimulus`` (ids) and, as you like, ``unit`` (ids) and ``stimulus_NAME`` or ``unit_NAME``, which
        describe stimuli or units (``unit_subject``, ``unit_region`` ...).
    stimulus_column : str
        The column with the ids.
    citation, licence : str
        What the report says of the data; if not given, what the netCDF file says, or "unpublished" and "not stated".

    Returns
    -------
    BrainData
        Named after the file; its version is the file's digest.

    Raises
    ------
    BrainError
        If the file is missing or is no table.
    ResponseError
        If ids are missing or twice, or values are missing or no numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise BrainError(f"no file {path!r} with responses")
    if file.suffix.lower() not in (".csv", ".nc", ".npz"):
        raise BrainError(
            f"{file.name} is no table of responses (.csv, .npz) and no netCDF file (.nc); responses out of images: "
            f"brainalign brain from-images (a map for each stimulus) or from-bids (time series)"
        )
    if file.suffix.lower() == ".nc":
        responses = load_responses(file)
    elif file.suffix.lower() == ".npz":
        responses = _from_arrays(file)
    else:
        with reading(file, "a table", BrainError):
            table = pd.read_csv(file, dtype={stimulus_column: str}, encoding="utf-8-sig")
        responses = from_table(table, stimulus_column=stimulus_column)
    facts = responses.attrs
    return BrainData(
        file.stem,
        responses,
        f"SHA-256 {sha256(file)[:16]}",
        citation or str(facts.get("citation", "unpublished")),
        licence or str(facts.get("licence", "not stated")),
        warnings=_warnings(file, str(facts.get("warnings", "[]"))),
    )


def _from_arrays(file: Path) -> Responses:
    """Read Responses from an npz file; pickles in it are refused."""
    arrays = read_npz(file, BrainError)
    lacking = [name for name in ("responses", "stimulus") if name not in arrays]
    if lacking:
        raise BrainError(f"{file.name} lacks the array {lacking[0]!r}; it holds {name_some(sorted(arrays), 10)}")
    values, ids = arrays.pop("responses"), arrays.pop("stimulus")
    units = arrays.pop("unit", None)
    info: dict[str, dict[str, NDArray[np.generic]]] = {"stimulus": {}, "unit": {}}
    for name, array in arrays.items():
        side, _, column = name.partition("_")
        if side not in info or not column or array.ndim != 1:
            raise BrainError(
                f"{file.name}: what is the array {name!r} of shape {array.shape}? beside responses, stimulus and unit "
                f"it may hold stimulus_NAME and unit_NAME, one entry for each"
            )
        info[side][column] = array
    described = [("stimulus", ids, -2), *((c, a, -2) for c, a in info["stimulus"].items())]
    for column, array, dim in [*described, *((c, a, -1) for c, a in info["unit"].items())]:
        if values.ndim >= 2 and array.size != values.shape[dim]:
            raise BrainError(f"{file.name}: {column} has {array.size} entries, responses are of shape {values.shape}")
    return make_responses(
        values,
        [str(i) for i in np.atleast_1d(ids)],
        None if units is None else [str(u) for u in np.atleast_1d(units)],
        stimulus_info=info["stimulus"],
        unit_info=info["unit"],
    )


def _warnings(file: Path, text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(w, str) for w in found):
        raise BrainError(f"{file.name}: its attribute 'warnings' is {text[:40]!r}, expected a JSON list of strings")
    return tuple(found)
