"""The same recording under two ids: copies, copies at another level or in another format, overlapping excerpts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import correlate, get_window

from brainalign.stimuli.audio import Waveform

#: Rate at which sounds are compared, in Hz.
RATE = 8_000
#: From this correlation on, two sounds share a recording: 81 % of the power is common.
SIMILAR = 0.9
#: So much of two sounds overlaps at least, in seconds; of shorter sounds, half of the shorter.
OVERLAP_S = 0.25

_FRAME, _HOP = 512, 128
_NEIGHBOURHOOD = (11, 21)  # frames and frequency bins in which a peak is the largest
_PARTNERS, _REACH = 5, 32  # following peaks that one is paired with, and how many frames they may lie away
_VOTES = 4


@dataclass(frozen=True)
class NearDuplicate:
    """Two sounds that share a recording.

    Attributes
    ----------
    first, second : str
        Their ids.
    correlation : float
        Of the waveforms where they overlap, below 4 kHz, without its sign.
    shift_s : float
        By how much `second` begins later within the recording than `first`, in seconds.
    """

    first: str
    second: str
    correlation: float
    shift_s: float


def near_duplicates(ids: Sequence[str], waveform: Callable[[str], Waveform]) -> list[NearDuplicate]:
    """Find sounds that share a recording.

    Candidates are found by landmarks, pairs of peaks of the spectrogram with their distance in time, in the way of
    Wang (2003, ISMIR): work grows with the number of sounds, not of pairs. Each candidate is then confirmed by
    cross-correlation of the waveforms at the shift that the landmarks say.

    Parameters
    ----------
    ids : sequence of str
        The sounds.
    waveform : callable
        Gives the waveform of an id at 8 kHz (``RATE``). It is called once for each sound, and again for candidates.

    Returns
    -------
    list of NearDuplicate
        Most similar first. Time-stretched or pitch-shifted copies are not found.
    """
    found = []
    for (a, b), shift in _candidates([_landmarks(waveform(i)) for i in ids]).items():
        correlation, shift_s = _correlation(waveform(ids[a]), waveform(ids[b]), shift)
        if correlation >= SIMILAR:
            found.append(NearDuplicate(ids[a], ids[b], correlation, shift_s))
    return sorted(found, key=lambda d: -d.correlation)


def _landmarks(waveform: Waveform) -> NDArray[np.int64]:
    """Return landmarks as (code, frame), shape (n_landmarks, 2): both frequencies and their distance in one code."""
    # Silence around the sound makes room for its first and last frame, so short sounds have landmarks, too.
    padded = np.pad(waveform.astype(np.float64), _FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP] * get_window("hann", _FRAME)
    magnitude = np.abs(np.fft.rfft(frames))
    peaks = (magnitude == maximum_filter(magnitude, _NEIGHBOURHOOD)) & (magnitude > 1e-3 * magnitude.max())
    times, bins = np.nonzero(peaks)
    pairs = []
    for step in range(1, _PARTNERS + 1):
        apart = times[step:] - times[:-step]
        near = (apart > 0) & (apart < _REACH)
        codes = (bins[:-step] * (_FRAME // 2 + 1) + bins[step:]) * _REACH + apart
        pairs.append(np.stack([codes[near], times[:-step][near]], axis=1))
    return np.concatenate(pairs).astype(np.int64)


def _candidates(landmarks: Sequence[NDArray[np.int64]]) -> dict[tuple[int, int], int]:
    """Return pairs of sounds with enough landmarks in common at one shift, and that shift in samples."""
    sound = np.repeat(np.arange(len(landmarks)), [len(m) for m in landmarks])
    code, time = np.concatenate(landmarks).T
    order = np.lexsort((sound, code))
    sound, code, time = sound[order], code[order], time[order]
    # Each landmark is compared with those of the same code that follow it; a code that everything has says nothing.
    common = max(20, len(landmarks) // 10)
    matches = []
    for step in range(1, common):
        same = (code[step:] == code[:-step]) & (sound[step:] != sound[:-step])
        if not same.any():
            break
        matches.append(np.stack([sound[:-step], sound[step:], time[:-step] - time[step:]], axis=1)[same])
    if not matches:
        return {}
    votes, counts = np.unique(np.concatenate(matches), axis=0, return_counts=True)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for (a, b, shift), count in zip(votes[counts >= _VOTES], counts[counts >= _VOTES], strict=True):
        pair = (int(a), int(b))
        best[pair] = max(best.get(pair, (0, 0)), (int(count), int(shift) * _HOP))
    return {pair: shift for pair, (_, shift) in best.items()}


def _correlation(x: Waveform, y: Waveform, shift: int) -> tuple[float, float]:
    """Return the largest normalised correlation near a shift (samples by which y begins later), and its shift in s."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    products = correlate(x, y, mode="full", method="fft")
    shifts = np.arange(-(len(y) - 1), len(x))
    energy_x, energy_y = (np.concatenate([[0.0], np.cumsum(np.square(s))]) for s in (x, y))
    begin, end = np.maximum(shifts, 0), np.minimum(shifts + len(y), len(x))
    energies = (energy_x[end] - energy_x[begin]) * (energy_y[end - shifts] - energy_y[begin - shifts])
    enough = end - begin >= min(OVERLAP_S * RATE, 0.5 * min(len(x), len(y)))
    usable = enough & (np.abs(shifts - shift) <= 2 * _HOP) & (energies > 1e-9 * energy_x[-1] * energy_y[-1])
    if not usable.any():
        return 0.0, 0.0
    r = np.abs(products[usable]) / np.sqrt(energies[usable])
    return float(min(r.max(), 1.0)), float(shifts[usable][r.argmax()] / RATE)
