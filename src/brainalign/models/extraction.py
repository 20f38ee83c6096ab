"""Extraction: a model listens to a stimulus set."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from brainalign.engine import Cost, Engine, measured
from brainalign.errors import ModelError
from brainalign.models._arrays import DiskStore, LayerArray, MemoryStore, Shapes, flat
from brainalign.models._listener import Listener, read_sound
from brainalign.models._shards import Filling, fill
from brainalign.models.base import AudioModel
from brainalign.models.cache import checked_folder, entry_identity, key_of, open_entry
from brainalign.models.descriptions import TableModel
from brainalign.models.layers import select_layers
from brainalign.models.pooling import parse_pooling
from brainalign.responses import DIMS, Responses, check_responses, with_columns

if TYPE_CHECKING:
    from brainalign.stimuli import StimulusSet

#: Two passes of a sound through the same model differ by less than this, relative to the largest activation.
ROUNDING = 0.01


def extract(
    model: AudioModel | TableModel,
    stimuli: StimulusSet,
    *,
    layers: Sequence[str] | str | None = None,
    pooling: str = "mean",
    batch_size: int = 16,
    device: str = "cpu",
    cache: Path | str | None = None,
    memory_limit_gib: float = 8.0,
    progress: bool = False,
    engine: Engine | None = None,
    load: Callable[[], AudioModel] | None = None,
) -> Responses:
    """Extract the pooled activations of layers for every sound of a set.

    Sounds are batched with others of exactly the same length, so none is padded and pooling runs over frames of the
    sound only. All axes but time are kept: a convolutional layer has channel x frequency units.

    Parameters
    ----------
    model : AudioModel or TableModel
        What listens; or what reads the table of the set instead, which makes `pooling`, `batch_size`, `device` and
        `cache` idle.
    stimuli : StimulusSet
        What is played; each sound is resampled to the model's rate.
    layers : sequence of str, or str, optional
        Names or globs (``"conv*"``); all layers if not given.
    pooling : str
        What is kept of the frames: ``"mean"`` (over time), ``"mean-sd"``, ``"max"``, ``"last"``, ``"segments:K"`` (the
        means over K segments of equal duration) or ``"none"`` (every frame; sounds of one length only). See
        :class:`~brainalign.models.pooling.Pooling`.
    batch_size : int
        Sounds per forward pass. Where a GPU has not enough memory, it is halved, with a warning.
    device : str
        Torch device.
    cache : path-like, optional
        Folder that keeps activations (:func:`~brainalign.models.cache.cache_folder` names the usual one). What is
        there is not computed again, and an extraction that was cut off goes on where it stopped. One sound is heard
        anew to see that the model is still the same. Not used if not given.
    memory_limit_gib : float
        Raise before the responses take more memory (GiB). Those of a single layer with a cache lie on disk and take
        none.
    progress : bool
        Show a progress bar.
    engine : Engine, optional
        Where shards of the sounds are heard (:func:`brainalign.engine.open_engine`): one thread each, and the same
        numbers to the bit on any engine. In this process, with its threads as they are, if not given.
    load : callable, optional
        Takes nothing and gives the model again; by it workers load the model, which else travels to them.

    Returns
    -------
    Responses
        Dims ``(stimulus, unit)``, stimuli in the order of the set, float32. Coordinates ``category``
        and the other columns of the set's table along
        stimulus; ``layer`` and ``channel`` (index within the layer, channel-major) along unit, and ``statistic``,
        ``segment`` or ``frame`` where the pooling gives several units for a channel. With a cache, values of a single
        layer are a read-only map of its file.

    Raises
    ------
    ModelError
        If a layer or pooling does not exist, a sound is too short for the model, activations are not finite or not as
        many for every sound, or memory does not suffice.
    ResponseError
        If all units respond alike to a sound, as they may to silence.
    StimulusError
        If a sound cannot be read.

    See Also
    --------
    extract_layers : The same, layer by layer, with memory that does not grow with the number of sounds.
    """
    wanted = Wanted(model, stimuli, layers, pooling, load)
    (heard,) = extract_all(
        [wanted], batch_size=batch_size, device=device, cache=cache, memory_limit_gib=memory_limit_gib,
        progress=progress, engine=engine,
    )  # fmt: skip
    return heard.responses


@dataclass(frozen=True)
class Wanted:
    """What is asked of :func:`extract_all`: a model, sounds, layers and pooling as in :func:`extract`.

    Attributes
    ----------
    model : AudioModel or TableModel
        What listens.
    stimuli : StimulusSet
        What is played.
    layers : sequence of str, or str, or None
        Which layers; all if None.
    pooling : str
        What is kept of the frames.
    load : callable or None
        Gives the model again, on a worker.
    """

    model: AudioModel | TableModel
    stimuli: StimulusSet
    layers: Sequence[str] | str | None = None
    pooling: str = "mean"
    load: Callable[[], AudioModel] | None = None


@dataclass(frozen=True)
class Heard:
    """What an extraction gave, what it took, and whether it was all in the cache.

    Attributes
    ----------
    responses : Responses
        As :func:`extract` gives them.
    cost : Cost
        What it took; of what the cache had, what it took then.
    from_cache : bool
        Whether no sound had to be heard.
    """

    responses: Responses
    cost: Cost
    from_cache: bool


def extract_all(
    wanted: Sequence[Wanted],
    *,
    batch_size: int = 16,
    device: str = "cpu",
    cache: Path | str | None = None,
    memory_limit_gib: float = 8.0,
    progress: bool = False,
    engine: Engine | None = None,
) -> list[Heard]:
    """Extract the responses of several models side by side, in shards of their sounds.

    Parameters
    ----------
    wanted : sequence of Wanted
        Models and sounds.
    batch_size, device, cache, memory_limit_gib, progress, engine
        As for :func:`extract`; one process writes the cache, whichever hears.

    Returns
    -------
    list of Heard
        In the order of `wanted`.

    Raises
    ------
    BrainalignError
        As :func:`extract` does.
    """
    found: dict[int, Heard] = {}
    listeners: dict[int, Listener] = {}
    for i, one in enumerate(wanted):
        if isinstance(one.model, TableModel):
            with measured() as cost:
                described = _described(one.model, one.stimuli, one.layers, one.pooling)
            found[i] = Heard(described, cost, False)
        else:
            listeners[i] = _listener(one.model, one.layers, one.pooling, batch_size, device)
    folder = checked_folder(cache)
    identities = {
        i: None if folder is None else entry_identity(own.model, wanted[i].stimuli, own.pooling.name)
        for i, own in listeners.items()
    }
    for group in _groups(identities):
        with ExitStack() as stack:
            opened = []
            for i in group:
                one, own = wanted[i], listeners[i]
                arrays = _cached(stack, own, one.stimuli, folder, identities[i])
                store: MemoryStore | DiskStore = MemoryStore(own.layers, len(one.stimuli), memory_limit_gib)
                if arrays is not None:
                    store = DiskStore(arrays, memory_limit_gib if len(arrays) > 1 else None)
                opened.append(Filling(store, own, one.stimuli, one.load))
            fill(opened, engine, progress)
            for i, filling in zip(group, opened, strict=True):
                responses = _responses(filling.store.values(), listeners[i], wanted[i].stimuli, filling.store.shapes)
                found[i] = Heard(responses, *filling.costs())
    return [found[i] for i in range(len(wanted))]


#: Entries of the cache that are open at once; each holds a file.
OPEN_ENTRIES = 32


def _groups(identities: Mapping[int, Mapping[str, Any] | None]) -> Iterator[list[int]]:
    """Give what is extracted at once: no entry twice, and in one order everywhere, so that none waits for ever."""
    keys = {i: str(i) if identity is None else key_of(identity) for i, identity in identities.items()}
    left = sorted(keys, key=lambda i: (keys[i], i))
    while left:
        group = [i for n, i in enumerate(left) if n == 0 or keys[left[n - 1]] != keys[i]][:OPEN_ENTRIES]
        left = [i for i in left if i not in group]
        yield group


def extract_layers(
    model: AudioModel | TableModel,
    stimuli: StimulusSet,
    *,
    layers: Sequence[str] | str | None = None,
    pooling: str = "mean",
    batch_size: int = 16,
    device: str = "cpu",
    cache: Path | str | None = None,
    progress: bool = False,
) -> Iterator[Responses]:
    """Extract layers in one pass and give them one after the other.

    Activations stream to disk: into the cache, or else into a temporary folder that is removed at the end.

    Parameters
    ----------
    model, stimuli, layers, pooling, batch_size, device, cache, progress
        As for :func:`extract`.

    Yields
    ------
    Responses
        Of one layer, in order of depth; with a cache a read-only map of its file, else in memory.

    Raises
    ------
    BrainalignError
        As :func:`extract` does, when the first layer is asked for.
    """
    if isinstance(model, TableModel):
        yield _described(model, stimuli, layers, pooling)
        return
    kept = checked_folder(cache)
    listener = _listener(model, layers, pooling, batch_size, device)
    with ExitStack() as stack:
        with ExitStack() as writing:
            identity = None if kept is None else entry_identity(model, stimuli, listener.pooling.name)
            arrays = _cached(writing, listener, stimuli, kept, identity)
            temporary = arrays is None
            if arrays is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="brainalign-")))
                arrays = {k: LayerArray(folder, k, model.layouts[k], len(stimuli)) for k in listener.layers}
            store = DiskStore(arrays, None)
            fill([Filling(store, listener, stimuli)], None, progress)
        # The lock of the cache is free again: whoever takes the layers may take long.
        for layer, array in arrays.items():
            values = np.array(array.read()) if temporary else array.read()
            yield _responses(flat(values), listener, stimuli, {layer: store.shapes[layer]})


def _described(model: TableModel, stimuli: StimulusSet, layers: Sequence[str] | str | None, pooling: str) -> Responses:
    """Let a model read the table; its one layer has no time, so every pooling keeps it as it is."""
    select_layers(cast("AudioModel", model), layers)
    parse_pooling(pooling)
    return model.describe(stimuli)


def _listener(
    model: AudioModel, layers: Sequence[str] | str | None, pooling: str, batch_size: int, device: str
) -> Listener:
    if batch_size < 1:
        raise ModelError(f"batch_size must be at least 1, found {batch_size}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as why:
        raise ModelError(f"the device {device!r} cannot be used: {str(why).splitlines()[0]}") from why
    try:
        json.dumps(dict(model.record))
    except (TypeError, ValueError) as why:
        raise ModelError(f"the record of {model.name} must be numbers and text, ready for JSON: {why}") from why
    return Listener(model, select_layers(model, layers), parse_pooling(pooling), batch_size, device)


def _cached(
    stack: ExitStack,
    listener: Listener,
    stimuli: StimulusSet,
    folder: Path | None,
    identity: Mapping[str, Any] | None,
) -> dict[str, LayerArray] | None:
    """Open the arrays of the cache; None, with a warning, if it cannot serve this model."""
    if folder is None or identity is None:
        return None
    model = listener.model
    module = getattr(model, "module", None)
    if isinstance(module, torch.nn.Module) and any(part._forward_hooks for part in module.modules()):
        warnings.warn(
            f"{model.name} carries forward hooks (silenced units?), which no digest knows; going on without the cache",
            stacklevel=3,
        )
        return None
    layouts = {layer: model.layouts[layer] for layer in listener.layers}
    arrays = stack.enter_context(open_entry(folder, identity, f"{stimuli.name} {stimuli.manifest.version}", layouts))
    if arrays is None or _same_as_before(arrays, listener, stimuli):
        return arrays
    warnings.warn(
        f"{model.name} no longer gives what the cache {folder} holds of it, though name, record and weights are the "
        f"same: its code has changed or it is not deterministic; going on without the cache (prune it to use it again)",
        stacklevel=3,
    )
    return None


def _same_as_before(arrays: Mapping[str, LayerArray], listener: Listener, stimuli: StimulusSet) -> bool:
    """Hear the first sound of each array anew (it is the same sound but for cut-off runs) and compare."""
    by_row: dict[int, list[str]] = defaultdict(list)
    for layer, array in arrays.items():
        if array.done.any():
            by_row[int(np.argmax(array.done))].append(layer)
    for row, layers in by_row.items():
        sound = read_sound(listener.model, stimuli, row)
        for _, pooled in listener.listen([sound], layers):
            for layer in layers:
                before, now = arrays[layer].read()[row], pooled[layer][0]
                if before.shape != now.shape or np.abs(before - now).max() > ROUNDING * np.abs(now).max():
                    return False
    return True


def _responses(values: NDArray[np.float32], listener: Listener, stimuli: StimulusSet, shapes: Shapes) -> Responses:
    """Put pooled activations into the form of Responses; checked in blocks, so that checking takes no memory."""
    model = listener.model
    units = [listener.pooling.units(k, model.layouts[k], *shapes[k]) for k in listener.layers if k in shapes]
    columns = {name: np.concatenate([part[name] for part in units]) for name in units[0]}
    attrs = {
        "source": model.name,
        "stimulus_set": f"{stimuli.name} {stimuli.manifest.version}",
        "pooling": listener.pooling.name,
        "sample_rate": model.sample_rate,
        "model_record": json.dumps(dict(model.record)),
    }
    coords: dict[str, Any] = {"stimulus": stimuli.ids, "unit": columns.pop("unit")}
    coords |= {name: ("unit", column) for name, column in columns.items()}
    responses = xr.DataArray(values, dims=DIMS, coords=coords, attrs=attrs)
    check_responses(responses[:, :1])
    block = max(1, 2**20 // len(units[0]["unit"]))
    for start in range(0, len(stimuli), block):
        check_responses(responses[start : start + block])
    return with_columns(responses, stimuli.table)
