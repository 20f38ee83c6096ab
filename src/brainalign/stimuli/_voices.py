"""Synthesised voices: a glottal source and the formants of a vocal tract that speaks or sings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainalign.stimuli._parts import (
    N_SAMPLES,
    RATE,
    Draws,
    Signal,
    band,
    harmonics,
    mix,
    noise,
    note_hz,
    ramped,
    read_score,
    resonate,
    smooth,
    times,
)

# First three formants (Hz) of the vowels of men, Peterson & Barney (1952), table II.
VOWELS = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "ae": (660, 1720, 2410),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "uh": (640, 1190, 2390),
    "er": (490, 1350, 1690),
}
# Noise of consonants: lowest and highest frequency (Hz), duration (s), gain beside a vowel.
CONSONANTS = {
    "s": (4200, 8500, 0.09, 0.25),
    "sh": (2000, 6000, 0.09, 0.30),
    "f": (1500, 9000, 0.07, 0.08),
    "t": (3000, 8000, 0.025, 0.40),
    "k": (1500, 3500, 0.03, 0.40),
    "p": (400, 1500, 0.02, 0.40),
    "m": (100, 400, 0.04, 0.05),
}


def vocal_formants(vowels: Sequence[tuple[float, str]], size: float) -> Signal:
    """Move between vowels: (time in s, vowel) to formants in Hz, shape (n_samples, 7).

    The formants from the fourth on stay. `size` scales all: 1 for a man, 1.17 for a woman, 1.3 for a
    child, whose vocal tracts are shorter.
    """
    targets = np.array([VOWELS[v] for _, v in vowels], dtype=float)
    at = [t for t, _ in vowels]
    moving = [np.interp(times(), at, formant) for formant in targets.T]
    fixed = [np.full(N_SAMPLES, centre) for centre in (3500.0, 4500.0, 5500.0, 6500.0)]
    return size * np.column_stack(moving + fixed)


def voice(draws: Draws, f0: Signal, loudness: Signal, formants: Signal, breath: float = 0.03) -> Signal:
    """Send a glottal source through a vocal tract.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    f0 : ndarray, shape (n_samples,)
        Fundamental in Hz; a real voice's small wandering (about 1 %) is added.
    loudness : ndarray, shape (n_samples,)
        Amplitude of the source.
    formants : ndarray, shape (n_formants,) or (n_samples, n_formants)
        Centre frequencies in Hz.
    breath : float
        Noise in the source; 1 is a whisper, without any tone.

    Returns
    -------
    ndarray, shape (n_samples,)
        The voice.
    """
    for width_s, jitter in ((0.03, 0.012), (0.008, 0.008)):
        wander = smooth(draws.normal(len(f0)), width_s)
        f0 = f0 * (1 + jitter * wander / wander.std())
    tone = harmonics(f0, 1 / np.arange(1, 90)) if breath < 1 else np.zeros(len(f0))
    hiss = band(draws.normal(len(f0)), 600)
    return resonate(loudness * ((1 - breath) * tone + breath * hiss), formants)


def speak(
    draws: Draws,
    f0: float,
    *,
    rate_hz: float = 5.0,
    size: float = 1.0,
    fall: float = 0.25,
    breath: float = 0.08,
    phrase: int = 5,
    span: tuple[float, float] = (0.04, 1.92),
) -> Signal:
    """Babble: consonants and vowels in the rhythm and with the melody of a sentence.

    Parameters
    ----------
    draws : Draws
        Choose the syllables.
    f0 : float
        Middle of the pitch range in Hz.
    rate_hz : float
        Syllables per second.
    size : float
        Scale of the formants (see :func:`vocal_formants`).
    fall : float
        By which part of `f0` the pitch falls from start to end; negative for a question.
    breath : float
        Noise in the voice (see :func:`voice`).
    phrase : int
        Syllables between two short pauses.
    span : tuple of float
        Start and end in seconds.

    Returns
    -------
    ndarray, shape (n_samples,)
        Two seconds.
    """
    t, (start, end) = times(), span
    loudness, accent = np.zeros(len(t)), np.zeros(len(t))
    vowels, hisses, count = [(0.0, "uh")], [], 0
    onset = start
    while onset + 0.8 / rate_hz < end:
        length = draws.one(0.8, 1.2) / rate_hz
        low, high, noise_s, gain = CONSONANTS[draws.pick(list(CONSONANTS))]
        vowel, stress = draws.pick(list(VOWELS)), draws.one(0.5, 1)
        begin, stop = onset + noise_s + 0.015, min(onset + length - 0.01, end)
        hisses.append((onset, gain * ramped(noise(draws, low, high, noise_s), 0.005, 0.01)))
        n = max(round((stop - begin) * RATE), 1)
        first = round(begin * RATE)
        loudness[first : first + n] = stress * ramped(np.ones(n), 0.02, 0.05)
        accent[first : first + n] = stress - 0.75
        vowels += [(begin, "uh"), (begin + 0.04, vowel), (max(stop, begin + 0.05), vowel)]
        count += 1
        onset += length + (0.12 if count % phrase == 0 else 0)
    melody = f0 * (1 + fall * (0.5 - (t - start) / (end - start))) * (1 + 0.3 * smooth(accent, 0.1))
    spoken = voice(draws, melody, loudness, vocal_formants(vowels, size), breath)
    return spoken + mix(hisses)


def sing(
    draws: Draws,
    score: str,
    beat_s: float,
    *,
    vowels: Sequence[str] = ("a",),
    size: float = 1.17,
    vibrato: float = 0.02,
    dip: float = 0.6,
) -> Signal:
    """Sing a melody, one vowel a note, with vibrato and gliding from note to note.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    score : str
        The melody (see :func:`brainalign.stimuli._parts.read_score`).
    beat_s : float
        Length of a beat in seconds.
    vowels : sequence of str
        Sung in turn.
    size : float
        Scale of the formants (see :func:`vocal_formants`).
    vibrato : float
        Depth as a part of f0.
    dip : float
        How far the voice falls between two notes: 0 is legato, 1 is silence.

    Returns
    -------
    ndarray, shape (n_samples,)
        Two seconds.
    """
    t = times()
    f0, loudness = np.zeros(len(t)), np.zeros(len(t))
    places, onset, last = [], 0.02, 0.0
    for i, (chord, beats) in enumerate(read_score(score)):
        here = (t >= onset) & (t < onset + beats * beat_s)
        if chord:
            last = note_hz(chord[0])
            loudness[here] = 1 - dip * (1 - ramped(np.ones(here.sum()), 0.04, 0.06))
            vowel = vowels[i % len(vowels)]
            places += [(onset + 0.03, vowel), (onset + beats * beat_s - 0.03, vowel)]
        f0[here] = last
        onset += beats * beat_s
    f0[: round(0.02 * RATE)], f0[t >= onset] = f0[round(0.03 * RATE)], last
    wave = 1 + vibrato * np.sin(2 * np.pi * (5.5 * t + draws.one(0, 1))) * np.clip(t / 0.3, 0, 1)
    sung = smooth(f0, 0.06) * wave
    return voice(draws, sung, smooth(loudness, 0.02), vocal_formants(places, size), 0.04)
