"""Tempo without pitch and pitch without tempo, by a phase vocoder.

After Flanagan & Golden 1966 (Bell Syst. Tech. J. 45, 1493), with the phases around each spectral peak locked to it
(Laroche & Dolson 1999, IEEE Trans. Speech Audio Process. 7, 323, doi:10.1109/89.759041).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import StimulusError
from brainalign.stimuli.manipulations.base import (
    MANIPULATIONS,
    ManipulatedSet,
    Signal,
    check_length,
    check_positive,
    manipulated,
)
from brainalign.stimuli.sets import StimulusSet

#: Length of a frame, to the nearest power of two in samples.
FRAME_S = 0.06
#: Beyond this factor frames overlap too little for a phase vocoder.
LARGEST_FACTOR = 4.0
LARGEST_SEMITONES = 12 * np.log2(LARGEST_FACTOR)


@MANIPULATIONS.register("change-tempo")
def change_tempo(stimuli: StimulusSet, factor: float) -> ManipulatedSet:
    """Play every sound faster or slower at its own pitch.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    factor : float
        Tempo after / tempo before, 1/4 to 4; 2 is twice as fast and half as long.

    Returns
    -------
    ManipulatedSet
        Sounds of their length / factor, rounded to a sample. Onsets are smeared over up to 30 ms, noise loses some of
        its level. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If the factor lies beyond its limits, or a sound is shorter than a frame of about 60 ms (when it is played).
    """
    check_positive("the factor by which the tempo changes", factor)
    if not 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR:
        raise StimulusError(
            f"the tempo cannot change by a factor of {factor:g}; expected {1 / LARGEST_FACTOR:g} to {LARGEST_FACTOR:g}"
        )
    return manipulated(stimuli, "change_tempo", {"factor": factor}, lambda x, rate, i: _stretch(x, rate, 1 / factor))


@MANIPULATIONS.register("change-pitch")
def change_pitch(stimuli: StimulusSet, semitones: float) -> ManipulatedSet:
    """Transpose every sound at its own tempo.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    semitones : float
        How far up, -24 to 24; all frequencies are multiplied by 2^(semitones / 12), resonances of instruments and
        formants of voices among them.

    Returns
    -------
    ManipulatedSet
        Sounds of the same length. What would come to lie above half the sample rate is left out. Samples may exceed
        full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If the interval lies beyond its limits, or a sound is shorter than a frame of about 60 ms (when it is played).
    """
    if not abs(semitones) <= LARGEST_SEMITONES:
        raise StimulusError(
            f"the pitch cannot change by {semitones:g} semitones; "
            f"expected {-LARGEST_SEMITONES:g} to {LARGEST_SEMITONES:g}, two octaves"
        )
    ratio = float(np.exp2(semitones / 12))

    def alter(signal: Signal, rate: int, _stimulus_id: str) -> Signal:
        import soxr

        resampled = soxr.resample(_stretch(signal, rate, ratio), ratio, 1.0, quality="HQ")[: len(signal)]
        return np.pad(resampled, (0, len(signal) - len(resampled)))

    return manipulated(stimuli, "change_pitch", {"semitones": semitones}, alter)


def _stretch(signal: Signal, rate: int, factor: float) -> Signal:
    """Make a sound longer by a factor, at its frequencies.

    Each output frame is an input frame whose phases are turned: around each peak, by as much as the peak has in the
    output before and would have, one hop earlier, in the input. With a factor of 1 nothing is turned.
    """
    width = 2 ** round(np.log2(FRAME_S * rate))
    hop = width // 4
    check_length(signal, rate, width, "a change of tempo or pitch")
    n_samples = round(factor * len(signal))
    n_frames = -(-n_samples // hop) + 1
    starts = np.round(np.arange(n_frames) * hop / factor).astype(np.intp)
    padded = np.pad(signal, (width // 2 + hop, 2 * width + hop))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)
    now, before = (np.fft.rfft(frames[starts + shift] * window) for shift in (hop, 0))
    turned = now[0]
    out, weights = np.zeros((n_frames - 1) * hop + width), np.zeros((n_frames - 1) * hop + width)
    for m in range(n_frames):
        if m:
            peak = _nearest_peak(np.abs(now[m]))
            turned = now[m] * np.exp(1j * (np.angle(turned[peak]) - np.angle(before[m][peak])))
        place = slice(m * hop, m * hop + width)
        out[place] += np.fft.irfft(turned, width) * window
        weights[place] += window**2
    inner = slice(width // 2, width // 2 + n_samples)
    return np.asarray(out[inner] / weights[inner])


def _nearest_peak(magnitudes: Signal) -> NDArray[np.intp]:
    """Return for each bin the nearest of the bins that exceed their two neighbours on either side."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(magnitudes, 2), 5)
    peaks = np.flatnonzero((around.argmax(axis=1) == 2) & (magnitudes > 0))
    if not len(peaks):
        return np.arange(len(magnitudes))
    middles = (peaks[1:] + peaks[:-1]) / 2
    return np.asarray(peaks[np.searchsorted(middles, np.arange(len(magnitudes)))])
