"""Where pooled activations go while a model listens: to one array in memory, or to one file per layer."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainalign._files import write_then_rename
from brainalign.errors import ModelError

SUM_BYTES = 16

Shapes = dict[str, tuple[int, int]]


class LayerArray:
    """The pooled activations of one layer, on disk.

    Parameters
    ----------
    folder : Path
        Of the entry.
    layer : str
        Name of the layer.
    layout : str
        Its axes before pooling.
    n_sounds : int
        Sounds of the set.
    """

    def __init__(self, folder: Path, layer: str, layout: str, n_sounds: int) -> None:
        # The digest keeps apart what the file system may not: case, signs that no file name can have.
        digest = hashlib.sha256(f"{layer}\n{layout}".encode()).hexdigest()[:12]
        self.path = folder / f"{re.sub(r'[^A-Za-z0-9.]+', '_', layer)[:80]}-{digest}.npy"
        self.layer, self.layout, self.n_sounds = layer, layout, n_sounds
        self.shape: tuple[int, int, int] | None = None
        self.done = np.zeros(n_sounds, dtype=bool)
        self.damage: list[str] = []
        if self.path.with_suffix(".json").is_file():
            self._open()

    def _open(self) -> None:
        """Find out which sounds are there and whole; what is wrong goes into `damage`."""
        try:
            record = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
            if (record["layer"], record["layout"]) != (self.layer, self.layout):
                raise ValueError("its record is of another layer")
            shape = (self.n_sounds, int(record["n_parts"]), int(record["n_channels"]))
            sums = np.fromfile(self.path.with_suffix(".sums"), np.uint8).reshape(self.n_sounds, SUM_BYTES)
            header = _npy_header(shape)
            with self.path.open("rb") as stream:
                if stream.read(len(header)) != header:
                    raise ValueError("its header is not the one written")
            values = np.memmap(self.path, "<f4", "r", len(header), shape)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as why:
            self.damage = [f"{self.path.name}: {why}"]
            return
        self.shape = shape
        for row in np.flatnonzero(sums.any(axis=1)):
            self.done[row] = sums[row].tobytes() == self._sum(int(row), values[row])
            if not self.done[row]:
                self.damage.append(f"{self.path.name}: the values of sound {row + 1} do not fit their digest")

    def _sum(self, row: int, values: NDArray[np.float32]) -> bytes:
        where = f"{row} {self.shape}".encode()
        return hashlib.blake2b(where + values.tobytes(), digest_size=SUM_BYTES).digest()

    def create(self, n_parts: int, n_channels: int) -> None:
        """Make empty files in place of what may be there; maps of old files stay what they were."""
        self.shape = (self.n_sounds, n_parts, n_channels)
        header = _npy_header(self.shape)
        with write_then_rename(self.path) as temporary, temporary.open("wb") as stream:
            stream.write(header)
            stream.truncate(len(header) + 4 * self.n_sounds * n_parts * n_channels)
        with write_then_rename(self.path.with_suffix(".sums")) as temporary:
            temporary.write_bytes(bytes(SUM_BYTES * self.n_sounds))
        record = {"layer": self.layer, "layout": self.layout, "n_parts": n_parts, "n_channels": n_channels}
        with write_then_rename(self.path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def write(self, rows: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Write the rows that are not there yet.

        Parameters
        ----------
        rows : ndarray of int
            Positions of the sounds in the set.
        values : ndarray, shape (len(rows), n_parts, n_channels)
            Their pooled activations.
        """
        if self.shape is None:
            self.create(values.shape[1], values.shape[2])
        assert self.shape is not None
        start, size = len(_npy_header(self.shape)), values[0].nbytes
        fresh = [(int(row), value) for row, value in zip(rows, values, strict=True) if not self.done[row]]
        with self.path.open("r+b") as array, self.path.with_suffix(".sums").open("r+b") as sums:
            for row, value in fresh:
                array.seek(start + row * size)
                array.write(value.astype("<f4").tobytes())
            array.flush()
            for row, value in fresh:
                sums.seek(row * SUM_BYTES)
                sums.write(self._sum(row, value))
                self.done[row] = True

    def read(self) -> NDArray[np.float32]:
        """Return the array, mapped and read-only.

        Returns
        -------
        ndarray, shape (n_sounds, n_parts, n_channels)
            float32.
        """
        assert self.shape is not None
        return np.memmap(self.path, "<f4", "r", len(_npy_header(self.shape)), self.shape)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


class MemoryStore:
    """Pooled activations in one array that is allocated when the first batch tells its width."""

    def __init__(self, layers: list[str], n_sounds: int, limit_gib: float) -> None:
        self.done = {layer: np.zeros(n_sounds, dtype=bool) for layer in layers}
        self.shapes: Shapes = {}
        self._n_sounds, self._limit = n_sounds, limit_gib

    def write(self, rows: NDArray[np.intp], pooled: Mapping[str, NDArray[np.float32]]) -> None:
        if not self.shapes:
            self.shapes = {layer: values.shape[1:] for layer, values in pooled.items()}
            check_memory(self.shapes, self._n_sounds, self._limit)
            self._values = np.empty((self._n_sounds, width_of(self.shapes)), np.float32)
        self._values[rows] = np.concatenate([flat(values) for values in pooled.values()], axis=1)
        for layer in pooled:
            self.done[layer][rows] = True

    def values(self) -> NDArray[np.float32]:
        return self._values


class DiskStore:
    """Pooled activations in one file per layer."""

    def __init__(self, arrays: dict[str, LayerArray], limit_gib: float | None) -> None:
        self.arrays, self._limit = arrays, limit_gib
        self.done = {layer: array.done for layer, array in arrays.items()}

    @property
    def folder(self) -> Path:
        return next(iter(self.arrays.values())).path.parent

    @property
    def shapes(self) -> Shapes:
        return {layer: array.shape[1:] for layer, array in self.arrays.items() if array.shape is not None}

    def write(self, rows: NDArray[np.intp], pooled: Mapping[str, NDArray[np.float32]]) -> None:
        if self._limit is not None:
            widths = self.shapes | {layer: values.shape[1:] for layer, values in pooled.items()}
            check_memory(widths, len(next(iter(self.done.values()))), self._limit)
        for layer, values in pooled.items():
            try:
                self.arrays[layer].write(rows, values)
            except OSError as why:
                folder = self.arrays[layer].path.parent
                raise ModelError(f"activations cannot be written to {folder}: {why}; what is there stays") from why

    def values(self) -> NDArray[np.float32]:
        if len(self.arrays) == 1:
            return flat(next(iter(self.arrays.values())).read())
        n_sounds = len(next(iter(self.done.values())))
        if self._limit is not None:
            check_memory(self.shapes, n_sounds, self._limit)
        values = np.empty((n_sounds, width_of(self.shapes)), np.float32)
        start = 0
        for array in self.arrays.values():
            part = flat(array.read())
            values[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        return values


def flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(values).reshape(len(values), -1)


def width_of(shapes: Shapes) -> int:
    return sum(n_parts * n_channels for n_parts, n_channels in shapes.values())


def check_memory(shapes: Shapes, n_sounds: int, limit_gib: float) -> None:
    size = 4 * n_sounds * width_of(shapes) / 2**30
    if size > limit_gib:
        raise ModelError(
            f"the responses of {n_sounds} sounds x {width_of(shapes)} units would take {size:.2f} GiB of memory, more "
            f"than memory_limit_gib={limit_gib:g}; ask for fewer layers or another pooling, go layer by layer "
            f"(extract_layers), or raise the limit"
        )
