"""What is played: stimulus sets, audio, manipulations and synthesis."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainalign.errors import StimulusError, did_you_mean
from brainalign.registry import Registry
from brainalign.stimuli.sets import StimulusSet, read_stimulus_set

if TYPE_CHECKING:
    from brainalign.stimuli.checks import check_stimuli
    from brainalign.stimuli.create import create_stimulus_set
    from brainalign.stimuli.manipulations import MANIPULATIONS, manipulate
    from brainalign.stimuli.prepare import Preparation, prepare_stimuli
    from brainalign.stimuli.quilting import quilted
    from brainalign.stimuli.writing import write_set

STIMULI = Registry("stimulus set", "brainalign.stimuli", StimulusError)

__all__ = [
    "MANIPULATIONS",
    "STIMULI",
    "Preparation",
    "StimulusSet",
    "check_stimuli",
    "create_stimulus_set",
    "load_stimuli",
    "manipulate",
    "prepare_stimuli",
    "quilted",
    "read_stimulus_set",
    "write_set",
]

_WHERE = {
    "MANIPULATIONS": "manipulations",
    "Preparation": "prepare",
    "check_stimuli": "checks",
    "create_stimulus_set": "create",
    "manipulate": "manipulations",
    "prepare_stimuli": "prepare",
    "quilted": "quilting",
    "write_set": "writing",
}


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


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign.stimuli' has no attribute {name!r}")
    return getattr(import_module(f"brainalign.stimuli.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
