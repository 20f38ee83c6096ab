"""Shards: a model hears the sounds of a set in parts, here or on workers, and one process keeps what comes back.

Which sounds share a batch follows from their place in the set alone, not from who hears them, and so do the numbers.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainalign._progress import progress_bar
from brainalign.engine import Cost, Engine, Loaded, Task, measured, one_thread
from brainalign.errors import ModelError
from brainalign.models._arrays import DiskStore, MemoryStore
from brainalign.models._listener import Listener, Sound, read_ahead
from brainalign.models.cache import add_cost, read_cost

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel
    from brainalign.stimuli import StimulusSet

#: Sounds of different lengths wait for others of their length; so many samples (64 million, 256 MB) at most.
WAITING_SAMPLES = 2**26
#: Batches in a shard: enough that sounds of several lengths fill theirs, few enough that many workers have work.
SHARD_BATCHES = 4

Pooled = dict[str, NDArray[np.float32]]


@dataclass
class Filling:
    """A store that is being filled: what lacks, who hears it, what it took."""

    store: MemoryStore | DiskStore
    listener: Listener
    stimuli: StimulusSet
    load: Callable[[], AudioModel] | None = None
    took: Cost = field(default_factory=Cost)
    n_heard: int = 0

    def shards(self) -> list[list[int]]:
        """Return the rows of each shard that lack something, those that are there left out."""
        lacking = ~np.all(list(self.store.done.values()), axis=0)
        size = SHARD_BATCHES * self.listener.batch_size
        found = [start + np.flatnonzero(lacking[start : start + size]) for start in range(0, len(lacking), size)]
        return [rows.tolist() for rows in found if len(rows)]

    def layers(self, rows: Sequence[int]) -> list[str]:
        """Return the layers that some of these sounds lack."""
        return [layer for layer, done in self.store.done.items() if not done[list(rows)].all()]

    def keep(self, rows: Sequence[int], pooled: Pooled) -> None:
        """Write what was heard; a layer must have the same units for every sound."""
        for layer, values in pooled.items():
            shape = self.store.shapes.get(layer, values.shape[1:])
            if values.shape[1:] != shape:
                model, ids = self.listener.model, self.stimuli.ids
                raise ModelError(
                    f"{model.name}, layer {layer!r}: {values[0].size} units for stimulus {ids[rows[0]]!r}, "
                    f"{shape[0] * shape[1]} for {ids[int(np.argmax(self.store.done[layer]))]!r}; "
                    f"is its layout {model.layouts[layer]!r}?"
                )
        self.store.write(np.array(rows), pooled)
        self.n_heard += len(rows)

    def spent(self, cost: Cost) -> None:
        """Note what hearing a shard took, beside the activations where they are kept."""
        self.took.add(cost)
        if isinstance(self.store, DiskStore):
            add_cost(self.store.folder, cost)

    def costs(self) -> tuple[Cost, bool]:
        """Return what all of it took, in earlier runs too, and whether nothing was heard in this one."""
        before = read_cost(self.store.folder) if isinstance(self.store, DiskStore) else None
        return before or self.took, self.n_heard == 0


def fill(fillings: Sequence[Filling], engine: Engine | None, progress: bool) -> None:
    """Hear every sound that stores lack."""
    work = [(own, rows) for own in fillings for rows in own.shards()]
    total = sum(len(rows) for _, rows in work)
    n_all = sum(len(own.stimuli) for own in fillings)
    name = fillings[0].listener.model.name if len(fillings) == 1 else f"{len(fillings)} models"
    with progress_bar(name, n_all, unit="sound", done=n_all - total, show=progress) as bar:
        if engine is None or engine.here:
            for own, rows in work:
                with nullcontext() if engine is None else one_thread(), measured() as cost:
                    for heard, pooled in _hear(own.listener, own.stimuli, rows, own.layers):
                        own.keep(heard, pooled)
                        bar.update(len(heard))
                own.spent(cost)
            return
        tasks = [_task(own, rows) for own, rows in work]
        for i, batches, cost in engine.run(tasks):
            own = work[i][0]
            for heard, pooled in batches:
                own.keep(heard, pooled)
                bar.update(len(heard))
            own.spent(cost)


def _task(own: Filling, rows: list[int]) -> Task:
    listener, ids = own.listener, own.stimuli.ids
    model: Any = listener.model
    small = {
        "rows": rows,
        "lacking": {layer: [r for r in rows if not own.store.done[layer][r]] for layer in own.layers(rows)},
        "batch_size": listener.batch_size,
        "device": listener.device,
        "pooling": listener.pooling,
    }
    name = f"{model.name} hears {ids[rows[0]]} to {ids[rows[-1]]} of {own.stimuli.name}"
    if own.load is not None:
        return Task(name, _hear_shard, {**small, "model": loaded_there(model, own.load)}, {"stimuli": own.stimuli})
    return Task(name, _hear_shard, small, {"stimuli": own.stimuli, "model": model})


def loaded_there(model: AudioModel, load: Callable[[], AudioModel]) -> Loaded:
    """Let workers load a model, once for each record, and see that it is the same.

    Parameters
    ----------
    model : AudioModel
        As it is where the run was started.
    load : callable
        Takes nothing and gives it again.

    Returns
    -------
    Loaded
        An argument of tasks.
    """
    record = dict(model.record)
    return Loaded(partial(_load_same, load, model.name, record), f"{model.name} {record}", here=model)


def _load_same(load: Callable[[], AudioModel], name: str, record: Mapping[str, Any]) -> AudioModel:
    model = load()
    found = dict(model.record)
    for key in {**record, **found}:
        if record.get(key) != found.get(key):
            raise ModelError(
                f"{name} is another model on the worker on {platform.node()}: {key} is {found.get(key)!r:.80}, "
                f"expected {record.get(key)!r:.80}; restart the workers, and see that they find the same files"
            )
    return model


def _hear_shard(
    model: AudioModel,
    stimuli: StimulusSet,
    rows: list[int],
    lacking: Mapping[str, list[int]],
    batch_size: int,
    device: str,
    pooling: Any,
) -> list[tuple[list[int], Pooled]]:
    """Hear a shard on a worker; give rows and pooled activations of each batch."""

    def layers(of: Sequence[int]) -> list[str]:
        return [layer for layer, need in lacking.items() if set(need) & set(of)]

    listener = Listener(model, list(lacking), pooling, batch_size, device)
    return list(_hear(listener, stimuli, rows, layers))


def _hear(
    listener: Listener, stimuli: StimulusSet, rows: list[int], layers: Callable[[Sequence[int]], list[str]]
) -> Iterator[tuple[list[int], Pooled]]:
    """Hear the sounds of a shard in batches of one length; give the rows and pooled activations of each pass."""
    waiting: dict[int, list[Sound]] = defaultdict(list)
    first: Sound | None = None

    def hear(batch: list[Sound]) -> Iterator[tuple[list[int], Pooled]]:
        for heard, pooled in listener.listen(batch, layers([sound.row for sound in batch])):
            yield [sound.row for sound in heard], pooled

    with closing(read_ahead(listener, stimuli, rows)) as sounds:
        for sound in sounds:
            first = first or sound
            if listener.pooling.name == "none" and len(sound.waveform) != len(first.waveform):
                raise ModelError(
                    f"pooling 'none' takes sounds of one length: {first.name!r} has {len(first.waveform)} samples, "
                    f"{sound.name!r} has {len(sound.waveform)}; use another pooling, or cut the sounds"
                )
            same_length = waiting[len(sound.waveform)]
            same_length.append(sound)
            if len(same_length) == listener.batch_size:
                yield from hear(waiting.pop(len(sound.waveform)))
            elif sum(length * len(batch) for length, batch in waiting.items()) >= WAITING_SAMPLES:
                yield from hear(waiting.pop(max(waiting, key=lambda n: len(waiting[n]))))
        for batch in waiting.values():
            yield from hear(batch)
