"""What is played: stimulus sets, audio, manipulations and synthesis."""

from __future__ import annotations

from pathlib import Path

from brainalign.errors import StimulusError, did_you_mean
from brainalign.registry import Registry
from brainalign.stimuli.sets import StimulusSet, read_stimulus_set

STIMULI = Registry("stimulus set", "brainalign.stimuli", StimulusError)

__all__ = ["STIMULI", "StimulusSet", "load_stimuli", "read_stimulus_set"]


def load_stimuli(name: str | Path) -> StimulusSet:
    """Load a stimulus set by its registered name or from a folder.

    Parameters
    ----------
    name : str or path-like
        A known set (``"natsound165"``, ``"demo"``) or a folder that holds ``stimuli.csv``.

    Returns
    -------
    StimulusSet
        The set; audio is read when it is asked for.

    Raises
    ------
    StimulusError
        If there is neither such a set nor such a folder, or if the set is not well formed.
    """
    if isinstance(name, str) and name in STIMULI.names():
        loaded: StimulusSet = STIMULI.get(name)()
        return loaded
    folder = Path(name)
    if folder.is_dir():
        return read_stimulus_set(folder)
    raise StimulusError(f"no stimulus set and no folder {str(name)!r}; {did_you_mean(str(name), STIMULI.names())}")
