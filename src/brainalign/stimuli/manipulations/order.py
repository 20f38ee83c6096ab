"""Manipulations of order in time: scrambled windows, and the sound backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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

if TYPE_CHECKING:
    from brainalign.stimuli._parts import Draws


@MANIPULATIONS.register("time-reverse")
def time_reverse(stimuli: StimulusSet) -> ManipulatedSet:
    """Play every sound backwards: its spectrum stays, its phases turn.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.

    Returns
    -------
    ManipulatedSet
        The same samples, the last first.
    """
    return manipulated(stimuli, "time_reverse", {}, lambda signal, rate, i: signal[::-1])


@MANIPULATIONS.register("scramble")
def scramble(stimuli: StimulusSet, window_ms: float, *, fade_ms: float = 10.0, seed: int = 0) -> ManipulatedSet:
    """Cut every sound into windows and put them together in random order, matching nothing.

    The simple relative of a quilt, which chooses its order and its joins. What is left over at the end is a shorter
    window of its own, so that every sample is used. The order is never the original one.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    window_ms : float
        Length of a window.
    fade_ms : float
        Length of the raised-cosine cross-fade around each join; 0 for hard joins. Windows reach over their borders by
        half of it, into what was beside them. The two ends of the whole have ramps of half this length.
    seed : int
        Of the order, which is another for each sound.

    Returns
    -------
    ManipulatedSet
        Sounds of the same length.

    Raises
    ------
    StimulusError
        If the fade is longer than a window, or a sound has fewer than two windows (when it is played).
    """
    check_positive("window_ms", window_ms)
    check_positive("fade_ms", fade_ms, zero=True)
    check_seed(seed)
    if fade_ms > window_ms:
        raise StimulusError(f"a cross-fade of {fade_ms:g} ms does not fit into windows of {window_ms:g} ms; shorten it")

    def alter(signal: Signal, rate: int, stimulus_id: str) -> Signal:
        window = max(1, round(window_ms * rate / 1000))
        check_length(signal, rate, 2 * window, f"scrambling windows of {window_ms:g} ms")
        borders = np.append(np.arange(0, len(signal), window), len(signal))
        order = _other_order(len(borders) - 1, draws_for(seed, "scramble", stimulus_id))
        return _join(signal, borders, order, half=round(fade_ms * rate / 2000))

    parameters = {"window_ms": window_ms, "fade_ms": fade_ms, "seed": seed}
    return manipulated(stimuli, "scramble", parameters, alter)


def _other_order(n: int, draws: Draws) -> NDArray[np.intp]:
    """Draw among all orders of `n` windows but the original one."""
    while True:
        order = np.argsort(draws.uniform(0, 1, n))
        if (order != np.arange(n)).any():
            return order


def _join(signal: Signal, borders: NDArray[np.intp], order: NDArray[np.intp], half: int) -> Signal:
    """Add windows in a new order, each faded in and out around its borders; gains add up to 1 but at the two ends."""
    padded = np.pad(signal, half)
    out = np.zeros(len(padded))
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * half) + 0.5) / max(2 * half, 1))
    start = 0
    for k in order:
        length = int(borders[k + 1] - borders[k])
        risen = np.concatenate([np.zeros(length), rise, np.ones(length)])
        # A smooth step up at the first border, and the same step down at the second.
        gains = risen[length:] - risen[: length + 2 * half]
        out[start : start + len(gains)] += padded[borders[k] : borders[k] + len(gains)] * gains
        start += length
    out = out[half : half + len(signal)]
    # Without this, half of a cross-fade would be left at each end.
    out[:half] *= rise[::2]
    out[len(out) - half :] *= rise[::-2]
    return out
