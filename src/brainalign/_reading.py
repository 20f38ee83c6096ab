"""Reading files that nobody vouches for: sizes are checked before memory is asked for, and damage has one message.

``docs/hostile-input.md`` says what is refused, and how to raise the limits.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import BrainalignError

#: A file may unpack to this many bytes, or to this many times its own size, whichever is more.
UNPACKED_BYTES = 2**28
UNPACKED_TIMES = 50
#: Recipes, manifests, cards and the like; the largest known (labels of 527 classes) has 40 kB.
TEXT_BYTES = 2**26
TOML_BYTES = 2**19
_LONG_KEY = re.compile(r"""(?:(?:[A-Za-z0-9_-]{1,99}|"[^"\n]{0,99}"|'[^'\n]{0,99}')[ \t]{0,9}\.[ \t]{0,9}){32}""")
_ZLIB_OR_GZIP = 47
_BYTES_AT_ONCE = 2**20
#: Variable that replaces the limits of what a file may unpack to, in GiB.
LIMIT_VARIABLE = "BRAINALIGN_MAX_UNPACKED_GIB"

#: What a spreadsheet would run: a formula, also as the first sign of a cell in full width; and after a sign or an @,
#: which names like ``-0RWZT`` begin with, whatever calls a function or another program.
_FORMULA = re.compile(r"[\t\r\n=\uff1d]|[+\-@\uff0b\uff0d\uff20](?=.*(\||[^\W\d]\w*\s*\())", re.DOTALL)
_FIRST_CODES = [ord(sign) for sign in "\t\r\n=+-@\uff1d\uff0b\uff0d\uff20"]
#: What is not seen: controls (C0, DEL, C1), separators of lines, and what turns the direction of the text after it.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FIRST_MARK, _MARKS = 0x61C, [0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]


@contextmanager
def reading(path: Path | str, what: str, error: type[BrainalignError]) -> Iterator[None]:
    """Turn whatever a parser raises into one error; to be put around parsers of others only.

    Parameters
    ----------
    path : path-like
        The file, for the message.
    what : str
        What it should be: ``"a table"``.
    error : type
        The kind of BrainalignError to raise.

    Yields
    ------
    None
        Nothing.
    """
    try:
        yield
    except BrainalignError:
        raise
    except FileNotFoundError as why:
        raise error(f"no file {path}, expected {what}") from why
    except Exception as why:  # parsers raise a dozen kinds on damaged files, RecursionError and MemoryError among them
        raise error(f"{Path(path).name} cannot be read as {what}: {reason(why)}") from why


def reason(why: BaseException) -> str:
    """Return what an exception says, in one line of at most 300 signs."""
    text = " ".join(str(why).split())
    return f"{text[:297]}..." if len(text) > 300 else text or type(why).__name__


def check_unpacked(path: Path | str, n_bytes: int, error: type[BrainalignError], times: int = UNPACKED_TIMES) -> None:
    """Raise if a file says that it unpacks to far more than its size allows for.

    Parameters
    ----------
    path : path-like
        The file.
    n_bytes : int
        What its header announces, or what came out of it so far.
    error : type
        The kind of BrainalignError to raise.
    times : int
        How many times its own size files of this kind may unpack to.
    """
    size = Path(path).stat().st_size
    if n_bytes > unpacked_limit(size, times):
        raise error(
            f"{Path(path).name} has {size} bytes and announces {n_bytes:,}: it is damaged, or made to fill the memory; "
            f"if you trust it, set {LIMIT_VARIABLE} to more GiB than that"
        )


def unpacked_limit(size: int, times: int = UNPACKED_TIMES) -> int:
    """Return to how many bytes a file of this size may unpack."""
    named = os.environ.get(LIMIT_VARIABLE)
    if named:
        try:
            return int(float(named) * 2**30)
        except (ValueError, OverflowError):
            raise BrainalignError(f"{LIMIT_VARIABLE} is {named!r}, expected a number of GiB") from None
    return max(UNPACKED_BYTES, times * size)


def unpack(path: Path, packed: bytes, error: type[BrainalignError], before: int = 0) -> bytes:
    """Unpack bytes of zlib or gzip out of a file, never to more than the file may unpack to.

    Parameters
    ----------
    path : Path
        The file that they are from.
    packed : bytes
        One stream of zlib, or of gzip with any number of members.
    error : type
        The kind of BrainalignError to raise.
    before : int
        Bytes that other parts of the file were unpacked to.

    Returns
    -------
    bytes
        What was packed.
    """
    parts: list[bytes] = []
    while packed:
        stream = zlib.decompressobj(wbits=_ZLIB_OR_GZIP)
        while packed and not stream.eof:
            parts.append(stream.decompress(packed, _BYTES_AT_ONCE))
            before += len(parts[-1])
            check_unpacked(path, before, error)
            packed = stream.unconsumed_tail
        if not stream.eof:
            raise ValueError("what is packed in it is cut short")
        packed = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def read_text(path: Path, what: str, error: type[BrainalignError], limit: int = TEXT_BYTES) -> str:
    """Read a text in UTF-8, with or without a byte-order mark, of at most so many bytes."""
    with reading(path, what, error):
        size = path.stat().st_size
        if size > limit:
            raise error(f"{path.name} has {size:,} bytes; expected {what} of at most {limit:,}")
        return path.read_text(encoding="utf-8-sig")


def read_toml_text(path: Path, what: str, error: type[BrainalignError]) -> str:
    """Read the text of a TOML file that ``tomllib`` can be given: it takes minutes for keys of ten thousand parts."""
    try:
        text = read_text(path, what, error, TOML_BYTES)
    except error as why:
        if not isinstance(wrong := why.__cause__, UnicodeDecodeError):
            raise
        line = wrong.object.count(b"\n", 0, wrong.start) + 1
        byte = wrong.object[wrong.start]
        raise error(f"{path}:{line} cannot be read as {what}: 0x{byte:02x} is not UTF-8; save it as UTF-8") from why
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise error(f"{path.name}, line {line}: a key of more than 32 parts with dots between them")
    return text


def parse_toml(text: str, path: Path, error: type[BrainalignError]) -> dict[str, Any]:
    """Parse a TOML text; the message has the line of its file."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as why:
        said = reason(why).replace("Cannot overwrite a value", "a key or table that stands twice")
        at = re.search(r" \(at line (\d+), column (\d+)\)$", said)
        where, said = (f":{at[1]}", f"{said[: at.start()]}, at column {at[2]}") if at else ("", said)
        raise error(f"{path}{where} is not valid TOML: {said}") from why


def read_json(path: Path, what: str, error: type[BrainalignError]) -> Any:
    """Read a JSON file; one that is nested too deeply is no better than one that is cut short."""
    text = read_text(path, what, error)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as why:
        raise error(f"{path.name} is not JSON, expected {what}: {reason(why)}") from why


def read_json_object(path: Path, what: str, error: type[BrainalignError]) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    content = read_json(path, what, error)
    if not isinstance(content, dict):
        raise error(f"{path.name} holds no JSON object, expected {what}, found a {type(content).__name__}")
    return content


def read_npy(path: Path, error: type[BrainalignError]) -> NDArray[Any]:
    """Read an array of numpy; pickles in it are refused, and so is a shape that its file does not hold."""
    with reading(path, "a numpy array without pickle", error):
        with path.open("rb") as stream:
            _check_array(stream, path.stat().st_size, path.name)
        return np.asarray(np.load(path, allow_pickle=False))


def read_npz(path: Path, error: type[BrainalignError], only: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read the arrays of an npz file, or those of the names given that it has; pickles in it are refused.

    Parameters
    ----------
    path : Path
        The file.
    error : type
        The kind of BrainalignError to raise.
    only : iterable of str, optional
        Names of arrays; the others are not unpacked.

    Returns
    -------
    dict of str to ndarray
        By name.
    """
    with reading(path, "an npz file without pickle", error):
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if only is None or m.filename.removesuffix(".npy") in set(only)]
            check_unpacked(path, sum(m.file_size for m in members), error)
            for member in members:
                with archive.open(member) as stream:
                    _check_array(stream, member.file_size, member.filename)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if only is None or name in set(only)}


def _check_array(stream: IO[bytes], size: int, name: str) -> None:
    """Raise a ValueError unless a file in numpy's format is as long as its header says."""
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which only a pickle could bring back")
    announced = dtype.itemsize
    for n in shape:
        if n < 0:
            raise ValueError(f"{name} has the shape {shape}")
        announced *= n
    if announced != size - stream.tell():
        raise ValueError(f"{name} announces {announced:,} bytes of shape {shape} and holds {size - stream.tell():,}")


def check_zip(path: Path, error: type[BrainalignError]) -> None:
    """Raise if a file is a zip archive (as a PyTorch checkpoint is) that unpacks to far more than its size."""
    with reading(path, "an archive", error):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_unpacked(path, sum(m.file_size for m in archive.infolist()), error)


def check_netcdf(path: Path, error: type[BrainalignError]) -> None:
    """Raise unless the arrays of a netCDF-4 file lie in the file itself, and are not far larger than it is.

    HDF5 can take values from any other file of the machine: by links, external storage and virtual arrays.
    """
    import h5py  # type: ignore[import-untyped]

    with path.open("rb") as stream:
        magic = stream.read(8)
    if magic != b"\x89HDF\r\n\x1a\n":
        kind = "a pickle" if magic[:1] == b"\x80" else "no netCDF-4 file"
        raise error(f"{path.name} is {kind}; arrays are read from netCDF-4 only")
    with reading(path, "netCDF-4", error), h5py.File(path, "r") as file:
        total, seen, groups = 0, set(), [file]
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name!r} is a link; what it leads to is not read")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:  # hard links may lead back
                    continue
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    if item.external or item.is_virtual:
                        raise ValueError(f"the values of {name!r} are in another file, which is not read")
                    total += int(item.size or 0) * item.dtype.itemsize
        check_unpacked(path, total, error)


def formula(text: str) -> bool:
    """Say whether a spreadsheet that opens a table with this cell could run it."""
    # A carriage return is not quoted in a CSV file, and what follows it would begin a row.
    return "\r" in text or _FORMULA.match(text) is not None


def check_names(names: Iterable[Any] | NDArray[Any], what: str, error: type[BrainalignError]) -> None:
    """Raise if a name would be run as a formula by a spreadsheet, or has signs that are not seen.

    Refused are controls (C0, DEL and C1), separators of lines, and the marks, embeddings, overrides and isolates of
    direction (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069), with which the numbers after a name read
    backwards.

    Parameters
    ----------
    names : iterable of str or ndarray
        Names that come from outside and go into tables as they are.
    what : str
        What they are of, for the message: ``"stimulus_id"``.
    error : type
        The kind of BrainalignError to raise.
    """
    array = names if isinstance(names, np.ndarray) else np.array([str(n) for n in names] or [""], dtype=np.str_)
    if array.dtype.kind not in "UO" or not array.size:
        return
    array = np.ascontiguousarray(array.astype(np.str_)).ravel()
    codes = array.view(np.uint32).reshape(array.size, -1)
    # What is below a bound wraps around to the largest numbers; 0 also fills the rows up.
    unseen = (codes - 1 < 0x1F) | (codes - 0x7F < 0x21)
    unseen[:, :-1] |= (codes[:, :-1] == 0) & (codes[:, 1:] != 0)
    if codes.max() >= _FIRST_MARK:
        unseen |= np.isin(codes, _MARKS)
    for name in array[np.isin(codes[:, :1], _FIRST_CODES).any(axis=1) | unseen.any(axis=1)]:
        if formula(str(name)):
            raise error(
                f"{what} {str(name)[:60]!r} would be a formula in a spreadsheet that opens the results; let it begin "
                f"with a letter or a number"
            )
        if found := _UNSEEN.search(str(name)):
            raise error(
                f"{what} {str(name)[:60]!a} has the sign U+{ord(found[0]):04X}, which is not seen and can turn or "
                f"break the text around it; take it away"
            )
