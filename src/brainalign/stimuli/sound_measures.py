"""What can be measured of one sound, before anybody listens: level, clipping, silence, bandwidth, spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import welch

from brainalign.stimuli.audio import Waveform

Array = NDArray[np.float64]

#: Centres of the octave bands whose levels describe the spectrum, in Hz.
OCTAVES = (62.5, 125, 250, 500, 1000, 2000, 4000, 8000)
#: The measures by which categories are compared, in words.
FEATURE_NAMES = {
    "rms_db": "level, dB re full scale",
    "duration_s": "duration, s",
    "leading_silence_s": "leading silence, s",
    "centroid_hz": "centre of the spectrum, Hz",
    "upper_limit_hz": "upper limit of the spectrum, Hz",
    **{f"band_{int(f)}_db": f"power at {f:g} Hz, dB re the sound" for f in OCTAVES},
}
#: A run of so many samples at full scale is clipping; one or two may be a peak.
CLIPPED_RUN = 3
#: What lies so far below the loudest 5 ms counts as silence, in dB.
SILENCE_DB = -50.0
#: A spectrum that falls by so much within a tenth of a frequency, and does not rise again, was cut off there, in dB.
CUTOFF_DB = 30.0
#: Beyond this share of the Nyquist frequency nothing is a cut-off: every converter's filter falls there.
ANTI_ALIASING = 0.92
#: Cut-offs below this are left to nature (whistles, hums), in Hz; it is that of telephone speech.
LOWEST_CUTOFF = 3_000.0
_FLOOR_DB = -100.0


def measure_sound(samples: Waveform, sample_rate: int, subtype: str = "") -> dict[str, float]:
    """Measure one sound.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
        Units of full scale.
    sample_rate : int
        In Hz.
    subtype : str
        The sample format in libsndfile's words, such as ``"PCM_16"``: it says where full scale is.

    Returns
    -------
    dict of str to float
        ``sample_rate`` (Hz), ``channels``, ``duration_s``, ``rms_db`` and ``peak_db`` (dB re full scale; the RMS of the
        average of the channels, the peak of any), ``mono_loss_db`` (by how much averaging the channels lowers the
        level), ``clipped_runs`` (runs of at least 3 samples at full scale), ``dc`` (mean over RMS),
        ``leading_silence_s``, ``trailing_silence_s`` (5-ms frames 50 dB below the loudest), ``cutoff_hz`` (where the
        spectrum ends abruptly; NaN if it does not), ``centroid_hz`` (centre of gravity of the power spectrum), and
        ``band_62_db`` to ``band_8000_db``: octave bands, re the whole sound, not below -100 dB.
    """
    mono = samples.mean(axis=1, dtype=np.float64)
    power = np.square(samples, dtype=np.float64).mean()
    level = np.square(mono).mean()
    frequencies, spectrum = _spectrum(mono, sample_rate)
    leading, trailing = silences(mono, sample_rate)
    return {
        "sample_rate": sample_rate,
        "channels": samples.shape[1],
        "duration_s": len(samples) / sample_rate,
        "rms_db": _db(level),
        "peak_db": _db(float(np.abs(samples).max()) ** 2),
        "mono_loss_db": _db(power) - _db(level) if power > 0 else 0.0,
        "clipped_runs": sum(_clipped_runs(channel, subtype) for channel in samples.T),
        "dc": abs(mono.mean()) / np.sqrt(level) if level > 0 else 0.0,
        "leading_silence_s": leading,
        "trailing_silence_s": trailing,
        "cutoff_hz": _cutoff(frequencies, spectrum),
        "centroid_hz": float(np.average(frequencies, weights=spectrum)) if spectrum.any() else np.nan,
        **_octave_levels(frequencies, spectrum),
    }


def describe_file(path: Path) -> tuple[str, str]:
    """Return format and sample format of a sound file, in libsndfile's words, such as ``("WAV", "PCM_16")``."""
    import soundfile

    info = soundfile.info(path)
    return str(info.format), str(info.subtype)


def _db(power: float) -> float:
    return 10 * float(np.log10(power)) if power > 0 else -np.inf


def _clipped_runs(channel: Waveform, subtype: str) -> int:
    bits = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}.get(subtype)
    # The largest positive number of n bits is one step below 1. Other formats have no steps.
    full = 1 - 2.0 ** (1 - bits) if bits else 0.9999
    at_full = np.concatenate([[False], np.abs(channel) >= np.float32(full), [False]])
    edges = np.flatnonzero(at_full[1:] != at_full[:-1])
    return int((edges[1::2] - edges[::2] >= CLIPPED_RUN).sum())


def silences(mono: NDArray[np.floating], sample_rate: int) -> tuple[float, float]:
    """Return the silence before and after a sound (5-ms frames 50 dB below the loudest), in seconds.

    Parameters
    ----------
    mono : ndarray, shape (n_samples,)
        The sound.
    sample_rate : int
        In Hz.

    Returns
    -------
    leading, trailing : float
        In seconds; 0 for a sound that is silent throughout.
    """
    width = max(2, round(0.005 * sample_rate))
    frames = np.pad(mono.astype(np.float64), (0, -len(mono) % width), mode="edge").reshape(-1, width)
    # Without the mean of each frame: a recorder's offset is no sound.
    power = frames.var(axis=1)
    sounding = np.flatnonzero(power > 10 ** (SILENCE_DB / 10) * power.max())
    if not len(sounding):
        return 0.0, 0.0
    end = min((sounding[-1] + 1) * width, len(mono))
    return float(sounding[0] * width / sample_rate), float((len(mono) - end) / sample_rate)


def _spectrum(mono: Array, sample_rate: int) -> tuple[Array, Array]:
    """Return the long-term power spectrum, in bins of 22 Hz or less where the sound is long enough."""
    # The sidelobes of this window lie 92 dB down, so a loud tone does not fill the bands around it.
    window = {"nperseg": min(len(mono), max(2048, sample_rate // 22)), "window": "blackmanharris"}
    frequencies, spectrum = welch(mono - mono.mean(), sample_rate, **window)
    return frequencies, spectrum


def _cutoff(frequencies: Array, spectrum: Array) -> float:
    """Return the frequency (Hz) at which the spectrum ends abruptly, NaN if it falls gradually or goes on to the end.

    Resampling and lossy coding leave such an edge. The level below it is the median over a fifth of the frequency, so
    a lone tone is no edge; the level above is the largest there is.
    """
    nyquist = frequencies[-1]
    n_bands = max(100, int(nyquist // 220))
    if len(frequencies) < 9 * n_bands or not spectrum.any():
        return np.nan
    edges = np.linspace(0, len(spectrum), n_bands + 1).round().astype(int)
    bands = np.add.reduceat(spectrum, edges[:-1]) / np.diff(edges)
    levels = 10 * np.log10(np.maximum(bands, 1e-9 * bands.max()))
    largest, cutoff = CUTOFF_DB, np.nan
    for i in range(int(np.ceil(n_bands * LOWEST_CUTOFF / nyquist)), n_bands):
        first_above = int(np.ceil(1.1 * i)) + 1
        if first_above > ANTI_ALIASING * n_bands:
            break
        below = np.median(levels[int(0.8 * i) : i + 1])
        if below - levels[first_above:].max() > largest:
            largest = below - levels[first_above:].max()
            last = np.flatnonzero(levels[:first_above] > below - CUTOFF_DB / 2)[-1]
            cutoff = float((last + 1) / n_bands * nyquist)
    return cutoff


def _octave_levels(frequencies: Array, spectrum: Array) -> dict[str, float]:
    total = spectrum.sum()
    levels = {}
    for centre in OCTAVES:
        within = (frequencies >= centre / np.sqrt(2)) & (frequencies < centre * np.sqrt(2))
        share = spectrum[within].sum() / total if total > 0 else 0.0
        levels[f"band_{int(centre)}_db"] = max(_db(share), _FLOOR_DB)
    return levels


def confound_features(sounds: pd.DataFrame, target_rms: float | None) -> pd.DataFrame:
    """Return the measures by which categories are compared.

    Parameters
    ----------
    sounds : DataFrame
        Rows of :func:`measure_sound`.
    target_rms : float or None
        If the set brings its sounds to one level, their own is not compared.

    Returns
    -------
    DataFrame
        Duration, level, spectrum (centroid, octave bands that all sounds have), upper limit of the spectrum
        and leading silence.
    """
    upper = sounds["cutoff_hz"].fillna(sounds["sample_rate"] / 2).rename("upper_limit_hz")
    bands = [f"band_{int(c)}_db" for c in OCTAVES if c * np.sqrt(2) <= sounds["sample_rate"].min() / 2]
    level = [] if target_rms is not None else ["rms_db"]
    return pd.concat([sounds[[*level, "duration_s", "leading_silence_s", "centroid_hz", *bands]], upper], axis=1)
