"""Averaging windows of volumes: what the brain did in (parts of) each clip, some seconds later.

The protocol of music studies with long clips (Denk et al. 2023, Brain2Music, arXiv:2307.11078, section 2): a clip of
15 s has windows of ``window_s``, one every ``step_s``, and the response to a window is the mean of its volumes. Which
volumes are those of a window: all that overlap it. The paper lists for its windows of 10 s the scans "0-1.5, ...,
9-10.5" and calls them five; they are seven, and it is the seven listed that are averaged here. The paper does not
mention a haemodynamic delay (``delay_s=0``); other studies of the same data take 3 volumes, 4.5 s, the default here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import BrainError, name_some
from brainalign.stimuli.windows import window_id, window_starts

Incomplete = Literal["error", "shorten"]


@dataclass(frozen=True)
class WindowMeans:
    """Means of volumes, one row for each window of each event.

    Attributes
    ----------
    table : DataFrame
        One row per window, in order of time: ``stimulus_id``, ``clip``, ``window`` (from 0 on), ``window_start_s`` (in
        the event), ``window_s`` (its length), ``n_volumes`` (how many were averaged), ``n_expected``, and the further
        columns of the events.
    values : ndarray, shape (n_windows, n_units)
        Their means; NaN where no volume was there.
    """

    table: pd.DataFrame
    values: NDArray[np.floating[Any]]


def volumes_of(begin_s: float, end_s: float, repetition_time: float) -> range:
    """Return the volumes that overlap a stretch of time; volume k is measured from ``k TR`` to ``(k + 1) TR``.

    Parameters
    ----------
    begin_s, end_s : float
        The stretch, in s from the first volume.
    repetition_time : float
        In s.

    Returns
    -------
    range
        Numbers of volumes; they may lie beyond the run. A ten-thousandth of a volume does not count as overlap.
    """
    return range(math.floor(begin_s / repetition_time + 1e-4), math.ceil(end_s / repetition_time - 1e-4))


def average_windows(
    series: NDArray[np.floating[Any]],
    events: pd.DataFrame,
    *,
    repetition_time: float,
    window_s: float | None = None,
    step_s: float = 1.5,
    delay_s: float = 4.5,
    incomplete: Incomplete = "error",
) -> WindowMeans:
    """Average the volumes in sliding windows of each event.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_units)
        The time series of a run, cleaned already.
    events : DataFrame
        With ``stimulus_id``, ``onset`` and ``duration`` in s from the first volume of `series`.
    repetition_time : float
        In s.
    window_s : float, optional
        Length of a window; by default the whole event, under its own id.
    step_s : float
        From one window to the next, in s.
    delay_s : float
        How much later the brain's response is looked for, in s.
    incomplete : {'error', 'shorten'}
        What to do where the delay pushes a window beyond the end of the run: say so, or average the volumes that
        are there (``table["n_volumes"]`` says how many; a window without any has 0 and NaN).

    Returns
    -------
    WindowMeans
        ``floor((duration - window_s) / step_s) + 1`` rows for each event.

    Raises
    ------
    BrainError
        If a window is longer than an event, or volumes are missing.
    """
    rows: list[dict[str, Any]] = []
    means = []
    for _, event in events.iterrows():
        columns = {str(c): v for c, v in event.items()}
        clip, duration_s = str(event["stimulus_id"]), float(event["duration"])
        for index, (begin, length) in enumerate(_windows(clip, duration_s, window_s, step_s)):
            begin_s = float(event["onset"]) + begin + delay_s
            wanted = volumes_of(begin_s, begin_s + length, repetition_time)
            there = range(max(wanted.start, 0), min(wanted.stop, len(series)))
            named = clip if window_s is None else window_id(clip, index)
            rows.append(
                {
                    **columns,
                    "stimulus_id": named,
                    "clip": clip,
                    "window": index,
                    "window_start_s": begin,
                    "window_s": float(length),
                    "n_volumes": len(there),
                    "n_expected": len(wanted),
                }
            )
            means.append(series[there.start : there.stop].mean(axis=0) if there else np.full(series.shape[1], np.nan))
    table = pd.DataFrame(rows)
    short = table[table["n_volumes"] < table["n_expected"]]
    if incomplete == "error" and len(short):
        raise BrainError(
            f"{len(short)} windows reach beyond the {len(series)} volumes of the run: "
            f"{name_some(short['stimulus_id'])}; say incomplete='shorten' (of a BIDS folder "
            f'estimation={{incomplete="shorten"}}) to average the volumes that are there, or a smaller delay_s '
            f"({delay_s:g} s)"
        )
    return WindowMeans(table, np.stack(means))


def _windows(clip: str, duration_s: float, window_s: float | None, step_s: float) -> list[tuple[float, float]]:
    """Return begin and length of the windows of an event, in s from its onset."""
    if window_s is None:
        return [(0.0, duration_s)]
    if duration_s < window_s - 1e-6:
        raise BrainError(f"a window of {window_s:g} s does not fit into {clip!r}, which lasts {duration_s:g} s")
    return [(begin, window_s) for begin in window_starts(duration_s, window_s, step_s)]
