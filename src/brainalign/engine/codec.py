"""Results as text and plain arrays, and back, the same to the bit; no pickle, so that nothing read can run.

What :func:`encode` does not know is refused rather than bent: a result that cannot be kept as it is, is not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def encode(value: Any, arrays: Arrays) -> Any:
    """Turn a value into what JSON can hold, and move arrays of numbers out of it.

    Parameters
    ----------
    value : object
        Built of None, bool, int, float, str, list, tuple, dict, numpy scalars and arrays (objects: of such values),
        DataFrames and DataArrays.
    arrays : dict
        Where arrays go, by numbers as names.

    Returns
    -------
    object
        For JSON. What is no plain value is a dict with the one key ``"!kind"``.

    Raises
    ------
    TypeError
        If something else is in it.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [encode(v, arrays) for v in value]
    if type(value) is tuple:
        return {"!tuple": [encode(v, arrays) for v in value]}
    if type(value) is dict:
        return {"!dict": [[encode(k, arrays), encode(v, arrays)] for k, v in value.items()]}
    if value is pd.NA:
        return {"!na": True}
    if isinstance(value, np.generic | np.ndarray):
        return _encode_array(value, arrays)
    if isinstance(value, pd.DataFrame):
        columns = [[encode(name, arrays), _encode_column(value.iloc[:, i], arrays)] for i, name in enumerate(value)]
        return {"!frame": {"index": _encode_index(value.index, arrays), "columns": columns}}
    if isinstance(value, xr.DataArray):
        return {"!data": _encode_data(value, arrays)}
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _encode_array(value: np.generic | NDArray[Any], arrays: Arrays) -> dict[str, Any]:
    if isinstance(value, np.generic):
        value, kind = np.asarray(value), "!scalar"
    else:
        kind = "!array"
    if type(value) is not np.ndarray and not isinstance(value, np.memmap):
        raise TypeError(f"a {type(value).__name__} cannot be kept")
    if value.dtype == object:
        return {"!objects": [list(value.shape), [encode(v, arrays) for v in value.ravel().tolist()]]}
    if value.dtype.kind not in "biufcUSmM":
        raise TypeError(f"an array of {value.dtype} cannot be kept")
    name = str(len(arrays))
    arrays[name] = np.asarray(value)
    return {kind: name}


def _encode_column(column: pd.Series, arrays: Arrays) -> dict[str, Any]:
    if isinstance(column.dtype, np.dtype):
        return {"numpy": encode(column.to_numpy(), arrays)}
    if isinstance(column.dtype, pd.CategoricalDtype):
        raise TypeError("a categorical column cannot be kept")
    return {"dtype": str(column.dtype), "values": [None if pd.isna(v) else encode(v, arrays) for v in column]}


def _encode_index(index: pd.Index, arrays: Arrays) -> dict[str, Any]:
    if type(index) is pd.RangeIndex:
        return {"range": [index.start, index.stop, index.step], "name": encode(index.name, arrays)}
    if isinstance(index, pd.MultiIndex):
        raise TypeError("a table with an index of several levels cannot be kept")
    return {"column": _encode_column(index.to_series(), arrays), "name": encode(index.name, arrays)}


def _encode_data(value: xr.DataArray, arrays: Arrays) -> dict[str, Any]:
    if any(isinstance(index, pd.MultiIndex) for index in value.indexes.values()):
        raise TypeError("an array with an index of several levels cannot be kept")
    coords = [
        [str(n), list(c.dims), _encode_coord(c, arrays), encode(dict(c.attrs), arrays)] for n, c in value.coords.items()
    ]
    return {
        "name": encode(value.name, arrays),
        "dims": [str(d) for d in value.dims],
        "values": encode(value.values, arrays),
        "coords": coords,
        "attrs": encode(dict(value.attrs), arrays),
    }


def _encode_coord(coord: xr.DataArray, arrays: Arrays) -> dict[str, Any]:
    return _encode_array(np.asarray(coord.values), arrays)


def decode(tree: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Give back what :func:`encode` was given.

    Parameters
    ----------
    tree : object
        From JSON.
    arrays : mapping
        The arrays.

    Returns
    -------
    object
        The value.
    """
    if isinstance(tree, list):
        return [decode(v, arrays) for v in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, inner),) = tree.items()
    return _DECODERS[kind](inner, arrays)


def _decode_dict(pairs: Any, arrays: Mapping[str, NDArray[Any]]) -> dict[Any, Any]:
    return {decode(k, arrays): decode(v, arrays) for k, v in pairs}


def _decode_objects(inner: Any, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    shape, values = inner
    flat = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        flat[i] = decode(value, arrays)
    return flat.reshape(shape)


def _decode_frame(inner: Any, arrays: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    index = _decode_index(inner["index"], arrays)
    columns = [pd.Series(_decode_column(c, arrays), index=index) for _, c in inner["columns"]]
    table = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
    table.columns = pd.Index([decode(name, arrays) for name, _ in inner["columns"]])
    return table


def _decode_column(inner: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if "numpy" in inner:
        return decode(inner["numpy"], arrays)
    return pd.array([decode(v, arrays) for v in inner["values"]], dtype=inner["dtype"])


def _decode_index(inner: Any, arrays: Mapping[str, NDArray[Any]]) -> pd.Index:
    name = decode(inner["name"], arrays)
    if "range" in inner:
        start, stop, step = inner["range"]
        return pd.RangeIndex(start, stop, step, name=name)
    index: pd.Index = pd.Index(_decode_column(inner["column"], arrays), name=name)
    return index


def _decode_data(inner: Any, arrays: Mapping[str, NDArray[Any]]) -> xr.DataArray:
    coords = {
        name: xr.Variable(dims, decode(values, arrays), decode(attrs, arrays))
        for name, dims, values, attrs in inner["coords"]
    }
    values = decode(inner["values"], arrays)
    return xr.DataArray(values, coords, inner["dims"], decode(inner["name"], arrays), decode(inner["attrs"], arrays))


_DECODERS: dict[str, Any] = {
    "!tuple": lambda inner, arrays: tuple(decode(v, arrays) for v in inner),
    "!dict": _decode_dict,
    "!na": lambda inner, arrays: pd.NA,
    "!scalar": lambda inner, arrays: arrays[inner][()],
    "!array": lambda inner, arrays: arrays[inner],
    "!objects": _decode_objects,
    "!frame": _decode_frame,
    "!data": _decode_data,
}


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same to the bit: types, shapes, order, NaN and all.

    Parameters
    ----------
    a, b : object
        Values that :func:`encode` takes.

    Returns
    -------
    bool
        True if they are.
    """
    return digest_of(a) == digest_of(b)


def digest_of(value: Any) -> str:
    """Return the digest of a value, by all that makes it what it is.

    Parameters
    ----------
    value : object
        What :func:`encode` takes.

    Returns
    -------
    str
        Hexadecimal.
    """
    arrays: Arrays = {}
    tree = encode(value, arrays)
    total = hashlib.sha256(repr(tree).encode())
    for array in arrays.values():
        total.update(f"{array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()
