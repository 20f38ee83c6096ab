"""What is measured: brain data sets, their reliability and geometry, and simulated ones."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from brainalign.brain.data import BrainData
from brainalign.errors import BrainError, did_you_mean
from brainalign.registry import Registry

if TYPE_CHECKING:
    from brainalign.brain.component_count import cross_validate_n_components
    from brainalign.brain.cortex import simulate_cortex
    from brainalign.brain.decomposition import VoxelDecomposition, infer_profiles, infer_weights
    from brainalign.brain.matching import match_components
    from brainalign.brain.nh2015_maps import load_nh2015_maps
    from brainalign.brain.reliability import select_reliable
    from brainalign.brain.table import save_brain

BRAINS = Registry("brain data set", "brainalign.brains", BrainError)

#: Imported when asked for: some need scipy.stats.
_WHERE = {
    "VoxelDecomposition": "decomposition",
    "cross_validate_n_components": "component_count",
    "infer_profiles": "decomposition",
    "infer_weights": "decomposition",
    "load_nh2015_maps": "nh2015_maps",
    "match_components": "matching",
    "save_brain": "table",
    "select_reliable": "reliability",
    "simulate_cortex": "cortex",
}

__all__ = [
    "BRAINS",
    "BrainData",
    "VoxelDecomposition",
    "cross_validate_n_components",
    "infer_profiles",
    "infer_weights",
    "load_brain",
    "load_nh2015_maps",
    "match_components",
    "save_brain",
    "select_reliable",
    "simulate_cortex",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign.brain' has no attribute {name!r}")
    return getattr(import_module(f"brainalign.brain.{_WHERE[name]}"), name)


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
        If the name or an option is unknown or lacking, or the data are not there.
    """
    loader = BRAINS.get(name)
    known = inspect.signature(loader).parameters
    unknown = [o for o in options if o not in known]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        raise BrainError(f"{name} has no option {unknown[0]!r}; {did_you_mean(unknown[0], known)}")
    lacking = [n for n, p in known.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD and n not in options]
    if lacking:
        raise BrainError(f"{name} needs the option {lacking[0]!r}")
    brain: BrainData = loader(**options)
    return brain
