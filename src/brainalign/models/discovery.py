"""Finding the layers of any module, and the axes of each, by listening to three probes.

A module hears 2 noises, 3 noises, and 2 longer ones. The axis that grows with the number of sounds is B, the one that
grows with their length is T, and the others are C, F and, if there are more, D, E, G in the order in which they come:
torch puts channels before frequencies; that the second is one of frequency is a convention, not a finding.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brainalign.errors import ModelError
from brainalign.models.hooks import OUTPUT, hooking, tensors_in

FEW, MORE = 2, 3
OTHER_AXES = "CFDEG"
Forward = Callable[[nn.Module, Tensor], Any]


@dataclass(frozen=True)
class Discovery:
    """The layers of a module.

    Attributes
    ----------
    layouts : dict of str to str
        Layer names (see :mod:`brainalign.models.hooks`) in the order in which they run, and their axes, batch first.
    batch_axes : dict of str to int
        Where the axis of sounds lies in the module's own output, where that is not the first.
    left_out : dict of str to str
        Outputs that are no layers, and why.
    forward : callable or None
        How the module is to be called; None for ``module(waveforms)``.
    input : str
        The form of input that it takes, in words.
    """

    layouts: dict[str, str]
    batch_axes: dict[str, int]
    left_out: dict[str, str]
    forward: Forward | None
    input: str


def with_channel(module: nn.Module, waveforms: Tensor) -> Any:
    """Call a module that takes sounds of one channel, shape (n_sounds, 1, n_samples)."""
    return module(waveforms.unsqueeze(1))


def discover_layers(
    module: nn.Module,
    sample_rate: int,
    *,
    forward: Forward | None = None,
    lengths: tuple[int, int] | None = None,
    attention_maps: bool = False,
    duplicates: bool = False,
) -> Discovery:
    """Find all layers of a module and the layout of each.

    Parameters
    ----------
    module : nn.Module
        Put into evaluation mode; otherwise left as it is.
    sample_rate : int
        Rate in Hz that it takes.
    forward : callable, optional
        ``forward(module, waveforms)`` calls the module. If not given, waveforms (n_sounds, n_samples) are tried, then
        (n_sounds, 1, n_samples).
    lengths : (int, int), optional
        Lengths of the probes in samples, for modules that do not take sounds of 2 and 3 s or whose frames do not
        become more from the one to the other.
    attention_maps : bool
        Also list outputs with two axes that grow with the sound (time by time, and the like); the second is ``S``.
        Their units differ from sound to sound unless all sounds have one length.
    duplicates : bool
        Also list outputs that are the very tensor (same memory, same values) that another module gives, such as those
        of Identity, of Dropout in evaluation mode, of a Sequential and its last part. If not, one of them is a layer:
        a numbered block with parts of its own (``encoder.layers.11``) if there is one, else the one that lies least
        deep in the module (``conv1`` rather than ``conv1.2``), and among these the one that runs first; the whole
        module (``output``) only if no submodule gives its output.

    Returns
    -------
    Discovery
        Layers, and what is none and why: no axis of sounds (parameters, position tables), sounds merged with another
        axis, integers and complex numbers, calls whose number depends on the sound.

    Raises
    ------
    ModelError
        If the module takes no such input or has no layer.
    """
    short, long = lengths or (2 * sample_rate, 3 * sample_rate)
    if not 1 <= short < long:
        raise ModelError(f"the lengths of the probes must be positive and grow, found {short} and {long} samples")
    ways: dict[str, Forward | None] = {"(n_sounds, n_samples)": None, "(n_sounds, 1, n_samples)": with_channel}
    if forward is not None:
        ways = {"own": forward}
    module.eval()
    failures = []
    for form, way in ways.items():
        try:
            probes = [_probe(module, way, n, samples) for n, samples in ((FEW, short), (MORE, short), (FEW, long))]
        except Exception as why:  # whatever a module of any kind raises says that it does not take this input
            failures.append(f"{form}: {type(why).__name__}: {' '.join(str(why).split())[:200]}")
            continue
        layouts, batch_axes, left_out = _read(probes, attention_maps)
        if layouts:
            if not duplicates:
                same = _same_tensor(module, {name: probes[0].seen[name] for name in layouts})
                left_out |= {name: f"it gives the tensor that {kept!r} gives" for name, kept in same.items()}
                layouts = {name: layout for name, layout in layouts.items() if name not in same}
            left_out |= _not_called(module, probes[0])
            moved = {name: axis for name, axis in batch_axes.items() if name in layouts}
            return Discovery(layouts, moved, left_out, way, form)
        failures.append(f"{form}: it runs, but no output has an axis of sounds")
    raise ModelError(
        f"{type(module).__name__} takes no waveforms of {short} and {long} samples at {sample_rate} Hz; tried "
        f"{'; '.join(failures)}; give forward=lambda module, waveforms: ..., or other lengths=(short, long)"
    )


@dataclass(frozen=True)
class _Seen:
    """One tensor that a call of a submodule gave."""

    shape: tuple[int, ...]
    is_real: bool
    place: tuple[Any, ...]


@dataclass(frozen=True)
class _Probe:
    """What a module did with one batch of noises: its outputs by layer name, and how often each submodule ran."""

    seen: dict[str, _Seen]
    calls: Counter[str]


def _probe(module: nn.Module, forward: Forward | None, n_sounds: int, n_samples: int) -> _Probe:
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    waveforms = 0.1 * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(0))
    calls: Counter[str] = Counter()
    records: list[tuple[str, int, dict[str, _Seen]]] = []
    alive: list[Tensor] = []  # memory that is not given back cannot be taken for that of another output

    def watch(path: str) -> Callable[[Any], None]:
        def hook(output: Any) -> None:
            tensors = tensors_in(output)
            alive.extend(tensors.values())
            records.append((path, calls[path], {key: _seen(tensor) for key, tensor in tensors.items()}))
            calls[path] += 1

        return hook

    with torch.inference_mode(), hooking(module, [(path, watch(path)) for path, _ in module.named_modules()]):
        module(waveforms.to(device)) if forward is None else forward(module, waveforms.to(device))
    seen = {}
    for path, call, tensors in records:
        name = (path or OUTPUT) + (f":{call}" if calls[path] > 1 else "")
        for key, tensor in tensors.items():
            seen[f"{name}.{key}" if len(tensors) > 1 else name] = tensor
    return _Probe(seen, calls)


def _seen(tensor: Tensor) -> _Seen:
    values = tensor.detach().cpu().contiguous()
    contents = values.reshape(-1).view(torch.uint8).numpy().tobytes() if values.numel() else b""
    digest = hashlib.sha256(contents).hexdigest()
    return _Seen(tuple(tensor.shape), tensor.is_floating_point(), (tensor.data_ptr(), tensor.stride(), digest))


def _read(probes: Sequence[_Probe], attention_maps: bool) -> tuple[dict[str, str], dict[str, int], dict[str, str]]:
    """Return layouts, axes of sounds and what is left out, from what the three probes saw."""
    few, more, longer = probes
    layouts: dict[str, str] = {}
    batch_axes: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for name, seen in few.seen.items():
        if name not in more.seen or name not in longer.seen or not _called_alike(name, probes):
            left_out[name] = "how often it is called, or what it gives, depends on the sounds"
            continue
        if not seen.is_real:
            left_out[name] = "it gives no real numbers"
            continue
        layout, batch, why = infer_layout(
            seen.shape, more.seen[name].shape, longer.seen[name].shape, attention_maps=attention_maps
        )
        if why:
            left_out[name] = why
            continue
        layouts[name] = layout
        if batch:
            batch_axes[name] = batch
    return layouts, batch_axes, left_out


def _called_alike(name: str, probes: Sequence[_Probe]) -> bool:
    """Say whether the submodule of a layer, and so each of its calls, is the same one in all probes."""
    few = probes[0]
    path = name if name in few.calls else name.split(":")[0]
    return len({probe.calls[path] for probe in probes}) == 1


def infer_layout(
    few: Sequence[int], more: Sequence[int], longer: Sequence[int], *, attention_maps: bool = False
) -> tuple[str, int, str]:
    """Tell the axes of an output from its shapes for 2 sounds, for 3 sounds, and for 2 longer sounds.

    Parameters
    ----------
    few, more, longer : sequence of int
        The shapes.
    attention_maps : bool
        Whether a second axis that grows with the sound is accepted, as ``S``.

    Returns
    -------
    layout : str
        Axes, batch first; empty if the output is no layer.
    batch : int
        Where the axis of sounds lies in the shape.
    why : str
        Why it is no layer; empty if it is one.
    """
    if not len(few) == len(more) == len(longer):
        return "", 0, "its number of axes depends on the sounds"
    axes = range(len(few))
    with_sounds = [i for i in axes if few[i] != more[i]]
    with_length = [i for i in axes if few[i] != longer[i]]
    if not with_sounds:
        return "", 0, "it has no axis of sounds"
    batch = with_sounds[0]
    if len(with_sounds) > 1 or (few[batch], more[batch]) != (FEW, MORE) or batch in with_length:
        return "", 0, f"it merges sounds with another axis, shape {tuple(few)} for {FEW} sounds"
    if len(with_length) > 1 + attention_maps:
        return "", 0, f"{len(with_length)} of its axes grow with the sound, as in an attention map"
    letters = dict(zip(with_length, "TS", strict=False)) | {batch: "B"}
    others = [i for i in axes if i not in letters]
    if len(others) > len(OTHER_AXES):
        return "", 0, f"it has {len(few)} axes"
    letters |= dict(zip(others, OTHER_AXES, strict=False))
    return "B" + "".join(letters[i] for i in axes if letters[i] != "B"), batch, ""


def _same_tensor(module: nn.Module, seen: Mapping[str, _Seen]) -> dict[str, str]:
    """Return, for outputs that another submodule gives as well, the name that is kept."""
    blocks = {path for path, part in module.named_modules() if path.split(".")[-1].isdigit() and _has_parts(part)}

    def rank(name: str) -> tuple[bool, bool, int]:
        return name.split(".")[0].split(":")[0] == OUTPUT, name not in blocks, name.count(".")

    groups: dict[Any, list[str]] = defaultdict(list)
    for name, tensor in seen.items():
        groups[tensor.shape, tensor.place].append(name)
    same: dict[str, str] = {}
    for names in groups.values():
        kept = min(names, key=rank)
        same |= {name: kept for name in names if name != kept}
    return same


def _not_called(module: nn.Module, probe: _Probe) -> dict[str, str]:
    """Name the submodules without parts that did not run."""
    return {
        path: "it is not called as a module"
        for path, part in module.named_modules()
        if not probe.calls[path] and not _has_parts(part)
    }


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def find_minimum_samples(module: nn.Module, found: Discovery, longest: int) -> int:
    """Return the shortest input that a module takes, by bisection: it runs, and no layer is empty.

    Parameters
    ----------
    module : nn.Module
        The module.
    found : Discovery
        Its layers.
    longest : int
        A length in samples that it takes.

    Returns
    -------
    int
        Samples.
    """

    def takes(n_samples: int) -> bool:
        try:
            seen = _probe(module, found.forward, 1, n_samples).seen
        except Exception:  # as above: any error says that the sound is too short
            return False
        return all(layer in seen and 0 not in seen[layer].shape for layer in found.layouts)

    too_short, enough = 0, longest
    while enough - too_short > 1:
        middle = (too_short + enough) // 2
        too_short, enough = (too_short, middle) if takes(middle) else (middle, enough)
    return enough
