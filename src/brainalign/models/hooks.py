"""Forward hooks: which output of which call of which submodule a layer name means, and how it is recorded.

A layer name is the path of a submodule, as ``named_modules`` gives it, with two optional parts:

``PATH:CALL``
    Which call, from 0, of a submodule that runs several times in one pass: ``shared:0``, ``shared:1``.
``PATH.ITEM``
    Which tensor, where the output is a tuple, list, dict or dataclass, however nested: ``lstm.0``, ``lstm.1.0``,
    ``encoder.last_hidden_state``. Names of submodules come first: ``block.0`` is the output's first item only if
    ``block`` has no submodule ``0``. A single tensor inside a container needs no item.

Both together: ``lstm:1.0``. The output of the whole module is ``output`` (unless a submodule has that name).
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from brainalign.errors import ModelError, did_you_mean, name_some

#: The name of what the whole module gives.
OUTPUT = "output"


@dataclasses.dataclass(frozen=True)
class Target:
    """What a layer name means.

    Attributes
    ----------
    path : str
        The submodule; empty for the module itself.
    call : int or None
        Which call; None for a submodule that is called once.
    item : str
        Which tensor of its output; empty for the only one.
    """

    path: str
    call: int | None = None
    item: str = ""


def parse_layer(module: nn.Module, layer: str) -> Target:
    """Return what a layer name means.

    Parameters
    ----------
    module : nn.Module
        The module whose submodules are named.
    layer : str
        ``PATH[:CALL][.ITEM]``, see the top of this file.

    Returns
    -------
    Target
        Path, call and item.

    Raises
    ------
    ModelError
        If no submodule has that name; the message says which come near.
    """
    paths = [path for path, _ in module.named_modules(remove_duplicate=False) if path]
    if layer in paths:
        return Target(layer)
    match = re.fullmatch(r"(?P<path>.+):(?P<call>\d+)(\.(?P<item>.+))?", layer)
    if match and match["path"] in [*paths, OUTPUT]:
        path = match["path"] if match["path"] in paths else ""
        return Target(path, int(match["call"]), match["item"] or "")
    parts = layer.split(".")
    for n in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:n]) in paths:
            return Target(".".join(parts[:n]), item=".".join(parts[n:]))
    if parts[0] == OUTPUT:
        return Target("", item=".".join(parts[1:]))
    raise ModelError(f"no layer {layer!r}; {did_you_mean(layer, paths)}")


def tensors_in(output: Any) -> dict[str, Tensor]:
    """Flatten what a module gives.

    Parameters
    ----------
    output : object
        A tensor, or tensors in tuples, lists, mappings and dataclasses, however nested.

    Returns
    -------
    dict of str to Tensor
        Keys are indices, keys and fields joined by dots; a bare tensor has the key ``""``. What is no tensor is not
        listed.
    """
    if isinstance(output, Tensor):
        return {"": output}
    return {
        f"{name}.{inner}" if inner else name: tensor
        for name, part in _parts(output)
        for inner, tensor in tensors_in(part).items()
    }


def _parts(output: Any) -> list[tuple[str, Any]]:
    if isinstance(output, Mapping):
        return [(str(key), part) for key, part in output.items()]
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return list(zip(output._fields, output, strict=True))
    if isinstance(output, tuple | list):
        return [(str(i), part) for i, part in enumerate(output)]
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return [(f.name, getattr(output, f.name)) for f in dataclasses.fields(output)]
    return []


def find_item(output: Any, item: str, layer: str) -> str:
    """Return the key, as :func:`tensors_in` gives it, of the tensor that a layer name means.

    Parameters
    ----------
    output : object
        What a submodule gave.
    item : str
        The item that was asked for; empty for the only tensor.
    layer : str
        The name of the layer, for messages.

    Returns
    -------
    str
        A key of ``tensors_in(output)``.

    Raises
    ------
    ModelError
        If there is no such tensor, or none is named and there are several.
    """
    found = tensors_in(output)
    if item in found:
        return item
    kind = type(output).__name__
    if item:
        known = name_some(map(repr, found), 8) if set(found) - {""} else f"it gives one {kind}"
        raise ModelError(f"the output of layer {layer!r} has no item {item!r}; {known}")
    if not found:
        raise ModelError(f"layer {layer!r} gives a {kind} without tensors; choose a layer inside it")
    if len(found) > 1:
        choices = name_some([repr(f"{layer}.{key}") for key in found], 8)
        raise ModelError(f"layer {layer!r} gives a {kind} of {len(found)} tensors; name one: {choices}")
    return next(iter(found))


def replace_item(output: Any, key: str, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a copy of an output with one tensor changed.

    Parameters
    ----------
    output : object
        What a submodule gave; left as it is.
    key : str
        A key of ``tensors_in(output)``.
    change : callable
        Takes the tensor and gives its replacement.

    Returns
    -------
    object
        Of the same type.
    """
    if not key:
        return change(output)
    name, part = next((n, p) for n, p in _parts(output) if key == n or key.startswith(f"{n}."))
    new = replace_item(part, key[len(name) + 1 :], change)
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        changed[next(k for k in output if str(k) == name)] = new
        return changed
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*(new if n == name else p for n, p in _parts(output)))
    if isinstance(output, tuple | list):
        return type(output)(new if i == int(name) else p for i, p in enumerate(output))
    return dataclasses.replace(output, **{name: new})


@contextmanager
def hooking(module: nn.Module, hooks: Sequence[tuple[str, Callable[[Any], Any]]]) -> Iterator[None]:
    """Attach functions to the outputs of submodules while the block runs.

    Parameters
    ----------
    module : nn.Module
        The module.
    hooks : sequence of (str, callable)
        Paths of submodules, and what is called with their outputs; what it gives, if not None, takes their place.

    Yields
    ------
    None
        These hooks, and no others, are removed at the end, also after an error.
    """
    handles = []
    try:
        for path, function in hooks:
            handles.append(module.get_submodule(path).register_forward_hook(_ignoring_inputs(function)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _ignoring_inputs(function: Callable[[Any], Any]) -> Callable[[nn.Module, Any, Any], Any]:
    return lambda _module, _inputs, output: function(output)


@contextmanager
def recording(
    module: nn.Module, layers: Sequence[str], take: Callable[[str, Tensor], Tensor] | None = None
) -> Iterator[dict[str, list[Tensor]]]:
    """Record the outputs of submodules while the block runs.

    Each output is cloned in the hook: a later in-place operation (an in-place ReLU after a batch normalisation) would
    otherwise change what was recorded. One entry is kept per call, or the one call that the name says.

    Parameters
    ----------
    module : nn.Module
        The module whose submodules are watched.
    layers : sequence of str
        Layer names, see :func:`parse_layer`.
    take : callable, optional
        Takes a layer's name and its output in the hook, gives what is kept of it, in memory of its own; the output's
        copy if not given.

    Yields
    ------
    dict of str to list of Tensor
        Filled by forward passes; the hooks are removed at the end, also after an error.
    """
    outputs: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def keep(layer: str, target: Target) -> Callable[[Any], None]:
        calls = itertools.count()

        def hook(output: Any) -> None:
            if next(calls) == target.call or target.call is None:
                found = tensors_in(output)[find_item(output, target.item, layer)]
                outputs[layer].append(found.detach().clone() if take is None else take(layer, found.detach()))

        return hook

    targets = {layer: parse_layer(module, layer) for layer in outputs}
    with hooking(module, [(target.path, keep(layer, target)) for layer, target in targets.items()]):
        yield outputs
