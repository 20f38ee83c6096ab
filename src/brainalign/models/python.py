"""A lab's own network by its Python name: ``python:MODULE:ATTRIBUTE``."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn

from brainalign.engine.sources import SHIPPED, imported_digest
from brainalign.errors import ModelError, did_you_mean
from brainalign.models._names import read_rate, split_options
from brainalign.models.base import AudioModel
from brainalign.models.hooked import HookedModel


def load_python(variant: str = "", *, pretrained: bool = True) -> AudioModel:
    """Load a network that is named by where it stands in Python code.

    Parameters
    ----------
    variant : str
        ``MODULE:ATTRIBUTE[?sample_rate=RATE]``: an importable module or a file (``nets/mine.py``), and in it an
        ``nn.Module``, an AudioModel, or a callable without arguments that gives one (a class or a function; if it
        takes ``pretrained``, it is told; torch's generator is seeded with 0 meanwhile). The rate in Hz is the
        attribute ``sample_rate`` of the network or of the callable, or stands in the name. The layers of an
        ``nn.Module`` are found by :meth:`~brainalign.models.HookedModel.from_module`.
    pretrained : bool
        False for a network whose weights a control then draws.

    Returns
    -------
    AudioModel
        Named ``python:MODULE:ATTRIBUTE``. Its record has ``python_code``, the digest of the package of the module or
        of all modules beside its file, so no activation of other code is taken for its own. If that has changed since
        it was loaded last, it is imported anew.

    Raises
    ------
    ModelError
        If there is no such module or attribute, it gives no model, or nothing says the sample rate.
    """
    place, options = split_options("python", variant, ("sample_rate",))
    module_name, colon, attribute = place.rpartition(":")
    if not (module_name and colon and attribute):
        raise ModelError(f"model 'python:{variant}' is not of the form python:MODULE:ATTRIBUTE[?sample_rate=RATE]")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module, code = _import(module_name)
        found = _attribute(module, attribute, f"python:{place}")
        build, untrained = _builders(found, pretrained, f"python:{place}")
        # Again: only the first import runs the code of the module.
        torch.default_generator.manual_seed(0)
        network = build()
    if not isinstance(network, nn.Module):
        if not isinstance(network, AudioModel):
            raise ModelError(
                f"model 'python:{place}' is a {type(network).__name__}, expected an nn.Module, an AudioModel or a "
                f"callable that gives one"
            )
        if options:
            raise ModelError(f"model 'python:{variant}' is an AudioModel, which has its own sample_rate; leave it out")
        return with_code(network, code)
    rate = _rate(network, found, variant, options)
    hooked = HookedModel.from_module(network, rate, name=f"python:{place}", untrained=untrained)
    return with_code(hooked, code)


def with_code(model: AudioModel, code: str | None) -> AudioModel:
    """Return a copy of a model whose record tells its code, so that it is another model when the code changes.

    Parameters
    ----------
    model : AudioModel
        Stays as it is.
    code : str or None
        As :func:`~brainalign.engine.sources.source_digest` gives it; what is shipped is not noted.

    Returns
    -------
    AudioModel
        Of the same class, or of one that differs in its record alone.
    """
    if code is None or code == SHIPPED:
        return model
    record = {**model.record, "python_code": code}
    if isinstance(model, HookedModel):
        return replace(model, record=record)
    own: Any = copy.copy(model)
    if "record" in vars(own):
        vars(own)["record"] = record
        return cast("AudioModel", own)
    # The record is an attribute or a property of the class.
    kind: Any = type(own)
    names = {"record": record, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    own.__class__ = type(kind.__name__, (kind,), names)
    return cast("AudioModel", own)


def _import(name: str) -> tuple[ModuleType, str | None]:
    """Import a module by its name, or by its file, anew if it has changed; give the digest of its code too."""
    if not name.endswith(".py"):
        code = _code_of(name.partition(".")[0])
        try:
            return importlib.import_module(name), code
        except ImportError as why:
            raise ModelError(
                f"the module {name!r} cannot be imported: {why}; install it, or name the file: 'python:./FILE.py:NAME'"
            ) from why
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise ModelError(f"no file {name}")
    code = imported_digest(f"_brainalign_{path.stem}", str(path))
    spec = importlib.util.spec_from_file_location(f"_brainalign_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{name} cannot be loaded as Python code")
    module = importlib.util.module_from_spec(spec)
    # Classes of the file (dataclasses, pickled modules) look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module, code


def _code_of(top: str) -> str | None:
    """Return the digest of a package or module that is about to be imported; None if it stands in no file."""
    try:
        spec = None if top == "__main__" else importlib.util.find_spec(top)
    except ValueError:  # made by hand, as in a notebook
        return None
    roots = list(spec.submodule_search_locations or []) if spec else []
    file = (spec.origin if spec and spec.has_location else None) or next(iter(roots), None)
    return None if file is None else imported_digest(top, file, roots)


def _attribute(module: ModuleType, attribute: str, model: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = did_you_mean(part, [name for name in dir(found) if not name.startswith("_")])
            raise ModelError(f"model {model!r}: {module.__name__} has no {attribute!r}; {near}")
        found = getattr(found, part)
    return found


def _builders(found: Any, pretrained: bool, model: str) -> tuple[Callable[[], Any], Callable[[], nn.Module] | None]:
    """Return what gives the network, and what gives it without weights, if the network's own code can say so."""
    is_model = isinstance(found, nn.Module) or (hasattr(found, "activations") and not inspect.isclass(found))
    if is_model or not callable(found):
        return lambda: found, None
    try:
        signature = inspect.signature(found)
        signature.bind()
    except (TypeError, ValueError) as why:
        raise ModelError(f"model {model!r} cannot be called without arguments: {why}") from why
    if "pretrained" in signature.parameters:
        return lambda: found(pretrained=pretrained), lambda: found(pretrained=False)
    return found, None


def _rate(network: nn.Module, found: Any, variant: str, options: dict[str, str]) -> int:
    """Return the sample rate that the network, what built it, or the name says."""
    said = {int(rate) for rate in (getattr(x, "sample_rate", None) for x in (network, found)) if rate is not None}
    if "sample_rate" in options:
        said.add(read_rate("python", variant, options["sample_rate"]))
    if not said:
        raise ModelError(
            f"model 'python:{variant}' does not say its sample rate: give the network an attribute sample_rate, or "
            f"write 'python:{variant}?sample_rate=16000'"
        )
    if len(said) > 1:
        raise ModelError(f"model 'python:{variant}': two sample rates are named, {min(said)} and {max(said)} Hz")
    return said.pop()
