"""MATLAB files that nobody vouches for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from brainalign._reading import check_unpacked, reading, unpack
from brainalign.errors import BrainError

#: Cell arrays and structures in one file. scipy goes into one within another by a call of its own without a limit, and
#: five thousand of them end the process by a segmentation fault. The published files have a few hundred.
MAXIMUM_NESTED = 1_500
_MATRIX, _COMPRESSED = 14, 15
#: Data types of elements: numbers, characters, and the two above.
_KNOWN = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, _COMPRESSED, 16, 17, 18})
#: Classes of matrices that hold numbers or characters, and no matrices.
_PLAIN = frozenset(range(4, 16))
_CHARACTERS, _SPARSE, _OPAQUE, _COMPLEX = 4, 5, 17, 0x800
#: Data types of the extent and the name of a matrix.
_HEADS = ((5, 1), (5, 16), (6, 1), (6, 16))


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
    """Raise if elements unpack to too much, run over their ends, or are not where scipy looks for them."""
    unpacked, nested = 0, 0
    parts = [content]
    while parts:
        for kind, body in _elements(parts.pop(), order):
            if kind == _COMPRESSED:
                parts.append(unpack(path, body, BrainError, unpacked))
                unpacked += len(parts[-1])
            elif kind == _MATRIX and body:
                inside = _matrix(path, body, order)
                nested += inside is not None
                if nested > MAXIMUM_NESTED:
                    raise ValueError(f"it holds more than {MAXIMUM_NESTED:,} cell arrays and structures")
                parts.extend(inside or [])


def _elements(data: bytes, order: Literal["little", "big"], whole: bool = False) -> Iterator[tuple[int, bytes]]:
    """Give the data type and the content of one element after another."""
    at = 0
    while at + 8 <= len(data):
        kind, size = (int.from_bytes(data[i : i + 4], order) for i in (at, at + 4))
        start = at + 8
        if kind >> 16:  # up to four bytes, within the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
        else:
            # What is compressed is not padded to eight bytes.
            at += 8 + size + (0 if kind == _COMPRESSED else -size % 8)
        body = data[start : min(start + size, at)]
        if len(body) < size:
            raise ValueError(f"an element of {size:,} bytes is cut off after {len(body):,}")
        if kind == _MATRIX and size % 8:
            raise ValueError(f"a matrix of {size:,} bytes, expected a multiple of 8: what follows would be out of step")
        if kind not in _KNOWN:
            raise ValueError(f"an element has the data type {kind}, which is none of the format")
        yield kind, body
    if whole and at != len(data):
        raise ValueError(f"the parts of a matrix have {at:,} bytes together, expected {len(data):,}")


def _matrix(path: Path, body: bytes, order: Literal["little", "big"]) -> list[bytes] | None:
    """Give what is to be checked within a matrix of matrices; None for one of numbers or characters.

    scipy takes for granted that the parts are there, that they are of a known type, and that the extent is two numbers
    or more; and it makes room for as many characters or matrices as the extent says before it has seen one.
    """
    parts = list(_elements(body, order, whole=True))
    kinds, sizes = tuple(kind for kind, _ in parts[:3]), [len(part) for _, part in parts[:2]]
    if kinds[:1] != (6,) or sizes[0] != 8:
        raise ValueError("a matrix does not begin with its class")
    flags = int.from_bytes(parts[0][1][:4], order)
    kind = flags & 0xFF
    if kind == _OPAQUE:
        return [body[16:]]
    if kinds[1:] not in _HEADS or sizes[1] < 8 or sizes[1] % 4:
        raise ValueError("a matrix does not begin with its class, extent and name")
    extent = [int.from_bytes(parts[1][1][i : i + 4], order) for i in range(0, sizes[1], 4)]
    if kind == _CHARACTERS or kind not in _PLAIN:
        check_unpacked(path, 8 * math.prod(extent), BrainError)
    if kind not in _PLAIN:
        return [body[16:]]
    # Then the parts; rows and columns before them where most are zero.
    expected = 4 + bool(flags & _COMPLEX) + 2 * (kind == _SPARSE)
    if len(parts) != expected or any(k in (_MATRIX, _COMPRESSED) for k, _ in parts):
        raise ValueError(f"a matrix of numbers or characters has {len(parts)} parts, expected {expected} of such")
    return None
