"""Envelopes at a lower rate: a windowed sinc, and one frame for so many samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from brainalign.errors import StimulusError


@dataclass(frozen=True)
class Downsampling:
    """A sinc kernel under a Kaiser window (beta 5), and how frames lie.

    Attributes
    ----------
    n_taps : int
        Length of the kernel, in samples of the input.
    delay : float
        How far the sinc lies behind the middle of the window, in samples.
    unit_gain : bool
        Whether the taps are scaled to a sum of 1.
    padded : bool
        Whether a frame is centred on each `factor`-th sample, from the first, zeros lying around the signal; otherwise
        there are only frames that lie within the signal, the first at half the kernel.
    """

    n_taps: int = 1001
    delay: float = 0.0
    unit_gain: bool = True
    padded: bool = True

    def minimum_samples(self, factor: int, n_frames: int) -> int:
        """Return the length of the shortest signal that gives so many frames.

        Parameters
        ----------
        factor : int
            Samples of the input per frame.
        n_frames : int
            How many frames.

        Returns
        -------
        int
            In samples of the input.
        """
        return (n_frames - 1) * factor + (1 if self.padded else self.n_taps)

    def kernel(self, factor: int) -> NDArray[np.float64]:
        """Return the kernel for a factor.

        Parameters
        ----------
        factor : int
            Samples of the input per frame; the kernel cuts at half the rate of the output.

        Returns
        -------
        ndarray, shape (n_taps,)
            Taps.
        """
        times = np.arange(self.n_taps) - (self.n_taps - 1) / 2 - self.delay
        taps = np.kaiser(self.n_taps, 5.0) * np.sinc(times / factor) / factor
        return np.asarray(taps / taps.sum() if self.unit_gain else taps)


def downsample(signals: Tensor, factor: int, how: Downsampling) -> Tensor:
    """Low-pass filter signals and keep one frame for each `factor` samples.

    Parameters
    ----------
    signals : Tensor, shape (..., n_samples)
        As envelopes.
    factor : int
        Samples per frame.
    how : Downsampling
        The kernel, and how frames lie.

    Returns
    -------
    Tensor, shape (..., n_frames)
        ``ceil(n_samples / factor)`` frames if padded, ``(n_samples - n_taps) // factor + 1`` otherwise.

    Raises
    ------
    StimulusError
        If there is not a single frame.
    """
    n_samples = signals.shape[-1]
    if n_samples < how.minimum_samples(factor, 1):
        raise StimulusError(
            f"{n_samples} samples are too short for an envelope, the least is {how.minimum_samples(factor, 1)}"
        )
    n_frames = -(-n_samples // factor) if how.padded else (n_samples - how.n_taps) // factor + 1
    before = how.n_taps // 2 if how.padded else 0
    # The kernel in parts as long as the hop: one matrix product, then frames are sums of its diagonals.
    kernel = torch.as_tensor(how.kernel(factor), dtype=signals.dtype, device=signals.device)
    parts = pad(kernel, (0, -how.n_taps % factor)).view(-1, factor)
    n_blocks = n_frames + len(parts) - 1
    blocks = pad(signals, (before, n_blocks * factor - n_samples - before))
    products = blocks.reshape(*blocks.shape[:-1], n_blocks, factor) @ parts.T
    return torch.stack([products[..., i : i + n_frames, i] for i in range(len(parts))]).sum(dim=0)
