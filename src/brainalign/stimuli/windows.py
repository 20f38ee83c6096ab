"""Sliding windows of clips, by which embeddings of sound and volumes of a scanner come to share their rows.

A clip of 15 s with a volume every 1.5 s has ``floor((15 - window) / 1.5) + 1`` windows (Denk et al. 2023, Brain2Music,
arXiv:2307.11078, section 2): 10 of 1.5 s, 7 of 5 s, 4 of 10 s, 1 of 15 s.
"""

from __future__ import annotations

import math

import pandas as pd

from brainalign.errors import StimulusError
from brainalign.stimuli.audio import Waveform
from brainalign.stimuli.manipulations.base import ManipulatedSet, check_positive
from brainalign.stimuli.sets import StimulusSet

#: A clip may lack this much of its last window: lengths are rounded where sounds are resampled.
TOLERANCE_S = 0.001


def window_starts(duration_s: float, window_s: float, step_s: float = 1.5) -> list[float]:
    """Return where windows of a clip begin.

    Parameters
    ----------
    duration_s : float
        Length of the clip in s.
    window_s, step_s : float
        Length of a window, and from one to the next, in s.

    Returns
    -------
    list of float
        ``floor((duration_s - window_s) / step_s) + 1`` starts in s, the first 0.

    Raises
    ------
    StimulusError
        If a number is not positive, or a window is longer than the clip.
    """
    for what, value in (("the clip", duration_s), ("a window", window_s), ("the step between windows", step_s)):
        check_positive(f"the length in s of {what}", value)
    # Decimal lengths are no sums of powers of two: 15 - 13.5 must hold one step of 1.5.
    n_steps = math.floor((duration_s - window_s) / step_s + 1e-9)
    if n_steps < 0:
        raise StimulusError(f"a window of {window_s:g} s does not fit into a clip of {duration_s:g} s")
    return [step_s * i for i in range(n_steps + 1)]


def window_id(clip: str, index: int) -> str:
    """Return the stimulus id of a window: ``"blues.00017@03"`` is the fourth of ``blues.00017``."""
    return f"{clip}@{index:02d}"


def window_table(clips: pd.DataFrame, duration_s: float, window_s: float, step_s: float = 1.5) -> pd.DataFrame:
    """Describe the windows of clips, each with what its clip says.

    Parameters
    ----------
    clips : DataFrame
        Indexed by stimulus id.
    duration_s, window_s, step_s : float
        As :func:`window_starts` takes them.

    Returns
    -------
    DataFrame
        Indexed by :func:`window_id`, the windows of a clip one after another; the columns of `clips`, then ``clip``,
        ``window`` (from 0 on), ``window_start_s`` and ``window_s``, its length.

    Raises
    ------
    StimulusError
        As :func:`window_starts` does, or if the clips are described by a column of such a name already.
    """
    starts = window_starts(duration_s, window_s, step_s)
    taken = {"clip", "window", "window_start_s", "window_s"} & set(clips.columns)
    if taken:
        raise StimulusError(f"the table of clips has a column {min(taken)!r} already: are these windows of clips?")
    n_windows = len(starts)
    table = clips.loc[clips.index.repeat(n_windows)].assign(
        clip=clips.index.repeat(n_windows).astype(str),
        window=list(range(n_windows)) * len(clips),
        window_start_s=starts * len(clips),
        window_s=float(window_s),
    )
    ids = [window_id(c, w) for c, w in zip(table["clip"], table["window"], strict=True)]
    return table.set_index(pd.Index(ids, name="stimulus_id"))


def windowed(stimuli: StimulusSet, window_s: float, step_s: float = 1.5, clip_s: float = 15.0) -> ManipulatedSet:
    """Cut every clip into sliding windows, each of which becomes a stimulus.

    Parameters
    ----------
    stimuli : StimulusSet
        Clips of at least `clip_s`; what is longer is left out.
    window_s, step_s : float
        Length of a window, and from one to the next, in s.
    clip_s : float
        The part of each clip, from its beginning, that is cut, in s.

    Returns
    -------
    ManipulatedSet
        Its table is that of :func:`window_table`. Sounds keep their rate and level.

    Raises
    ------
    StimulusError
        If a length is not positive, or a window does not fit into the clip, or (when it is played) a clip is too short.
    """
    table = window_table(stimuli.table, clip_s, window_s, step_s)
    clip_of, window_start = table["clip"].to_dict(), table["window_start_s"].to_dict()
    # Windows are played one after another: without this each of them would read its clip anew.
    last: dict[str, tuple[Waveform, int]] = {}

    def source(stimulus_id: str) -> tuple[Waveform, int]:
        clip, start_s = clip_of[stimulus_id], window_start[stimulus_id]
        held = last.get(clip) or stimuli.waveform(clip)
        last.clear()
        last[clip] = held
        waveform, rate = held
        if len(waveform) < (start_s + window_s - TOLERANCE_S) * rate:
            raise StimulusError(
                f"the clip {clip!r} lasts {len(waveform) / rate:.4g} s; its window ends at {start_s + window_s:g} s"
            )
        first = round(start_s * rate)
        return waveform[first : first + round(window_s * rate)].copy(), rate

    parameters = {"window_s": window_s, "step_s": step_s, "clip_s": clip_s}
    name = f"{stimuli.name} > windows({', '.join(f'{k}={v:g}' for k, v in parameters.items())})"
    manifest = stimuli.manifest.model_copy(update={"name": name, "target_rms": None})
    return ManipulatedSet(manifest, table, source, None, stimuli, "windows", parameters)
