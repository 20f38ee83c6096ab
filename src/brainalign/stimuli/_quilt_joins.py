"""Joining segments of a sound: shifts that keep the phase, and cross-fades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

from brainalign.stimuli.audio import Waveform

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
#: Correlations that differ by less than this share of the largest are equal, and the smaller shift is taken.
_EQUAL = 1e-9


@dataclass(frozen=True)
class JoinRule:
    """How segments are joined.

    Attributes
    ----------
    ramp : int
        Samples of a cross-fade, centred on the join.
    max_shift : int
        Largest shift in samples, either way.
    normalised : bool
        Maximise the correlation of the `ramp` samples around the join, divided by the norm of those of the later
        segment. Otherwise that of the tail of the earlier one, faded twice, with the later one, not divided.
    """

    ramp: int
    max_shift: int
    normalised: bool


def raised_cosine(n_samples: int) -> Array:
    """Return a ramp from 0 to 1 that adds up to 1 with its mirror image."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * (np.arange(n_samples) + 0.5) / n_samples))


def join_segments(
    waveform: Waveform, orders: Sequence[Indices], lengths: Sequence[int], rule: JoinRule
) -> list[tuple[Waveform, Indices]]:
    """Join segments of a sound, each shifted to fit the one before (PSOLA), with cross-fades, to several quilts.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        The sound; next to its ends it is mirrored.
    orders : sequence of ndarray of int
        For each quilt, which segment stands at each place.
    lengths : sequence of int
        For each quilt the samples of a segment, no fewer than those of a cross-fade.
    rule : JoinRule
        How they are joined.

    Returns
    -------
    list of (joined, shifts)
        For each quilt the samples, and how many samples later each segment is taken from the source; the first is not
        shifted.
    """
    margin = rule.ramp + rule.max_shift
    source = np.pad(waveform.astype(np.float32, copy=False), margin, mode="symmetric")
    starts = [margin + order * length for order, length in zip(orders, lengths, strict=True)]
    shifts = _find_shifts(source.astype(np.float64), starts, lengths, rule)
    return [
        (_cross_fade(source, start + shift, length, rule.ramp), shift)
        for start, shift, length in zip(starts, shifts, lengths, strict=True)
    ]


def _cross_fade(source: Waveform, starts: Indices, length: int, ramp: int) -> Waveform:
    joined: Waveform = sliding_window_view(source, length)[starts].ravel()
    around = sliding_window_view(source, ramp)
    before, after = around[starts[:-1] + length - ramp // 2], around[starts[1:] - ramp // 2]
    rise = raised_cosine(ramp).astype(np.float32)
    before *= 1 - rise
    after *= rise
    # Cross-fades do not overlap, as none is longer than a segment.
    step = joined.itemsize
    faded = as_strided(joined[length - ramp // 2 :], (len(starts) - 1, ramp), (length * step, step))
    np.add(before, after, out=faded)
    return joined


def _find_shifts(source: Array, starts: Sequence[Indices], lengths: Sequence[int], rule: JoinRule) -> list[Indices]:
    """Return the shift of each segment.

    It depends on that of the segment before, so quilts are gone through join by join, but all quilts at once. Joins lie
    in rows, those of one place together; quilts of more joins come first, so that the present ones are always the first
    few.
    """
    from scipy.fft import next_fast_len

    ramp, n_lags = rule.ramp, 2 * rule.max_shift + 1
    n_fft = next_fast_len(ramp + n_lags - 1, real=True)
    by_size = sorted(range(len(starts)), key=lambda q: -len(starts[q]))
    n_joins = np.array([len(starts[q]) - 1 for q in by_size])
    n_present = (n_joins > np.arange(n_joins.max())[:, None]).sum(axis=1)
    place, quilt = np.nonzero(np.arange(len(by_size)) < n_present[:, None])
    head, tail = np.empty((2, len(place)), dtype=np.intp)
    for row, q in enumerate(by_size):
        head[quilt == row] = starts[q][1:] - ramp // 2 - rule.max_shift
        tail[quilt == row] = starts[q][:-1] + lengths[q] - ramp // 2
    tails, blocks = (sliding_window_view(source, n) for n in (ramp, ramp + n_lags - 1))
    squares = np.concatenate([[0.0], np.cumsum(source**2)])
    energy = np.maximum(squares[ramp:] - squares[:-ramp], 1e-12 * squares[-1])
    scales = sliding_window_view(1 / np.sqrt(energy), n_lags)
    weight = (1 - raised_cosine(ramp)) ** 2
    handicap = _EQUAL * np.abs(np.arange(n_lags) - rule.max_shift) / max(rule.max_shift, 1)
    found = np.zeros(len(place), dtype=np.intp)
    shift = np.zeros(len(by_size), dtype=np.intp)
    stops = np.cumsum(n_present)
    for start, stop in zip(stops - n_present, stops, strict=True):
        n = stop - start
        before = tails[tail[start:stop] + shift[:n]]
        if not rule.normalised:
            before *= weight
        spectra = np.fft.rfft(before, n_fft)
        np.conj(spectra, out=spectra)
        spectra *= np.fft.rfft(blocks[head[start:stop]], n_fft)
        correlation = np.fft.irfft(spectra, n_fft)[:, :n_lags]
        if rule.normalised:
            correlation *= scales[head[start:stop]]
        correlation -= handicap * np.abs(correlation.max(axis=1, keepdims=True))
        shift[:n] = found[start:stop] = correlation.argmax(axis=1) - rule.max_shift
    shifts: list[Indices] = [np.empty(0, dtype=np.intp)] * len(starts)
    for row, q in enumerate(by_size):
        shifts[q] = np.concatenate([[0], found[quilt == row]])
    return shifts
