"""Tables in pickles of pandas, read without running what a pickle asks for.

A pickle is a program: loading one calls whatever it names. The reader here knows the few names that a DataFrame of
numbers and strings is made of, in the spellings of pandas 1.1 to 3, and refuses a pickle that asks for any other. Even
the known names are not called: numpy and pandas trust the states that they are given, and a forged one can crash them.
A stand-in notes what each was given, and the columns are put together from these notes.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._reading import reason
from brainalign.errors import BrainError, name_some

MAXIMUM_COLUMNS = 10_000
#: What a pickled DataFrame is made of, and the modules in which pickles look for it.
PARTS = {
    "encode": ("_codecs",),
    "slice": ("builtins", "__builtin__"),
    "ndarray": ("numpy",),
    "dtype": ("numpy",),
    "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
    "DataFrame": ("pandas", "pandas.core.frame"),
    "BlockManager": ("pandas.core.internals.managers",),
    "_unpickle_block": ("pandas._libs.internals",),
    "Index": ("pandas", "pandas.core.indexes.base"),
    "RangeIndex": ("pandas", "pandas.core.indexes.range"),
    "Int64Index": ("pandas.core.indexes.numeric",),
    "UInt64Index": ("pandas.core.indexes.numeric",),
    "Float64Index": ("pandas.core.indexes.numeric",),
    "_new_Index": ("pandas.core.indexes.base",),
    "StringDtype": ("pandas", "pandas.core.arrays.string_"),
    "StringArray": ("pandas.arrays", "pandas.core.arrays.string_"),
    "__pyx_unpickle_NDArrayBacked": ("pandas._libs.arrays",),
}


def read_pickled_table(path: str | Path) -> pd.DataFrame:
    """Read a DataFrame from a pickle that nobody vouches for.

    Parameters
    ----------
    path : path-like
        The pickle, as ``DataFrame.to_pickle`` writes it, not compressed.

    Returns
    -------
    DataFrame
        Its plain columns: numbers, booleans, strings, and NaN where there is no entry. The index is dropped.

    Raises
    ------
    BrainError
        If the file is missing or damaged, asks for anything but the parts of a DataFrame (the message names it;
        nothing has run then), or holds something else than such a table.
    """
    path = Path(path)
    if not path.is_file():
        raise BrainError(f"no file {path}")
    try:
        found = _Unpickler(io.BytesIO(path.read_bytes())).load()
        if not isinstance(found, _Part) or found.kind != "DataFrame":
            what = found.kind if isinstance(found, _Part) else type(found).__name__
            raise BrainError(f"it holds {what}, expected a DataFrame")
        return _table(found)
    except BrainError as why:
        raise BrainError(f"{path.name}: {why}") from why
    except Exception as why:  # a damaged pickle, or parts in the wrong places, raise a dozen kinds
        what = f"{type(why).__name__}: {reason(why)}"
        raise BrainError(f"{path.name} cannot be read as a pickled table ({what})") from why


class _Part:
    """Stands in for what a pickle asks for, and notes what it was given."""

    kind = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> _Part:
        part = super().__new__(cls)
        part.args, part.state = args, None
        return part

    def __setstate__(self, state: Any) -> None:
        self.state = state


@cache
def _stand_ins() -> dict[tuple[str, str], type[_Part]]:
    return {
        (module, name): kind
        for name, modules in PARTS.items()
        for kind in [type(name, (_Part,), {"kind": name})]
        for module in modules
    }


class _Unpickler(pickle._Unpickler):
    # The one in C makes its memo as long as the largest number that a pickle names: 64 GiB for nine bytes.
    def find_class(self, module: str, name: str) -> type[_Part]:
        found = _stand_ins().get((module, name))
        if found is None:
            raise BrainError(
                f"a pickle that asks for {module}.{name}, which is no part of a plain table; it was not run. Turn it "
                "into a CSV file where it can do no harm (a container without network), by pandas.read_pickle and "
                "DataFrame.to_csv(index=False), and put that beside it"
            )
        return found


def _table(frame: _Part) -> pd.DataFrame:
    """Put the columns together from the blocks in which pandas keeps them."""
    manager = frame.state["_mgr"]
    if manager.state is None:
        blocks, axes = manager.args
        pieces = [(_values(b.args[0]), b.args[1]) for b in blocks]
    else:  # until pandas 1.2
        content = manager.state[3]["0.14.1"]
        axes = content["axes"]
        pieces = [(_values(b["values"]), b["mgr_locs"]) for b in content["blocks"]]
    names = _index_entries(axes[0])
    if not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
        # What is no string or number may be a tuple that takes years to write out.
        found = [repr(n) if isinstance(n, str | int | float) else type(n).__name__ for n in names]
        raise BrainError(f"its columns are {name_some(found, 10)}, expected different names")
    columns: dict[str, NDArray[Any]] = {}
    for values, place in pieces:
        rows = np.atleast_2d(values)
        at = range(*place.args) if place.kind == "slice" else _values(place).tolist()
        columns |= {names[i]: _plain(names[i], row) for i, row in zip(at, rows, strict=True)}
    if lacking := [n for n in names if n not in columns]:
        raise BrainError(f"no values for the columns {name_some(lacking)}")
    return pd.DataFrame({name: columns[name] for name in names})


def _index_entries(index: _Part) -> list[Any]:
    kind, content = index.args
    if kind.kind == "RangeIndex":
        entries = range(content["start"], content["stop"], content["step"])
        if len(entries) > MAXIMUM_COLUMNS:
            raise BrainError(f"{len(entries)} columns, expected at most {MAXIMUM_COLUMNS}")
        return list(entries)
    listed: list[Any] = _values(content["data"]).tolist()
    return listed


def _values(part: _Part) -> NDArray[Any]:
    """Make an array of the notes on one."""
    if part.kind == "_frombuffer":
        buffer, dtype, shape, order = part.args
        return np.frombuffer(_bytes(buffer), _dtype(dtype)).reshape(shape, order=order)
    if part.kind == "__pyx_unpickle_NDArrayBacked":
        content = [*(part.args[2] or ()), *(part.state or ())]
        return _values(next(c for c in content if getattr(c, "kind", "") in ("_reconstruct", "_frombuffer")))
    if part.kind != "_reconstruct":
        raise BrainError(f"values in the form of {part.kind}, expected an array of numbers or strings")
    _, shape, dtype, by_column, content = part.state
    if _dtype(dtype).kind == "O":
        flat = np.empty(len(content), dtype=object)
        for i, entry in enumerate(content):  # given all at once, numpy would look for arrays within
            flat[i] = entry
    else:
        flat = np.frombuffer(_bytes(content), _dtype(dtype))
    return flat.reshape(shape, order="F" if by_column else "C")


def _bytes(content: Any) -> bytes:
    """Return bytes, which protocol 2 writes as text in latin1."""
    if isinstance(content, _Part) and content.kind == "encode":
        text: str = content.args[0]
        return text.encode("latin1")
    return bytes(memoryview(content))


def _dtype(part: _Part) -> np.dtype[Any]:
    """Return the dtype of numbers, booleans or objects that a stand-in was asked for."""
    code = part.args[0]
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|O8", code):
        raise BrainError(f"values of dtype {code!r}, expected numbers, booleans or strings")
    dtype: np.dtype[Any] = np.dtype((">" if part.state[1] == ">" else "") + code)
    return dtype


def _plain(name: str, entries: NDArray[Any]) -> NDArray[Any]:
    """Return the entries of a column as numbers, or as strings and NaN."""
    if entries.dtype.kind != "O":
        return np.array(entries)
    scalars = [_scalar(e) if getattr(e, "kind", "") == "scalar" else e for e in entries]
    plain = [np.nan if e is None or (isinstance(e, float) and math.isnan(e)) else e for e in scalars]
    odd = [e for e in plain if type(e) not in (str, bytes, int, float, bool)]
    if odd:
        raise BrainError(f"the column {name!r} holds a {type(odd[0]).__name__}, expected numbers or strings")
    return np.array([*(e.decode() if isinstance(e, bytes) else e for e in plain), None], dtype=object)[:-1]


def _scalar(part: _Part) -> Any:
    return np.frombuffer(_bytes(part.args[1]), _dtype(part.args[0]))[0].item()
