"""A model that listens: batches of sounds of one length, read ahead, pooled and checked."""

from __future__ import annotations

import inspect
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainalign.errors import ModelError
from brainalign.models.base import AudioModel
from brainalign.models.pooling import Pooling

if TYPE_CHECKING:
    from brainalign.stimuli import StimulusSet


@dataclass(frozen=True)
class Sound:
    """A sound, read and resampled, and its place in the set."""

    row: int
    name: str
    waveform: NDArray[np.float32]


@dataclass
class Listener:
    """A model, what is asked of it, and how many sounds it takes at once."""

    model: AudioModel
    layers: list[str]
    pooling: Pooling
    batch_size: int
    device: str

    def listen(self, batch: list[Sound], layers: Sequence[str]) -> Iterator[tuple[list[Sound], dict[str, Any]]]:
        """Run sounds of one length; give those of each pass and {layer: array (sound, part, channel)}."""
        while batch:
            now = batch[: self.batch_size]
            pooled = self._try(now, layers)
            if pooled is None:
                self._halve(now)
                continue
            yield now, pooled
            batch = batch[len(now) :]

    def _try(self, batch: list[Sound], layers: Sequence[str]) -> dict[str, Any] | None:
        try:
            waveforms = torch.from_numpy(np.stack([sound.waveform for sound in batch])).to(self.device)

            def pool(layer: str, values: torch.Tensor) -> torch.Tensor:
                return self._pool(layer, values, batch)

            if "pool" in inspect.signature(self.model.activations).parameters:
                pooled = self.model.activations(waveforms, layers, pool)  # type: ignore[call-arg]
            else:
                given = self.model.activations(waveforms, layers)
                pooled = {layer: pool(layer, self._find(layer, given)) for layer in layers}
            return {layer: self._checked(layer, pooled[layer], batch) for layer in layers}
        except torch.cuda.OutOfMemoryError:
            return None

    def _halve(self, batch: list[Sound]) -> None:
        if len(batch) == 1:
            raise ModelError(
                f"{self.device} has not enough memory for {self.model.name} and stimulus {batch[0].name!r} alone "
                f"({len(batch[0].waveform) / self.model.sample_rate:.1f} s); ask for fewer layers, shorter sounds, or "
                f"another device"
            )
        torch.cuda.empty_cache()
        self.batch_size = len(batch) // 2
        warnings.warn(
            f"{self.device} ran out of memory with {len(batch)} sounds of "
            f"{len(batch[0].waveform) / self.model.sample_rate:.1f} s at once; going on with {self.batch_size}",
            stacklevel=2,
        )

    def _find(self, layer: str, activations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if layer not in activations:
            raise ModelError(f"{self.model.name} gave no activations of the layer {layer!r}")
        return activations[layer]

    def _pool(self, layer: str, values: torch.Tensor, batch: list[Sound]) -> torch.Tensor:
        name, layout = self.model.name, self.model.layouts[layer]
        if values.ndim != len(layout) or len(values) != len(batch):
            raise ModelError(
                f"{name}, layer {layer!r}: activations of shape {tuple(values.shape)} for {len(batch)} sounds "
                f"do not fit the layout {layout!r}"
            )
        n_frames = values.shape[layout.index("T")] if "T" in layout else None
        if n_frames is not None and n_frames < self.pooling.fewest_frames:
            raise ModelError(
                f"{name}, layer {layer!r}: {n_frames} frames for stimulus {batch[0].name!r}, fewer than pooling "
                f"{self.pooling.name!r} has segments; ask for fewer, or leave the layer out"
            )
        return self.pooling(values, layout)

    def _checked(self, layer: str, values: torch.Tensor, batch: list[Sound]) -> NDArray[np.float32]:
        pooled: NDArray[np.float32] = values.cpu().numpy()
        finite = np.isfinite(pooled).all(axis=(1, 2))
        if not finite.all():
            bad = batch[int(np.argmin(finite))].name
            raise ModelError(f"{self.model.name}, layer {layer!r}: activations of stimulus {bad!r} are NaN or infinite")
        return pooled


def read_sound(model: AudioModel, stimuli: StimulusSet, row: int) -> Sound:
    name = str(stimuli.table.index[row])
    waveform, _ = stimuli.waveform(name, model.sample_rate)
    if len(waveform) < model.minimum_samples:
        raise ModelError(
            f"stimulus {name!r} is too short for {model.name}: {len(waveform) / model.sample_rate:.3f} s, "
            f"it takes at least {model.minimum_samples / model.sample_rate:.3f} s"
        )
    return Sound(row, name, waveform)


def read_ahead(listener: Listener, stimuli: StimulusSet, rows: Sequence[int]) -> Generator[Sound, None, None]:
    """Read sounds in a thread of their own while the model listens, in order, a batch ahead."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="brainalign-reader") as reader:
        ahead: deque[Any] = deque()
        try:
            for row in rows:
                ahead.append(reader.submit(read_sound, listener.model, stimuli, row))
                if len(ahead) > listener.batch_size:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
