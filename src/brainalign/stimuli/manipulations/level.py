"""Manipulations of level: one RMS for all, softer categories, noise at a signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from brainalign.errors import StimulusError, did_you_mean
from brainalign.stimuli import audio
from brainalign.stimuli.manipulations.base import (
    MANIPULATIONS,
    ManipulatedSet,
    Signal,
    check_finite,
    check_length,
    check_seed,
    draws_for,
    manipulated,
)
from brainalign.stimuli.manipulations.spectrum import MATCHED_FROM_S
from brainalign.stimuli.sets import StimulusSet

NoiseSpectrum = Literal["white", "pink", "matched"]
#: Pink noise has as much power in each octave from here on; below, its spectrum is flat.
PINK_FROM_HZ = 20.0


@MANIPULATIONS.register("normalise-level")
def normalise_level(stimuli: StimulusSet, rms: float | None = None) -> ManipulatedSet:
    """Bring every sound to one RMS.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    rms : float, optional
        In units of full scale; the mean RMS of the sounds if not given (Kim et al. 2024).

    Returns
    -------
    ManipulatedSet
        The same sounds at one level. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If the RMS is not positive, or a sound is silent (when it is played).
    """
    target = float(np.mean([audio.rms(stimuli.waveform(i)[0]) for i in stimuli.ids])) if rms is None else float(rms)
    if not (target > 0 and np.isfinite(target)):
        raise StimulusError(f"sounds cannot be brought to an RMS of {target}: expected a positive one, of full scale")
    return manipulated(stimuli, "normalise_level", {"rms": target}, lambda x, rate, i: x * (target / audio.rms(x)))


@MANIPULATIONS.register("attenuate")
def attenuate(stimuli: StimulusSet, power_ratio: float, categories: Sequence[str] | None = None) -> ManipulatedSet:
    """Lower the power of the sounds of some categories.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    power_ratio : float
        Power after / power before, for instance 1/64; the RMS changes by its square root.
    categories : sequence of str, optional
        Whose sounds, by the column ``category``; all if not given.

    Returns
    -------
    ManipulatedSet
        The other sounds stay as they are.

    Raises
    ------
    StimulusError
        If the ratio is not positive, or a category is unknown.
    """
    if not (power_ratio > 0 and np.isfinite(power_ratio)):
        raise StimulusError(f"the power ratio is {power_ratio}, expected a positive one, such as 1/64 = 0.015625")
    for name in categories or ():
        if name not in stimuli.categories:
            raise StimulusError(f"{stimuli.name} has no category {name!r}; {did_you_mean(name, stimuli.categories)}")
    chosen = None if categories is None else frozenset(categories)
    column = stimuli.table["category"]

    def alter(signal: Signal, _rate: int, stimulus_id: str) -> Signal:
        return signal * np.sqrt(power_ratio) if chosen is None or str(column[stimulus_id]) in chosen else signal

    parameters = {"power_ratio": power_ratio, "categories": None if chosen is None else sorted(chosen)}
    return manipulated(stimuli, "attenuate", parameters, alter)


@MANIPULATIONS.register("add-noise")
def add_noise(
    stimuli: StimulusSet, snr_db: float, *, spectrum: NoiseSpectrum = "white", seed: int = 0
) -> ManipulatedSet:
    """Add Gaussian noise at a signal-to-noise ratio.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    snr_db : float
        Power of the sound / power of the noise in dB, both over the whole sound; exact for each sound.
    spectrum : {'white', 'pink', 'matched'}
        Of the noise: flat up to half the sample rate; as much power in each octave above 20 Hz; or the long-term
        spectrum of the sound itself, as of :func:`~brainalign.stimuli.manipulations.spectrally_matched_noise`.
    seed : int
        Of the noise, which is another for each sound.

    Returns
    -------
    ManipulatedSet
        The sound keeps its level, so that the whole is louder. Samples may exceed full scale; nothing is clipped.

    Raises
    ------
    StimulusError
        If the ratio is not finite or the spectrum unknown, or a sound cannot be used (when it is played).
    """
    check_finite("snr_db", snr_db)
    check_seed(seed)
    if spectrum not in ("white", "pink", "matched"):
        raise StimulusError(f"no noise has the spectrum {spectrum!r}; expected 'white', 'pink' or 'matched'")

    def alter(signal: Signal, rate: int, stimulus_id: str) -> Signal:
        check_length(signal, rate, round(MATCHED_FROM_S * rate) if spectrum == "matched" else 2, f"{spectrum} noise")
        white = draws_for(seed, "add_noise", stimulus_id).normal(len(signal))
        noise = _shaped(white, signal, rate, spectrum)
        return signal + noise * (audio.rms(signal) / audio.rms(noise) * 10 ** (-snr_db / 20))

    return manipulated(stimuli, "add_noise", {"snr_db": snr_db, "spectrum": spectrum, "seed": seed}, alter)


def _shaped(white: Signal, signal: Signal, rate: int, spectrum: NoiseSpectrum) -> Signal:
    if spectrum == "matched":
        from brainalign.stimuli.matched_noise import match_spectrum

        return match_spectrum(white, signal, rate)
    if spectrum == "pink":
        frequencies = np.fft.rfftfreq(len(white), 1 / rate)
        shaped: Signal = np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.maximum(frequencies, PINK_FROM_HZ)), len(white))
        return shaped
    return white
