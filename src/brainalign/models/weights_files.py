"""Where the converted weights of published networks lie, how they come there and how they are found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainalign._files import data_folder, write_then_rename
from brainalign._reading import read_npz
from brainalign.errors import ModelError, did_you_mean, name_some

if TYPE_CHECKING:
    from torch import nn

#: Models whose published arrays are converted, and the function that converts a folder of them.
CONVERTERS = {
    "musicnn": "brainalign.models.musicnn:convert_musicnn",
    "yamnet": "brainalign.models.yamnet:convert_yamnet",
}


def install_weights(name: str, source: Path | None) -> list[Path]:
    """Convert the published arrays of a network and put them where its loader looks.

    Parameters
    ----------
    name : str
        A model of :data:`CONVERTERS`, for instance ``"yamnet"``.
    source : Path or None
        The folder that holds the published arrays; nothing is downloaded.

    Returns
    -------
    list of Path
        The safetensors files, in ``BRAINALIGN_DATA/weights/NAME`` or in the user's cache.

    Raises
    ------
    ModelError
        If the name is unknown, no folder is given, or it does not hold what was published.
    """
    if name not in CONVERTERS:
        raise ModelError(f"no weights of {name!r} can be converted; {did_you_mean(name, CONVERTERS)}")
    path, function = CONVERTERS[name].split(":")
    module = import_module(path)
    if source is None:
        raise ModelError(
            f"the weights of {name} are converted, not downloaded: get them from {module.ORIGIN} and give their "
            f"folder, brainalign fetch {name} --from FOLDER"
        )
    convert: Callable[[Path, Path], list[Path]] = getattr(module, function)
    return convert(source, weights_folder(name))


def weights_folder(name: str) -> Path:
    """Return the folder of a model's converted weights."""
    return data_folder() / "weights" / name


def find_weights(name: str, file: str, origin: str) -> Path:
    """Return a converted weights file, or say how to get it.

    Parameters
    ----------
    name : str
        The model.
    file : str
        The file's name.
    origin : str
        Where the published arrays come from.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If it is not there; nothing is downloaded.
    """
    path = weights_folder(name) / file
    if not path.is_file():
        raise ModelError(
            f"the weights of model {name!r} are not there: no file {path}. They come from {origin}; convert a local "
            f"copy with 'brainalign fetch {name} --from FOLDER', or give a file, '{name}:FILE.safetensors', or draw "
            f"random weights, '{name}@random:0'"
        )
    return path


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays from an npz file that holds these and no others.

    Parameters
    ----------
    path : Path
        The file; one that would need unpickling is refused.
    names : sequence of str
        Names of its arrays.

    Returns
    -------
    dict of str to ndarray
        The arrays.

    Raises
    ------
    ModelError
        If the file is missing or holds something else; the message names the arrays that differ.
    """
    if not path.is_file():
        raise ModelError(f"no file {path.name} in {path.parent}")
    arrays = read_npz(path, ModelError)
    differ = [f"{n} is missing" for n in names if n not in arrays] + [
        f"{n} is unknown" for n in arrays if n not in names
    ]
    if differ:
        raise ModelError(f"{path.name} holds the arrays of another network: {name_some(differ, 4)}")
    return arrays


def fill(module: nn.Module, arrays: Mapping[str, np.ndarray], where: Path) -> None:
    """Put arrays into a module's parameters and running statistics.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    arrays : mapping of str to ndarray
        By the names of the module's ``state_dict``; running counts of batches are left out.
    where : Path
        The file they are from, for messages.

    Raises
    ------
    ModelError
        If a shape is another.
    """
    import torch

    state = module.state_dict()
    differ = [
        f"{k} is {v.shape}, expected {tuple(state[k].shape)}" for k, v in arrays.items() if v.shape != state[k].shape
    ]
    if differ:
        raise ModelError(f"{where.name} holds arrays of another shape: {name_some(differ, 4)}")
    values = {k: torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)) for k, v in arrays.items()}
    counts = {k: v for k, v in state.items() if k.endswith("num_batches_tracked")}
    module.load_state_dict(values | counts)


def save(module: nn.Module, path: Path, published: str, class_names: Sequence[str]) -> Path:
    """Write a module's tensors as safetensors, its class names in the header.

    Parameters
    ----------
    module : nn.Module
        What holds the weights.
    path : Path
        Where to.
    published : str
        The digest of the published weights (:func:`~brainalign.models.hooked.weights_digest`).
    class_names : sequence of str
        What the outputs stand for.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ModelError
        If the weights are not the published ones.
    """
    from safetensors.torch import save_file

    if not _is_published(module, published):
        raise ModelError(
            f"the arrays for {path.name} are not the published ones: their digest is not {published[:12]}...; get them "
            f"again, or save weights of your own as safetensors and give that file"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_then_rename(path) as temporary:
        save_file(module.state_dict(), temporary, metadata={"class_names": json.dumps(list(class_names))})
    return path


def _is_published(module: nn.Module, published: str) -> bool:
    from brainalign.models.hooked import weights_digest

    return weights_digest(module) == published


def read_class_names(path: Path, n_classes: int) -> tuple[str, ...]:
    """Read the class names in the header of a safetensors file that loaded.

    Parameters
    ----------
    path : Path
        The file.
    n_classes : int
        How many there must be.

    Returns
    -------
    tuple of str
        In the order of the outputs; empty if the file names none.

    Raises
    ------
    ModelError
        If there are more or fewer, or they are no list of names.
    """
    import safetensors

    with safetensors.safe_open(path, framework="pt") as file:
        header: dict[str, str] = file.metadata() or {}
    if "class_names" not in header:
        return ()
    try:
        names = json.loads(header["class_names"])
    except (ValueError, RecursionError) as why:
        raise ModelError(f"the class_names in the header of {path.name} are not JSON: {why}") from why
    if not isinstance(names, list) or len(names) != n_classes or not all(isinstance(name, str) for name in names):
        raise ModelError(f"the class_names in the header of {path.name} are not a list of {n_classes} names")
    return tuple(names)
