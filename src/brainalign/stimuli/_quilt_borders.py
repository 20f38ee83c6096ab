"""What a sound is like beside the borders of its segments, for the choice of their order in a quilt."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from brainalign.stimuli.audio import Waveform

Array = NDArray[np.float64]
#: Filters of the cochleagram: 30 from 20 to 10,000 Hz, envelopes to the power of 0.3, frames of about 5 ms.
N_BANDS, LOW_HZ, HIGH_HZ = 30, 20.0, 10_000.0
COMPRESSION = 0.3
FRAME_RATE = 200
#: Front end of Kim et al. 2024.
N_MELS, MEL_HZ = 64, 8000.0


class Borders(NamedTuple):
    """Features of the first and of the last stretch of each segment.

    Attributes
    ----------
    left, right : ndarray, shape (n_segments, n_features)
        Of the beginning and of the end.
    """

    left: Array
    right: Array


class BorderFeatures(Protocol):
    """Features of a sound, made once, from which borders are taken for any segment length."""

    def borders(self, segment_samples: int, n_segments: int) -> Borders:
        """Return the borders of segments.

        Parameters
        ----------
        segment_samples : int
            Length of a segment.
        n_segments : int
            How many.

        Returns
        -------
        Borders
            Of each segment.
        """
        ...


class Band(NamedTuple):
    """A band-pass filter without its zeros, and how often the analytic signal behind it is sampled.

    Attributes
    ----------
    first_bin : int
        The lowest frequency bin that it passes.
    gains : ndarray of complex, shape (n_bins,)
        Its gains, in phase such that samples lie in the middle of equal parts of a frame.
    per_frame : int
        Parts of a frame: enough to hold the band, and two at least.
    """

    first_bin: int
    gains: NDArray[np.complex64]
    per_frame: int


class Bank(NamedTuple):
    """Filters for sounds of one rate and length.

    Attributes
    ----------
    bands : tuple of Band
        The 30 filters.
    n_frames : int
        Frames of about 5 ms.
    """

    bands: tuple[Band, ...]
    n_frames: int


@lru_cache(maxsize=8)
def filter_bank(sample_rate: int, n_samples: int) -> Bank:
    """Design the band-pass filters of :func:`~brainalign.auditory.cochlea.erb_filters` without their zeros.

    Parameters
    ----------
    sample_rate : int
        In Hz; filters end at half of it if that is below 10 kHz.
    n_samples : int
        Length of the Fourier transform.

    Returns
    -------
    Bank
        The filters.
    """
    from scipy.fft import next_fast_len

    from brainalign.auditory.cochlea import erb_frequency, erb_number

    n_frames = next_fast_len(max(1, round(n_samples / sample_rate * FRAME_RATE)))
    lowest, highest = erb_number([LOW_HZ, min(HIGH_HZ, sample_rate / 2)])
    centres = np.linspace(lowest, highest, N_BANDS + 2)
    reach = centres[1] - centres[0]
    bands = []
    for centre in centres[1:-1]:
        low, high = erb_frequency([centre - reach, centre + reach]) * n_samples / sample_rate
        bins = np.arange(int(low) + 1, max(int(np.ceil(high)), int(low) + 2))
        distance = (erb_number(bins * sample_rate / n_samples) - centre) / reach
        per_frame = max(2, -(-len(bins) // n_frames))
        middle = np.exp(1j * np.pi * np.arange(len(bins)) / (per_frame * n_frames))
        gains = np.maximum(np.cos(distance * (np.pi / 2)), 0) * middle
        bands.append(Band(int(bins[0]), gains.astype(np.complex64), per_frame))
    return Bank(tuple(bands), n_frames)


class CochleagramBorders:
    """Mean compressed envelopes of 30 frequency bands beside borders (Overath et al. 2015).

    An analytic band holds nothing outside its pass band, so it is computed at a rate of its own that just holds it:
    all bands together take as many samples as the sound.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        The sound.
    sample_rate : int
        In Hz.
    border_ms : float
        Length of a border; that of the segment where it is longer.
    """

    def __init__(self, waveform: Waveform, sample_rate: int, border_ms: float) -> None:
        self._border_samples = border_ms * sample_rate / 1000
        envelopes, self._frame_samples = band_envelopes(waveform, sample_rate)
        self._frames = envelopes.astype(np.float64) ** COMPRESSION
        self._summed = np.concatenate([np.zeros((N_BANDS, 1)), np.cumsum(self._frames, axis=1)], axis=1)

    def borders(self, segment_samples: int, n_segments: int) -> Borders:
        """Return the borders of segments.

        Parameters
        ----------
        segment_samples : int
            Length of a segment.
        n_segments : int
            How many.

        Returns
        -------
        Borders
            Of each segment; one feature per band.
        """
        length = min(self._border_samples, segment_samples)
        start: Array = np.arange(n_segments + 1, dtype=np.float64) * segment_samples
        left = self._mean(start[:-1], start[:-1] + length)
        return Borders(left, self._mean(start[1:] - length, start[1:]))

    def _mean(self, start: Array, stop: Array) -> Array:
        return (self._sum_to(stop) - self._sum_to(start)) / ((stop - start) / self._frame_samples)[:, None]

    def _sum_to(self, sample: Array) -> Array:
        """Sum frames up to a time, the last one in part."""
        frame = np.maximum(sample / self._frame_samples, 0)
        whole = np.minimum(frame.astype(np.intp), self._frames.shape[1] - 1)
        return np.asarray((self._summed[:, whole] + (frame - whole) * self._frames[:, whole]).T)


def band_envelopes(waveform: Waveform, sample_rate: int) -> tuple[NDArray[np.float32], float]:
    """Return Hilbert envelopes of the 30 bands, averaged within frames.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        The sound.
    sample_rate : int
        In Hz.

    Returns
    -------
    envelopes : ndarray, shape (30, n_frames)
        Not compressed.
    frame_samples : float
        Length of a frame.
    """
    from scipy.fft import ifft, next_fast_len, rfft

    n_samples = next_fast_len(len(waveform), real=True)
    spectrum = rfft(waveform, n_samples)
    bands, n_frames = filter_bank(sample_rate, n_samples)
    envelopes = np.empty((N_BANDS, n_frames), dtype=np.float32)
    for row, (first, gains, per_frame) in zip(envelopes, bands, strict=True):
        analytic = ifft(spectrum[first : first + len(gains)] * gains, per_frame * n_frames)
        np.mean(np.abs(analytic).reshape(n_frames, per_frame), axis=1, out=row)
        row *= 2 * per_frame * n_frames / n_samples
    return envelopes, n_samples / n_frames


class MelBorders:
    """The two log-mel frames beside borders (Kim et al. 2024).

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        The sound.
    sample_rate : int
        In Hz.
    window_samples : int
        Length of a frame, and of the hop from one to the next.
    """

    N_FRAMES = 2

    def __init__(self, waveform: Waveform, sample_rate: int, window_samples: int) -> None:
        import torch
        from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

        mel = MelSpectrogram(
            sample_rate,
            n_fft=window_samples,
            win_length=window_samples,
            hop_length=window_samples,
            f_max=min(MEL_HZ, sample_rate / 2),
            n_mels=N_MELS,
        )
        # A copy: torch warns about arrays that cannot be written to.
        self._frames = AmplitudeToDB()(mel(torch.tensor(waveform))).numpy().astype(np.float64)
        self._window_samples = window_samples

    def borders(self, segment_samples: int, n_segments: int) -> Borders:
        """Return the borders of segments.

        Parameters
        ----------
        segment_samples : int
            Length of a segment, a multiple of the window.
        n_segments : int
            How many.

        Returns
        -------
        Borders
            Of each segment; 64 bands in two frames, in dB.
        """
        per_segment = segment_samples // self._window_samples
        frames = self._frames[:, : n_segments * per_segment].reshape(N_MELS, n_segments, per_segment)
        first, last = frames[:, :, : self.N_FRAMES], frames[:, :, -self.N_FRAMES :]
        left, right = (np.moveaxis(f, 1, 0).reshape(n_segments, -1) for f in (first, last))
        return Borders(left, right)
