"""Responses, the one currency: what units of a model or a brain answered to sounds.

Responses are an :class:`xarray.DataArray` with dims ``(stimulus, unit)`` or
``(repetition, stimulus, unit)``. The coordinates ``stimulus`` and ``unit`` hold ids (strings);
further coordinates along ``stimulus`` say for instance the category, along ``unit`` the layer and
channel, or the subject, hemisphere, position and region. Models and brains have the same form, so
each measure takes both. Everything here matches by stimulus id: never by position, and never by
sorting names.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainalign._files import HDF5Stream, write_then_rename
from brainalign._reading import check_names, check_netcdf, reading
from brainalign.errors import ResponseError, did_you_mean, name_some

Responses: TypeAlias = xr.DataArray

DIMS = ("stimulus", "unit")
DIMS_REPEATED = ("repetition", "stimulus", "unit")


def make_responses(
    values: Any,
    stimulus: Sequence[str],
    unit: Sequence[str] | None = None,
    *,
    stimulus_info: Mapping[str, Any] | pd.DataFrame | None = None,
    unit_info: Mapping[str, Any] | pd.DataFrame | None = None,
    attrs: Mapping[str, Any] | None = None,
    allow_constant: bool = False,
) -> Responses:
    """Build Responses from an array and check them.

    Parameters
    ----------
    values : array_like, shape (n_stimuli, n_units) or (n_repetitions, n_stimuli, n_units)
        The responses.
    stimulus : sequence of str, length n_stimuli
        Stimulus ids, in the order of the rows.
    unit : sequence of str, length n_units, optional
        Unit ids; ``"0"``, ``"1"`` ... if not given.
    stimulus_info : mapping or DataFrame, optional
        Columns along ``stimulus``, for instance ``category``. A DataFrame must be indexed by stimulus id and is
        aligned by it, as is a Series that has such an index; arrays and lists are in the order of `stimulus`.
    unit_info : mapping or DataFrame, optional
        Columns along ``unit``, in the order of `unit`, or aligned by an index of unit ids.
    attrs : mapping, optional
        What else belongs to the responses (source, units of measurement ...).
    allow_constant : bool
        Accept stimuli to which all units respond alike (see :func:`check_responses`).

    Returns
    -------
    Responses
        The checked responses, floating point.

    Raises
    ------
    ResponseError
        If the shapes disagree, or for anything that :func:`check_responses` finds.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ResponseError(f"responses must be real numbers, found dtype {array.dtype}")
    if array.ndim not in (2, 3):
        raise ResponseError(
            f"responses must be (stimulus, unit) or (repetition, stimulus, unit), "
            f"found {array.ndim} dimensions of shape {array.shape}"
        )
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    ids = [str(s) for s in stimulus]
    units = [str(u) for u in (unit if unit is not None else range(array.shape[-1]))]
    for axis, names in ((-2, ids), (-1, units)):
        if array.shape[axis] != len(names):
            raise ResponseError(
                f"{len(names)} {'stimulus' if axis == -2 else 'unit'} ids for "
                f"{array.shape[axis]} {'rows' if axis == -2 else 'columns'} of responses"
            )
    dims = DIMS if array.ndim == 2 else DIMS_REPEATED
    coords: dict[str, Any] = {"stimulus": ids, "unit": units}
    coords |= _coordinates(stimulus_info, "stimulus", ids)
    coords |= _coordinates(unit_info, "unit", units)
    if array.ndim == 3:
        coords["repetition"] = np.arange(array.shape[0])
    responses = xr.DataArray(array, dims=dims, coords=coords, attrs=dict(attrs or {}))
    _check_names(responses)
    check_responses(responses, allow_constant=allow_constant)
    return responses


def _check_names(responses: Responses) -> None:
    """Raise for ids, and entries of columns about them, that would be formulas in a table of results."""
    for name, column in responses.coords.items():
        check_names(column.values, str(name), ResponseError)


def _coordinates(
    info: Mapping[str, Any] | pd.DataFrame | None, dim: str, ids: list[str]
) -> dict[str, tuple[str, np.ndarray[Any, Any]]]:
    """Turn a table about one dimension into coordinates, matched by id where it has an index of ids."""
    if info is None:
        return {}
    if isinstance(info, pd.DataFrame) and dim == "stimulus":
        missing = [i for i in ids if i not in info.index]
        if missing:
            raise ResponseError(f"the stimulus table has no row for {name_some(missing)}")
    columns = {}
    for name, entries in info.items():
        if isinstance(entries, pd.Series) and set(ids) <= set(entries.index):
            entries = entries.loc[ids]
        column = np.asarray(entries)
        if len(column) != len(ids):
            raise ResponseError(f"the column {name!r} has {len(column)} entries for {len(ids)} {dim} ids")
        if column.dtype.kind not in "biuf":
            if empty := [i for i, lacks in zip(ids, pd.isna(column), strict=True) if lacks]:
                what = f"the column {name!r} has no entry for {name_some(empty)}"
                raise ResponseError(f"{what}; fill it in or leave it out")
            column = column.astype(str)
        columns[str(name)] = (dim, column)
    return columns


def from_table(
    table: pd.DataFrame,
    *,
    stimulus_column: str = "stimulus_id",
    info_columns: Sequence[str] = ("category",),
    **attrs: Any,
) -> Responses:
    """Build Responses from a table with one row per stimulus and one column per unit.

    Parameters
    ----------
    table : DataFrame
        The table, as ``pandas.read_csv`` gives it.
    stimulus_column : str
        The column that holds the stimulus ids.
    info_columns : sequence of str
        Columns that describe the stimulus; those that the table has become coordinates.
    **attrs
        Attributes of the responses.

    Returns
    -------
    Responses
        Dims ``(stimulus, unit)``, rows in the order of the table.

    Raises
    ------
    ResponseError
        If the id column is missing or has gaps, or a unit column is not numeric.
    """
    if stimulus_column not in table:
        raise ResponseError(
            f"the table has no column {stimulus_column!r}; {did_you_mean(stimulus_column, map(str, table.columns))}"
        )
    blank = np.flatnonzero(table[stimulus_column].isna())
    if len(blank):
        raise ResponseError(f"the column {stimulus_column!r} is empty in row {blank[0] + 1}")
    info = [c for c in info_columns if c in table]
    units = [c for c in table.columns if c != stimulus_column and c not in info]
    saved = [c for c in units if re.fullmatch(r"index|Unnamed: \d+", str(c))]
    if saved:
        raise ResponseError(f"the column {name_some(saved)} looks like a saved row number, not a unit; drop it")
    text = [c for c in units if not pd.api.types.is_numeric_dtype(table[c]) or table[c].dtype == bool]
    if text:
        raise ResponseError(
            f"the columns {name_some(text)} are not numeric; name them in info_columns if they describe the stimulus"
        )
    return make_responses(
        table[units].to_numpy(dtype=float),
        table[stimulus_column].astype(str).tolist(),
        [str(u) for u in units],
        stimulus_info={c: table[c].to_numpy() for c in info},
        attrs=attrs,
    )


def check_responses(responses: Responses, *, allow_constant: bool = False) -> None:
    """Raise if the responses are not fit for a measure.

    Parameters
    ----------
    responses : Responses
        What to check.
    allow_constant : bool
        Accept stimuli to which all units respond alike. Such a stimulus has no response pattern: its
        correlation distance to others is 0/0. Responses of a single unit are exempt.

    Raises
    ------
    ResponseError
        For wrong dims, no stimulus or unit, duplicate or empty ids, values that are not finite real numbers, or
        constant stimuli; the message names them.
    """
    if responses.dims not in (DIMS, DIMS_REPEATED):
        raise ResponseError(f"responses have dims {responses.dims}, expected {DIMS} or {DIMS_REPEATED}")
    if responses.dtype.kind not in "iuf":
        raise ResponseError(f"responses must be real numbers, found dtype {responses.dtype}")
    for dim in DIMS:
        if dim not in responses.coords:
            raise ResponseError(f"responses have no coordinate {dim!r} with ids")
        if responses.sizes[dim] == 0:
            raise ResponseError(f"responses hold no {dim}")
        ids = responses.indexes[dim]
        no_ids = [i for i in ids if not isinstance(i, str) or not i]
        if no_ids:
            raise ResponseError(f"{dim} ids must be strings that are not empty, found {no_ids[0]!r}")
        if ids.has_duplicates:
            twice = ids[ids.duplicated()].unique()
            raise ResponseError(f"duplicate {dim} ids: {name_some(twice)}")
    values = responses.values
    finite = np.isfinite(values)
    if not finite.all():
        axes = tuple(i for i, d in enumerate(responses.dims) if d != "stimulus")
        bad = responses["stimulus"].values[~finite.all(axis=axes)]
        raise ResponseError(
            f"{int((~finite).sum())} of {values.size} responses are NaN or infinite, for the stimuli {name_some(bad)}"
        )
    if not allow_constant and responses.sizes["unit"] > 1:
        constant = constant_stimuli(responses)
        if constant:
            raise ResponseError(
                f"all units respond alike to {name_some(constant)}: there is no response pattern to compare; "
                f"leave these stimuli out by name or pass allow_constant=True"
            )


def constant_stimuli(responses: Responses) -> list[str]:
    """Return the ids of stimuli to which all units respond with the same value (in any repetition)."""
    same = (responses == responses.isel(unit=0)).all("unit")
    if "repetition" in same.dims:
        same = same.any("repetition")
    return [str(s) for s in responses["stimulus"].values[same.values]]


def align(first: Responses, *others: Responses) -> tuple[Responses, ...]:
    """Bring Responses to the stimulus order of the first, matching by id.

    Parameters
    ----------
    first, *others : Responses
        Responses to the same set of stimuli, in any order.

    Returns
    -------
    tuple of Responses
        The same, all in the order of `first`.

    Raises
    ------
    ResponseError
        If the sets differ; the message names what is on one side only. Ask for a subset by name
        with :func:`select_stimuli`.
    """
    for given in (first, *others):
        if not isinstance(given, xr.DataArray):
            raise ResponseError(f"expected Responses, found {type(given).__name__}; of a brain, give its .responses")
        twice = given.indexes["stimulus"][given.indexes["stimulus"].duplicated()]
        if len(twice):
            raise ResponseError(f"{describe(given)} has the stimulus {str(twice[0])!r} twice; ids must be unique")
    order = first.indexes["stimulus"]
    aligned = [first]
    for other in others:
        theirs = other.indexes["stimulus"]
        lacking, extra = order.difference(theirs, sort=False), theirs.difference(order, sort=False)
        if len(lacking) or len(extra):
            parts = []
            if len(lacking):
                parts.append(f"{describe(other)} lacks {name_some(map(repr, lacking))}")
            if len(extra):
                parts.append(f"{describe(first)} lacks {name_some(map(repr, extra))}")
            raise ResponseError(
                "the stimuli differ: " + "; ".join(parts) + "; choose a common subset by id (select_stimuli)"
            )
        aligned.append(other.sel(stimulus=order))
    return tuple(aligned)


def describe(responses: Responses) -> str:
    """Return a short name for messages: the source if there is one, else the size."""
    source = responses.attrs.get("source")
    size = f"{responses.sizes['stimulus']} stimuli x {responses.sizes['unit']} units"
    return f"{source} ({size})" if source else f"the responses with {size}"


def select_stimuli(responses: Responses, stimulus: Sequence[str]) -> Responses:
    """Select stimuli by id, in the order asked for.

    Parameters
    ----------
    responses : Responses
        The responses.
    stimulus : sequence of str
        The ids.

    Returns
    -------
    Responses
        The subset.

    Raises
    ------
    ResponseError
        If an id is unknown or asked for twice.
    """
    known = responses.indexes["stimulus"]
    missing = [s for s in stimulus if s not in known]
    if missing:
        raise ResponseError(f"no stimulus {name_some(map(repr, missing))}; {did_you_mean(missing[0], map(str, known))}")
    wanted = pd.Index(list(stimulus))
    if wanted.has_duplicates:
        raise ResponseError(f"asked twice for {name_some(wanted[wanted.duplicated()].unique())}")
    return responses.sel(stimulus=list(stimulus))


def select_units(responses: Responses, **patterns: Any) -> Responses:
    """Select units by their coordinates.

    Parameters
    ----------
    responses : Responses
        The responses.
    **patterns
        For each named coordinate along ``unit``: a value, a glob such as ``layer="conv*"``, or a list of
        these. All must hold.

    Returns
    -------
    Responses
        The units for which all hold, in their order.

    Raises
    ------
    ResponseError
        If a coordinate does not exist, a value or glob fits no unit, or nothing is left.
    """
    keep = np.ones(responses.sizes["unit"], dtype=bool)
    coords = [str(c) for c in responses.coords if responses[c].dims == ("unit",)]
    for name, wanted in patterns.items():
        if name not in coords:
            raise ResponseError(f"units have no coordinate {name!r}; {did_you_mean(name, coords)}")
        column = responses[name].values
        choices = [wanted] if isinstance(wanted, str) or np.isscalar(wanted) else list(wanted)
        if not choices:
            raise ResponseError(f"no {name} is named")
        fits = [_fits(column, choice) for choice in choices]
        for choice, fit in zip(choices, fits, strict=True):
            if not fit.any():
                raise ResponseError(
                    f"no unit has {name} = {choice!r}; {did_you_mean(str(choice), {str(v) for v in column})}"
                )
        keep &= np.any(fits, axis=0)
    if not keep.any():
        raise ResponseError(f"no unit satisfies all of {patterns}")
    return responses.isel(unit=keep)


def _fits(column: np.ndarray[Any, Any], choice: Any) -> np.ndarray[Any, Any]:
    """Say which entries equal the choice or, if none does, match it as a glob: a name may itself hold brackets."""
    if not isinstance(choice, str):
        return np.asarray(column == choice)
    names = [str(v) for v in column]
    equal = np.array([n == choice for n in names])
    return equal if equal.any() else np.array([fnmatch.fnmatchcase(n, choice) for n in names])


def with_columns(responses: Responses, table: pd.DataFrame) -> Responses:
    """Let the columns of a stimulus table travel along with Responses.

    Parameters
    ----------
    responses : Responses
        Of a model or a brain.
    table : DataFrame
        Indexed by stimulus id, as :attr:`StimulusSet.table`; ``file`` and columns that are there already are passed
        over.

    Returns
    -------
    Responses
        With one more coordinate along stimulus for each column.

    Raises
    ------
    ResponseError
        If the table lacks a stimulus.
    """
    new = table[[c for c in table if c not in ("file", "stimulus", "unit") and c not in responses.coords]]
    return responses.assign_coords(_coordinates(new, "stimulus", [str(i) for i in responses["stimulus"].values]))


def units_by_layer(responses: Responses) -> dict[str, NDArray[np.intp]]:
    """Return the positions of the units of each layer, in order; all under ``""`` where there are no layers."""
    if "layer" not in responses.coords:
        return {"": np.arange(responses.sizes["unit"])}
    layer = responses["layer"].values.astype(str)
    return {str(name): np.flatnonzero(layer == name) for name in dict.fromkeys(layer.tolist())}


def average_repetitions(responses: Responses) -> Responses:
    """Return the mean over repetitions; Responses without repetitions come back as they are.

    Parameters
    ----------
    responses : Responses
        Dims ``(repetition, stimulus, unit)`` or ``(stimulus, unit)``.

    Returns
    -------
    Responses
        Dims ``(stimulus, unit)``; the attribute ``n_repetitions`` says how many were averaged.
    """
    if "repetition" not in responses.dims:
        return responses
    mean = responses.mean("repetition", keep_attrs=True)
    mean.attrs["n_repetitions"] = responses.sizes["repetition"]
    return mean


def save_responses(responses: Responses, path: str | Path) -> Path:
    """Write Responses as netCDF-4.

    Parameters
    ----------
    responses : Responses
        Checked responses.
    path : path-like
        The file, ending in ``.nc``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ResponseError
        If the name does not end in ``.nc``, or the file format has no place for an attribute or coordinate.
    """
    path = Path(path)
    if path.suffix != ".nc":
        raise ResponseError(f"responses are saved as netCDF: {path.name!r} must end in '.nc'")
    check_responses(responses, allow_constant=True)
    from h5netcdf import CompatibilityError  # type: ignore[import-untyped]

    try:
        with write_then_rename(path) as temporary, HDF5Stream(temporary) as stream:
            responses.rename("responses").to_dataset().to_netcdf(stream, engine="h5netcdf")
    except (CompatibilityError, TypeError, ValueError, NotImplementedError) as why:
        raise ResponseError(f"these responses cannot be written as netCDF: {why}") from why
    return path


def load_responses(path: str | Path) -> Responses:
    """Read Responses from netCDF-4, as :func:`save_responses` writes them.

    Parameters
    ----------
    path : path-like
        A netCDF file. Pickles are refused: a file from elsewhere is data, never code.

    Returns
    -------
    Responses
        In memory, checked.

    Raises
    ------
    ResponseError
        If the file is missing, is not netCDF, or holds no responses.
    """
    path = Path(path)
    if not path.is_file():
        raise ResponseError(f"no file {path}")
    check_netcdf(path, ResponseError)
    with reading(path, "netCDF-4", ResponseError):
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            if "responses" not in dataset:
                raise ResponseError(f"{path.name} holds no variable 'responses', found {name_some(dataset.data_vars)}")
            responses = dataset["responses"].load()
        for name in responses.coords:
            if responses[name].dtype.kind == "O":
                responses = responses.assign_coords({name: responses[name].astype(str)})
    _check_names(responses)
    check_responses(responses, allow_constant=True)
    return responses.rename(None)
