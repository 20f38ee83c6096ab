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
    from brainalign.measures.encoding import component_encoding
    from brainalign.measures.ratio import response_ratio
    from brainalign.measures.result import Result
    from brainalign.measures.rsa import rsa
    from brainalign.models import extract, load_model
    from brainalign.report.folder import run_recipe
    from brainalign.responses import load_responses, make_responses, save_responses
    from brainalign.stimuli import StimulusSet, load_stimuli

__version__ = version("brainalign")

_WHERE = {
    "BrainData": "brain",
    "load_brain": "brain",
    "component_encoding": "measures.encoding",
    "response_ratio": "measures.ratio",
    "Result": "measures.result",
    "rsa": "measures.rsa",
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
    "Result",
    "StimulusSet",
    "__version__",
    "component_encoding",
    "extract",
    "load_brain",
    "load_model",
    "load_responses",
    "load_stimuli",
    "make_responses",
    "response_ratio",
    "rsa",
    "run_recipe",
    "save_responses",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign' has no attribute {name!r}")
    return getattr(import_module(f"brainalign.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
