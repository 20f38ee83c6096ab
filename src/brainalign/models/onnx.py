"""Any ONNX file as an AudioModel, by onnxruntime; every intermediate tensor can be a layer.

A file lists only its final outputs. To see the others, their names are added to the list of outputs: a serialised
protocol buffer to which another is appended is read as both merged (protobuf.dev, "Encoding", last one wins and
embedded messages are merged), so no package for editing graphs is needed.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainalign._reading import reading
from brainalign.errors import MissingExtraError, ModelError, did_you_mean
from brainalign.models._names import read_rate, split_options
from brainalign.models.base import ShownModel

if TYPE_CHECKING:
    from torch import Tensor

# Field numbers of onnx.proto: ModelProto.graph; GraphProto.node and .output; NodeProto.output; ValueInfoProto.name.
_GRAPH, _NODE, _GRAPH_OUTPUT, _NODE_OUTPUT, _VALUE_NAME = 7, 1, 12, 2, 1
_REAL = ("tensor(float)", "tensor(float16)", "tensor(double)")


def load_onnx(variant: str = "", *, pretrained: bool = True) -> OnnxModel:
    """Load an ONNX file.

    Parameters
    ----------
    variant : str
        ``PATH[?sample_rate=RATE]``. The rate in Hz stands in the name, or in the file's metadata under
        ``sample_rate``.
    pretrained : bool
        False asks for random weights, which a file cannot have.

    Returns
    -------
    OnnxModel
        All its real-valued tensors that have an axis of sounds are layers.

    Raises
    ------
    ModelError
        If there is no such file, it is no ONNX file, nothing says its rate, or random weights are asked for.
    MissingExtraError
        If onnxruntime is not installed.
    """
    path, options = split_options("onnx", variant, ("sample_rate",))
    if not path:
        raise ModelError("which file? 'onnx:PATH[?sample_rate=RATE]'")
    if not pretrained:
        raise ModelError(
            f"model 'onnx:{path}': an ONNX file does not say which of its tensors were learned, so there is no random "
            f"control of it; export the network with random weights instead"
        )
    rate = read_rate("onnx", variant, options["sample_rate"]) if options else None
    return OnnxModel(path, sample_rate=rate, name=f"onnx:{variant}")


class OnnxModel(ShownModel):
    """An AudioModel over an ONNX file, on the CPU.

    Parameters
    ----------
    path : path-like
        The file. Its input is (n_sounds, n_samples), (n_sounds, 1, n_samples), (n_sounds, n_samples, 1) or
        (n_samples,); where the number of sounds is fixed at one, sounds are heard one by one.
    sample_rate : int, optional
        In Hz; if not given, the file's metadata say it under ``sample_rate``.
    constants : mapping of str to array, optional
        Values of further inputs (a rate, a state), the same for each call.
    lengths : (int, int), optional
        Lengths in samples of the probes by which layouts are found; 2 and 3 s if not given. A file whose input has a
        fixed length is probed with that, and then no axis of time is known.
    name : str, optional
        Identifier; ``onnx:STEM`` if not given.

    Raises
    ------
    ModelError
        If the file is missing or not ONNX, nothing says its rate, or its inputs are not those of a sound.
    MissingExtraError
        If onnxruntime is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample_rate: int | None = None,
        constants: Mapping[str, NDArray[Any]] | None = None,
        lengths: tuple[int, int] | None = None,
        name: str | None = None,
    ) -> None:
        self._path = Path(path).expanduser()
        self._constants = dict(constants or {})
        self.name = name or f"onnx:{self._path.stem}"
        data = _read(self._path)
        # What onnxruntime loads may still have names and shapes that it cannot give back.
        with reading(self._path, "an ONNX file", ModelError):
            tensors = list(tensor_names(data))
            plain = _session(data, self._path)
            self._outputs = [output.name for output in plain.get_outputs()]
            self._input, self._axes = self._find_input(plain)
            self.sample_rate = self._find_rate(plain, sample_rate)
        extra = [tensor for tensor in tensors if tensor not in self._outputs]
        self._session = _session(data + _more_outputs(extra), self._path) if extra else plain
        self.record: dict[str, Any] = {
            "file_sha256": hashlib.sha256(data).hexdigest(),
            "input": f"{self._input} {plain.get_inputs()[0].shape}",
            "onnxruntime": _onnxruntime().__version__,
        }
        self._layouts, self._batch_axes, left_out = self._find_layouts(tensors, lengths)
        self.record["left_out_layers"] = left_out
        self.minimum_samples = self.fixed_samples or self._shortest((lengths or (2 * self.sample_rate, 0))[0])

    @property
    def layouts(self) -> Mapping[str, str]:
        """Return the tensors that are layers, in the order of the graph, and their axes."""
        return self._layouts

    @property
    def fixed_samples(self) -> int:
        """The only length in samples that the file takes; 0 if it takes any."""
        length = self._axes[_time_axis(self._axes)]
        return length if isinstance(length, int) else 0

    def activations(self, waveforms: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of layers.

        Parameters
        ----------
        waveforms : Tensor, shape (n_sounds, n_samples)
            Sounds of one length, at the model's sample rate, units of full scale.
        layers : sequence of str
            Which of the model's layers.

        Returns
        -------
        dict of str to Tensor
            For each layer its activations, axes as in `layouts`, on the device of the waveforms.

        Raises
        ------
        ModelError
            If a layer is unknown, the file takes another length only, or an output does not fit its layout.
        """
        import torch

        for layer in layers:
            if layer not in self._layouts:
                raise ModelError(f"model {self.name!r} has no layer {layer!r}; {did_you_mean(layer, self._layouts)}")
        if self.fixed_samples and waveforms.shape[1] != self.fixed_samples:
            raise ModelError(
                f"model {self.name!r} takes sounds of exactly {self.fixed_samples} samples "
                f"({self.fixed_samples / self.sample_rate:.3f} s), found {waveforms.shape[1]}"
            )
        given = self._run(waveforms.cpu().numpy(), list(dict.fromkeys(layers)))
        activations = {}
        for layer, values in given.items():
            batch = self._batch_axes.get(layer, 0)
            if values.ndim != len(self._layouts[layer]) or values.shape[batch] != len(waveforms):
                raise ModelError(
                    f"model {self.name!r}, layer {layer!r}: an output of shape {values.shape} for {len(waveforms)} "
                    f"sounds does not fit the layout {self._layouts[layer]!r}"
                )
            activations[layer] = torch.from_numpy(np.moveaxis(values, batch, 0).copy()).to(waveforms.device)
        return activations

    def _run(self, waveforms: NDArray[np.float32], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Run the file; where it takes one sound at a time, join what it gives along the first axis."""
        batches = [waveforms] if self._takes_batches else list(waveforms[:, None])
        pieces = []
        for batch in batches:
            axis = _time_axis(self._axes)
            shape = [1] * len(self._axes)
            shape[axis] = batch.shape[1]
            if axis:
                shape[0] = len(batch)
            fed = {self._input: batch.astype(np.float32).reshape(shape), **self._constants}
            pieces.append(self._session.run(list(tensors), fed))
        return {
            tensor: np.concatenate(parts) if len(parts) > 1 else parts[0]
            for tensor, parts in zip(tensors, zip(*pieces, strict=True), strict=True)
        }

    @property
    def _takes_batches(self) -> bool:
        return len(self._axes) > 1 and not isinstance(self._axes[0], int)

    def _find_input(self, session: Any) -> tuple[str, list[Any]]:
        inputs = session.get_inputs()
        unknown = sorted(set(self._constants) - {i.name for i in inputs})
        if unknown:
            raise ModelError(
                f"{self._path.name} has no input {unknown[0]!r}; {did_you_mean(unknown[0], [i.name for i in inputs])}"
            )
        free = [i for i in inputs if i.name not in self._constants]
        if len(free) != 1:
            raise ModelError(
                f"{self._path.name} has the inputs {', '.join(i.name for i in free) or 'none'}, expected one for the "
                f"sound; give values of the others with OnnxModel(path, constants={{...}})"
            )
        axes = list(free[0].shape)
        sizes = [axis if isinstance(axis, int) else 0 for axis in axes]
        is_sound = len(axes) in (1, 2) or (len(axes) == 3 and 1 in sizes[1:]) or (len(axes) == 3 and not any(sizes[1:]))
        if not is_sound or free[0].type != "tensor(float)" or (len(axes) > 1 and sizes[0] > 1):
            raise ModelError(
                f"{self._path.name}: the input {free[0].name!r} is {free[0].type} {axes}, expected waveforms in single "
                f"precision: (n_sounds, n_samples), (n_sounds, 1, n_samples) or (n_sounds, n_samples, 1)"
            )
        return free[0].name, axes

    def _find_rate(self, session: Any, sample_rate: int | None) -> int:
        said = session.get_modelmeta().custom_metadata_map.get("sample_rate")
        if said is None and sample_rate is None:
            raise ModelError(
                f"{self._path.name} does not say its sample rate: write 'onnx:{self._path}?sample_rate=16000', or add "
                f"the metadata 'sample_rate' to the file"
            )
        rate = sample_rate if said is None else read_rate("onnx", str(self._path), said)
        if sample_rate not in (None, rate):
            raise ModelError(
                f"{self._path.name}: two sample rates are named, {sample_rate} and {rate} Hz (in the file)"
            )
        assert rate is not None
        return rate

    def _find_layouts(
        self, tensors: Sequence[str], lengths: tuple[int, int] | None
    ) -> tuple[dict[str, str], dict[str, int], dict[str, str]]:
        """Find the layouts of all real tensors from three probes, as for torch modules."""
        from brainalign.models.discovery import FEW, MORE, infer_layout

        kinds = {output.name: output.type for output in self._session.get_outputs()}
        left_out = {t: f"it is {kinds[t]}" for t in tensors if kinds[t] not in _REAL}
        real = [tensor for tensor in tensors if tensor not in left_out]
        short, long = lengths or (2 * self.sample_rate, 3 * self.sample_rate)
        if self.fixed_samples:
            short = long = self.fixed_samples
        rng = np.random.default_rng(0)
        try:
            few, more, longer = (
                self._run(rng.normal(0, 0.1, (n, samples)).astype(np.float32), real)
                for n, samples in ((FEW, short), (MORE, short), (FEW, long))
            )
        except Exception as why:  # onnxruntime raises its own kinds, one per failure code
            raise ModelError(
                f"{self._path.name} does not run on sounds of {short} and {long} samples: "
                f"{' '.join(str(why).split())[:300]}; give other lengths with OnnxModel(path, lengths=...)"
            ) from why
        layouts, batch_axes = {}, {}
        for tensor in real:
            layout, batch, reason = infer_layout(few[tensor].shape, more[tensor].shape, longer[tensor].shape)
            if reason:
                left_out[tensor] = reason
                continue
            layouts[tensor] = layout
            if batch:
                batch_axes[tensor] = batch
        if not layouts:
            raise ModelError(f"{self._path.name} has no real-valued tensor with an axis of sounds")
        return layouts, batch_axes, left_out

    def _shortest(self, longest: int) -> int:
        """Return the shortest sound, in samples, for which the file runs and no layer is empty."""

        def takes(n_samples: int) -> bool:
            try:
                given = self._run(np.zeros((1, n_samples), np.float32), list(self._layouts))
            except Exception:  # as above
                return False
            return all(values.size for values in given.values())

        too_short, enough = 0, longest
        while enough - too_short > 1:
            middle = (too_short + enough) // 2
            too_short, enough = (too_short, middle) if takes(middle) else (middle, enough)
        return enough


def _time_axis(axes: Sequence[Any]) -> int:
    """Return the axis of samples: the last, unless that is the one channel."""
    return 1 if len(axes) == 3 and axes[2] == 1 and axes[1] != 1 else len(axes) - 1


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as why:
        raise MissingExtraError("onnxruntime", "onnx") from why


def _read(path: Path) -> bytes:
    _onnxruntime()
    if not path.is_file():
        raise ModelError(f"no ONNX file {path}")
    return path.read_bytes()


def _session(data: bytes, path: Path) -> Any:
    import torch

    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # its errors are raised; they need not be printed as well
    # Large files keep their weights beside them; bytes have no folder of their own.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.resolve().parent))
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as why:  # onnxruntime raises its own kinds, one per failure code
        raise ModelError(f"{path} cannot be loaded as an ONNX file: {' '.join(str(why).split())[:300]}") from why


def tensor_names(data: bytes) -> Iterator[str]:
    """Give the names of all tensors that the nodes of a graph compute, in order.

    Parameters
    ----------
    data : bytes
        A serialised ONNX model.

    Yields
    ------
    str
        Names; subgraphs of loops and branches are not entered.
    """
    for number, graph in _fields(data):
        if number != _GRAPH:
            continue
        for inner, node in _fields(graph):
            if inner == _NODE:
                yield from (value.decode() for kind, value in _fields(node) if kind == _NODE_OUTPUT and value)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give number and content of the fields of a protocol buffer that hold bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("it ends too early")
            yield number, data[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("it is no protocol buffer")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits per byte, least significant first; return it and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _more_outputs(tensors: Sequence[str]) -> bytes:
    """Return a serialised model that holds nothing but outputs of the graph."""
    outputs = (_field(_GRAPH_OUTPUT, _field(_VALUE_NAME, tensor.encode())) for tensor in tensors)
    return _field(_GRAPH, b"".join(outputs))


def _field(number: int, content: bytes) -> bytes:
    return _as_varint(number << 3 | 2) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
