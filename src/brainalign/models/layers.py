"""Which models there are, which layers a model has, and how layers are named in a recipe."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainalign._files import data_folder
from brainalign.errors import ModelError, did_you_mean, name_some
from brainalign.models.base import AudioModel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: Samples at which a click is placed to find how many frames it reaches.
N_CLICKS = 16


@dataclass(frozen=True)
class ModelCard:
    """What is known about a registered model without importing it.

    Attributes
    ----------
    name : str
        As in recipes.
    what : str
        One line.
    variants : tuple of str
        What may follow ``NAME:``; capitals stand for something to fill in.
    needs : str
        What is lacking: a package with the extra that brings it, or weights and where they come from; empty if the
        model runs as it is.
    weights : str
        ``none``, ``ship``, ``there``, ``missing`` or ``elsewhere``.
    licence, citation : str
        Of the model.
    """

    name: str
    what: str
    variants: tuple[str, ...]
    needs: str
    weights: str
    licence: str
    citation: str


def list_models() -> list[ModelCard]:
    """Return a card of every registered model, by name; nothing is imported, and no data frame made."""
    from brainalign.models import MODELS

    known = tomllib.loads((Path(__file__).parent / "models.toml").read_text(encoding="utf-8"))
    return [_card(name, known.get(name)) for name in MODELS.names()]


def describe_models() -> pd.DataFrame:
    """Return :func:`list_models` as a table, one row per model, the columns of :class:`ModelCard`."""
    import pandas as pd

    return pd.DataFrame([asdict(card) | {"variants": ", ".join(card.variants)} for card in list_models()])


def _card(name: str, entry: dict[str, Any] | None) -> ModelCard:
    if entry is None:
        return ModelCard(name, "registered by another package", (), "", "elsewhere", "", "")
    here = Path(__file__).parent
    stem = entry.get("glob", "").split("**")[0]
    shipped = (
        [p.relative_to(here / stem).with_suffix("").as_posix() for p in sorted(here.glob(entry["glob"]))]
        if stem
        else []
    )
    needs, weights = [], entry["weights"]
    if "package" in entry and importlib.util.find_spec(entry["package"]) is None:
        needs.append(f"pip install 'brainalign[{entry['extra']}]'")
    if weights == "convert":
        folder = data_folder() / "weights" / name
        missing = [f for f in entry["files"] if not (folder / f).is_file()]
        weights = "missing" if missing else "there"
        if missing:
            needs.append(f"{name_some(missing)} from {entry['source']}: brainalign fetch {name} --from FOLDER")
    elif weights == "elsewhere":
        needs.append(f"weights: {entry['source']}")
    return ModelCard(
        name,
        entry["what"],
        (*shipped, *entry.get("variants", ())),
        "; ".join(needs),
        weights,
        entry["licence"],
        entry["citation"],
    )


def stages(layers: Sequence[str]) -> list[int]:
    """Return the stage of each layer: the outermost numbered block that holds it, else its top-level module.

    Parameters
    ----------
    layers : sequence of str
        Layer names, in order of depth. A number is a block if it has parts: ``encoder.layers.3.attention`` and
        ``encoder.layers.3`` are of the block ``encoder.layers.3``, but ``conv1.0`` is of ``conv1`` where nothing lies
        inside ``conv1.0``. What all names begin with is left out first.

    Returns
    -------
    list of int
        Counted from 0 in the order in which stages first appear.
    """
    paths = [re.sub(r":\d+", "", layer).split(".") for layer in layers]
    common = 0
    while len(paths) > 1 and all(len(p) > common + 1 and p[common] == paths[0][common] for p in paths):
        common += 1
    prefixes = {tuple(path[:n]) for path in paths for n in range(1, len(path))}
    found: list[int] = []
    seen: dict[tuple[str, ...], int] = {}
    for path in paths:
        blocks = (tuple(path[:n]) for n in range(1, len(path) + 1) if path[n - 1].isdigit())
        block = next((b for b in blocks if b in prefixes), tuple(path[: common + 1]))
        found.append(seen.setdefault(block, len(seen)))
    return found


def select_layers(model: AudioModel, patterns: Sequence[str] | str | None = None) -> list[str]:
    """Return the layers that patterns name, in order of depth.

    Parameters
    ----------
    model : AudioModel
        The model.
    patterns : sequence of str, or str, optional
        Each one a name; a glob (``"conv*"``); an index (``"#3"``, ``"#-1"`` the last) or a range of them
        (``"#2:5"``, the end left out); or a stage (``"stage:0"``, ``"stage:-1"``, ``"stage:last"``, see
        :func:`stages`). None for all layers.

    Returns
    -------
    list of str
        Each layer once.

    Raises
    ------
    ModelError
        If a pattern names no layer, or there is no pattern.
    """
    known = list(model.layouts)
    if patterns is None:
        return known
    if not patterns:
        raise ModelError(f"no layer of {model.name} is named; leave layers out for all")
    wanted: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        wanted |= set(_matching(model, known, pattern))
    return [layer for layer in known if layer in wanted]


def _matching(model: AudioModel, known: list[str], pattern: str) -> list[str]:
    if pattern in known:
        return [pattern]
    if match := re.fullmatch(r"#(-?\d+)", pattern):
        return [known[_place(int(match[1]), len(known), f"{model.name} has no layer {pattern!r}", "layers")]]
    if match := re.fullmatch(r"#(-?\d+)?:(-?\d+)?", pattern):
        start, stop = (None if end is None else int(end) for end in match.groups())
        found = known[slice(start, stop)]
    elif match := re.fullmatch(r"stage:(-?\d+|first|last)", pattern):
        own = stages(known)
        asked = {"first": 0, "last": -1}.get(match[1])
        stage = _place(
            int(match[1]) if asked is None else asked, max(own) + 1, f"{model.name} has no {pattern!r}", "stages"
        )
        return [layer for layer, s in zip(known, own, strict=True) if s == stage]
    else:
        found = fnmatch.filter(known, pattern)
    if not found:
        why = dict(model.record.get("left_out_layers", {})).get(pattern)
        hint = f"it was left out: {why}" if why else did_you_mean(pattern, known)
        raise ModelError(f"{model.name} has no layer {pattern!r}; {hint}")
    return found


def _place(index: int, n: int, problem: str, what: str) -> int:
    if not -n <= index < n:
        raise ModelError(f"{problem}: it has {n} {what}, 0 to {n - 1} or -1 to {-n} from the end")
    return index % n


def describe_layers(model: AudioModel, *, duration_s: float = 2.0, receptive_fields: bool = True) -> pd.DataFrame:
    """Describe the layers of a model.

    Parameters
    ----------
    model : AudioModel
        The model.
    duration_s : float
        Length of the sound for which shapes are given, in seconds.
    receptive_fields : bool
        Find receptive fields. That takes about 45 further passes of `duration_s` for every group of layers that share
        one.

    Returns
    -------
    DataFrame
        One row per layer, in order of depth: ``index``, ``layer``, ``stage`` (see :func:`stages`), ``layout``,
        ``shape`` (of one sound, the batch left out), ``n_units`` (all axes but time), ``parameters`` (of the submodule
        and its parts; empty if the model does not tell), ``receptive_field_ms`` (the stretch of sound that one frame
        rests on; infinite if it rests on all of it, or on all that came before) and ``hop_ms`` (from frame to frame).

        Receptive fields and hops are found by perturbation, exact to the sample: samples are made NaN, and the frames
        that turn NaN depend on them. They are empty for layers without time, where the sound is too short for the
        field, and where the model stops NaN.

    Raises
    ------
    ModelError
        If the model does not take a sound of that length.
    """
    import numpy as np
    import pandas as pd

    if model.sample_rate is None:
        raise ModelError(f"{model.name} hears nothing: it reads the table of the stimuli, of which its units are made")
    n_samples = round(duration_s * model.sample_rate)
    if n_samples < model.minimum_samples:
        raise ModelError(
            f"{model.name} takes at least {model.minimum_samples / model.sample_rate:.3f} s, asked for {duration_s} s"
        )
    layers = list(model.layouts)
    noise = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    shapes = {layer: a.shape[1:] for layer, a in _listen(model, noise[None], layers).items()}
    fields = _receptive_fields(model, noise, layers) if receptive_fields else {}
    milliseconds = 1000 / model.sample_rate
    rows = []
    for index, (layer, stage) in enumerate(zip(layers, stages(layers), strict=True)):
        layout = model.layouts[layer]
        field, hop = fields.get(layer, (np.nan, np.nan))
        rows.append(
            {
                "index": index,
                "layer": layer,
                "stage": stage,
                "layout": layout,
                "shape": shapes[layer],
                "n_units": int(np.prod([n for axis, n in zip(layout[1:], shapes[layer], strict=True) if axis != "T"])),
                "parameters": _n_parameters(model, layer),
                "receptive_field_ms": field * milliseconds,
                "hop_ms": hop * milliseconds,
            }
        )
    return pd.DataFrame(rows).astype({"parameters": "Int64"})


def _n_parameters(model: AudioModel, layer: str) -> int | None:
    from brainalign.models.hooked import HookedModel
    from brainalign.models.hooks import parse_layer

    if not isinstance(model, HookedModel):
        return None
    part = model.module.get_submodule(parse_layer(model.module, layer).path)
    return sum(parameter.numel() for parameter in part.parameters())


def _listen(model: AudioModel, waveforms: NDArray[np.float32], layers: Sequence[str]) -> dict[str, NDArray[Any]]:
    import numpy as np
    import torch

    # NaN is what the probes are made of; that it spreads is no fault to warn of.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        given = model.activations(torch.from_numpy(np.ascontiguousarray(waveforms, np.float32)), layers)
    return {layer: values.cpu().numpy() for layer, values in given.items()}


def _nan_frames(
    model: AudioModel, waveforms: NDArray[np.float32], layers: Sequence[str]
) -> dict[str, NDArray[np.bool_]]:
    """Return for each layer which frames of each sound are NaN: (n_sounds, n_frames)."""
    import numpy as np

    frames = {}
    for layer, values in _listen(model, waveforms, layers).items():
        other = tuple(i for i, axis in enumerate(model.layouts[layer]) if axis not in "BT")
        frames[layer] = np.isnan(values).any(axis=other)
    return frames


def _receptive_fields(
    model: AudioModel, noise: NDArray[np.float32], layers: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return (receptive field, hop) in samples for the layers whose activations have a time axis."""
    import numpy as np

    timed = [layer for layer in layers if "T" in model.layouts[layer]]
    n = len(noise)
    clicks = np.repeat(noise[None], N_CLICKS, axis=0)
    places = np.linspace(0.02 * n, 0.98 * n, N_CLICKS).astype(int)
    clicks[np.arange(N_CLICKS), places] = np.nan
    try:
        reached = _nan_frames(model, clicks, timed)
    except Exception:  # a model that refuses NaN keeps its receptive fields to itself
        return {}
    # Layers at one rate that every click reaches in the same frames share a receptive field: within a chain another
    # layer adds at least one frame.
    groups: dict[bytes, list[str]] = {}
    for layer, frames in reached.items():
        groups.setdefault(str(frames.shape).encode() + frames.tobytes(), []).append(layer)
    fields: dict[str, tuple[float, float]] = {}
    hops: dict[int, float] = {}
    for group in groups.values():
        frames = reached[group[0]]
        field, hop = _field(model, noise, group[0], frames)
        if not np.isnan(hop):
            hops[frames.shape[1]] = hop
        fields |= dict.fromkeys(group, (field, hop))
    # A frame that rests on all of the sound has no beginning; its rate is that of a layer with as many frames.
    return {
        layer: (field, hops.get(reached[layer].shape[1], hop) if np.isinf(field) else hop)
        for layer, (field, hop) in fields.items()
    }


def _field(
    model: AudioModel, noise: NDArray[np.float32], layer: str, reached: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return (receptive field, hop) of one layer, by bisection of where two frames begin and one ends."""
    import numpy as np

    n, n_frames = len(noise), reached.shape[1]
    if not reached.any():
        return np.nan, np.nan
    if reached[0, -1] or reached[-1, 0]:
        return np.inf, np.nan
    middle, after = n_frames // 2, n_frames // 2 + 1

    def is_reached(start: int, stop: int, frame: int) -> bool:
        sound = noise.copy()
        sound[start:stop] = np.nan
        return bool(_nan_frames(model, sound[None], [layer])[layer][0, frame])

    def first_sample(frame: int) -> int:
        untouched, touched = 0, n  # as numbers of leading samples that are NaN
        while touched - untouched > 1:
            half = (untouched + touched) // 2
            untouched, touched = (untouched, half) if is_reached(0, half, frame) else (half, touched)
        return touched - 1

    def last_sample(frame: int) -> int:
        touched, untouched = 0, n  # as where the NaN samples begin
        while untouched - touched > 1:
            half = (untouched + touched) // 2
            touched, untouched = (half, untouched) if is_reached(half, n, frame) else (touched, half)
        return touched

    first, last = first_sample(middle), last_sample(middle)
    hop = float(first_sample(after) - first) if after < n_frames else np.nan
    inside = first > 0 and last < n - 1
    return (float(last - first + 1) if inside else np.nan), (hop if inside else np.nan)
