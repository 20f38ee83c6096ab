"""What listens: the AudioModel protocol, the registry, and extraction of layer activations."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from brainalign.errors import ModelError
from brainalign.models._names import parse_name
from brainalign.registry import Registry

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel
    from brainalign.models.cache import cache_folder
    from brainalign.models.extraction import extract, extract_layers
    from brainalign.models.hooked import HookedModel
    from brainalign.models.layers import ModelCard, describe_layers, describe_models, list_models, select_layers
    from brainalign.models.logmel_pca import fit_logmel_pca, save_logmel_pca
    from brainalign.models.reduction import reduce_units

MODELS = Registry("model", "brainalign.models", ModelError)

__all__ = [
    "MODELS",
    "AudioModel",
    "HookedModel",
    "ModelCard",
    "cache_folder",
    "describe_layers",
    "describe_models",
    "extract",
    "extract_layers",
    "fit_logmel_pca",
    "list_models",
    "load_model",
    "reduce_units",
    "save_logmel_pca",
    "select_layers",
]

_WHERE = {
    "AudioModel": "base",
    "HookedModel": "hooked",
    "ModelCard": "layers",
    "cache_folder": "cache",
    "describe_layers": "layers",
    "describe_models": "layers",
    "extract": "extraction",
    "extract_layers": "extraction",
    "fit_logmel_pca": "logmel_pca",
    "list_models": "layers",
    "reduce_units": "reduction",
    "save_logmel_pca": "logmel_pca",
    "select_layers": "layers",
}


def load_model(name: str, *, folder: Path | None = None) -> AudioModel:
    """Load a model by name.

    Parameters
    ----------
    name : str
        ``NAME[:VARIANT][@CONTROL:SEED]``: a registered name; which weights, where there are several or a file
        holds them (``"kim2024-cnn:my.safetensors"``), or which network of a family
        (``"torchaudio:WAV2VEC2_BASE"``, ``"hf:org/name"``, ``"onnx:my-net.onnx"``,
        ``"python:my_package.nets:my_net"``); and a control condition, ``random`` for freshly drawn weights, which
        needs no trained ones (``"kim2024-cnn@random:0"``), or ``permuted`` for weights that are shuffled within each
        tensor.
    folder : Path, optional
        Where a file that is named by a relative path is looked for first.

    Returns
    -------
    AudioModel
        In evaluation mode, on the CPU; called as it was asked for.

    Raises
    ------
    ModelError
        If the name is malformed or unknown, the weights are not there, or the model has none to replace.
    """
    family, variant, control, seed = parse_name(name)
    loader = MODELS.get(family)
    variant, pretrained = _beside(variant, folder), control != "random"
    try:
        inspect.signature(loader).bind(variant, pretrained=pretrained)
    except TypeError as why:
        raise ModelError(
            f"the loader of model {family!r} must take (variant: str, *, pretrained: bool): {why}"
        ) from why
    model: AudioModel = loader(variant, pretrained=pretrained)
    if control is None:
        return _called(model, name)
    replaced = getattr(model, f"with_{control}_weights", None)
    if replaced is None:
        raise ModelError(f"model {family!r} has no weights to replace, so there is no {control} control of it")
    return _called(replaced(seed), name)


def _beside(variant: str, folder: Path | None) -> str:
    """Put a folder before the file that a variant begins with, if it lies there."""
    file = re.match(r"[^:?]*", variant)
    return str(folder / variant) if folder and file and file[0] and (folder / file[0]).is_file() else variant


def _called(model: Any, name: str) -> AudioModel:
    """Return the model under the name by which it was asked for, so that two files of one name stay apart.

    A model of a lab's own class keeps the name that it has.
    """
    named = is_dataclass(model) and not isinstance(model, type)
    return cast("AudioModel", replace(model, name=name) if named else model)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign.models' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"brainalign.models.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
