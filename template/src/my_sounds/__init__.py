"""A stimulus set for brainalign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brainalign.stimuli import StimulusSet


def load() -> StimulusSet:
    """Load the set from the files beside this one."""
    from brainalign.stimuli import read_stimulus_set

    return read_stimulus_set(Path(__file__).parent)
