"""Reverberation: a direct sound and noise that decays."""

from __future__ import annotations

import numpy as np

from brainalign.stimuli.manipulations.base import (
    MANIPULATIONS,
    ManipulatedSet,
    Signal,
    check_finite,
    check_positive,
    check_seed,
    draws_for,
    manipulated,
)
from brainalign.stimuli.sets import StimulusSet

#: How far the tail of the impulse response has decayed where it is cut, in dB.
CUT_AT_DB = 90.0


@MANIPULATIONS.register("reverberate")
def reverberate(
    stimuli: StimulusSet,
    rt60_s: float,
    *,
    direct_to_reverberant_db: float = 0.0,
    tail_s: float = 0.0,
    seed: int = 0,
) -> ManipulatedSet:
    """Play every sound in a synthetic room.

    The impulse response is the direct sound, followed without a gap by white Gaussian noise that decays exponentially,
    at one rate at all frequencies. Measured rooms have single early reflections and decay faster at high and low than
    at middle frequencies (Traer & McDermott 2016, doi:10.1073/pnas.1612524113); this one does not.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    rt60_s : float
        Time in which the reverberation decays by 60 dB.
    direct_to_reverberant_db : float
        Energy of the direct sound / energy of the tail of the impulse response, in dB.
    tail_s : float
        How much longer the sound becomes; with 0, reverberation ends with the original length.
    seed : int
        Of the noise, which is another for each sound: no peculiarity of one response is common to all.

    Returns
    -------
    ManipulatedSet
        The direct sound keeps its level. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If a time is not positive, or the ratio is not finite.
    """
    check_positive("rt60_s", rt60_s)
    check_positive("tail_s", tail_s, zero=True)
    check_finite("direct_to_reverberant_db", direct_to_reverberant_db)
    check_seed(seed)

    def alter(signal: Signal, rate: int, stimulus_id: str) -> Signal:
        n_tail = max(1, round(CUT_AT_DB / 60 * rt60_s * rate))
        decay = 10 ** (-3 * np.arange(1, n_tail + 1) / (rt60_s * rate))
        tail = decay * draws_for(seed, "reverberate", stimulus_id).normal(n_tail)
        tail *= 10 ** (-direct_to_reverberant_db / 20) / np.linalg.norm(tail)
        response = np.append(1.0, tail)
        n_samples = len(signal) + round(tail_s * rate)
        n_padded = 1 << (len(signal) + len(response) - 1).bit_length()
        whole = np.fft.irfft(np.fft.rfft(signal, n_padded) * np.fft.rfft(response, n_padded), n_padded)
        return np.pad(whole, (0, max(0, n_samples - n_padded)))[:n_samples]

    parameters = {
        "rt60_s": rt60_s,
        "direct_to_reverberant_db": direct_to_reverberant_db,
        "tail_s": tail_s,
        "seed": seed,
    }
    return manipulated(stimuli, "reverberate", parameters, alter)
