"""A few acoustic features of a sound, each one number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import get_window

from brainalign.errors import StimulusError

Array = NDArray[np.float64]


def _frames(waveform: Array, width: int) -> Array:
    """Cut into frames that overlap by half, under a Hann window; shape (n_frames, width)."""
    windows = np.lib.stride_tricks.sliding_window_view(waveform, width)[:: width // 2]
    framed: Array = windows * get_window("hann", width)
    return framed


def _erb_spaced(low: float, high: float, n: int) -> Array:
    """Return frequencies (Hz) spaced evenly on the ERB-number scale of Glasberg and Moore (1990)."""
    first, last = (21.4 * np.log10(1 + 0.00437 * f) for f in (low, high))
    spaced: Array = (10 ** (np.linspace(first, last, n) / 21.4) - 1) / 0.00437
    return spaced


def _erb_weights(frequencies: NDArray[np.floating], centres: Array) -> Array:
    """Return rounded-exponential auditory filters (Patterson et al. 1982), one row a channel.

    W(g) = (1 + p g) exp(-p g), g = |f - fc| / fc, p = 4 fc / ERB(fc), with the equivalent rectangular
    bandwidth ERB(fc) = 24.7 (4.37 fc / 1000 + 1) Hz of Glasberg and Moore (1990).
    """
    erb = 24.7 * (4.37 * centres / 1000 + 1)
    pg = 4 * np.abs(frequencies - centres[:, None]) / erb[:, None]
    weights: Array = (1 + pg) * np.exp(-pg)
    return weights


def acoustic_features(waveform: NDArray[np.floating], sample_rate: int) -> dict[str, float]:
    """Measure what drives the simulated components.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        A sound of at least 0.2 s.
    sample_rate : int
        Its rate in Hz, at least 16,000.

    Returns
    -------
    dict of str to float
        ``lowfreq`` and ``highfreq``: excitation (power to the 0.3) of auditory filters with centres
        from 50 to 400 Hz, and from 2 to 7.5 kHz, relative to all 40 filters; 0 to 1.
        ``flatness``: of the spectrum within auditory filters (geometric over arithmetic mean of the
        power of the bins in one filter), weighted by excitation; near 0 for tones and about 0.6 for
        noise. ``change``: mean absolute change of excitation from frame to frame (46 ms), relative to
        its mean. ``pitch``: peak of the normalised autocorrelation at lags of 1 to 16 ms after
        compression of the spectrum (magnitude to the 0.67, Tolonen & Karjalainen 2000), weighted by
        the energy of the frames; 0 to 1. ``syllables``: share of 3 to 8 Hz in the modulation of the
        envelope between 1 and 32 Hz (Ding et al. 2017); 0 to 1.

    Raises
    ------
    StimulusError
        If the sound is shorter, silent, or its rate lower.
    """
    if sample_rate < 16_000 or len(waveform) < 0.2 * sample_rate or not np.any(waveform):
        raise StimulusError(
            f"acoustic features need a sound of at least 0.2 s at 16000 Hz or more that is not silent; "
            f"found {len(waveform) / sample_rate:.3g} s at {sample_rate} Hz, peak {np.abs(waveform).max(initial=0):.3g}"
        )
    x = np.asarray(waveform, dtype=np.float64)
    width = 2 ** round(np.log2(0.093 * sample_rate))
    power = np.abs(np.fft.rfft(_frames(x, width))) ** 2
    frequencies = np.fft.rfftfreq(width, 1 / sample_rate)
    centres = _erb_spaced(50.0, 7500.0, 40)
    weights = _erb_weights(frequencies, centres)
    cochleagram = (power @ weights.T) ** 0.3
    excitation = cochleagram.sum(axis=0)

    # Below 300 Hz a filter holds too few bins to tell a tone from noise.
    wide = centres > 300
    share = weights[wide] / weights[wide].sum(axis=1, keepdims=True)
    floor = 1e-12 * power.max()
    flatness = np.exp(np.log(power + floor) @ share.T) / ((power + floor) @ share.T)
    loudness = cochleagram[:, wide]

    return {
        "lowfreq": float(excitation[centres < 400].sum() / excitation.sum()),
        "highfreq": float(excitation[centres > 2000].sum() / excitation.sum()),
        "flatness": float((flatness * loudness).sum() / loudness.sum()),
        "change": float(np.abs(np.diff(cochleagram, axis=0)).sum() / cochleagram.sum()),
        "pitch": _pitch_strength(x, sample_rate),
        "syllables": _syllabic_share(x, sample_rate),
    }


def _pitch_strength(x: Array, sample_rate: int) -> float:
    frames = _frames(x, 2 * round(0.032 * sample_rate))
    width = frames.shape[1]
    spectrum = np.abs(np.fft.rfft(frames, 2 * width))
    compressed = np.fft.irfft(spectrum**0.67)
    # What a Hann window alone would leave of a perfectly periodic sound (Boersma 1993).
    window = np.fft.irfft(np.abs(np.fft.rfft(get_window("hann", width), 2 * width)) ** 0.67)
    lags = slice(round(0.001 * sample_rate), round(0.016 * sample_rate))
    relative = (compressed[:, lags] / compressed[:, :1]) / (window[lags] / window[0])
    energy = (frames**2).sum(axis=1)
    return float((relative.max(axis=1) * energy).sum() / energy.sum())


def _syllabic_share(x: Array, sample_rate: int) -> float:
    hop = sample_rate // 100
    envelope = np.sqrt((x[: len(x) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1))
    modulation = np.abs(np.fft.rfft((envelope - envelope.mean()) * np.hanning(len(envelope)))) ** 2
    rate = np.fft.rfftfreq(len(envelope), hop / sample_rate)
    in_range = modulation[(rate >= 1) & (rate <= 32)].sum()
    return float(modulation[(rate >= 3) & (rate <= 8)].sum() / in_range)
