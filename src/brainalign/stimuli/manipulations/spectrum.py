"""Manipulations of the spectrum and its phases: random phases, filters, matched noise."""

from __future__ import annotations

from typing import Literal

import numpy as np

from brainalign.errors import StimulusError
from brainalign.stimuli.manipulations.base import (
    MANIPULATIONS,
    ManipulatedSet,
    Signal,
    check_length,
    check_positive,
    check_seed,
    draws_for,
    manipulated,
)
from brainalign.stimuli.sets import StimulusSet

#: Shortest sound of which noise is made, in seconds: an ERB at 50 Hz is 30 Hz wide.
MATCHED_FROM_S = 0.1


@MANIPULATIONS.register("phase-randomise")
def phase_randomise(stimuli: StimulusSet, *, seed: int = 0) -> ManipulatedSet:
    """Replace the phases of the spectrum of the whole sound by random ones.

    The magnitudes stay, to the last line of a harmonic spectrum, and with them the autocorrelation; what happens when
    does not: energy spreads over the whole duration.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    seed : int
        Of the phases, which are others for each sound; uniform, 0 Hz and half the sample rate stay.

    Returns
    -------
    ManipulatedSet
        Sounds of the same length and RMS. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If a sound has fewer than three samples (when it is played).
    """
    check_seed(seed)

    def alter(signal: Signal, rate: int, stimulus_id: str) -> Signal:
        check_length(signal, rate, 3, "a phase")
        spectrum = np.fft.rfft(signal)
        inner = slice(1, (len(signal) + 1) // 2)
        phases = draws_for(seed, "phase_randomise", stimulus_id).uniform(-np.pi, np.pi, len(spectrum[inner]))
        spectrum[inner] = np.abs(spectrum[inner]) * np.exp(1j * phases)
        return np.asarray(np.fft.irfft(spectrum, len(signal)))

    return manipulated(stimuli, "phase_randomise", {"seed": seed}, alter)


@MANIPULATIONS.register("low-pass")
def low_pass(stimuli: StimulusSet, cutoff_hz: float, *, order: int = 8) -> ManipulatedSet:
    """Attenuate what lies above a frequency.

    The gain is that of a Butterworth filter, 1 / sqrt(1 + (f / cutoff)^(2 order)), without any change of phase.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    cutoff_hz : float
        Where the power is halved (-3.01 dB).
    order : int
        The gain falls by 6.02 dB per octave times this number.

    Returns
    -------
    ManipulatedSet
        Sounds of the same length; beyond it there is silence.

    Raises
    ------
    StimulusError
        If the cutoff is not positive, or not below half the rate of a sound (when it is played).
    """
    return _filtered(stimuli, "low_pass", cutoff_hz, order)


@MANIPULATIONS.register("high-pass")
def high_pass(stimuli: StimulusSet, cutoff_hz: float, *, order: int = 8) -> ManipulatedSet:
    """Attenuate what lies below a frequency.

    The gain is that of a Butterworth filter, 1 / sqrt(1 + (cutoff / f)^(2 order)), without any change of phase.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    cutoff_hz : float
        Where the power is halved (-3.01 dB).
    order : int
        The gain falls by 6.02 dB per octave times this number.

    Returns
    -------
    ManipulatedSet
        Sounds of the same length; beyond it there is silence.

    Raises
    ------
    StimulusError
        If the cutoff is not positive, or not below half the rate of a sound (when it is played).
    """
    return _filtered(stimuli, "high_pass", cutoff_hz, order)


def _filtered(
    stimuli: StimulusSet, manipulation: Literal["low_pass", "high_pass"], cutoff_hz: float, order: int
) -> ManipulatedSet:
    check_positive("cutoff_hz", cutoff_hz)
    if not 1 <= order <= 100:
        raise StimulusError(f"the order of the filter is {order}, expected 1 to 100")
    sign = 1 if manipulation == "low_pass" else -1

    def alter(signal: Signal, rate: int, stimulus_id: str) -> Signal:
        if cutoff_hz >= rate / 2:
            raise StimulusError(
                f"a cutoff of {cutoff_hz:g} Hz does not lie below {rate / 2:g} Hz, half the sample rate"
            )
        # Zeros of the same length follow, so that the filter does not reach from one end around to the other.
        n_padded = 2 * len(signal)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(n_padded, 1 / rate), 1e-6) / cutoff_hz)
        gains = (1 + np.exp2(np.minimum(2 * order * sign * octaves, 1000))) ** -0.5
        return np.asarray(np.fft.irfft(np.fft.rfft(signal, n_padded) * gains, n_padded)[: len(signal)])

    return manipulated(stimuli, manipulation, {"cutoff_hz": cutoff_hz, "order": order}, alter)


@MANIPULATIONS.register("spectrally-matched-noise")
def spectrally_matched_noise(stimuli: StimulusSet, *, seed: int = 0) -> ManipulatedSet:
    """Replace every sound by stationary noise with its long-term spectrum.

    Gaussian noise of which each of the ERB-wide frequency bands of the cochlea has the power of the sound in this band
    (:func:`~brainalign.stimuli.matched_noise.match_spectrum`): lines within a band are smoothed, and with them pitch.
    Phase randomisation keeps them.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    seed : int
        Of the noise, which is another for each sound.

    Returns
    -------
    ManipulatedSet
        Noise of the same length. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If a sound is shorter than 0.1 s (when it is played).
    """
    check_seed(seed)

    def alter(signal: Signal, rate: int, stimulus_id: str) -> Signal:
        from brainalign.stimuli.matched_noise import match_spectrum

        check_length(signal, rate, round(MATCHED_FROM_S * rate), "spectrally matched noise")
        white = draws_for(seed, "spectrally_matched_noise", stimulus_id).normal(len(signal))
        return match_spectrum(white, signal, rate)

    return manipulated(stimuli, "spectrally_matched_noise", {"seed": seed}, alter)


@MANIPULATIONS.register("modulation-matched-noise")
def modulation_matched_noise(stimuli: StimulusSet, *, n_iterations: int = 30, seed: int = 0) -> ManipulatedSet:
    """Replace every sound by noise with its cochleagram and spectrotemporal modulation statistics.

    The synthetic sounds of Norman-Haignere & McDermott 2018 (doi:10.1371/journal.pbio.2005127): for each frequency,
    the envelope and its responses to modulation filters have the distribution over time that they have in the sound;
    see :func:`~brainalign.stimuli.matched_noise.match_modulations`. Slow: seconds of work per iteration and sound, each
    time that a sound is played; write the set first (:func:`~brainalign.stimuli.writing.write_set`).

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    n_iterations : int
        How often the statistics are imposed; the paper took 100.
    seed : int
        Of the noise at the start, which is another for each sound.

    Returns
    -------
    ManipulatedSet
        Noise of the same length, without frequencies above 10 kHz. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If there is no iteration, or a sound cannot be used (when it is played).
    """
    check_seed(seed)
    if n_iterations < 1:
        raise StimulusError(f"n_iterations is {n_iterations}, expected at least 1")

    def alter(signal: Signal, rate: int, stimulus_id: str) -> Signal:
        from brainalign.stimuli.matched_noise import match_modulations

        check_length(signal, rate, round(MATCHED_FROM_S * rate), "modulation-matched noise")
        white = draws_for(seed, "modulation_matched_noise", stimulus_id).normal(len(signal))
        return match_modulations(white, signal, rate, n_iterations=n_iterations)

    return manipulated(stimuli, "modulation_matched_noise", {"n_iterations": n_iterations, "seed": seed}, alter)
