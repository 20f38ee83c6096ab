"""Batches of log-mel spectrograms from memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainalign.models.kim2024 import MINIMUM_FRAMES


class Batches:
    """Batches of clips, each as long as its longest clip, the shorter ones followed by silence.

    Parameters
    ----------
    values : ndarray or Tensor, shape (n_clips, 64, n_frames_max)
        Log-mel spectrograms in dB; a tensor on a GPU is gathered there.
    n_frames : ndarray of int, shape (n_clips,)
        Length of each clip.
    targets : ndarray of bool, shape (n_clips, n_classes)
        Which clip carries which label.
    rows : ndarray of int
        The clips that take part.
    batch_size : int
        Clips per batch, over all devices together.
    order : numpy Generator, optional
        Shuffles the clips; in order if not given.
    part, n_parts : int
        Which clips of each batch this device takes, of how many devices.
    """

    def __init__(
        self,
        values: NDArray[np.float32] | Tensor,
        n_frames: NDArray[np.int64],
        targets: NDArray[np.bool_],
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        order: np.random.Generator | None = None,
        part: int = 0,
        n_parts: int = 1,
    ) -> None:
        self.values = values
        self.n_frames = n_frames
        self.targets = targets
        self.rows = rows if order is None else order.permutation(rows)
        self.batch_size = batch_size
        self.part = part
        self.n_parts = n_parts

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield spectrograms (n, 1, 64, n_frames) and targets (n, n_classes), float32."""
        for start in range(0, len(self.rows), self.batch_size):
            batch = self.rows[start : start + self.batch_size]
            n_frames = max(int(self.n_frames[batch].max()), MINIMUM_FRAMES)
            mine = batch[self.part :: self.n_parts]
            targets = torch.from_numpy(self.targets[mine]).float()
            if isinstance(self.values, Tensor):
                device = self.values.device
                spectrograms = self.values[torch.from_numpy(mine).to(device), :, :n_frames]
                yield spectrograms[:, None], targets.to(device)
            else:
                yield torch.from_numpy(self.values[mine, :, :n_frames])[:, None], targets
