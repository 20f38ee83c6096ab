"""Extraction: a model listens to a stimulus set."""

from __future__ import annotations

import fnmatch
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from brainalign.errors import ModelError, did_you_mean
from brainalign.models.base import AudioModel
from brainalign.responses import Responses, make_responses, with_columns

if TYPE_CHECKING:
    from brainalign.stimuli import StimulusSet


def extract(
    model: AudioModel,
    stimuli: StimulusSet,
    *,
    layers: Sequence[str] | str | None = None,
    batch_size: int = 16,
    device: str = "cpu",
    progress: bool = False,
) -> Responses:
    """Extract the time-averaged activations of layers for every sound of a set.

    Sounds are batched with others of exactly the same length, so none is padded and the mean over time runs
    over frames of the sound only. All axes but time are kept: a convolutional layer has channel x frequency
    units.

    Parameters
    ----------
    model : AudioModel
        What listens.
    stimuli : StimulusSet
        What is played; each sound is resampled to the model's rate.
    layers : sequence of str, or str, optional
        Names or globs (``"conv*"``); all layers if not given.
    batch_size : int
        Sounds per forward pass.
    device : str
        Torch device.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Responses
        Dims ``(stimulus, unit)``, stimuli in the order of the set, float32. Coordinates ``category``
        and the other columns of the set's table along
        stimulus; ``layer`` and ``channel`` (index within the layer, channel-major) along unit.

    Raises
    ------
    ModelError
        If a layer does not exist, a sound is too short for the model, or activations are not finite or not as
        many for every sound.
    ResponseError
        If all units respond alike to a sound, as they may to silence.
    StimulusError
        If a sound cannot be read.
    """
    if batch_size < 1:
        raise ModelError(f"batch_size must be at least 1, found {batch_size}")
    names = match_layers(model, layers)
    pending: dict[int, list[tuple[str, np.ndarray]]] = defaultdict(list)
    pooled: dict[str, dict[str, np.ndarray]] = {}
    for stimulus_id in tqdm(stimuli.ids, desc=model.name, unit="sound", disable=not progress):
        waveform, _ = stimuli.waveform(stimulus_id, model.sample_rate)
        if len(waveform) < model.minimum_samples:
            raise ModelError(
                f"stimulus {stimulus_id!r} is too short for {model.name}: {len(waveform) / model.sample_rate:.3f} s, "
                f"it takes at least {model.minimum_samples / model.sample_rate:.3f} s"
            )
        same_length = pending[len(waveform)]
        same_length.append((stimulus_id, waveform))
        if len(same_length) == batch_size:
            pooled |= _listen(model, names, pending.pop(len(waveform)), device)
    for batch in pending.values():
        pooled |= _listen(model, names, batch, device)
    widths = {layer: len(pooled[stimuli.ids[0]][layer]) for layer in names}
    for stimulus_id, layer in product(stimuli.ids, names):
        if len(pooled[stimulus_id][layer]) != widths[layer]:
            raise ModelError(
                f"{model.name}, layer {layer!r}: {len(pooled[stimulus_id][layer])} units for stimulus {stimulus_id!r}, "
                f"{widths[layer]} for {stimuli.ids[0]!r}; is its layout {model.layouts[layer]!r}?"
            )
    values = np.stack([np.concatenate([pooled[i][layer] for layer in names]) for i in stimuli.ids])
    responses = make_responses(
        values,
        stimuli.ids,
        [f"{layer}:{i}" for layer in names for i in range(widths[layer])],
        unit_info={
            "layer": [layer for layer in names for _ in range(widths[layer])],
            "channel": [i for layer in names for i in range(widths[layer])],
        },
        attrs={
            "source": model.name,
            "stimulus_set": f"{stimuli.name} {stimuli.manifest.version}",
            "pooling": "mean over time",
            "sample_rate": model.sample_rate,
            "model_record": json.dumps(dict(model.record)),
        },
    )
    return with_columns(responses, stimuli.table)


def match_layers(model: AudioModel, patterns: Sequence[str] | str | None) -> list[str]:
    """Return the layers that the patterns name, in order of depth.

    Parameters
    ----------
    model : AudioModel
        The model.
    patterns : sequence of str, str or None
        Names or globs; None for all.

    Returns
    -------
    list of str
        Layer names.

    Raises
    ------
    ModelError
        If a pattern names none, or there is no pattern.
    """
    known = list(model.layouts)
    if patterns is None:
        return known
    if not patterns:
        raise ModelError(f"no layer of {model.name} is named; leave layers out for all")
    wanted: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = fnmatch.filter(known, pattern)
        if not matched:
            raise ModelError(f"{model.name} has no layer {pattern!r}; {did_you_mean(pattern, known)}")
        wanted |= set(matched)
    return [layer for layer in known if layer in wanted]


def _listen(
    model: AudioModel, layers: list[str], batch: list[tuple[str, np.ndarray]], device: str
) -> dict[str, dict[str, np.ndarray]]:
    """Run one batch of sounds of the same length; return {stimulus id: {layer: pooled units}}."""
    waveforms = torch.from_numpy(np.stack([w for _, w in batch])).to(device)
    pooled: dict[str, dict[str, np.ndarray]] = {stimulus_id: {} for stimulus_id, _ in batch}
    activations = model.activations(waveforms, layers)
    for layer in layers:
        if layer not in activations:
            raise ModelError(f"{model.name} gave no activations of the layer {layer!r}")
        values, layout = activations[layer], model.layouts[layer]
        if values.ndim != len(layout) or len(values) != len(batch):
            raise ModelError(
                f"{model.name}, layer {layer!r}: activations of shape {tuple(values.shape)} for {len(batch)} sounds "
                f"do not fit the layout {layout!r}"
            )
        if "T" in layout:
            values = values.mean(dim=layout.index("T"))
        units = values.flatten(start_dim=1).float().cpu().numpy()
        for (stimulus_id, _), row in zip(batch, units, strict=True):
            if not np.isfinite(row).all():
                raise ModelError(
                    f"{model.name}, layer {layer!r}: activations of stimulus {stimulus_id!r} are NaN or infinite"
                )
            pooled[stimulus_id][layer] = row
    return pooled
