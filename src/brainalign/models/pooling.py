"""Pooling: what is kept of the frames in which a layer answered to a sound."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

#: K stands for a number.
POOLINGS = ("mean", "mean-sd", "max", "last", "segments:K", "none")


@dataclass(frozen=True)
class Pooling:
    """What is kept of the time axis of a layer.

    Attributes
    ----------
    name : str
        ``mean`` over the frames; ``mean-sd``, mean and standard deviation (n in the denominator); ``max``; ``last``
        frame; ``segments:K``, the means over K segments of equal duration, where a frame that two segments share
        counts for each by its part in it; ``none``, every frame.
    n_segments : int
        K; 0 for other poolings.
    """

    name: str
    n_segments: int = 0

    @property
    def fewest_frames(self) -> int:
        """Frames that it needs at least."""
        return self.n_segments

    @property
    def coordinate(self) -> str | None:
        """Name of the unit coordinate that tells the parts of a channel apart; None where there is one part."""
        if self.n_segments:
            return "segment"
        return {"mean-sd": "statistic", "none": "frame"}.get(self.name)

    def __call__(self, values: Tensor, layout: str) -> Tensor:
        """Pool the activations of a layer.

        Parameters
        ----------
        values : Tensor
            Axes as in `layout`.
        layout : str
            Such as ``"BCFT"``; a layer without a time axis is kept as it is.

        Returns
        -------
        Tensor, shape (n_sounds, n_parts, n_channels)
            float32; all axes but time make up the channels, in their order. NaN where there is no frame.
        """
        import torch

        values = values.float()
        if set(layout) <= {"B", "T"}:
            values = values.unsqueeze(-1)  # one channel, whose axis the network has squeezed out
        if "T" not in layout:
            return values.flatten(1)[:, None]
        time = layout.index("T")
        n_frames = values.shape[time]
        if n_frames == 0 or self.name == "mean":
            parts = [values.mean(time)]
        elif self.name == "mean-sd":
            parts = [values.mean(time), values.std(time, correction=0)]
        elif self.name == "max":
            parts = [values.amax(time)]
        elif self.name == "last":
            parts = [values.select(time, -1)]
        elif self.name == "none":
            return values.movedim(time, 1).flatten(2)
        else:
            weights = torch.from_numpy(segment_weights(n_frames, self.n_segments)).to(values)
            segments: Tensor = torch.tensordot(values, weights, dims=([time], [0]))
            return segments.movedim(-1, 1).flatten(2)
        return torch.stack([part.flatten(1) for part in parts], dim=1)

    def units(self, layer: str, layout: str, n_parts: int, n_channels: int) -> dict[str, Any]:
        """Describe the units of a pooled layer, in the order of its flattened parts and channels.

        Parameters
        ----------
        layer : str
            Name of the layer.
        layout : str
            Its axes before pooling.
        n_parts, n_channels : int
            As pooled.

        Returns
        -------
        dict of str to array
            ``unit`` (ids), ``layer``, ``channel``, and the coordinate of this pooling if it has one: ``statistic``
            (``value`` for a layer without time), ``segment`` or ``frame`` (-1 for a layer without time).
        """
        channel = np.tile(np.arange(n_channels), n_parts)
        columns: dict[str, Any] = {"layer": np.full(len(channel), layer), "channel": channel}
        if self.coordinate is None:
            return {"unit": [f"{layer}:{i}" for i in channel], **columns}
        if "T" not in layout:
            columns[self.coordinate] = np.full(n_channels, "value" if self.coordinate == "statistic" else -1)
            return {"unit": [f"{layer}:{i}" for i in channel], **columns}
        labels = np.array(["mean", "sd"]) if self.coordinate == "statistic" else np.arange(n_parts)
        columns[self.coordinate] = np.repeat(labels, n_channels)
        prefix = "" if self.coordinate == "statistic" else self.coordinate
        ids = [f"{layer}:{i}:{prefix}{k}" for i, k in zip(channel, columns[self.coordinate], strict=True)]
        return {"unit": ids, **columns}


def parse_pooling(name: str) -> Pooling:
    """Read the name of a pooling.

    Parameters
    ----------
    name : str
        One of :data:`POOLINGS`; ``segments:4`` for four segments.

    Returns
    -------
    Pooling
        The pooling.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    segments = re.fullmatch(r"segments:([1-9]\d*)", name)
    if segments:
        return Pooling(name, int(segments[1]))
    if name not in POOLINGS or name == "segments:K":
        raise ModelError(f"no pooling {name!r}; {did_you_mean(name, POOLINGS)} (K is a number from 1 on)")
    return Pooling(name)


def segment_weights(n_frames: int, n_segments: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the weight of each frame in the mean of each of some segments of equal duration.

    Parameters
    ----------
    n_frames, n_segments : int
        Frames, and segments that they are cut into.

    Returns
    -------
    ndarray, shape (n_frames, n_segments)
        Columns sum to 1. Their mean is 1 / n_frames for every frame: the mean over segments is that over frames.
    """
    edges = np.linspace(0, n_frames, n_segments + 1)
    frames = np.arange(n_frames)[:, None]
    overlap = np.minimum(frames + 1, edges[1:]) - np.maximum(frames, edges[:-1])
    return np.asarray(np.clip(overlap, 0, None) * n_segments / n_frames)
