"""Compare audio models with the human auditory cortex.

>>> import brainalign as ba
>>> sounds = ba.load_stimuli("demo")
>>> model = ba.load_model("logmel")
>>> responses = ba.extract(model, sounds)
>>> brain = ba.load_brain("demo-components")
>>> ba.component_encoding(responses, brain).table  # doctest: +SKIP

What there is, by topic; all else is in the rooms (:mod:`brainalign.stimuli`, :mod:`brainalign.models`,
:mod:`brainalign.brain`, :mod:`brainalign.measures`, :mod:`brainalign.stats`, :mod:`brainalign.recipes`):

* sounds: `load_stimuli`, `StimulusSet`
* models: `load_model`, `extract`, `HookedModel`
* brain data: `load_brain`, `save_brain`, `BrainData`, `select_reliable`, `simulate_cortex`, `load_nh2015_maps`
* components of voxels: `VoxelDecomposition`, `cross_validate_n_components`, `infer_profiles`, `infer_weights`,
  `match_components`
* responses of either: `make_responses`, `load_responses`, `save_responses`
* predicting the brain: `component_encoding`, `component_match`, `voxel_encoding`, `encoding_map`, `depth_profile`,
  `variance_partition`
* decoding from the brain: `decoding`, `tag_agreement`
* comparing representations: `rsa`, `similarity`, `layer_map`, `compare_models`, `dimensionality`
* selectivity: `response_ratio`, `selective_ratio`, `selective_profile`, `unit_table`, `segregation`, `readout`,
  `ablation`, `level_sweep`, `quilt_sweep`, `quilt_conditions`
* how good the data are: `reliability`, `witness_agreement`
* a whole analysis: `run_recipe`, `load_run`, `SavedRun`; many models ranked: `leaderboard`, `Leaderboard`
* what measures give: `Result`; what bad input raises: `BrainalignError`

Importing this package is light: torch, nilearn and the like are imported where they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from brainalign.errors import BrainalignError

if TYPE_CHECKING:
    __version__: str

    from brainalign.brain import (
        BrainData,
        VoxelDecomposition,
        cross_validate_n_components,
        infer_profiles,
        infer_weights,
        load_brain,
        load_nh2015_maps,
        match_components,
        save_brain,
        select_reliable,
        simulate_cortex,
    )
    from brainalign.measures.ablation import ablation
    from brainalign.measures.compare_models import compare_models
    from brainalign.measures.component_match import component_match
    from brainalign.measures.decoding import decoding
    from brainalign.measures.depth_profile import depth_profile
    from brainalign.measures.dimensionality import dimensionality
    from brainalign.measures.encoding import component_encoding
    from brainalign.measures.encoding_map import encoding_map
    from brainalign.measures.leaderboard import Leaderboard, leaderboard
    from brainalign.measures.level_sweep import level_sweep
    from brainalign.measures.quilt_conditions import quilt_conditions
    from brainalign.measures.quilt_sweep import quilt_sweep
    from brainalign.measures.ratio import response_ratio
    from brainalign.measures.readout import readout
    from brainalign.measures.reliability import reliability
    from brainalign.measures.result import Result
    from brainalign.measures.rsa import rsa
    from brainalign.measures.segregation import segregation
    from brainalign.measures.selective import selective_profile, selective_ratio
    from brainalign.measures.similarity import layer_map, similarity
    from brainalign.measures.tag_agreement import tag_agreement
    from brainalign.measures.units import unit_table
    from brainalign.measures.variance_partition import variance_partition
    from brainalign.measures.voxel_encoding import voxel_encoding
    from brainalign.measures.witnesses import witness_agreement
    from brainalign.models import HookedModel, extract, load_model
    from brainalign.report.folder import run_recipe
    from brainalign.report.saved import SavedRun, load_run
    from brainalign.responses import load_responses, make_responses, save_responses
    from brainalign.stimuli import StimulusSet, load_stimuli

_WHERE = {
    "BrainData": "brain",
    "VoxelDecomposition": "brain",
    "cross_validate_n_components": "brain",
    "infer_profiles": "brain",
    "infer_weights": "brain",
    "load_brain": "brain",
    "load_nh2015_maps": "brain",
    "match_components": "brain",
    "save_brain": "brain",
    "select_reliable": "brain",
    "simulate_cortex": "brain",
    "ablation": "measures.ablation",
    "compare_models": "measures.compare_models",
    "component_match": "measures.component_match",
    "decoding": "measures.decoding",
    "depth_profile": "measures.depth_profile",
    "dimensionality": "measures.dimensionality",
    "component_encoding": "measures.encoding",
    "encoding_map": "measures.encoding_map",
    "Leaderboard": "measures.leaderboard",
    "leaderboard": "measures.leaderboard",
    "level_sweep": "measures.level_sweep",
    "quilt_conditions": "measures.quilt_conditions",
    "quilt_sweep": "measures.quilt_sweep",
    "response_ratio": "measures.ratio",
    "readout": "measures.readout",
    "reliability": "measures.reliability",
    "Result": "measures.result",
    "rsa": "measures.rsa",
    "segregation": "measures.segregation",
    "selective_profile": "measures.selective",
    "selective_ratio": "measures.selective",
    "layer_map": "measures.similarity",
    "similarity": "measures.similarity",
    "tag_agreement": "measures.tag_agreement",
    "unit_table": "measures.units",
    "variance_partition": "measures.variance_partition",
    "voxel_encoding": "measures.voxel_encoding",
    "witness_agreement": "measures.witnesses",
    "HookedModel": "models",
    "extract": "models",
    "load_model": "models",
    "run_recipe": "report.folder",
    "SavedRun": "report.saved",
    "load_run": "report.saved",
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
    "Leaderboard",
    "Result",
    "SavedRun",
    "StimulusSet",
    "VoxelDecomposition",
    "__version__",
    "ablation",
    "compare_models",
    "component_encoding",
    "component_match",
    "cross_validate_n_components",
    "decoding",
    "depth_profile",
    "dimensionality",
    "encoding_map",
    "extract",
    "infer_profiles",
    "infer_weights",
    "layer_map",
    "leaderboard",
    "level_sweep",
    "load_brain",
    "load_model",
    "load_nh2015_maps",
    "load_responses",
    "load_run",
    "load_stimuli",
    "make_responses",
    "match_components",
    "quilt_conditions",
    "quilt_sweep",
    "readout",
    "reliability",
    "response_ratio",
    "rsa",
    "run_recipe",
    "save_brain",
    "save_responses",
    "segregation",
    "select_reliable",
    "selective_profile",
    "selective_ratio",
    "similarity",
    "simulate_cortex",
    "tag_agreement",
    "unit_table",
    "variance_partition",
    "voxel_encoding",
    "witness_agreement",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("brainalign")
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign' has no attribute {name!r}")
    return getattr(import_module(f"brainalign.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
