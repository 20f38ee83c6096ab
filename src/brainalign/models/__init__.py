"""What listens: the AudioModel protocol, the registry, and extraction of layer activations."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from brainalign.errors import ModelError
from brainalign.registry import Registry

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel
    from brainalign.models.extraction import extract
    from brainalign.models.hooked import HookedModel

MODELS = Registry("model", "brainalign.models", ModelError)

__all__ = ["MODELS", "AudioModel", "HookedModel", "extract", "load_model"]

_NAME = re.compile(r"(?P<name>[^:@]+)(:(?P<variant>[^@]+))?(@(?P<control>[a-z]+):(?P<seed>\d+))?")
_WHERE = {"AudioModel": "base", "extract": "extraction", "HookedModel": "hooked"}


def load_model(name: str) -> AudioModel:
    """Load a model by name.

    Parameters
    ----------
    name : str
        ``NAME[:VARIANT][@CONTROL:SEED]``: a registered name; which weights, where there are several or a file
        holds them (``"kim2024-cnn:my.safetensors"``); and a control condition, ``random`` for freshly drawn
        weights or ``permuted`` for weights that are shuffled within each tensor (``"kim2024-cnn@random:0"``).

    Returns
    -------
    AudioModel
        In evaluation mode, on the CPU.

    Raises
    ------
    ModelError
        If the name is malformed or unknown, the weights are not there, or the model has none to replace.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ModelError(f"model name {name!r} is not of the form NAME[:VARIANT][@random:SEED or @permuted:SEED]")
    control = match["control"]
    if control not in (None, "random", "permuted"):
        raise ModelError(f"model {name!r}: unknown control {control!r}; known: 'random', 'permuted'")
    loader = MODELS.get(match["name"])
    variant, pretrained = match["variant"] or "", control != "random"
    try:
        inspect.signature(loader).bind(variant, pretrained=pretrained)
    except TypeError as why:
        raise ModelError(
            f"the loader of model {match['name']!r} must take (variant: str, *, pretrained: bool): {why}"
        ) from why
    model: AudioModel = loader(variant, pretrained=pretrained)
    if control is None:
        return model
    from brainalign.models.hooked import HookedModel

    if not isinstance(model, HookedModel):
        raise ModelError(f"model {match['name']!r} has no weights, so there is no {control} control of it")
    seed = int(match["seed"])
    if seed >= 2**63:
        raise ModelError(f"model {name!r}: the seed is not below 2^63")
    return model.with_random_weights(seed) if control == "random" else model.with_permuted_weights(seed)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign.models' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"brainalign.models.{_WHERE[name]}"), name)
