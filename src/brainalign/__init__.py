"""Compare audio models with the human auditory cortex.

>>> import brainalign as ba
>>> sounds = ba.load_stimuli("demo")
>>> model = ba.load_model("logmel")
>>> responses = ba.extract(model, sounds)
>>> brain = ba.load_brain("demo-components")
>>> ba.component_encoding(responses, brain).table  # doctest: +SKIP

Importing this package is light: torch, nilearn and the like are imported where they are used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from brainalign.errors import BrainalignError

if TYPE_CHECKING:
    from brainalign.brain import BrainData, load_brain
    from brainalign.measures.ablation import ablation
    from brainalign.measures.compare_models import compare_models
    from brainalign.measures.depth_profile import depth_profile
    from brainalign.measures.dimensionality import dimensionality
    from brainalign.measures.encoding import component_encoding
    from brainalign.measures.level_sweep import level_sweep
    from brainalign.measures.quilt_conditions import quilt_conditions
    from brainalign.measures.quilt_sweep import quilt_sweep
    from brainalign.measures.ratio import response_ratio
    from brainalign.measures.readout import readout
    from brainalign.measures.result import Result
    from brainalign.measures.rsa import rsa
    from brainalign.measures.segregation import segregation
    from brainalign.measures.selective import selective_profile, selective_ratio
    from brainalign.measures.similarity import layer_map, similarity
    from brainalign.measures.units import unit_table
    from brainalign.measures.variance_partition import variance_partition
    from brainalign.measures.voxel_encoding import voxel_encoding
    from brainalign.models import HookedModel, extract, load_model
    from brainalign.report.folder import run_recipe
    from brainalign.responses import load_responses, make_responses, save_responses
    from brainalign.stimuli import StimulusSet, load_stimuli

__version__ = version("brainalign")

_WHERE = {
    "BrainData": "brain",
    "load_brain": "brain",
    "ablation": "measures.ablation",
    "compare_models": "measures.compare_models",
    "depth_profile": "measures.depth_profile",
    "dimensionality": "measures.dimensionality",
    "component_encoding": "measures.encoding",
    "level_sweep": "measures.level_sweep",
    "quilt_conditions": "measures.quilt_conditions",
    "quilt_sweep": "measures.quilt_sweep",
    "response_ratio": "measures.ratio",
    "readout": "measures.readout",
    "Result": "measures.result",
    "rsa": "measures.rsa",
    "segregation": "measures.segregation",
    "selective_profile": "measures.selective",
    "selective_ratio": "measures.selective",
    "layer_map": "measures.similarity",
    "similarity": "measures.similarity",
    "unit_table": "measures.units",
    "variance_partition": "measures.variance_partition",
    "voxel_encoding": "measures.voxel_encoding",
    "HookedModel": "models",
    "extract": "models",
    "load_model": "models",
    "run_recipe": "report.folder",
    "load_responses": "responses",
    "make_responses": "responses",
    "save_responses": "responses",
    "StimulusSet": "stimuli",
    "load_stimuli": "stimuli",
}

__all__ = [
    "BrainData",
    "BrainalignError",
    "HookedModel",
    "Result",
    "StimulusSet",
    "__version__",
    "ablation",
    "compare_models",
    "component_encoding",
    "depth_profile",
    "dimensionality",
    "extract",
    "layer_map",
    "level_sweep",
    "load_brain",
    "load_model",
    "load_responses",
    "load_stimuli",
    "make_responses",
    "quilt_conditions",
    "quilt_sweep",
    "readout",
    "response_ratio",
    "rsa",
    "run_recipe",
    "save_responses",
    "segregation",
    "selective_profile",
    "selective_ratio",
    "similarity",
    "unit_table",
    "variance_partition",
    "voxel_encoding",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign' has no attribute {name!r}")
    return getattr(import_module(f"brainalign.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
