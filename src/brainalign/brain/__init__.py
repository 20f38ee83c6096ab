"""What is measured: brain data sets, their reliability and geometry, and simulated ones."""

from __future__ import annotations

from typing import Any

from brainalign.brain.data import BrainData
from brainalign.errors import BrainError
from brainalign.registry import Registry

BRAINS = Registry("brain data set", "brainalign.brains", BrainError)

__all__ = ["BRAINS", "BrainData", "load_brain"]


def load_brain(name: str, **options: Any) -> BrainData:
    """Load brain data by their registered name.

    Parameters
    ----------
    name : str
        A known data set, for instance ``"nh2015-components"``.
    **options
        What its loader takes.

    Returns
    -------
    BrainData
        Responses with what belongs to them.

    Raises
    ------
    BrainError
        If the name is unknown or the data are not there.
    """
    brain: BrainData = BRAINS.get(name)(**options)
    return brain
