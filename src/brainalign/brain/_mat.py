"""MATLAB files that nobody vouches for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from brainalign._reading import reading, unpack
from brainalign.errors import BrainError

#: Cell arrays and structures in one file. scipy goes into one within another by a call of its own without a limit, and
#: five thousand of them end the process by a segmentation fault. The published files have a few hundred.
MAXIMUM_NESTED = 1_500
_MATRIX, _COMPRESSED = 14, 15
#: Classes of matrices that hold numbers or characters, and no matrices.
_PLAIN = frozenset(range(4, 16))


def read_mat(path: Path) -> dict[str, Any]:
    """Read the variables of a MATLAB file of version 5 to 7.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict of str to object
        As ``scipy.io.loadmat`` gives them.

    Raises
    ------
    BrainError
        If it is missing, damaged, of another version, or made to fill the memory or the stack.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise BrainError(f"no file {path}")
    with reading(path, "a MATLAB file", BrainError):
        content = path.read_bytes()
        order: Literal["little", "big"] | None = {b"IM": "little", b"MI": "big"}.get(content[126:128])  # type: ignore[assignment]
        if order is None:
            raise ValueError("its first 128 bytes are no header of version 5 to 7")
        if content[125 if order == "little" else 124] != 1:
            raise ValueError("it is of another version (7.3 is HDF5): save it with -v7")
        _check(path, content[128:], order)
        variables: dict[str, Any] = loadmat(path)
        return variables


def _check(path: Path, content: bytes, order: Literal["little", "big"]) -> None:
    """Raise if the elements of a file unpack to too much, run over their ends, or hold too many matrices."""
    unpacked, nested = 0, 0
    parts = [(content, True)]
    while parts:
        data, top = parts.pop()
        at = 0
        while at + 8 <= len(data):
            kind, size = (int.from_bytes(data[i : i + 4], order) for i in (at, at + 4))
            if kind >> 16:  # up to four bytes, within the tag
                at += 8
                continue
            body = data[at + 8 : at + 8 + size]
            if len(body) < size:
                raise ValueError(f"an element of {size:,} bytes is cut off after {len(body):,}")
            if kind == _COMPRESSED and top:
                inner = unpack(path, body, BrainError, unpacked)
                unpacked += len(inner)
                parts.append((inner, False))
            elif kind == _MATRIX:
                flags = int.from_bytes(body[8:12], order)
                nested += bool(body) and flags & 0xFF not in _PLAIN
                if nested > MAXIMUM_NESTED:
                    raise ValueError(f"it holds more than {MAXIMUM_NESTED:,} cell arrays and structures")
                parts.append((body, False))
            # What is compressed is not padded to eight bytes.
            at += 8 + size + (0 if kind == _COMPRESSED else -size % 8)
