"""Speech encoders of torchaudio.pipelines: wav2vec 2.0, HuBERT, WavLM, XLS-R, MMS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainalign._reading import check_zip, reason
from brainalign.errors import ModelError, did_you_mean, name_some
from brainalign.models.hooked import load_weights, weights_digest
from brainalign.models.prepared import MONO_RULE, PreparedModel, receptive_field

#: Convolutions (channels, kernel, stride) of all these encoders unless a bundle says otherwise.
CONVOLUTIONS = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
ORIGIN = "https://download.pytorch.org/torchaudio/models/"


def bundles() -> dict[str, Any]:
    """Return the bundles of torchaudio.pipelines that take waveforms and give features, by name."""
    from torchaudio import pipelines

    return {
        name: b for name in pipelines.__all__ if isinstance(b := getattr(pipelines, name), pipelines.Wav2Vec2Bundle)
    }


def load_torchaudio(variant: str = "", *, pretrained: bool = True) -> PreparedModel:
    """Load an encoder of torchaudio.pipelines.

    Parameters
    ----------
    variant : str
        ``BUNDLE`` for weights in torch's hub cache, or ``BUNDLE:FILE`` for a file of one's own, for instance
        ``"WAV2VEC2_BASE"`` or ``"HUBERT_BASE:hubert.safetensors"``. Files are safetensors or torch files that hold
        tensors only.
    pretrained : bool
        False for the architecture alone, whose weights a control then draws.

    Returns
    -------
    PreparedModel
        Layers ``feature_extractor`` (the convolutions), ``encoder.feature_projection``,
        ``encoder.transformer.layers.0`` and on (``layers.0.0`` for WavLM), one frame every 20 ms. Waveforms are
        normalised clip by clip where the bundle says so; torchaudio itself normalises over the whole batch.

    Raises
    ------
    ModelError
        If there is no such bundle, or its weights are not there or do not fit. Nothing is downloaded.
    """
    name, _, file = variant.partition(":")
    known = bundles()
    if name not in known:
        asked = f"no bundle {name!r}" if name else "no bundle without a name"
        raise ModelError(f"torchaudio.pipelines has {asked}; {did_you_mean(name, known)}")
    if file and not pretrained:
        raise ModelError(f"random weights replace all weights: leave the file {file!r} out")
    bundle = known[name]
    with torch.random.fork_rng(devices=[]):
        network = _build(bundle)
    record = _record(bundle)
    if pretrained:
        path = Path(file) if file else _cached(name, bundle)
        _load(network, path, bundle)
        record |= {"weights": path.name, "weights_sha256": weights_digest(network)}
    convolutions = bundle._params["extractor_conv_layer_config"] or CONVOLUTIONS
    minimum, _ = receptive_field((kernel, stride) for _, kernel, stride in convolutions)
    layouts = {"feature_extractor": "BTC", "encoder.feature_projection": "BTC"}
    # WavLM's blocks hand on their position bias beside their state.
    state = ".0" if bundle._model_type == "WavLM" else ""
    layouts |= {f"encoder.transformer.layers.{i}{state}": "BTC" for i in range(len(network.encoder.transformer.layers))}
    if bundle._params["encoder_layer_norm_first"]:
        layouts["encoder.transformer"] = "BTC"
    return PreparedModel(
        name=f"torchaudio:{name}" + (f":{Path(file).stem}" if file else ""),
        module=network,
        sample_rate=int(bundle.sample_rate),
        layouts=layouts,
        minimum_samples=minimum,
        record=record,
        forward=_normalised if bundle._normalize_waveform else None,
        untrained=lambda: _build(bundle),
    )


def _build(bundle: Any) -> Any:
    from torchaudio import models

    factory = models.wavlm_model if bundle._model_type == "WavLM" else models.wav2vec2_model
    return factory(**bundle._params)


def _normalised(module: nn.Module, waveforms: Tensor) -> None:
    module(functional.layer_norm(waveforms, waveforms.shape[-1:]))


def _cached(name: str, bundle: Any) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(bundle._path).name
    if not path.is_file():
        origin = bundle._path if bundle._path.startswith("https") else ORIGIN + bundle._path
        raise ModelError(
            f"the weights of 'torchaudio:{name}' are not there: no file {path}. They come from {origin}; put a copy "
            f"there, or give a file, 'torchaudio:{name}:FILE', or draw random weights, 'torchaudio:{name}@random:0'"
        )
    return path


def _load(network: nn.Module, path: Path, bundle: Any) -> None:
    if path.suffix == ".safetensors":
        load_weights(network, path)
        return
    if not path.is_file():
        raise ModelError(f"no weights file {path}")
    check_zip(path, ModelError)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as why:
        raise ModelError(f"{path} cannot be read as tensors alone: {reason(why)}") from why
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ModelError(f"{path} does not hold tensors by name")
    weights = dict(weights)
    own = network.state_dict()
    # Released recognisers carry outputs of unused symbols, which torchaudio cuts out by their place.
    unused = getattr(bundle, "_remove_aux_axis", ())
    for key in ("aux.weight", "aux.bias"):
        if key in weights and key in own and len(weights[key]) == len(own[key]) + len(unused):
            weights[key] = weights[key][[i for i in range(len(weights[key])) if i not in unused]]
    differ = [f"{k} is missing" for k in own if k not in weights] + [f"{k} is unknown" for k in weights if k not in own]
    differ += [
        f"{k} is {tuple(weights[k].shape)}, expected {tuple(v.shape)}"
        for k, v in own.items()
        if k in weights and weights[k].shape != v.shape
    ]
    if differ:
        raise ModelError(f"{path.name} holds weights of another architecture: {name_some(differ, 4)}")
    network.load_state_dict(weights)


def _record(bundle: Any) -> dict[str, str]:
    import torchaudio

    last = "; encoder.transformer adds the final normalisation" if bundle._params["encoder_layer_norm_first"] else ""
    normaliser = "zero mean and unit variance, clip by clip" if bundle._normalize_waveform else "none"
    return {
        "front_end": "waveform",
        "mono_rule": MONO_RULE,
        "normaliser": normaliser,
        "padding": "none: sounds of one length, no mask",
        "hidden_states": f"encoder.transformer.layers.i is the output of block i (from 0){last}",
        "torchaudio": torchaudio.__version__,
    }
