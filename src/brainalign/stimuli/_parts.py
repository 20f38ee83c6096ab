"""Parts of synthesised sounds: random numbers, noise, tones and instruments, float64 at 22,050 Hz.

Every sound is a sum of harmonics of a fundamental, decaying partials, filtered noise, impulses that
ring, and resonances. Each part has a peak of the order of 1; the level is set at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import butter, fftconvolve, sosfilt
from scipy.special import ndtri

RATE = 22_050
DURATION_S = 2.0
N_SAMPLES = round(RATE * DURATION_S)

Signal: TypeAlias = NDArray[np.float64]
Instrument: TypeAlias = Callable[[float, float, "Draws"], Signal]


class Draws:
    """Random numbers that are the same under every version of numpy.

    The stream of a bit generator is guaranteed by numpy, that of the distributions is not; so the
    raw 64-bit draws of PCG64 are turned into uniform and, by the inverse of the distribution
    function, into normal variates here.

    Parameters
    ----------
    *key : int
        The seed, one or more non-negative integers.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float, high: float, size: int) -> Signal:
        """Return `size` draws from the open interval (low, high)."""
        unit: Signal = ((self._bits.random_raw(size) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        return low + (high - low) * unit

    def one(self, low: float, high: float) -> float:
        """Return one draw from the open interval (low, high)."""
        return float(self.uniform(low, high, 1)[0])

    def normal(self, size: int) -> Signal:
        """Return `size` standard normal draws."""
        drawn: Signal = ndtri(self.uniform(0, 1, size))
        return drawn

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of the options."""
        return options[int(self.one(0, len(options)))]


def times(duration_s: float = DURATION_S) -> Signal:
    """Return the time of each sample in seconds."""
    return np.arange(round(duration_s * RATE)) / RATE


def ramped(signal: Signal, attack_s: float = 0.01, release_s: float = 0.03) -> Signal:
    """Fade a signal in and out with raised-cosine ramps."""
    out = signal.copy()
    for seconds, part in ((attack_s, slice(None)), (release_s, slice(None, None, -1))):
        n = min(round(seconds * RATE), len(signal))
        out[part][:n] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / max(n, 1))
    return out


def mix(events: Sequence[tuple[float, Signal]], n_samples: int = N_SAMPLES) -> Signal:
    """Add signals at their onsets (s); what lies beyond the end is cut."""
    out = np.zeros(n_samples)
    for onset_s, signal in events:
        start = round(onset_s * RATE)
        stop = min(n_samples, start + len(signal))
        out[start:stop] += signal[: max(0, stop - start)]
    return out


def track(points: Sequence[tuple[float, float]], duration_s: float = DURATION_S) -> Signal:
    """Interpolate linearly between points (time in s, value), at each sample."""
    at, values = zip(*points, strict=True)
    out: Signal = np.interp(times(duration_s), at, values)
    return out


def smooth(signal: Signal, width_s: float) -> Signal:
    """Smooth with a Hann window of this width; the edges are held."""
    window = np.hanning(round(width_s * RATE) | 1)
    padded = np.pad(signal, len(window) // 2, mode="edge")
    out: Signal = fftconvolve(padded, window / window.sum(), mode="valid")
    return out


def band(signal: Signal, low: float | None = None, high: float | None = None) -> Signal:
    """Filter between two frequencies in Hz (Butterworth, second order); None leaves a side open."""
    if low is None:
        sos = butter(2, high, "lowpass", fs=RATE, output="sos")
    elif high is None:
        sos = butter(2, low, "highpass", fs=RATE, output="sos")
    else:
        sos = butter(2, (low, high), "bandpass", fs=RATE, output="sos")
    out: Signal = sosfilt(sos, signal)
    return out


def noise(draws: Draws, low: float, high: float | None, duration_s: float = DURATION_S) -> Signal:
    """Return noise between two frequencies in Hz, at RMS 1."""
    out = band(draws.normal(round(duration_s * RATE)), low, high)
    out /= np.sqrt(np.mean(out**2))
    return out


def harmonics(f0: ArrayLike, gains: ArrayLike, duration_s: float = DURATION_S) -> Signal:
    """Sum the harmonics of a fundamental; those above 0.45 of the sample rate are left out.

    Parameters
    ----------
    f0 : float or array_like, shape (n_samples,)
        The fundamental in Hz.
    gains : array_like, shape (n_harmonics,) or (n_harmonics, n_samples)
        Amplitude of each harmonic, the fundamental first.
    duration_s : float
        Length, where `f0` is one number.

    Returns
    -------
    ndarray, shape (n_samples,)
        The sum.
    """
    f0 = np.asarray(f0, dtype=np.float64)
    if f0.ndim == 0:
        f0 = np.full(round(duration_s * RATE), f0)
    turn = np.exp(2j * np.pi * np.cumsum(f0) / RATE)
    power, out, top = turn.copy(), np.zeros(len(f0)), 0.45 * RATE
    lowest, highest = f0.min(), f0.max()
    for k, gain in enumerate(np.asarray(gains, dtype=np.float64), start=1):
        if k * lowest >= top:
            break
        out += gain * power.imag * (1.0 if k * highest < top else k * f0 < top)
        power *= turn
    return out


def partials(
    frequencies: Sequence[float], gains: Sequence[float], decays_s: Sequence[float], length_s: float
) -> Signal:
    """Sum sinusoids (Hz) that decay exponentially with their time constants (s)."""
    t = times(length_s)
    out = np.zeros(len(t))
    for frequency, gain, decay_s in zip(frequencies, gains, decays_s, strict=True):
        if frequency < 0.45 * RATE:
            out += gain * np.exp(-t / decay_s) * np.sin(2 * np.pi * frequency * t)
    return ramped(out, 0.001, 0.02)


def scatter(draws: Draws, rate_hz: float, kernels: Sequence[Signal]) -> Signal:
    """Let impulses fall at random times, each ringing as one of the kernels.

    Amplitudes are exponential, so that a few impulses stand out.
    """
    out = np.zeros(N_SAMPLES)
    count = max(1, round(rate_hz * DURATION_S / len(kernels)))
    for kernel in kernels:
        impulses = np.zeros(N_SAMPLES)
        at = draws.uniform(0, N_SAMPLES, count).astype(int)
        np.add.at(impulses, at, -np.log(draws.uniform(0, 1, count)))
        out += fftconvolve(impulses, kernel)[:N_SAMPLES]
    return out


def resonate(signal: Signal, formants: Signal) -> Signal:
    """Filter with formants that move: a cascade of two-pole resonances, unity at 0 Hz.

    Each resonance is F^2 / (F^2 - f^2 + i B f) with a bandwidth B of 50 Hz + F / 24. Frames of 23 ms
    that overlap by three quarters are filtered and added.

    Parameters
    ----------
    signal : ndarray, shape (n_samples,)
        The source.
    formants : ndarray, shape (n_formants,) or (n_samples, n_formants)
        Centre frequencies in Hz.

    Returns
    -------
    ndarray, shape (n_samples,)
        The filtered source.
    """
    width, hop = 512, 128
    padded = np.pad(signal, (width, 2 * width))
    starts = np.arange(0, len(padded) - width, hop)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    frames = padded[starts[:, None] + np.arange(width)] * window
    centres = np.clip(starts - width // 2, 0, len(signal) - 1)
    F = formants[None, :] if formants.ndim == 1 else formants[centres]
    f = np.fft.rfftfreq(2 * width, 1 / RATE)
    response = np.ones((1, len(f)), dtype=complex)
    for centre in F.T[:, :, None]:
        response = response * centre**2 / (centre**2 - f**2 + 1j * (50 + centre / 24) * f)
    filtered = np.fft.irfft(np.fft.rfft(frames, 2 * width) * response)
    out = np.zeros(len(padded) + width)
    for start, frame in zip(starts, filtered, strict=True):
        out[start : start + 2 * width] += frame
    # Hann windows at a quarter of their width add up to 2.
    return out[width : width + len(signal)] / 2


def in_room(signal: Signal, draws: Draws) -> Signal:
    """Add the reverberation of a small room: noise that decays by 60 dB in 0.35 s, 8 dB below the sound."""
    t = times(0.3)
    tail = draws.normal(len(t)) * np.exp(-t / 0.05)
    tail *= 0.4 / np.sqrt(np.sum(tail**2))
    out: Signal = signal + fftconvolve(signal, tail)[: len(signal)]
    return out


def note_hz(midi: int) -> float:
    """Return the frequency of a MIDI note (69 is A4, 440 Hz)."""
    return float(440 * 2 ** ((midi - 69) / 12))


def read_score(score: str) -> list[tuple[list[int], float]]:
    """Read notes and their beats: ``"60 64:0.5 -:0.5 60+64+67:2"``.

    Notes are MIDI numbers, joined by ``+`` in a chord; ``-`` is a rest; without a colon, one beat.
    """
    notes = []
    for word in score.split():
        chord, _, beats = word.partition(":")
        pitches = [] if chord == "-" else [int(midi) for midi in chord.split("+")]
        notes.append((pitches, float(beats or 1)))
    return notes


def play(instrument: Instrument, score: str, beat_s: float, draws: Draws, strum_s: float = 0.0) -> Signal:
    """Play a score (see :func:`read_score`); `strum_s` delays the notes of a chord."""
    events, onset = [], 0.0
    for chord, beats in read_score(score):
        for i, midi in enumerate(chord):
            # A hand is never twice equally strong.
            sound = draws.one(0.85, 1) * instrument(note_hz(midi), beats * beat_s, draws)
            events.append((onset + i * strum_s, sound))
        onset += beats * beat_s
    return mix(events)


def pluck(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a plucked string: partials as struck at a seventh, the high ones die first."""
    t = times(duration_s + 0.25)
    k = np.arange(1, 26)
    gains = np.abs(np.sin(np.pi * k / 7))[:, None] / k[:, None] * np.exp(-np.outer(k, t) * 1.6)
    return ramped(harmonics(f0, gains, duration_s + 0.25) * np.exp(-t / 0.6), 0.002, 0.08)


def piano(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a piano tone: slightly stretched partials and the knock of the hammer."""
    k = np.arange(1, 13)
    stretched = f0 * k * np.sqrt(1 + 4e-4 * k**2)
    tone = partials(list(stretched), list(k**-1.3), list(0.9 / k**0.6), duration_s + 0.2)
    knock = noise(draws, 200, 1500, 0.02) * np.exp(-times(0.02) / 0.004)
    tone[: len(knock)] += 0.15 * knock
    return tone


def organ(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play an organ pipe tone: steady, with the stops 8', 4', 2 2/3' and 2'."""
    gains = [1, 0.6, 0.35, 0.3, 0, 0.12, 0, 0.1]
    return ramped(harmonics(f0, gains, duration_s), 0.03, 0.05)


def violin(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a bowed string with vibrato, the resonances of a body and a little bow noise."""
    t = times(duration_s)
    vibrato = 1 + 0.012 * np.clip(t / 0.2, 0, 1) * np.sin(2 * np.pi * (5.6 * t + draws.one(0, 1)))
    saw = harmonics(f0 * vibrato, 1 / np.arange(1, 25)) + 0.02 * draws.normal(len(t))
    body = resonate(saw, np.array([460.0, 1100, 2600, 3600]))
    return ramped(0.3 * body + 0.15 * saw, 0.06, 0.06)


def flute(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a flute: few harmonics, gentle vibrato, breath around the tone."""
    t = times(duration_s)
    swell = 1 + 0.15 * np.sin(2 * np.pi * 5 * t)
    breath = 0.03 * noise(draws, 0.8 * f0, 5000, duration_s)
    return ramped(harmonics(f0, [1, 0.3, 0.12, 0.04], duration_s) * swell + breath, 0.05, 0.05)


def brass(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a trumpet: the harder it is blown, the brighter."""
    t = times(duration_s)
    pressure = np.minimum(t / 0.06, 1) * (0.75 + 0.25 * np.exp(-t / 0.2))
    k = np.arange(1, 19)[:, None]
    gains = k**-0.5 * pressure[None, :] ** (1 + 0.35 * k)
    return ramped(0.5 * harmonics(f0, gains, duration_s), 0.01, 0.05)


def saw(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a synthesiser: a sawtooth under a filter that closes."""
    t = times(duration_s)
    k = np.arange(1, 31)[:, None]
    closing = 400 + 4000 * np.exp(-t / 0.12)
    return ramped(0.6 * harmonics(f0, 1 / k / (1 + (k * f0 / closing) ** 4), duration_s), 0.005)


def marimba(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a wooden bar: partials at 1, 3.9 and 9.2."""
    return partials([f0, 3.9 * f0, 9.2 * f0], [1, 0.35, 0.1], [0.22, 0.06, 0.02], 0.6)


def bell(f0: float, duration_s: float, draws: Draws) -> Signal:
    """Play a small bell, with the inharmonic partials of metal."""
    ratios = np.array([1, 2, 2.4, 3, 4.5, 5.33, 6.7])
    gains = [0.7, 0.8, 0.4, 0.3, 0.2, 0.12, 0.08]
    return partials(list(f0 * ratios), gains, list(0.9 / ratios), duration_s + 0.8)


def kick(draws: Draws) -> Signal:
    """Hit a bass drum."""
    t = times(0.25)
    return ramped(harmonics(50 + 110 * np.exp(-t / 0.03), [1.6]) * np.exp(-t / 0.09), 0.002)


def snare(draws: Draws) -> Signal:
    """Hit a snare drum."""
    t = times(0.2)
    rattle = 0.45 * noise(draws, 1200, 7000, 0.2) * np.exp(-t / 0.05)
    return ramped(rattle + 0.6 * harmonics(190, [1, 0.4], 0.2) * np.exp(-t / 0.05), 0.001)


def hat(draws: Draws) -> Signal:
    """Hit a closed hi-hat."""
    return ramped(0.3 * noise(draws, 6500, None, 0.08) * np.exp(-times(0.08) / 0.02), 0.001)


def hand_drum(f0: float, draws: Draws) -> Signal:
    """Hit a hand drum, tuned."""
    t = times(0.35)
    slap = 0.25 * noise(draws, 800, 4000, 0.35) * np.exp(-t / 0.012)
    return ramped(slap + harmonics(f0 * (1 + 0.1 * np.exp(-t / 0.02)), [1, 0.3]) * np.exp(-t / 0.1))
