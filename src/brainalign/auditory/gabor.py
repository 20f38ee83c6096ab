"""Spectro-temporal Gabor filters (Schädler, Meyer & Kollmeier 2012, J. Acoust. Soc. Am. 131, 4134).

Axes are (channel k, frame n) throughout; modulation frequencies are in radians per channel and per frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GaborSettings:
    """What determines a filter bank; pairs are (spectral, temporal).

    Attributes
    ----------
    omega_max : tuple of float
        Highest modulation frequencies, in radians per channel and per frame.
    size_max : tuple of float
        Largest extent of a filter, in channels and frames; it sets the lowest modulation frequency.
    distance : tuple of float
        Spacing of the filters, d in eq. 2b of the paper.
    half_waves : tuple of float
        Half waves of the carrier under the envelope, nu in the paper.
    """

    omega_max: tuple[float, float]
    size_max: tuple[float, float]
    distance: tuple[float, float]
    half_waves: tuple[float, float] = (3.5, 3.5)


@dataclass(frozen=True)
class GaborFilter:
    """One filter.

    Attributes
    ----------
    omega_k, omega_n : float
        Its spectral and temporal modulation frequency. With omega_n > 0, a positive omega_k prefers downward sweeps.
    kernel : ndarray of complex, shape (height, width)
        Of odd sizes, the centre tap in the middle.
    """

    omega_k: float
    omega_n: float
    kernel: NDArray[np.complex128]


def modulation_frequencies(omega_max: float, size_max: float, distance: float, half_waves: float) -> Array:
    """Return the modulation frequencies of one axis, ascending, without 0.

    They go down from `omega_max` by the factor (1 + c / 2) / (1 - c / 2), c = 8 d / nu (eq. 2), as long as
    the envelope, pi nu / omega wide, is narrower than `size_max`; `omega_max` itself is always there.

    Parameters
    ----------
    omega_max : float
        Highest frequency, in radians per step.
    size_max : float
        Widest envelope, in steps.
    distance, half_waves : float
        d and nu.

    Returns
    -------
    ndarray, shape (n_frequencies,)
        In radians per step.
    """
    c = 8 * distance / half_waves
    ratio = (1 + c / 2) / (1 - c / 2)
    n_below = max(0, math.ceil(math.log(omega_max * size_max / (math.pi * half_waves)) / math.log(ratio)) - 1)
    return np.asarray(omega_max / ratio ** np.arange(n_below, -1, -1))


def hann(width: float) -> Array:
    """Return a Hann window of any real width, its maximum on the middle sample: 1/2 + cos(2 pi m / width) / 2.

    Parameters
    ----------
    width : float
        Distance of its zeros in samples; only samples strictly between them are kept.

    Returns
    -------
    ndarray, odd length
        The window.
    """
    reach = math.ceil(width / 2) - 1
    return np.asarray(0.5 + 0.5 * np.cos(2 * np.pi * np.arange(-reach, reach + 1) / width))


def gabor_filter(omega_k: float, omega_n: float, settings: GaborSettings) -> GaborFilter:
    """Return one filter.

    A complex carrier under a Hann envelope (eq. 1), whose mean is taken away in proportion to the envelope, scaled to
    a maximum of 1 of its 2-D Fourier transform. An axis of frequency 0 has the largest envelope. The filter of 0 on
    both axes keeps its mean and is multiplied by 1 + i, so that the real part of its gain is 1 / sqrt(2).

    Parameters
    ----------
    omega_k, omega_n : float
        Spectral and temporal modulation frequency, in radians per channel and per frame.
    settings : GaborSettings
        Of the bank.

    Returns
    -------
    GaborFilter
        The filter.
    """
    envelopes, carriers = [], []
    for omega, size, nu in zip((omega_k, omega_n), settings.size_max, settings.half_waves, strict=True):
        envelope = hann(math.pi * nu / abs(omega) if omega else size)
        steps = np.arange(len(envelope)) - len(envelope) // 2
        envelopes.append(envelope)
        carriers.append(np.exp(1j * omega * steps))
    envelope, kernel = np.outer(*envelopes), np.outer(*envelopes) * np.outer(*carriers)
    kernel = kernel - envelope * (kernel.sum() / envelope.sum()) if omega_k or omega_n else kernel * (1 + 1j)
    return GaborFilter(omega_k, omega_n, kernel / np.abs(np.fft.fft2(kernel)).max())


def gabor_filter_bank(settings: GaborSettings) -> list[GaborFilter]:
    """Return all filters of a bank: (2 K + 1) (N + 1) - K of K spectral and N temporal modulation frequencies.

    Parameters
    ----------
    settings : GaborSettings
        What determines it.

    Returns
    -------
    list of GaborFilter
        The temporal frequency changes slowest, from 0 up; the spectral one goes from -omega_max to omega_max.
        Where the temporal one is 0, negative spectral ones would repeat the positive ones and are left out.
    """
    spectral, temporal = (
        modulation_frequencies(*axis)
        for axis in zip(settings.omega_max, settings.size_max, settings.distance, settings.half_waves, strict=True)
    )
    return [
        gabor_filter(float(k), float(n), settings)
        for n in (0.0, *temporal)
        for k in (*-spectral[::-1], 0.0, *spectral)
        if n > 0 or k >= 0
    ]


def boundary_gain(kernel: NDArray[np.complex128], n_channels: int) -> Array:
    """Return how much of the local mean a filter lets through where it reaches over the edges of the spectrogram.

    The output at channel f is corrected by this times the mean of the spectrogram around f, weighted by the magnitude
    of the filter; the output of a constant spectrogram is then 0 at all channels. Frames do not matter: the
    spectrogram is continued in time.

    Parameters
    ----------
    kernel : ndarray of complex, shape (height, width)
        A filter.
    n_channels : int
        Channels of the spectrogram.

    Returns
    -------
    ndarray, shape (n_channels, 2)
        The gain, and the share of the magnitude that lies inside the spectrogram (1 where nothing reaches over).
    """
    profiles = np.stack([kernel.real.sum(axis=1), np.abs(kernel).sum(axis=1) / np.abs(kernel).sum()])
    half = len(kernel) // 2
    passed = [np.convolve(np.ones(n_channels), p)[half : half + n_channels] for p in profiles]
    return np.stack(passed, axis=1)


def representative_channels(n_channels: int, height: int) -> NDArray[np.intp]:
    """Return the channels at which the output of a filter is kept: about four per extent of it, the middle one among.

    Parameters
    ----------
    n_channels : int
        Channels of the spectrogram.
    height : int
        Channels of the filter.

    Returns
    -------
    ndarray of int
        Indices of channels.
    """
    step = max(1, height // 4)
    return np.arange(n_channels // 2 % step, n_channels, step)
